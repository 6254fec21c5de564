"""The receipt: ``Payment-Receipt: <base64url JSON>``, only on a 2xx, only of a payment that succeeded (S23 to S25)."""

from json.encoder import encode_basestring
from types import MappingProxyType
from typing import Final, Literal

import attrs

from flovia.core.challenge import is_method, parse_expires
from flovia.core.encoding import JsonObject, b64url_encode, decode_param, encode_param
from flovia.core.errors import ParseError

MAX_RECEIPT: Final = 16384
"""Longest receipt we read, in characters."""

_NOTHING: Final[JsonObject] = MappingProxyType({})
_OWN: Final = frozenset({"status", "method", "timestamp", "reference"})


@attrs.frozen(kw_only=True)
class Receipt:
    """Proof of a settled payment.

    ``method`` is the payment method's id, ``timestamp`` RFC 3339 text, ``reference`` the method's own name
    for the payment. ``extra`` holds every other member as it stands, top level (a method may put a signed
    receipt there, so it is in no repr).
    """

    method: str
    timestamp: str
    reference: str
    status: Literal["success"] = "success"
    extra: JsonObject = attrs.field(default=_NOTHING, repr=False)


def parse_receipt(value: str) -> Receipt:
    """Read a ``Payment-Receipt`` value.

    Raises:
        ParseError: longer than 16 KiB, not base64url, not strict JSON, a member missing or wrong, or a
            status other than ``success``.
    """
    if len(value) > MAX_RECEIPT:
        raise ParseError(f"receipt longer than {MAX_RECEIPT} characters")
    members = decode_param(value)
    get = members.get
    method, timestamp, reference, status = get("method"), get("timestamp"), get("reference"), get("status")
    if not (isinstance(method, str) and isinstance(timestamp, str) and isinstance(reference, str) and reference):
        raise ParseError("receipt without one of the texts method, timestamp, reference")
    if status != "success" or not is_method(method):
        raise ParseError("receipt whose status is not 'success', or whose method is no identifier")
    parse_expires(timestamp)
    if len(members) == len(_OWN):
        return Receipt(method=method, timestamp=timestamp, reference=reference)
    extra = {name: item for name, item in members.items() if name not in _OWN}
    return Receipt(method=method, timestamp=timestamp, reference=reference, extra=extra)


def format_receipt(receipt: Receipt) -> str:
    """The receipt as a ``Payment-Receipt`` value. What we would not parse is not emitted.

    Raises:
        ParseError: of kind ``format_error``: a method that is no identifier, a timestamp that is not
            RFC 3339, no reference, or an ``extra`` that is not JSON or repeats a member of its own.
    """
    try:
        parse_expires(receipt.timestamp)
    except ParseError:
        raise ParseError("receipt not emitted: its timestamp is not RFC 3339", "format_error") from None
    if not is_method(receipt.method) or receipt.status != "success":
        raise ParseError("receipt not emitted: it needs a method id, and success", "format_error")
    return receipt_text(receipt.method, receipt.reference, receipt.timestamp, receipt.extra)


def receipt_text(method: str, reference: str, timestamp: str, extra: JsonObject) -> str:
    """The wire form of a receipt whose method and timestamp are known to be well-formed.

    Raises:
        ParseError: of kind ``format_error``: no reference, or an ``extra`` that is not JSON or repeats a member.
    """
    if not reference:
        raise ParseError("receipt not emitted: it needs a reference", "format_error")
    if extra or not (reference.isascii() and reference.isprintable()):
        if not _OWN.isdisjoint(extra):
            raise ParseError("receipt not emitted: extra repeats a member of the receipt", "format_error")
        own = {"method": method, "reference": reference, "status": "success", "timestamp": timestamp}
        # A plain str: WSGI servers refuse a header value of any subclass (PEP 3333).
        return str(encode_param({**extra, **own}))
    text = (
        f'{{"method":"{method}","reference":{encode_basestring(reference)},'
        f'"status":"success","timestamp":"{timestamp}"}}'
    )
    return b64url_encode(text.encode("ascii"))
