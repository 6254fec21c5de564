"""The challenge: what a server asks for in ``WWW-Authenticate: Payment …`` (draft-httpauth-payment-02, section 5).

``request`` and ``opaque`` are kept as the texts that were on the wire: they are what the id is bound to,
and re-encoding what was received could change them.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import attrs

from flovia.core.encoding import JsonObject, WireParam, decode_param, encode_param
from flovia.core.errors import ParseError
from flovia.core.fields import payment_challenges, printable, quote

PAYMENT_AUTHORIZATION: Final = "Payment-Authorization"
"""The only value of ``header``: the credential comes in this field instead of ``Authorization``."""

MAX_CHALLENGE: Final = 8191
"""Longest challenge we emit, in characters (S34: below 8 KB)."""

MAX_DESCRIPTION: Final = 255
"""Longest description we emit, in characters: the credential echoes it, and has to fit a header."""

_METHOD: Final = re.compile(r"[a-z][a-z0-9:_-]*+").fullmatch
_INTENT: Final = re.compile(r"[A-Za-z0-9-]++").fullmatch
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]++").fullmatch


@lru_cache(maxsize=256)  # few ids are in use, and each is asked about all the time
def is_method(text: str) -> bool:
    """Whether the text is a payment method id: the draft's lower-case letters, or as deployed ``[a-z][a-z0-9:_-]*``."""
    return _METHOD(text) is not None


@lru_cache(maxsize=256)
def is_intent(text: str) -> bool:
    """Whether the text is an intent: letters, digits and ``-``."""
    return _INTENT(text) is not None


# Hashed by its value all the same: nothing changes one.
@attrs.define(unsafe_hash=True)
class Challenge:
    """One Payment challenge, received or to be sent. Also the echo inside a credential.

    ``id`` is bound by MAC to everything but ``description``. ``request`` is base64url(JSON object),
    ``expires`` RFC 3339 text, ``digest`` the SHA-256 of the request's body, ``opaque`` base64url text that
    goes back unchanged, ``description`` for people only, ``header`` :data:`PAYMENT_AUTHORIZATION` or None.
    A member that was absent is None; "" is not absent. Read-only by agreement: one is made for every
    paid request, and freezing costs as much as making it.
    """

    id: str
    realm: str
    method: str
    intent: str
    request: str
    expires: str | None = None
    digest: str | None = None
    opaque: str | None = None
    description: str | None = None
    header: str | None = None
    # A cached_property would make every other attribute slower: slots are only fast without __getattr__.
    _decoded: JsonObject | None = attrs.field(default=None, init=False, eq=False, repr=False)

    @property
    def request_json(self) -> JsonObject:
        """The decoded ``request``; decoded once, read-only.

        Raises:
            ParseError: only on an echo, whose request is not decoded when it is parsed.
        """
        decoded = self._decoded
        if decoded is None:
            decoded = self._decoded = decode_param(self.request)
        return decoded

    @property
    def opaque_json(self) -> Mapping[str, str] | None:
        """The decoded ``opaque``, a flat map of text; None without one.

        Raises:
            ParseError: not base64url, not JSON, or not a flat map of text.
        """
        if self.opaque is None:
            return None
        members: dict[str, str] = {}
        for name, text in decode_param(self.opaque).items():
            if not isinstance(text, str):
                raise ParseError("opaque holds something other than text")
            members[name] = text
        return members


def encode_opaque(members: Mapping[str, str]) -> WireParam:
    """A flat map of text as the ``opaque`` parameter (S20).

    Raises:
        ParseError: of kind ``format_error``: a name or value is not text.
    """
    for text in members.values():
        if type(text) is not str:
            raise ParseError("opaque carries text only: encode other values as str", "format_error")
    return encode_param(members)


# --- parsing ----------------------------------------------------------------------------------------------


def parse_challenge(value: str) -> Challenge:
    """Read a ``WWW-Authenticate`` value that holds exactly one Payment challenge (other schemes may stand beside).

    Raises:
        ParseError: no Payment challenge, more than one, or an unusable one.
    """
    found = payment_challenges((value,))
    if len(found) != 1:
        raise ParseError(f"{len(found)} Payment challenges where one was expected")
    params = found[0]
    if isinstance(params, ParseError):
        raise params
    return _challenge(params)


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Every usable Payment challenge in all values of a ``WWW-Authenticate`` field, in order.

    Unusable ones are left out; :func:`read_challenges` shows them too.
    """
    return [found for found in read_challenges(values) if isinstance(found, Challenge)]


def read_challenges(values: Sequence[str]) -> list[Challenge | ParseError]:
    """Like :func:`parse_challenges`, with the error of each unusable challenge in its place."""
    found: list[Challenge | ParseError] = []
    for params in payment_challenges(values):
        try:
            found.append(params if isinstance(params, ParseError) else _challenge(params))
        except ParseError as error:
            found.append(error)
    return found


def _challenge(params: dict[str, str]) -> Challenge:
    """A challenge from its parameters; unknown ones are ignored (C01)."""
    get = params.get
    ident, realm, method, intent, request = (
        get("id"),
        get("realm"),
        get("method"),
        get("intent"),
        get("request"),
    )
    if not ident or realm is None or method is None or intent is None or request is None:
        raise ParseError("Payment challenge without one of id, realm, method, intent, request")
    if not is_method(method) or not is_intent(intent):
        raise ParseError("Payment challenge whose method or intent is no identifier")
    expires, header = get("expires"), get("header")
    if expires is not None:
        parse_expires(expires)
    if header is not None and header != PAYMENT_AUTHORIZATION:
        raise ParseError(f"Payment challenge with a header parameter other than {PAYMENT_AUTHORIZATION}")
    decoded = decode_param(request)
    challenge = Challenge(
        id=ident,
        realm=realm,
        method=method,
        intent=intent,
        request=request,
        expires=expires,
        digest=get("digest"),
        opaque=get("opaque"),
        description=get("description"),
        header=header,
    )
    object.__setattr__(challenge, "_decoded", decoded)
    return challenge


# --- formatting -------------------------------------------------------------------------------------------


def clean_description(text: str) -> str:
    """A description that can be sent: printable ASCII (``?`` for what is not), at most 255 characters."""
    text = printable(text)
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 3] + "..."


def format_challenge(challenge: Challenge) -> str:
    """The challenge as a ``WWW-Authenticate`` value. What we would not parse is not emitted.

    A description is sent in printable ASCII, each other character as ``?``; a control character in it
    is refused, because it may be an attempt at another header.

    Raises:
        ParseError: of kind ``format_error``; the message names the member.
    """
    c = challenge
    if not is_method(c.method):
        raise _unsendable("method", "a lower-case letter, then letters, digits, ':', '_' or '-'")
    if not is_intent(c.intent):
        raise _unsendable("intent", "letters, digits and '-'")
    if type(c.request) is not WireParam:
        try:
            c.request_json  # noqa: B018  # decoding is the check
        except ParseError:
            raise _unsendable("request", "base64url(JSON object), see encode_param") from None
    if not c.id:
        raise _unsendable("id", "text that is not empty")
    ident, realm, tail = c.id, c.realm, ""
    if c.expires is not None:
        try:
            parse_expires(c.expires)
        except ParseError:
            raise _unsendable("expires", "RFC 3339, see format_expires") from None
        tail = f', expires="{c.expires}"'
    digest = c.digest
    if digest is not None:
        if not digest or not _plain(digest) or '"' in digest or "\\" in digest:
            raise _unsendable("digest", "see format_digest")
        tail += f', digest="{digest}"'
    if c.description is not None:
        tail += f", description={_quoted_description(c.description)}"
    if c.opaque is not None:
        if type(c.opaque) is not WireParam and not _BASE64URL(c.opaque):
            raise _unsendable("opaque", "base64url text, see encode_opaque")
        tail += f', opaque="{c.opaque}"'
    if c.header is not None:
        if c.header != PAYMENT_AUTHORIZATION:
            raise _unsendable("header", PAYMENT_AUTHORIZATION)
        tail += f', header="{PAYMENT_AUTHORIZATION}"'
    text = ident + realm
    if not _plain(text):
        raise _unsendable("id or realm", "printable ASCII")
    if '"' in text or "\\" in text:
        ident, realm = quote(ident)[1:-1], quote(realm)[1:-1]
    value = (
        f'Payment method="{c.method}", request="{c.request}", id="{ident}", realm="{realm}", intent="{c.intent}"{tail}'
    )
    if len(value) > MAX_CHALLENGE:
        raise _unsendable("challenge", f"at most {MAX_CHALLENGE} characters: shorten request, opaque or description")
    return value


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _quoted_description(text: str) -> str:
    if not _plain(text) and any(mark < " " or "\x7f" <= mark < "\xa0" for mark in text):
        raise _unsendable("description", "text without control characters, see clean_description")
    return quote(text)


def _unsendable(member: str, remedy: str) -> ParseError:
    return ParseError(f"challenge not emitted, its {member} has to be: {remedy}", "format_error")


# --- time ------------------------------------------------------------------------------------------------

_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,32})?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
).fullmatch
_DAYS_BEFORE: Final = (0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)
_DAYS_TO_1970: Final = 719162  # from 0001-01-01, proleptic Gregorian
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z


@lru_cache(maxsize=64)
def parse_expires(text: str) -> float:
    """Unix seconds of an RFC 3339 date-time: a real day, any offset, either case of ``T`` and ``Z``.

    Refused: leap seconds (``:60``), days that do not exist, and every other ISO 8601 form.

    Raises:
        ParseError: not such a time.
    """
    match = _RFC3339(text)
    if match:
        year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
        leap = not year % 4 and (year % 100 != 0 or not year % 400)
        if 1 <= month <= 12 and year and hour < 24 and minute < 60 and second < 60:
            length = _DAYS_BEFORE[month + 1] - _DAYS_BEFORE[month] + (leap and month == 2)
            if 1 <= day <= length:
                before = year - 1
                days = before * 365 + before // 4 - before // 100 + before // 400 - _DAYS_TO_1970
                days += _DAYS_BEFORE[month] + (leap and month > 2) + day - 1
                seconds = days * 86400 + hour * 3600 + minute * 60 + second
                offset = _offset(match[8], match[9], match[10])
                if offset is not None:
                    return seconds - offset + (float(match[7]) if match[7] else 0.0)
    raise ParseError("not an RFC 3339 time: write it like 2030-01-31T12:00:00Z")


def _offset(sign: str | None, hours: str, minutes: str) -> int | None:
    """The offset from UTC in seconds; None if it is none."""
    if sign is None:
        return 0
    hour, minute = int(hours), int(minutes)
    if hour > 23 or minute > 59:
        return None
    return (hour * 3600 + minute * 60) * (-1 if sign == "-" else 1)


@lru_cache(maxsize=8)  # every challenge of a second expires at the same one
def format_expires(unix_seconds: int) -> str:
    """Unix seconds as RFC 3339 in UTC, ``YYYY-MM-DDTHH:MM:SSZ``: in this form order of text is order of time.

    Raises:
        ParseError: of kind ``format_error``: outside the years 1970 to 9999.
    """
    if not 0 <= unix_seconds <= _LAST_SECOND:
        raise ParseError("a time outside the years 1970 to 9999 cannot be sent", "format_error")
    days, rest = divmod(unix_seconds, 86400)
    # Years from March, so that the leap day is the last: eras of 400 years (146097 days) repeat.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += 400 * era + (month > 9)
    month += 3 if month < 10 else -9
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    return f"{year:04d}-{month:02d}-{day + 1:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"
