"""The grammar of the header fields that carry challenges and credentials (RFC 9110 sections 5.6 and 11).

One scan over a field value, linear in its length, with size and count limits first. A field may hold
several challenges of several schemes, and proxies join repeated fields with commas, so the scan finds
every ``Payment`` element of any legal mix; a scheme's name inside a quoted string is not one.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import Final

from flovia.core.errors import ParseError

MAX_FIELD: Final = 65536
"""Longest field, in characters, over all its values."""

MAX_PARAM: Final = 16384
"""Longest parameter, its name included, in characters as on the wire."""

MAX_ELEMENTS: Final = 256
"""Most list elements (parameters and schemes) in one field value."""

BOUND: Final = frozenset({"id", "realm", "method", "intent", "request", "expires", "digest", "opaque", "header"})
"""The parameters of a Payment challenge that decide anything: all but ``description``."""

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = r'"(?:[^"\\]++|\\.)*+'  # without its closing quote
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
# A list element: up to the next comma outside a quoted string, which may stay open to the end.
_ELEMENTS: Final = re.compile(rf'[ \t,]*+((?:[^",]++|{_QUOTED}"?)++)', re.DOTALL).finditer
_PARAM: Final = re.compile(rf'({_WORD})[ \t]*+=[ \t]*+(?:({_WORD})|({_QUOTED})")', re.DOTALL).fullmatch
_LAX: Final = re.compile(rf'({_WORD})[ \t]*+=[ \t]*+({_QUOTED})("?)(.*+)', re.DOTALL).fullmatch
_SCHEME: Final = re.compile(rf"({_WORD})(?:([ \t]++)([^=].*+))?", re.DOTALL).fullmatch
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")

# A challenge as every known SDK spells it needs no scan: these texts stand before its quoted values.
_NAMES: Final = (*sorted(BOUND), "description")
_FIRST: Final = {f"Payment {name}=": name for name in _NAMES}
_LATER: Final = {f", {name}=": name for name in _NAMES}


def payment_challenges(values: Sequence[str]) -> list[dict[str, str] | ParseError]:
    """Every Payment challenge in the values of a ``WWW-Authenticate`` field, in order.

    Each is a dict of its parameters (names in lower case, values unquoted), or the error that makes
    this one unusable; its neighbours are not affected. Other schemes are skipped. What the parameters
    mean is not looked at.

    Laxness, because deployed servers forget to escape: a syntax error in ``description``, or in a
    parameter we do not know, is ignored, unless the ignored text holds ``=`` and so might have been
    a parameter that matters.
    """
    if len(values) == 1:
        params = _usual_challenge(values[0])
        if params is not None:
            return [params]
    if sum(map(len, values)) > MAX_FIELD:
        return [ParseError(f"WWW-Authenticate longer than {MAX_FIELD} characters")]
    found: list[dict[str, str] | ParseError] = []
    for value in values:
        try:
            _scan_challenges(value, found)
        except ParseError as error:
            found.append(error)
    return found


def _usual_challenge(value: str) -> dict[str, str] | None:
    """The parameters of a value that is one challenge in the usual spelling; None if it needs the scan."""
    if len(value) > MAX_PARAM or "\\" in value:
        return None
    parts = value.split('"', 2 * len(_NAMES))
    if parts.pop():
        return None  # text after the last quote, a quote left open, or more quotes than we have names for
    names, params = _FIRST, dict[str, str]()
    texts = iter(parts)
    for before, text in zip(texts, texts, strict=False):
        name = names.get(before)
        # isprintable() is also false for some legal characters: those take the scan. A request is
        # long, and whoever decodes it sees every character.
        if name is None or (name != "request" and not text.isprintable()):
            return None
        params[name] = text
        names = _LATER
    # Fewer names than values: one came twice.
    return params if params and 2 * len(params) == len(parts) else None


def _scan_challenges(value: str, found: list[dict[str, str] | ParseError]) -> None:
    reading: dict[str, str] | None = None  # the parameters of the Payment challenge we are in
    for element in _elements(value):
        text = element
        scheme = None if _PARAM(element) else _SCHEME(element)
        if scheme:
            reading = None
            if scheme[1].lower() != "payment":
                continue
            text = scheme[3]
            if text is None or "\t" in scheme[2]:
                found.append(ParseError("Payment challenge without parameters after one space"))
                continue
            reading = {}
            found.append(reading)
        if reading is not None:
            try:
                _add_param(reading, text)
            except ParseError as error:
                found[-1] = error
                reading = None


def _add_param(params: dict[str, str], element: str) -> None:
    if len(element) > MAX_PARAM:
        raise ParseError(f"Payment challenge with a parameter longer than {MAX_PARAM} characters")
    match = _PARAM(element)
    if match:
        token, quoted = match[2], match[3]
    else:
        match = _LAX(element)
        if match is None:
            raise ParseError("Payment challenge with something that is no parameter")
        token, quoted = None, match[2]
        lost = match[4] if match[3] else quoted + match[4]
        if match[1].lower() in BOUND or "=" in lost:
            raise ParseError("Payment challenge with a badly quoted parameter")
    name = match[1].lower()
    if name in params:
        raise ParseError("Payment challenge with the same parameter twice")
    text = quoted[1:] if token is None else token
    if token is None and "\\" in text:
        # Runs of backslashes pair up from the left; the one left over escapes the next character.
        text = "\\".join(part.replace("\\", "") for part in text.split("\\\\"))
    params[name] = text


def payment_credentials(values: Sequence[str]) -> list[str]:
    """The token of every Payment credential in the values of an ``Authorization``-like field, in order.

    Servers join repeated fields, so one value may hold several credentials (``Bearer x, Payment y``).
    Other schemes are ignored. A token is whatever follows the scheme: its characters are for
    :func:`~flovia.core.credential.parse_token` to check, more than one of them for the caller (S48).

    Raises:
        ParseError: a Payment credential without a token or with more after it, a control character, or a
            field beyond the limits.
    """
    if len(values) == 1:
        value = values[0]
        usual = value.startswith("Payment ") or value[:8].lower() == "payment "
        if usual and "," not in value and len(value) <= MAX_FIELD:
            token = value[8:].strip(" \t")
            if token:
                return [token]
    if sum(map(len, values)) > MAX_FIELD:
        raise ParseError(f"credential field longer than {MAX_FIELD} characters")
    found: list[str] = []
    for value in values:
        if "payment" in value.lower():
            _scan_credentials(value, found)
    return found


def _scan_credentials(value: str, found: list[str]) -> None:
    payment = False  # whether the element before belongs to a Payment credential
    for element in _elements(value):
        scheme = None if _PARAM(element) else _SCHEME(element)
        if scheme:
            payment = scheme[1].lower() == "payment"
            if payment:
                token = scheme[3]
                if token is None or "\t" in scheme[2]:
                    raise ParseError("Payment credential without a token after one space")
                found.append(token)
        elif payment:
            raise ParseError("Payment credential followed by something that is no credential")


def _elements(value: str) -> Iterator[str]:
    """The elements of a comma-separated list, blank ones left out."""
    if _CONTROL(value):
        raise ParseError("header field with a control character")
    # Without the trailing gap every match starts where the last one ended: no position is tried twice.
    for count, match in enumerate(_ELEMENTS(value.rstrip(" \t,"))):
        if count == MAX_ELEMENTS:
            raise ParseError(f"header field with more than {MAX_ELEMENTS} elements")
        yield match[1].rstrip(" \t")


def printable(text: str) -> str:
    """The text in printable ASCII: a control character becomes a space, any other character ``?``.

    So no text can break a header or inject another, and no emoji can crash a 402.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_stand_in, text)


def _stand_in(match: re.Match[str]) -> str:
    return " " if match[0] < "\xa0" else "?"  # C0, DEL and C1 controls


def quote(text: str) -> str:
    """The text as a quoted-string (RFC 9110 section 5.6.4), always printable ASCII: see :func:`printable`."""
    text = printable(text)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


# --- digests -----------------------------------------------------------------------------------------------

_MAX_DIGEST: Final = 1024


def format_digest(sha256: bytes) -> str:
    """The body's SHA-256 as the ``digest`` parameter carries it: ``sha-256=:<base64>:`` (RFC 9530 section 2)."""
    return f"sha-256=:{b2a_base64(sha256, newline=False).decode('ascii')}:"


def digest_matches(field: str, sha256: bytes) -> bool:
    """Whether a ``digest`` parameter names this SHA-256. Whatever we cannot read does not match.

    Accepted: RFC 9530's form, alone or among other algorithms, and ``sha-256=<base64>`` without
    colons, padded or not, which deployed SDKs send.
    """
    encoded = b2a_base64(sha256, newline=False).decode("ascii")
    if field in (f"sha-256=:{encoded}:", f"sha-256={encoded}", f"sha-256={encoded.rstrip('=')}"):
        return True
    if "," not in field or len(field) > _MAX_DIGEST or not field.isascii():
        return False
    import http_sf  # here, because a list of algorithms is rare and the import is not small

    try:
        digests = http_sf.parse(field.encode("ascii"), tltype="dictionary")
    except ValueError:
        return False
    member = digests.get("sha-256") if isinstance(digests, dict) else None
    return isinstance(member, tuple) and member[0] == sha256
