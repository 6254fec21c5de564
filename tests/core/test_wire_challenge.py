"""Challenges and times."""

from calendar import monthrange
from datetime import UTC, datetime

import attrs
import pytest

from flovia.core.challenge import (
    MAX_CHALLENGE,
    MAX_DESCRIPTION,
    Challenge,
    clean_description,
    encode_opaque,
    format_challenge,
    format_expires,
    is_intent,
    is_method,
    parse_challenge,
    parse_challenges,
    parse_expires,
    read_challenges,
)
from flovia.core.encoding import encode_param
from flovia.core.errors import ParseError

CHALLENGE = Challenge(
    id="x", realm="r", method="mock", intent="charge", request="e30", expires="2030-01-01T00:00:00Z", opaque="e30"
)
PARAMS = {"id": "x", "realm": "r", "method": "mock", "intent": "charge", "request": "e30"}


def spelled(**params: str) -> str:
    """A challenge with some parameters changed or added."""
    return "Payment " + ", ".join(f'{name}="{text}"' for name, text in (PARAMS | params).items())


def test_params_stand_in_the_order_peers_expect() -> None:
    """The order of the parameters: method and request first, which naive readers look for."""
    full = attrs.evolve(CHALLENGE, digest="sha-256=:AA==:", description='say "hi"', header="Payment-Authorization")
    assert (
        'Payment method="mock", request="e30", id="x", realm="r", intent="charge", expires="2030-01-01T00:00:00Z", '
        'digest="sha-256=:AA==:", description="say \\"hi\\"", opaque="e30", header="Payment-Authorization"'
    ) == format_challenge(full)


@pytest.mark.parametrize(
    "params",
    [
        {"id": ""},
        {"method": "Mock"},
        {"method": "1x"},
        {"method": ""},
        {"method": "mock\u0131"},
        {"intent": ""},
        {"intent": "a b"},
        {"intent": "é"},
        {"request": "e30="},
        {"request": "W10"},
        {"request": ""},
        {"request": "eyJhIjoxLCJhIjoyfQ"},
        {"expires": ""},
        {"expires": "tomorrow"},
        {"expires": "2030-02-30T00:00:00Z"},
        {"header": "Cookie"},
        {"header": "Authorization"},
        {"header": ""},
    ],
)
def test_unusable_challenges_are_refused(params: dict[str, str]) -> None:
    """C01, C04, C10: an empty id, a foreign header, an unreadable expiry or request make a challenge unusable."""
    with pytest.raises(ParseError):
        parse_challenge(spelled(**params))
    good = spelled(id="good")
    assert ["good"] == [challenge.id for challenge in parse_challenges([spelled(**params), good])]
    assert [ParseError, Challenge] == [type(one) for one in read_challenges([f"{spelled(**params)}, {good}"])]


@pytest.mark.parametrize("missing", list(PARAMS))
def test_each_required_parameter_is_required(missing: str) -> None:
    """A challenge without one of id, realm, method, intent, request is refused."""
    value = "Payment " + ", ".join(f'{name}="{text}"' for name, text in PARAMS.items() if name != missing)
    with pytest.raises(ParseError):
        parse_challenge(value)


@pytest.mark.parametrize("value", ["", "Basic realm=x", f"{spelled()}, {spelled()}", "Payment"])
def test_one_challenge_is_expected(value: str) -> None:
    """Where one challenge is to be read, none, two or a bad one is an error."""
    with pytest.raises(ParseError):
        parse_challenge(value)


def test_what_was_received_is_kept() -> None:
    """C03: request and opaque stay the texts from the wire, canonical or not; unknown parameters are ignored (C01)."""
    request = "eyAiYSIgOiAxIH0"
    challenge = parse_challenge(spelled(request=request, opaque="anything", digest="", future="x"))
    assert (request, "anything", "") == (challenge.request, challenge.opaque, challenge.digest)
    assert {"a": 1} == challenge.request_json
    assert challenge.request_json is challenge.request_json


def test_opaque_is_a_flat_map_of_text() -> None:
    """S20: only text goes in, and only a flat map of text comes out."""
    assert {"a": "b"} == attrs.evolve(CHALLENGE, opaque=encode_opaque({"a": "b"})).opaque_json
    assert attrs.evolve(CHALLENGE, opaque=None).opaque_json is None
    for bad in ("not base64url!", "W10", encode_param({"a": 1}), encode_param({"a": {"b": "c"}})):
        with pytest.raises(ParseError):
            _ = attrs.evolve(CHALLENGE, opaque=bad).opaque_json
    with pytest.raises(ParseError) as caught:
        encode_opaque({"a": 1})  # type: ignore[dict-item]  # the mistake under test
    assert "format_error" == caught.value.kind


@pytest.mark.parametrize(
    "members",
    [
        {"id": ""},
        {"id": "a\nb"},
        {"id": "é"},
        {"realm": "a\r\nSet-Cookie: x"},
        {"realm": "é"},
        {"method": "Mock"},
        {"intent": ""},
        {"request": "e30="},
        {"request": "W10"},
        {"request": 'e30", id="y'},
        {"expires": "soon"},
        {"digest": ""},
        {"digest": 'a"'},
        {"digest": "a\\"},
        {"digest": "é"},
        {"description": "Line one\r\nLine two"},
        {"description": "a\x85b"},
        {"opaque": ""},
        {"opaque": 'x"'},
        {"opaque": "a b"},
        {"header": "Cookie"},
        {"realm": "r" * MAX_CHALLENGE},
    ],
)
def test_what_we_would_not_parse_is_not_emitted(members: dict[str, str]) -> None:
    """Strict out: no formatted challenge is unusable, injects a header or is too long (S34)."""
    with pytest.raises(ParseError) as caught:
        format_challenge(attrs.evolve(CHALLENGE, **members))
    assert "format_error" == caught.value.kind
    (name,) = members
    named = {"id": "id or realm", "realm": "challenge" if len(members[name]) > 99 else "id or realm"}
    assert f"its {name if members[name] == '' else named.get(name, name)} has to be: " in str(caught.value)


@pytest.mark.parametrize("text", ['say "hi"', "back\\slash", '\\"'])
def test_quotes_and_backslashes_are_escaped(text: str) -> None:
    """In each member that may hold them, so that the challenge reads as it was meant."""
    sent = attrs.evolve(CHALLENGE, id=text, realm=text, description=text)
    assert sent == parse_challenge(format_challenge(sent))
    for name in ("id", "realm", "description"):
        alone = attrs.evolve(CHALLENGE, **{name: text})
        assert alone == parse_challenge(format_challenge(alone))


def test_the_longest_challenge_is_sent() -> None:
    """S34: at the limit it is, with one character more it is not."""
    left = MAX_CHALLENGE - len(format_challenge(attrs.evolve(CHALLENGE, realm="")))
    longest = attrs.evolve(CHALLENGE, realm="r" * left)
    assert MAX_CHALLENGE == len(format_challenge(longest))
    with pytest.raises(ParseError, match=f"at most {MAX_CHALLENGE} characters"):
        format_challenge(attrs.evolve(longest, realm="r" * (left + 1)))


def test_descriptions_cannot_crash_a_402() -> None:
    """An emoji is sent as a question mark; clean_description takes care of controls and of length as well."""
    assert "say ?!" == parse_challenge(format_challenge(attrs.evolve(CHALLENGE, description="say 😀!"))).description
    assert "a  b ?" == clean_description("a\r\nb é")
    assert "short" == clean_description("short")
    assert "x" * (MAX_DESCRIPTION - 3) + "..." == clean_description("x" * 1000)
    assert "x" * MAX_DESCRIPTION == clean_description("x" * MAX_DESCRIPTION)


def test_identifiers() -> None:
    """Method ids are lower-case letters, or as deployed with more; intents are letters, digits and ``-``."""
    assert all(map(is_method, ["mock", "x402", "tempo-v2", "vendor:method", "a_b"]))
    assert not any(map(is_method, ["", "Mock", "-a", "1a", "a b", "a\n", "é"]))
    assert all(map(is_intent, ["charge", "Charge-2", "-"]))
    assert not any(map(is_intent, ["", "a_b", "a/b", "a\n"]))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2000-02-29T12:34:56Z", 951827696.0),
        ("1969-12-31T23:59:59Z", -1.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        ("9999-12-31T23:59:59Z", 253402300799.0),
        ("2030-01-31t12:00:00z", 1896091200.0),
        ("2030-01-31T12:00:00.5Z", 1896091200.5),
        ("2030-01-31T12:00:00+01:30", 1896085800.0),
        ("2030-01-31T12:00:00-00:00", 1896091200.0),
        ("2030-01-31T12:00:00.250-23:59", 1896177540.25),
        ("1900-03-01T00:00:00Z", -2203891200.0),
        ("2024-12-31T00:00:00Z", 1735603200.0),
    ],
)
def test_rfc3339_is_read(text: str, seconds: float) -> None:
    """C04: any RFC 3339 time is read to the exact second: either case, fractions, any offset."""
    assert seconds == parse_expires(text)


def test_every_kind_of_year_is_written() -> None:
    """The first and last day of each month of 500 years, and of the last, are written as the calendar has them."""
    for year in (*range(1970, 2470), 9999):
        for month in range(1, 13):
            first = datetime(year, month, 1, 12, 34, 56, tzinfo=UTC)
            for moment in (first, first.replace(day=monthrange(year, month)[1])):
                assert moment.strftime("%Y-%m-%dT%H:%M:%SZ") == format_expires(int(moment.timestamp()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2030-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2030-04-31T00:00:00Z",
        "2030-00-01T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-01-00T00:00:00Z",
        "2030-01-32T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2030-01-01T24:00:00Z",
        "2030-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "2030-01-01T00:00:00",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00Z",
        "2030-01-01T00:00:00,5Z",
        "2030-01-01T00:00:00.Z",
        "2030-01-01T00:00:00+09",
        "2030-01-01T00:00:00+0900",
        "2030-01-01T00:00:00+24:00",
        "2030-01-01T00:00:00+00:60",
        "2030-W01-1T00:00:00Z",
        "20300101T000000Z",
        "２030-01-01T00:00:00Z",
        "2030-01-01T00:00:00Z\n",
        " 2030-01-01T00:00:00Z",
        "+2030-01-01T00:00:00Z",
        "12030-01-01T00:00:00Z",
        "2030-01-01T00:00:00." + "1" * 33 + "Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """C04: days that do not exist, leap seconds and every other ISO 8601 form are refused."""
    with pytest.raises(ParseError):
        parse_expires(text)


@pytest.mark.parametrize("seconds", [-1, 253402300800])
def test_times_that_cannot_be_written(seconds: int) -> None:
    """Only the years 1970 to 9999 are written."""
    with pytest.raises(ParseError) as caught:
        format_expires(seconds)
    assert "format_error" == caught.value.kind
