"""``Accept-Payment`` (draft-httpauth-payment-02, S32 and S33): which offers a client wants to see, best first."""

import re
from collections.abc import Sequence
from typing import Final

_MAX_FIELD: Final = 8192
_MAX_RANGES: Final = 128
_RANGE: Final = re.compile(
    r"(\*|[A-Za-z0-9:_-]++)[ \t]*+/[ \t]*+(\*|[A-Za-z0-9-]++)"
    r"(?:[ \t]*+;[ \t]*+[Qq][ \t]*+=[ \t]*+(?:(1(?:\.0{0,3})?)|0(?:\.([0-9]{0,3}))?))?"
).fullmatch


def rank(accept_payment: str | None, offers: Sequence[str]) -> list[int]:
    """The positions of the offers a client accepts, best first.

    ``offers`` are ``method/intent`` texts in the server's order. The most specific range that covers an
    offer decides (``m/i``, then ``m/*`` and ``*/i``, then ``*/*``), q = 0 means no, higher q comes first,
    and among equals the server's order stays. Without the field, or with nothing readable in it, all
    offers are accepted as they stand; malformed ranges are ignored. Empty: the client accepts none.
    """
    everything = list(range(len(offers)))
    if accept_payment is None or len(accept_payment) > _MAX_FIELD:
        return everything
    wanted = _ranges(accept_payment)
    if not wanted:
        return everything
    best: list[tuple[int, int]] = []
    for index in everything:
        method, _, intent = offers[index].partition("/")
        quality = _quality(wanted, method, intent)
        if quality:
            best.append((-quality, index))
    return [index for _, index in sorted(best)]


def _ranges(field: str) -> dict[tuple[str, str], int]:
    """The readable ranges with their q in thousandths; of a repeated range the highest."""
    wanted: dict[tuple[str, str], int] = {}
    for element in field.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        match = _RANGE(element.strip(" \t"))
        if match:
            method, intent, one, fraction = match.groups()
            # An absent q is 1; "0", "0." and "0.0" leave nothing behind the point.
            given = one is None and ";" in match[0]
            quality = int((fraction or "").ljust(3, "0")) if given else 1000
            key = (method, intent)
            wanted[key] = max(quality, wanted.get(key, 0))
    return wanted


def _quality(wanted: dict[tuple[str, str], int], method: str, intent: str) -> int:
    """The q of one offer: the most specific range that covers it, 0 without one."""
    exact = wanted.get((method, intent))
    if exact is not None:
        return exact
    half = [wanted[key] for key in ((method, "*"), ("*", intent)) if key in wanted]
    return max(half) if half else wanted.get(("*", "*"), 0)
