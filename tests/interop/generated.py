"""Challenges to compare implementations on: the same ones every time, drawn from one seeded generator.

Everything that a server may legally say and that has tripped an implementation before: text outside ASCII and
outside the basic plane, keys whose order differs between UTF-8 and UTF-16, every form of number, quotes and
backslashes in quoted strings, absent and empty slots, digests in both spellings.
"""

from collections.abc import Iterator
from random import Random

import attrs

from flovia.core.encoding import JsonObject, JsonValue

SEED = 402
SECRETS = (
    "test-secret-test-secret-test-secret-0001",
    "test",
    "test-secret-ключ-鍵-🔑-with-text-outside-ascii",
    "test-secret-longer-than-one-block-of-sha256-" * 3,
)

_ASCII = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 _-.:/"
_AWKWARD = "\"\\,;=<>&'\t\x01\x1f\x7f"
_WIDE = "äßçéñØ→“”€中文字かなقרא‮\u2028\u2029\ufeff"
_LATE = "\ue000\ufb33\ufffd"  # after the surrogates in UTF-16 order, before the astral ones in code point order
_ASTRAL = "\U00010000🍎👩‍🚀𝒜\U0010fffd"
_ALPHABETS = (_ASCII, _ASCII, _ASCII + _AWKWARD, _ASCII + _WIDE, _LATE + _ASTRAL, _WIDE + _LATE + _ASTRAL)
_REALM = "abcxyz019.-_ :/" + "\"\\,;='"
_NAMES = ("amount", "currency", "recipient", "description", "externalId", "methodDetails", "", "10", "9", "a", "A")
_FLOATS = (0.1, -0.0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 123456789.125, 4.35, 0.000001, 333333333.3333333)
_INTEGERS = (0, 1, -1, 9007199254740991, -9007199254740991, 4294967296, 10**15)


@attrs.frozen(kw_only=True)
class Sample:
    """The members of one challenge; ``opaque`` as the map that it encodes."""

    secret: str
    realm: str
    method: str
    intent: str
    request: JsonObject
    expires: str | None
    digest: str | None
    opaque: dict[str, str] | None
    description: str | None


def samples(count: int, seed: int = SEED) -> Iterator[Sample]:
    """``count`` challenges, the same for the same seed."""
    random = Random(seed)
    for _ in range(count):
        yield Sample(
            secret=random.choice(SECRETS),
            realm="".join(random.choice(_REALM) for _ in range(random.randint(1, 30))),
            method=random.choice(("mock", "tempo", "stripe", "x402", "vendor:method-2", "a_b")),
            intent=random.choice(("charge", "session", "Auth-1")),
            request=_object(random, 3),
            expires=random.choice((None, *_TIMES)),
            digest=random.choice((None, None, f"sha-256=:{_base64(random)}:", f"sha-256={_base64(random)}")),
            opaque=random.choice((None, {}, _flat(random), _flat(random))),
            description=random.choice((None, _text(random))),
        )


_TIMES = (
    "2030-01-31T12:00:00Z",
    "2099-12-31T23:59:59Z",
    "2024-02-29T00:00:00Z",
    "2030-01-31T12:00:00.123456Z",
    "2030-01-31T14:00:00+02:00",
    "1999-01-01T00:00:00-11:30",
)


def _base64(random: Random) -> str:
    return "".join(random.choice("ABCxyz059+/") for _ in range(42)) + "A="


def _double(random: Random) -> float:
    """Any double but those that JSON spells as an integer beyond 2^53 (see docs/interop.md: we refuse them)."""
    value = random.choice((*_FLOATS, random.uniform(-1e6, 1e6), random.gauss(0, 1) * 10.0 ** random.randint(-30, 30)))
    return value if not 2**53 <= abs(value) < 1e21 else 0.5


def _text(random: Random) -> str:
    alphabet = random.choice(_ALPHABETS)
    return "".join(random.choice(alphabet) for _ in range(random.choice((0, 1, 3, 8, 20))))


def _name(random: Random) -> str:
    return random.choice(_NAMES) if random.random() < 0.6 else _text(random)


def _flat(random: Random) -> dict[str, str]:
    return {_name(random): _text(random) for _ in range(random.randint(1, 4))}


def _object(random: Random, depth: int) -> dict[str, JsonValue]:
    return {_name(random): _value(random, depth - 1) for _ in range(random.randint(0, 6))}


def _value(random: Random, depth: int) -> JsonValue:
    kind = random.randrange(8 if depth else 6)
    if kind < 3:
        return _text(random)
    if kind == 3:
        return random.choice((*_INTEGERS, random.randrange(-(2**53) + 1, 2**53)))
    if kind == 4:
        return _double(random)
    if kind == 5:
        return random.choice((None, True, False))
    if kind == 6:
        return [_value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return _object(random, depth)
