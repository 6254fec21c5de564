"""The conformance program, operation by operation; no vectors needed."""

import json
from typing import Any

import pytest

from flovia.core.challenge import PAYMENT_AUTHORIZATION
from flovia.testing.conformance import MAX_LINE, answer, respond

CHALLENGE = {"id": "x", "realm": "r", "method": "mock", "intent": "charge", "request": {"amount": "1"}}
RECEIPT = {"status": "success", "method": "mock", "timestamp": "2030-01-01T00:00:00Z", "reference": "test-1"}
ID = {"secretKey": "test-secret-test-secret-test-secret", "realm": "r", "method": "mock", "intent": "charge"}


def ask(op: str, given: Any) -> Any:
    """The value of an operation, or the type of its error."""
    response = answer({"schema": 1, "op": op, "input": given})
    if response["ok"]:
        return response["value"]
    error: Any = response["error"]
    return error["type"]


def test_challenges_round_trip_with_their_wire_texts() -> None:
    """A parsed challenge has its request decoded and the wire texts beside it; formatting takes either."""
    full = CHALLENGE | {"opaque": {"n": "1"}, "expires": "2030-01-01T00:00:00Z", "header": PAYMENT_AUTHORIZATION}
    header = ask("challenge.format", full)["header"]
    value = ask("challenge.parse", {"header": header})
    assert (
        full | {"opaque": "eyJuIjoiMSJ9", "opaque_raw": "eyJuIjoiMSJ9", "request_raw": "eyJhbW91bnQiOiIxIn0"} == value
    )
    assert header == ask("challenge.format", {"challenge": value})["header"]
    text = full | {"request": "eyJhbW91bnQiOiIxIn0", "opaque": "eyJuIjoiMSJ9"}
    assert header == ask("challenge.format", text)["header"]
    many = ask("challenge.parse", {"headers": [header, f"Basic realm=x, Payment id=bad, {header}"]})
    assert {"challenges": [value, value]} == many


def test_credentials_and_receipts_round_trip() -> None:
    """A credential and a receipt come back as they were, a receipt's other members included."""
    credential = {"challenge": CHALLENGE, "payload": {"proof": "test-ok"}, "source": "did:test:1"}
    value = ask("credential.parse", ask("credential.format", {"credential": credential}))
    assert "eyJhbW91bnQiOiIxIn0" == value["challenge"].pop("request_raw")
    assert credential == value
    receipt = RECEIPT | {"externalId": "order-1"}
    assert receipt == ask("receipt.parse", ask("receipt.format", {"receipt": receipt}))


def test_ids() -> None:
    """The request may be an object, its JSON or the parameter; ``Authorization`` is where credentials go anyway."""
    value = ask("challenge.id", ID | {"request": {"amount": "1"}})
    assert "eyJhbW91bnQiOiIxIn0" == value["request_b64"]
    for same in (
        {"request_json": '{"amount": "1"}'},
        {"request_json": {"amount": "1"}},
        {"request": "eyJhbW91bnQiOiIxIn0"},
        {"request": {"amount": "1"}, "header": "Authorization"},
        {"request": {"amount": "1"}, "description": "not bound"},
    ):
        assert value == ask("challenge.id", ID | same)
    bound = ask("challenge.id", ID | {"request": {"amount": "1"}, "opaque_json": {"n": "1"}})
    assert bound == ask("challenge.id", ID | {"request": {"amount": "1"}, "opaque": "eyJuIjoiMSJ9"})
    assert value["id"] != bound["id"]


def test_amounts_and_ranking() -> None:
    """Amounts and Accept-Payment are answered as text and as offers."""
    assert {"amount": "150"} == ask("amount.to_base_units", {"amount": "1.5", "currency": "usd"})
    assert {"amount": "150"} == ask("amount.check", {"amount": "150"})
    offers = ["a/charge", "b/charge"]
    assert {"order": ["b/charge"]} == ask("accept_payment.rank", {"header": "b/*", "offers": offers})
    assert {"order": offers} == ask("accept_payment.rank", {"header": None, "offers": offers})


@pytest.mark.parametrize(
    ("op", "given", "expected"),
    [
        ("challenge.parse", {}, "parse_error"),
        ("challenge.parse", {"headers": "x"}, "parse_error"),
        (
            "challenge.parse",
            {"header": 'Payment id="x", realm="r", method="m", intent="i", request="!"'},
            "parse_error",
        ),
        ("challenge.format", CHALLENGE | {"id": 1}, "format_error"),
        ("challenge.format", CHALLENGE | {"request": 1}, "format_error"),
        ("challenge.format", CHALLENGE | {"opaque": 1}, "format_error"),
        ("challenge.format", CHALLENGE | {"opaque": {"a": 1}}, "format_error"),
        ("challenge.format", CHALLENGE | {"realm": "a\nb"}, "format_error"),
        ("credential.parse", {"header": "Payment !"}, "parse_error"),
        ("credential.format", {"challenge": CHALLENGE}, "format_error"),
        ("receipt.format", RECEIPT | {"status": "failed"}, "format_error"),
        ("base64url.decode", {"text": "Q"}, "encoding_error"),
        ("base64url.decode", {"text": "_w"}, "encoding_error"),
        ("challenge.id", ID | {"secretKey": "short", "request": "e30"}, "generation_error"),
        ("amount.to_base_units", {"amount": 1.5, "currency": "usd"}, "parse_error"),
        ("amount.to_base_units", {"amount": "1.555", "currency": "usd"}, "parse_error"),
        ("amount.check", {"amount": 1}, "parse_error"),
        ("server.verify", {}, "unsupported_operation"),
        ("amount.check", None, "parse_error"),
    ],
)
def test_errors_have_types(op: str, given: Any, expected: str) -> None:
    """Each refusal has the type that the suite knows it by."""
    assert expected == ask(op, given)


def test_lines() -> None:
    """A line that is no request is answered like any other, and the program goes on."""
    lines = [b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b" " * (MAX_LINE + 1), b'{"schema":1,"op":7,"input":{}}']
    answers = [json.loads(line) for line in respond(lines)]
    assert ["parse_error"] * 5 + ["unsupported_operation"] == [one["error"]["type"] for one in answers]
