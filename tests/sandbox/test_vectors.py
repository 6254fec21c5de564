"""The values that pin the sandbox's own hashes: the provider's are pinned to the same ones, apart."""

import json

import pytest

from flovia.sandbox import event_signature, form_signature, request_hash
from flovia.sandbox.money import api_amount, number_amount, read_amount, write_amount
from flovia.sandbox.state import iso
from tests.sandbox.local import Local


@pytest.mark.parametrize(
    ("http_method", "path", "query", "expected"),
    [
        ("GET", "/forecast", "zip=94103", "c25ce513becc173f05ace9f4e892f93978224d41b5b295f11a1e57f8cab0f019"),
        ("GET", "/forecast", "zip=10001", "3368618446c66696de36e274ce9a2c648b84ec6cc3b3ea2e017c48cacf0a98ad"),
        (
            "POST",
            "/bridge-in",
            "usd=1&recipient=0xabc",
            "f5c725890d0d7d162bffa895f251707673ca21ce0238ee3055a3c8f7fcb21025",
        ),
    ],
)
def test_request_hash(http_method: str, path: str, query: str, expected: str) -> None:
    """The request hash is the one that was worked out by hand."""
    assert expected == request_hash(http_method, path, query)
    assert expected == request_hash(http_method.lower(), path, query)


def test_request_hash_binds_what_it_says() -> None:
    """Verb, path, query, order of a repeated key and the body of a POST count; how the query is spelt does not."""
    base = request_hash("GET", "/a", "x=1&y=2")
    assert base == request_hash("GET", "/a", "y=2&x=%31")
    assert (
        len(
            {
                base,
                request_hash("POST", "/a", "x=1&y=2"),
                request_hash("GET", "/b", "x=1&y=2"),
                request_hash("GET", "/a", "x=1"),
                request_hash("GET", "/a", "x=1&x=2"),
                request_hash("GET", "/a", "x=2&x=1"),
                request_hash("GET", "/a", "x="),
                request_hash("GET", "/a", "x=1&x=2&x=3"),
                request_hash("POST", "/a", "x=1&y=2", b"body"),
            }
        )
        == 9
    )
    assert base == request_hash("GET", "/a", "x=1&y=2", b"a GET has no body that counts")


def test_event_signature() -> None:
    """An event is signed over its raw body."""
    body = b'{"id":"9ef68e2e-3569-4f69-9f68-04c7e4bb007c","status":"completed","reference_number":"mpp_ch_demo0001"}'
    assert "8439fbf7e838c5ab1d57d1cdb7198ff1fa045b03fce206d54c0fe53064cc9a31" == event_signature(body, "test_salt")


def test_form_signature() -> None:
    """A callback is signed over its sorted fields, empty ones included, without the signature itself."""
    fields = {
        "amount": "1.00",
        "currency": "SGD",
        "payment_id": "p1",
        "payment_request_id": "r1",
        "phone": "",
        "reference_number": "mpp_ch_demo0001",
        "status": "completed",
    }
    expected = "28add019c8ceea530395ea23c31a459500d75cc1470a60b3bfb3f1084bb72239"
    assert expected == form_signature(fields, "test_salt")
    assert expected == form_signature({**fields, "hmac": "whatever"}, "test_salt")


def test_worked_example() -> None:
    """A charge made like the one of the worked example has its members, its URLs and its times."""
    local = Local()
    assert 1_893_456_000_000 == local.state.now
    reply = local.broker("POST /v1/charges", local.creation(request_hash=request_hash("GET", "/forecast", "zip=94103")))
    body = reply.json()
    charge = local.state.charges[str(body["challenge_id"])]
    assert {
        "challenge_id": charge.id,
        "checkout_url": f"http://127.0.0.1:4011/payment-request/@hitpay/{charge.request}/checkout",
        "polling_url": f"http://127.0.0.1:4010/v1/charges/{charge.id}",
        "expires_at": "2030-01-01T00:15:00Z",
        "status": "pending",
    } == body
    assert charge.id.startswith("mpp_ch_")
    assert (100, "sgd") == (charge.amount, charge.currency)


@pytest.mark.parametrize(
    ("text", "currency", "base", "written", "core", "number"),
    [
        ("1.00", "sgd", 100, "1.00", "1.00", 1),
        ("0.29", "sgd", 29, "0.29", "0.29", 0.29),
        ("5", "sgd", 500, "5.00", "5.00", 5),
        ("50000", "idr", 5_000_000, "50000", "50000.00", 50000),
        ("50000.00", "idr", 5_000_000, "50000", "50000.00", 50000),
        ("1234.5", "php", 123_450, "1234.50", "1234.50", 1234.5),
        ("15000", "vnd", 15_000, "15000", "15000.00", 15000),
    ],
)
def test_amounts(text: str, currency: str, base: int, written: str, core: str, number: float) -> None:
    """Amounts are read and written exactly, in each of the forms that HitPay has."""
    assert base == read_amount(text, currency)
    assert written == write_amount(base, currency)
    assert core == api_amount(base, currency)
    assert json.dumps(number) == json.dumps(number_amount(base, currency))
    assert base == read_amount(number, currency)


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        *((text, "sgd") for text in ("", " 1.00", "1.000", "-1", "+1", "1,000", "1e3", "01", ".5", "1.", "١", "NaN")),
        *((value, "sgd") for value in (None, True, [], 1.001, -1, float("inf"), float("nan"), 10**15)),
        ("10.5", "idr"),
        ("1.5", "vnd"),
        ("1.00", "xxx"),
    ],
)
def test_amounts_that_are_none(value: object, currency: str) -> None:
    """What is no amount of a currency is none, and nothing is rounded."""
    assert read_amount(value, currency) is None


def test_commas() -> None:
    """The API sometimes groups thousands."""
    assert "1,234,567.89" == api_amount(123_456_789, "sgd", commas=True)
    assert "2030-01-01T00:00:00Z" == iso(1_893_456_000_999)
