"""Odd challenges, and which clients pay them: the table of docs/interop.md.

``PAYS`` is not praise: most of these come from no well-meaning server, and a client that reads one differently from the
server that checks its credential pays for nothing.
"""

import base64
from typing import Final, Literal

import attrs

Outcome = Literal["pays", "refuses"]
PAYS: Final = "pays"
REFUSES: Final = "refuses"


def _encode(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_CHARGE: Final = '{"amount":"1","currency":"usd"}'
_REQUEST: Final = _encode(_CHARGE)


def _field(
    extra: str = "",
    *,
    id_: str = "i",
    realm: str = "r",
    method: str = "mock",
    intent: str = "charge",
    request: str = _REQUEST,
) -> str:
    return (
        f'Payment id="{id_}", realm="{realm}", method="{method}", intent="{intent}", request="{request}",'
        f' expires="2099-01-01T00:00:00Z"{extra}'
    )


def _expires(text: str) -> str:
    return _field().replace("2099-01-01T00:00:00Z", text)


@attrs.frozen(kw_only=True)
class Odd:
    """One ``WWW-Authenticate`` field and what the clients make of it.

    ``reason`` says why flovia does what it does, wherever the three do not agree.
    """

    name: str
    field: str
    flovia: Outcome
    pympp: Outcome
    mppx: Outcome
    reason: str = ""

    def row(self) -> str:
        """The row of the table in docs/interop.md."""
        return f"| {self.name} | {self.flovia} | {self.pympp} | {self.mppx} | {self.reason} |"


def _all(name: str, field: str, outcome: Outcome) -> Odd:
    return Odd(name=name, field=field, flovia=outcome, pympp=outcome, mppx=outcome)


def _strict(name: str, field: str, reason: str, *, pympp: Outcome = PAYS, mppx: Outcome = PAYS) -> Odd:
    return Odd(name=name, field=field, flovia=REFUSES, pympp=pympp, mppx=mppx, reason=reason)


def _lax(name: str, field: str, reason: str, *, pympp: Outcome = REFUSES, mppx: Outcome = PAYS) -> Odd:
    return Odd(name=name, field=field, flovia=PAYS, pympp=pympp, mppx=mppx, reason=reason)


def _member(extra: str | bytes) -> str:
    """A challenge whose request has one member more; ``extra`` is JSON text."""
    raw = extra.encode() if isinstance(extra, str) else extra
    return _field(request=_encode(b'{"amount":"1","currency":"usd","x":' + raw + b"}"))


_OTHER_DIGEST: Final = f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"
_TWO_READERS: Final = "two readers could see two requests"


ODD: Final = (
    _all("nothing odd", _field(), PAYS),
    _all("scheme in lower case", _field().replace("Payment ", "payment "), PAYS),
    _all("two spaces after the scheme", _field().replace("Payment ", "Payment  "), PAYS),
    _all("spaces around `=`", _field().replace('id="i"', 'id = "i"'), PAYS),
    _all(
        "values as tokens, without quotes",
        f'Payment id=i, realm=r, method=mock, intent=charge, request={_REQUEST}, expires="2099-01-01T00:00:00Z"',
        PAYS,
    ),
    _all("a parameter nobody knows", _field(', later="2"'), PAYS),
    _all("another scheme before it", 'Bearer realm="Payment id=1", ' + _field(), PAYS),
    _all("another scheme after it", _field() + ', Bearer realm="x"', PAYS),
    _all("a challenge of another method before it", _field(method="other") + ", " + _field(), PAYS),
    _all("description in Latin-1 bytes", _field(', description="Fünf"'), PAYS),
    _all("empty id", _field(id_=""), REFUSES),
    _all("the same parameter twice", _field(', ID="j"'), REFUSES),
    _all("method in upper case", _field(method="Mock"), REFUSES),
    _all("request is an array", _field(request=_encode("[1]")), REFUSES),
    _all(
        "request longer than 16 KiB",
        _field(request=_encode(f'{{"amount":"1","currency":"usd","x":"{"x" * 13000}"}}')),
        REFUSES,
    ),
    _all("expired", _expires("2020-01-01T00:00:00Z"), REFUSES),
    _all("expires `tomorrow`", _expires("tomorrow"), REFUSES),
    _all("expires without an offset", _expires("2099-01-01T00:00:00"), REFUSES),
    _all("expires is a date", _expires("2099-01-01"), REFUSES),
    _all("header that is no field name", _field(', header="a b"'), REFUSES),
    _all("expires with an offset of 25 hours", _expires("2099-01-01T00:00:00+25:00"), REFUSES),
    _all("expires in a leap second", _expires("2099-01-01T00:00:60Z"), REFUSES),
    _all("no expires", _field().replace(', expires="2099-01-01T00:00:00Z"', ""), PAYS),
    _all("opaque is a nested object", _field(', opaque="eyJhIjp7ImIiOjF9fQ"'), PAYS),
    _all("a quote inside the description, not escaped", _field(', description="a "b" c"'), PAYS),
    _lax(
        "expires with `t` and `z`",
        _expires("2099-01-01t00:00:00z"),
        "RFC 3339 section 5.6 allows it",
        mppx=REFUSES,
    ),
    _lax("opaque that is not JSON", _field(', opaque="AAAA"'), "it is the server's own, and goes back unread (C03)"),
    _lax("empty realm", _field(realm=""), "nothing forbids it"),
    _lax(
        "an unusable challenge beside a good one",
        _field(method="Mock") + ", " + _field(),
        "the good one is as good as alone",
        pympp=PAYS,
        mppx=REFUSES,
    ),
    _strict(
        "expires on 30 February",
        _expires("2099-02-30T00:00:00Z"),
        "no such day: nobody knows when it is over (C04)",
        pympp=REFUSES,
    ),
    _strict(
        "digest of another body",
        _field(f', digest="{_OTHER_DIGEST}"'),
        "the server asks payment for another request (C05)",
    ),
    _strict(
        "digest of an algorithm we cannot compute",
        _field(', digest="sha-512=:AAAA:"'),
        "it cannot be checked (C05)",
        mppx=REFUSES,
    ),
    _strict("empty digest", _field(', digest=""'), "it is no digest of the body (C05)"),
    _strict('`header="Cookie"`', _field(', header="Cookie"'), "a credential goes to two fields only (C10)"),
    _strict(
        '`header="Authorization"`',
        _field(', header="Authorization"'),
        "the draft has one value, `Payment-Authorization` (C10)",
    ),
    _strict(
        '`header="payment-authorization"`',
        _field(', header="payment-authorization"'),
        "the value is compared as it stands (C10)",
    ),
    _strict('`header=""`', _field(', header=""'), "the value is compared as it stands (C10)", mppx=REFUSES),
    _strict("request with base64 padding", _field(request=_encode(_CHARGE + " ") + "="), "one text per value"),
    _strict(
        "request in the base64 alphabet with `+` and `/`",
        _field(request=base64.b64encode('{"amount":"1","currency":"usd","x":"??>>~~ÿ"}'.encode()).decode().rstrip("=")),
        "one text per value",
    ),
    _strict(
        "request with bits after the last byte",
        _field(request=_REQUEST[:-1] + chr(ord(_REQUEST[-1]) + 1)),
        "one text per value",
    ),
    _strict(
        "the same member of the request twice",
        _field(request=_encode('{"amount":"1","amount":"900","currency":"usd"}')),
        _TWO_READERS,
    ),
    _strict(
        "request that starts with a byte order mark",
        _field(request=_encode("\ufeff" + _CHARGE)),
        "RFC 8259 section 8.1 forbids it",
    ),
    _strict("request that is not UTF-8", _member(b'"\xff"'), _TWO_READERS, pympp=REFUSES),
    _strict("NaN in the request", _member("NaN"), "it is not JSON", mppx=REFUSES),
    _strict("an integer beyond 2^53 in the request", _member("9007199254740993"), _TWO_READERS),
    _strict("U+0000 in the request", _member('"\\u0000"'), "databases cannot keep it"),
    _strict("half a surrogate pair in the request", _member('"\\ud800"'), "it has no UTF-8", pympp=REFUSES),
    _strict(
        "40 levels of nesting in the request",
        _member('{"a":' * 40 + "1" + "}" * 40),
        "more than 32 levels: a parser may give up at any depth",
    ),
    _strict(
        "amount is a number",
        _field(request=_encode('{"amount":1,"currency":"usd"}')),
        "amounts are digits in a string (H01)",
    ),
    _strict("amount is negative", _field(request=_encode('{"amount":"-1","currency":"usd"}')), "not a price (C07)"),
    _strict(
        "amount has other digits than ASCII",
        _field(request=_encode('{"amount":"１","currency":"usd"}')),
        "not a price (C07)",
    ),
    _strict(
        "amount is beyond the budget",
        _field(request=_encode('{"amount":"999999999","currency":"usd"}')),
        "flovia's client has a budget, always (C12)",
    ),
    _strict(
        "a currency that nobody issues",
        _field(request=_encode('{"amount":"1","currency":"zzz"}')),
        "its base unit is unknown (C07)",
    ),
    _strict("parameters without commas", _field().replace(",", ""), "not the grammar of RFC 9110"),
    _strict(
        "a tab after the scheme", _field().replace("Payment ", "Payment\t", 1), "the draft has spaces", pympp=REFUSES
    ),
)
