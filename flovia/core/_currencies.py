"""Decimal digits of the currencies of ISO 4217. Generated: edit tests/tools/currencies.py instead."""

from collections.abc import Mapping
from typing import Final

PUBLISHED: Final = "2026-01-01"
"""Date of the ISO 4217 table this was made from."""

_BY_DIGITS: Final = {
    0: "bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf ",
    2: (
        "aed afn all amd aoa ars aud awg azn bam bbd bdt bmd bnd bob bov brl bsd btn bwp byn bzd "
        "cad cdf che chf chw cny cop cou crc cup cve czk dkk dop dzd egp ern etb eur fjd fkp gbp "
        "gel ghs gip gmd gtq gyd hkd hnl htg huf idr ils inr irr jmd kes kgs khr kpw kyd kzt lak "
        "lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mru mur mvr mwk mxn mxv myr mzn nad ngn nio "
        "nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sdg sek sgd shp sle sos "
        "srd ssp stn svc syp szl thb tjs tmt top try ttd twd tzs uah usd usn uyu uzs ved ves wst "
        "xad xcd xcg yer zar zmw zwg "
    ),
    3: "bhd iqd jod kwd lyd omr tnd ",
    4: "clf uyw ",
}

EXPONENTS: Final[Mapping[str, int]] = {code: digits for digits, codes in _BY_DIGITS.items() for code in codes.split()}
"""Lower-case code to the number of digits between the currency and its base unit.

Metals, test codes and other entries without a base unit are left out.
"""
