"""Credentials and receipts."""

import json
from typing import Any

import attrs
import pytest

from flovia.core.challenge import Challenge
from flovia.core.credential import MAX_TOKEN, Credential, format_credential, parse_credential, parse_token
from flovia.core.encoding import b64url_decode, b64url_encode
from flovia.core.errors import ParseError
from flovia.core.receipt import MAX_RECEIPT, Receipt, format_receipt, parse_receipt

ECHO = {"id": "x", "realm": "r", "method": "mock", "intent": "charge", "request": "e30"}
RECEIPT = {"status": "success", "method": "mock", "timestamp": "2030-01-01T00:00:00Z", "reference": "test-ref"}


def token(**members: Any) -> str:
    """A credential's token with these members."""
    return b64url_encode(json.dumps({"challenge": ECHO, "payload": {"proof": "test-ok"}} | members).encode())


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The record with one member left out."""
    return {key: value for key, value in record.items() if key != name}


def test_a_credential_is_read() -> None:
    """The echo, the payload and the source are what was sent."""
    credential = parse_token(token(source="did:test:1"))
    assert (
        Credential(
            challenge=Challenge(id="x", realm="r", method="mock", intent="charge", request="e30"),
            payload={"proof": "test-ok"},
            source="did:test:1",
        )
        == credential
    )
    assert credential == parse_credential(f"payment  {token(source='did:test:1')}")


def test_the_proof_is_in_no_repr() -> None:
    """S37: the payload is a secret; no repr shows it."""
    assert "test-ok" not in repr(parse_token(token()))


def test_unknown_members_are_ignored_and_null_is_absent() -> None:
    """Members we do not know do not matter, at the top or in the echo; an optional null counts as absent."""
    plain = parse_token(token())
    assert plain == parse_token(token(challenge=ECHO | {"future": {"a": [1]}, "expires": None}, source=None, other=1))


def test_an_echo_is_not_decoded() -> None:
    """A request that does not decode is the MAC's business; asking for its JSON is what fails."""
    echo = parse_token(token(challenge=ECHO | {"request": "!", "method": "ANY", "expires": "soon", "header": "Cookie"}))
    assert "!" == echo.challenge.request
    with pytest.raises(ParseError):
        _ = echo.challenge.request_json


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "!",
        "W10",
        "bm90IGpzb24",
        b64url_encode(b'{"challenge":{},"challenge":{}}'),
        token(payload="x"),
        token(payload=None),
        token(payload=[]),
        token(challenge=None),
        token(challenge="x"),
        token(challenge=[]),
        token(source=1),
        token(source={}),
        *(token(challenge=without(ECHO, name)) for name in ECHO),
        *(token(challenge=ECHO | {name: 1}) for name in ECHO),
        *(token(challenge=ECHO | {name: 1}) for name in ("expires", "digest", "opaque", "description", "header")),
        token(challenge=ECHO | {"id": ""}),
        token(payload={"a": "\0"}),
        token(payload={"a": "\ud800"}),
        token(payload={"a": 2**60}),
        token(payload={"a": "b" * MAX_TOKEN}),
    ],
)
def test_malformed_credentials_are_refused(bad: str) -> None:
    """S03: anything but strict base64url JSON with the members of a credential is our own error."""
    with pytest.raises(ParseError):
        parse_token(bad)


def test_the_size_limit_is_inclusive() -> None:
    """S34: 16 KiB of token are read, one character more is not."""
    rest = MAX_TOKEN * 3 // 4 - len(b64url_decode(token(payload={"a": ""})))
    longest = token(payload={"a": "b" * rest})
    assert MAX_TOKEN == len(longest)
    assert "x" == parse_token(longest).challenge.id
    with pytest.raises(ParseError):
        parse_token(longest + "AAAA")


@pytest.mark.parametrize("value", ["", "Bearer x", f"Payment {token()}, Payment {token()}"])
def test_one_credential_is_expected(value: str) -> None:
    """S48: none or two where one is to be read is an error."""
    with pytest.raises(ParseError):
        parse_credential(value)


def test_credentials_are_canonical_json() -> None:
    """Members are written in JCS order, absent ones left out, texts as received (C03)."""
    challenge = Challenge(
        id='"é',
        realm="r",
        method="mock",
        intent="charge",
        request="e30",
        expires="E",
        digest="D",
        opaque="O",
        description="T",
        header="H",
    )
    value = format_credential(Credential(challenge=challenge, payload={"b": 1, "a": 1.5}, source="s"))
    assert (
        '{"challenge":{"description":"T","digest":"D","expires":"E","header":"H","id":"\\"é","intent":"charge",'
        '"method":"mock","opaque":"O","realm":"r","request":"e30"},"payload":{"a":1.5,"b":1},"source":"s"}'
    ) == b64url_decode(value.removeprefix("Payment ")).decode()


def test_what_is_no_text_is_not_sent() -> None:
    """A lone surrogate in a text or in the payload is refused."""
    good = parse_token(token())
    for bad in (attrs.evolve(good, source="\ud800"), attrs.evolve(good, payload={"a": "\ud800"})):
        with pytest.raises(ParseError) as caught:
            format_credential(bad)
        assert "format_error" == caught.value.kind


def test_a_receipt_keeps_other_members() -> None:
    """Members that are not the receipt's own are kept as they stand, and are in no repr."""
    receipt = parse_receipt(b64url_encode(json.dumps(RECEIPT | {"extra": {"receipt_jws": "test-jws"}}).encode()))
    assert {"extra": {"receipt_jws": "test-jws"}} == receipt.extra
    assert "test-jws" not in repr(receipt)
    plain = parse_receipt(b64url_encode(json.dumps(RECEIPT).encode()))
    assert Receipt(method="mock", timestamp="2030-01-01T00:00:00Z", reference="test-ref") == plain
    assert not plain.extra


@pytest.mark.parametrize(
    "members",
    [
        *(without(RECEIPT, name) for name in RECEIPT),
        *(RECEIPT | {name: 1} for name in RECEIPT),
        RECEIPT | {"status": "failed"},
        RECEIPT | {"method": "Mock"},
        RECEIPT | {"reference": ""},
        RECEIPT | {"timestamp": "Jan 29 2026 12:00"},
    ],
)
def test_malformed_receipts_are_refused(members: dict[str, Any]) -> None:
    """S25: only a complete receipt of a success is one."""
    with pytest.raises(ParseError):
        parse_receipt(b64url_encode(json.dumps(members).encode()))


def test_receipts_have_a_size_limit() -> None:
    """A receipt longer than 16 KiB is not read."""
    with pytest.raises(ParseError):
        parse_receipt("A" * (MAX_RECEIPT + 1))


@pytest.mark.parametrize(
    "members",
    [
        {"method": "Mock"},
        {"timestamp": "now"},
        {"reference": ""},
        {"status": "failed"},
        {"reference": "\ud800"},
        {"reference": "\0"},
        {"extra": {"status": "success"}},
        {"extra": {"a": float("nan")}},
        {"extra": {"a": "\0"}},
    ],
)
def test_receipts_we_would_not_read_are_not_sent(members: dict[str, Any]) -> None:
    """S25: strict out, and only of a success."""
    receipt = attrs.evolve(Receipt(method="mock", timestamp="2030-01-01T00:00:00Z", reference="test"), **members)
    with pytest.raises(ParseError) as caught:
        format_receipt(receipt)
    assert "format_error" == caught.value.kind
