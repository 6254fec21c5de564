"""Bytes and text of the wire: strict base64url, canonical JSON (RFC 8785) and a strict JSON reader.

Strict in: what two parsers could read differently is refused, never repaired. Strict out: what
:func:`loads` would refuse is not written by :func:`encode_param`. No error text holds any input.
"""

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from typing import Final, TypeAlias

from flovia.core.errors import ParseError

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""Any JSON value. What :func:`loads` returns is made of dict and list; treat it as read-only."""

JsonObject: TypeAlias = Mapping[str, JsonValue]
"""A JSON object."""

MAX_DEPTH: Final = 32
"""Deepest nesting of arrays and objects that is read or written."""

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON implementation keeps exact (RFC 7493 section 2.2)."""


class WireParam(str):
    """A base64url(JSON object) text made by :func:`encode_param`, so known to decode. Just a str otherwise."""

    __slots__ = ()


# --- base64url ---------------------------------------------------------------------------------------

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # "!" is no base64 character: the decoder refuses it
_PADDING: Final = ("", "", "==", "=")
# The last character may only carry bits of the last byte (RFC 4648 section 3.5), by length modulo 4.
_LAST: Final = ("", "", "AQgw", "AEIMQUYcgkosw048")


def b64url_encode(raw: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Read base64url as strictly as we write it: no padding, no foreign character, zero trailing bits.

    Raises:
        ParseError: of kind ``encoding_error``.
    """
    rest = len(text) & 3
    if not rest or (rest > 1 and text[-1] in _LAST[rest]):
        padding = _PADDING[rest]
        try:
            # JSON in ASCII becomes letters and digits, but for "?", ">" and "~" in every third place.
            if "-" in text or "_" in text or "=" in text or "+" in text or "/" in text:
                return a2b_base64(text.encode("ascii").translate(_FROM_URL) + padding.encode(), strict_mode=True)
            return a2b_base64(text + padding, strict_mode=True)
        except ValueError:
            pass  # raised below, where the error cannot keep the input as its context
    raise ParseError("not base64url: use A-Z a-z 0-9 - _ only, without padding", "encoding_error")


# --- canonical JSON ----------------------------------------------------------------------------------


class _NotPlain(Exception):  # not an error: it only says which of two writers is to be used
    """The value needs the complete canonicaliser."""


def canonical(value: JsonValue) -> bytes:
    """The value as RFC 8785 (JCS) JSON in UTF-8: one byte sequence per value.

    Raises:
        ParseError: of kind ``format_error``: not a JSON value, a number JSON cannot carry exactly,
            a lone surrogate, or nesting deeper than 32.
    """
    return canonical_text(value)[0].encode()


def canonical_text(value: JsonValue) -> tuple[str, bool]:
    """The JCS text of a value, and whether :func:`loads` is certain to read it back.

    Raises:
        ParseError: as :func:`canonical`.
    """
    try:
        text = _plain_text(value, MAX_DEPTH)
    except (_NotPlain, TypeError):  # TypeError: keys of several types have no order
        return _canonical_slowly(value), False
    # Python sorts keys by code point, JCS by UTF-16 unit: they differ only from U+E000 up.
    # (Lone surrogates come before that, and go to the complete canonicaliser as well, which refuses them.)
    if not text.isascii() and max(text) >= "\ud800":
        return _canonical_slowly(value), False
    return text, "\\" not in text  # an escape might stand for U+0000


def _plain_text(value: JsonValue, depth: int) -> str:
    """The JCS text of a value made of str, small int, bool, None, dict and list alone.

    Equal to what rfc8785 writes, as long as no key is beyond U+D800: a property test compares the two.
    """
    if isinstance(value, dict) and depth:
        parts: list[str] = []
        for key in sorted(value):
            if type(key) is not str:
                raise _NotPlain
            item = value[key]
            if type(item) is str:
                text = _quoted(item)
            elif isinstance(item, dict):
                text = _plain_text(item, depth - 1)
            else:
                text = _plain_item(item, depth - 1)
            parts.append(f"{_quoted(key)}:{text}")
        return f"{{{','.join(parts)}}}"
    return _plain_item(value, depth)


def _plain_item(value: JsonValue, depth: int) -> str:
    """The same for what is not an object."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int) and type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return str(value)
    if isinstance(value, str) and type(value) is str:
        return _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, list) and depth:
        return f"[{','.join([_plain_text(item, depth - 1) for item in value])}]"
    raise _NotPlain


def _canonical_slowly(value: JsonValue) -> str:
    import rfc8785  # here, because few values need it and every import of flovia would pay for it

    try:
        return rfc8785.dumps(_normal(value, MAX_DEPTH)).decode()
    except ParseError:
        raise
    except ValueError:
        pass
    raise ParseError(
        "this value has no canonical JSON: use finite numbers, integers below 2^53 and well-formed text",
        "format_error",
    )


def _normal(value: JsonValue, depth: int) -> "_Normal":
    """The value with every Mapping a dict and every sequence a list, which is all rfc8785 knows."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if not depth:
        raise ParseError(f"JSON nested deeper than {MAX_DEPTH}: flatten it", "format_error")
    if isinstance(value, Mapping):
        return {key: _normal(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item, depth - 1) for item in value]
    raise ParseError(f"{type(value).__name__} is not a JSON value: convert it first", "format_error")


_Normal: TypeAlias = "bool | int | float | str | list[_Normal] | dict[str, _Normal] | None"


# --- strict JSON ---------------------------------------------------------------------------------------

_SPACE: Final = " \t\n\r"
_MAX_INTEGER_TEXT: Final = len(str(-MAX_INTEGER))
# A string (possessive: linear even if it never closes) or one bracket.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL).finditer
# What Python's str can hold but UTF-8, or a database's text column, cannot.
_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]").search


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members: dict[str, JsonValue] = {}
    for name, item in pairs:  # for the few members of our objects quicker than dict(pairs)
        members[name] = item
    if len(members) == len(pairs):
        return members
    raise ParseError("JSON object with the same member twice")


def _integer(digits: str) -> int:
    # Length first: int() of thousands of digits is slow, and refuses with an error of its own.
    if len(digits) <= _MAX_INTEGER_TEXT:
        value = int(digits)
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
    raise ParseError("JSON integer beyond 2^53: send it as a string")


def _float(digits: str) -> float:
    value = float(digits)
    if value - value:  # inf - inf is nan, which is true
        raise ParseError("JSON number too large")
    return value


def _constant(_name: str) -> float:
    raise ParseError("NaN and Infinity are not JSON")


_read: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
).raw_decode


def loads(raw: bytes | str, *, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Read JSON that every parser reads alike (RFC 8259 within RFC 7493's limits). Linear in its length.

    Refused: bytes that are not UTF-8 (a byte order mark included), the same member twice, NaN and
    Infinity, integers beyond 2^53 - 1, numbers beyond a double, U+0000, lone surrogates, and nesting deeper
    than ``max_depth``, which is checked before decoding. Cap the length before calling.

    Raises:
        ParseError: of kind ``encoding_error`` for bytes that are not UTF-8, else ``parse_error``.
    """
    if not isinstance(raw, str):
        return _load_text(_utf8(raw), max_depth)
    value = _load_text(raw, max_depth)
    if not raw.isascii():
        _check_text(value)
    return value


def loads_object(raw: bytes | str) -> JsonObject:
    """Like :func:`loads`, for a JSON object.

    Raises:
        ParseError: not strict JSON, or not an object.
    """
    value = loads(raw)
    if isinstance(value, dict):
        return value
    raise ParseError("JSON object expected")


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass  # raised below, where the error cannot keep the input as its context
    raise ParseError("JSON is not UTF-8", "encoding_error")


def _load_text(text: str, max_depth: int) -> JsonValue:
    opened = text.count("{")
    if "[" in text:
        opened += text.count("[")
    if opened > max_depth:
        _check_depth(text, max_depth)
    value: JsonValue
    try:
        value, end = _read(text)
    except ParseError:
        raise
    except ValueError:
        # Not raised here: the JSON error would come along as context, and it holds the whole text.
        value, end = None, -1
    if end < 0 and text and text[0] in _SPACE:
        return _load_text(text.lstrip(_SPACE), max_depth)
    if end != len(text) and (end < 0 or text[end:].strip(_SPACE)):
        raise ParseError("not valid JSON")
    if "\\" in text:
        _check_text(value)
    return value


def _check_depth(text: str, max_depth: int) -> None:
    """Refuse nesting deeper than ``max_depth`` without decoding: the decoder would recurse."""
    depth = 0
    for found in _BRACKETS(text):
        mark = text[found.start()]
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise ParseError(f"JSON nested deeper than {max_depth}")
        elif mark != '"':
            depth -= 1


def _check_text(value: JsonValue) -> None:
    """Refuse text that could not be written again: escapes can smuggle it past the UTF-8 check."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if _UNWRITABLE(item):
                raise ParseError("JSON text with U+0000 or a lone surrogate")
        elif isinstance(item, dict):
            waiting += item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


# --- the two together ------------------------------------------------------------------------------------


def encode_param(value: JsonObject) -> WireParam:
    """A JSON object as the ``request`` and ``opaque`` parameters carry it: base64url(JCS).

    Raises:
        ParseError: of kind ``format_error``: no canonical form (see :func:`canonical`), or one that
            :func:`decode_param` would refuse.
    """
    text, certain = canonical_text(value)
    if not certain or text[0] != "{":
        try:
            loads_object(text)
        except ParseError as error:
            raise ParseError(f"cannot be sent: {error}", "format_error") from None
    return WireParam(b64url_encode(text.encode()))


def decode_param(text: str) -> JsonObject:
    """Read base64url(JSON object), strictly. The JSON need not be canonical: peers differ.

    Raises:
        ParseError: not base64url, not strict JSON, or not an object.
    """
    value = _load_text(_utf8(b64url_decode(text)), MAX_DEPTH)
    if isinstance(value, dict):
        return value
    raise ParseError("JSON object expected")
