"""Receipts of flovia, pympp and mppx, each read by the two others."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import cast

import pytest

from flovia.core.challenge import format_expires
from flovia.core.encoding import JsonObject, JsonValue, b64url_encode
from flovia.core.errors import ParseError
from flovia.core.receipt import Receipt, format_receipt, parse_receipt
from tests.interop.agents import read_receipt
from tests.interop.javascript import Javascript
from tests.interop.pympp import ParseError as PymppParseError
from tests.interop.pympp import Receipt as PymppReceipt

COUNT = 1_000
METHODS = ("mock", "tempo", "vendor:method-2", "a_b", "x402")
TEXTS = ("0x9f", "pi_3Nf", "ä", "🍎 for 中文", 'quote " and \\', "a\tb", "\u2028", "x" * 200)


def receipts() -> Iterator[Receipt]:
    """1,000 receipts, the same each time; some with members of the method's own."""
    random = Random(25)
    for _ in range(COUNT):
        extra: dict[str, JsonValue] = {}
        if random.random() < 0.5:
            extra["externalId"] = random.choice(TEXTS)
        if random.random() < 0.5:
            extra["settlement"] = {"amount": "100", "parts": [1, 2.5, None, random.choice(TEXTS)]}
        yield Receipt(
            method=random.choice(METHODS),
            reference=random.choice(TEXTS) + str(random.randrange(10**6)),
            timestamp=format_expires(random.randrange(0, 4102444800)),
            extra=extra,
        )


def members(receipt: Receipt) -> JsonObject:
    """A receipt as the members of the wire."""
    return {
        "status": receipt.status,
        "method": receipt.method,
        "reference": receipt.reference,
        "timestamp": receipt.timestamp,
        **receipt.extra,
    }


def test_pympp_reads_flovias_receipts() -> None:
    """Every member arrives, the method's own too (S25)."""
    for receipt in receipts():
        read = PymppReceipt.from_payment_receipt(format_receipt(receipt))
        assert members(receipt) == read_receipt(read)


def test_flovia_reads_pympps_receipts() -> None:
    """pympp's receipts, with microseconds in their time, are read with every member."""
    for number, receipt in enumerate(receipts()):
        theirs = PymppReceipt(
            status="success",
            method=receipt.method,
            reference=receipt.reference,
            timestamp=datetime(2026, 1, 31, 12, 30, 59, number, tzinfo=UTC),
            extensions=dict(receipt.extra),
        )
        read = parse_receipt(theirs.to_payment_receipt())
        expected = {**members(receipt), "timestamp": theirs.timestamp.isoformat().replace("+00:00", "Z")}
        # pympp writes externalId only from its own attribute.
        expected.pop("externalId", None)
        assert expected == members(read)


@pytest.mark.node
def test_mppx_reads_flovias_receipts(javascript: Javascript) -> None:
    """Every member arrives, the method's own too (S25)."""
    given = list(receipts())
    answers = javascript.calls([{"op": "receipt.read", "field": format_receipt(receipt)} for receipt in given])
    assert [members(receipt) for receipt in given] == [answer.get("receipt", answer) for answer in answers]


@pytest.mark.node
def test_flovia_and_pympp_read_mppxs_receipts(javascript: Javascript) -> None:
    """mppx's receipts are read with every member by flovia, and by pympp."""
    given = [members(receipt) for receipt in receipts()]
    answers = javascript.calls([{"op": "receipt.write", "receipt": receipt} for receipt in given])
    for receipt, answer in zip(given, answers, strict=True):
        field = cast(str, answer["field"])
        assert receipt == members(parse_receipt(field))
        assert receipt == read_receipt(PymppReceipt.from_payment_receipt(field))


def _reads(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except (ParseError, PymppParseError):
        return False
    return True


@pytest.mark.parametrize(
    ("name", "changed", "flovia", "pympp", "mppx"),
    [
        ("as it should be", {}, True, True, True),
        ("failed", {"status": "failed"}, False, False, False),
        ("without a reference", {"reference": None}, False, True, False),
        ("with an empty reference", {"reference": ""}, False, True, True),
        ("time without an offset", {"timestamp": "2026-01-31T12:00:00"}, False, True, False),
        ("time that does not exist", {"timestamp": "2026-02-30T12:00:00Z"}, False, False, True),
        ("method in upper case", {"method": "Mock"}, False, False, True),
    ],
)
@pytest.mark.node
def test_odd_receipts(
    javascript: Javascript, name: str, changed: dict[str, str], flovia: bool, pympp: bool, mppx: bool
) -> None:
    """A receipt must say success, when, and which payment; pympp reads null as the text "None" (S25)."""
    given = {"status": "success", "method": "mock", "reference": "r", "timestamp": "2026-01-31T12:00:00Z", **changed}
    field = b64url_encode(json.dumps(given).encode())
    assert flovia == _reads(lambda: parse_receipt(field)), name
    assert pympp == _reads(lambda: PymppReceipt.from_payment_receipt(field)), name
    assert mppx == ("receipt" in javascript.call("receipt.read", field=field)), name
