"""Hypothesis strategies for what is on the wire: for the tests of providers, adapters and flovia itself.

Everything they make is valid, and as odd as valid can be: long and empty texts, quotes and backslashes, keys
beyond the Basic Multilingual Plane, offsets from UTC. ``field_values`` also spells one challenge in all
the ways that mean the same.
"""

import string
from typing import Final

from hypothesis import strategies as st

from flovia.core._currencies import EXPONENTS
from flovia.core.challenge import PAYMENT_AUTHORIZATION, Challenge, encode_opaque, format_expires
from flovia.core.credential import Credential
from flovia.core.encoding import MAX_INTEGER, JsonObject, JsonValue, encode_param
from flovia.core.fields import format_digest
from flovia.core.money import MAX_DIGITS, Price
from flovia.core.receipt import Receipt

_LOWER: Final = string.ascii_lowercase
_TOKEN: Final = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))
_BASE64URL: Final = string.ascii_letters + string.digits + "-_"


def _own(alphabet: str, min_size: int = 1, max_size: int = 20) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=min_size, max_size=max_size)


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
    """Any text that JSON and UTF-8 can carry and a database can keep."""
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=max_size)


def json_values(*, floats: bool = True) -> st.SearchStrategy[JsonValue]:
    """JSON values within the limits of the wire."""
    numbers: st.SearchStrategy[JsonValue] = st.integers(-MAX_INTEGER, MAX_INTEGER)
    if floats:
        # A whole double from 2^53 up has an integer as its canonical form, which is not read back.
        numbers |= st.floats(allow_nan=False, allow_infinity=False).filter(
            lambda number: abs(number) <= MAX_INTEGER or abs(number) >= 1e21
        )
    leaves: st.SearchStrategy[JsonValue] = st.none() | st.booleans() | numbers | texts()
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4), max_leaves=12
    )


def json_objects(*, floats: bool = True) -> st.SearchStrategy[JsonObject]:
    """JSON objects within the limits of the wire."""
    return st.dictionaries(texts(), json_values(floats=floats), max_size=6)


def timestamps() -> st.SearchStrategy[str]:
    """RFC 3339 times as we write them."""
    return st.integers(0, 253402300799).map(format_expires)


def method_ids() -> st.SearchStrategy[str]:
    """Payment method ids, the deployed forms included."""
    return st.builds("{}{}".format, st.sampled_from(_LOWER), _own(_LOWER + string.digits + ":_-", 0))


def digests() -> st.SearchStrategy[str]:
    """``digest`` parameters as we write them."""
    return st.binary(min_size=32, max_size=32).map(format_digest)


def challenges() -> st.SearchStrategy[Challenge]:
    """Challenges that can be sent."""
    return st.builds(
        Challenge,
        id=_own(_PRINTABLE),
        realm=_own(_PRINTABLE, 0),
        method=method_ids(),
        intent=_own(string.ascii_letters + string.digits + "-"),
        request=json_objects(floats=False).map(encode_param),
        expires=st.none() | timestamps(),
        digest=st.none() | digests(),
        opaque=st.none() | st.dictionaries(texts(), texts(), max_size=3).map(encode_opaque) | _own(_BASE64URL),
        description=st.none() | _own(_PRINTABLE, 0, 60),
        header=st.none() | st.just(PAYMENT_AUTHORIZATION),
    )


def credentials() -> st.SearchStrategy[Credential]:
    """Credentials of any challenge, with any payload."""
    return st.builds(
        Credential, challenge=challenges(), payload=json_objects(), source=st.none() | texts().filter(bool)
    )


def receipts() -> st.SearchStrategy[Receipt]:
    """Receipts, with members of a method's own."""
    own = {"status", "method", "timestamp", "reference"}
    return st.builds(
        Receipt,
        method=method_ids(),
        timestamp=timestamps(),
        reference=texts().filter(bool),
        extra=json_objects().map(lambda extra: {key: item for key, item in extra.items() if key not in own}),
    )


def prices() -> st.SearchStrategy[Price]:
    """Prices in any currency, up to the largest."""
    return st.builds(Price, amount=st.integers(1, 10**MAX_DIGITS - 1), currency=st.sampled_from(sorted(EXPONENTS)))


@st.composite
def field_values(draw: st.DrawFn, params: dict[str, str], scheme: str = "Payment") -> str:
    """One challenge in any legal spelling: order, case of names, white space, tokens, needless escapes.

    ``params`` are its parameters, in printable ASCII.
    """
    gap = st.sampled_from(["", " ", "\t", "  "])
    parts: list[str] = []
    for name in draw(st.permutations(list(params))):
        value = params[name]
        if value and not set(value) - set(_TOKEN) and draw(st.booleans()):
            spelled = value
        else:
            escaped = (f"\\{mark}" if mark in '"\\' or draw(st.integers(0, 9)) == 0 else mark for mark in value)
            spelled = f'"{"".join(escaped)}"'
        cased = "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)
        parts.append(f"{cased}{draw(gap)}={draw(gap)}{spelled}")
    cased = "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in scheme)
    commas = st.sampled_from([",", ", ", " ,", "\t,\t", ",,", " , , "])
    text = parts[0]
    for part in parts[1:]:
        text += draw(commas) + part
    return f"{cased}{' ' * draw(st.integers(1, 3))}{text}"


def other_challenges() -> st.SearchStrategy[str]:
    """Challenges of other schemes, some of which mention ours inside quotes."""
    return st.sampled_from(
        [
            "Negotiate",
            "Negotiate YII=",
            'Basic realm="Payment id=\\"x\\", Payment y"',
            "Digest realm=a, nonce=b, qop=auth",
            'Bearer realm="x", error="invalid_token", scope="payment"',
            "PaymentX id=x",
        ]
    )
