"""Which undelivered payments nobody can redeem any more, in a file and in PostgreSQL."""

from collections.abc import Generator
from contextlib import closing

import attrs
import pytest

from flovia.core import events as ev
from flovia.core.delivery import MAX_DELIVERIES, Undelivered
from flovia.core.events import Event
from flovia.ledger import exhausted
from flovia.ledger.exhausted import EXHAUSTED, standings
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.testing.ledger_steps import event_row

NOW = 1000.0
TOLD = (ev.REQUEST_FAILED, EXHAUSTED)
GRANTED = (ev.ACCESS_GRANTED, None)
REOPENED = (ev.PAYMENT_REOPENED, None)
FAILED = (ev.PAYMENT_DELIVERY_FAILED, "delivery-failed")


@pytest.fixture
def ledger(url: str) -> Generator[SqlLedger]:
    """An empty one."""
    opened = open_ledger(url)
    assert isinstance(opened, SqlLedger)
    with closing(opened):
        yield opened


def payment(challenge: str, deliveries: int, keep_until: float = NOW + 1) -> Undelivered:
    """One that is settled and not delivered."""
    return Undelivered(
        key=f"realm.test|{challenge}",
        state="settled",
        payment_id=f"pay-{challenge}",
        amount=100,
        currency="usd",
        deliveries=deliveries,
        lease_until=0.0,
        keep_until=keep_until,
    )


@pytest.mark.parametrize(
    ("told", "deliveries", "expected"),
    [
        ([], 1, "redeemable"),
        ([], MAX_DELIVERIES - 1, "redeemable"),
        ([], MAX_DELIVERIES, "perhaps_exhausted"),
        ([], MAX_DELIVERIES + 1, "redeemable"),  # its route allows more
        ([GRANTED, FAILED, TOLD], 1, "exhausted"),
        ([TOLD, FAILED], 5, "exhausted"),
        ([TOLD, GRANTED], 2, "redeemable"),  # its route allows more by now
        ([TOLD, REOPENED], 0, "redeemable"),
        ([REOPENED, TOLD], 0, "redeemable"),  # the event of the refusal was written late
        ([TOLD, REOPENED, GRANTED, TOLD], 1, "exhausted"),
    ],
)
def test_how_a_payment_stands(
    ledger: SqlLedger, told: list[tuple[str, str | None]], deliveries: int, expected: str
) -> None:
    """The last word to its agent counts, and without one the number that is every route's default."""
    rows = [
        attrs.evolve(Event.from_row(event_row(type_, seq=seq)), problem=problem, challenge_id="c1").to_row()
        for seq, (type_, problem) in enumerate(told)
    ]
    ledger.append(rows)
    ledger.flush()
    assert [expected] == standings(ledger.database, [payment("c1", deliveries)], NOW)
    assert ["over"] == standings(ledger.database, [payment("c1", deliveries, NOW)], NOW)


def test_many(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked about in parts, and each answer is that of its own payment."""
    monkeypatch.setattr(exhausted, "_AT_ONCE", 2)
    told = attrs.evolve(Event.from_row(event_row(ev.REQUEST_FAILED)), problem=EXHAUSTED, challenge_id="c3")
    ledger.append([told.to_row()])
    ledger.flush()
    found = [payment(f"c{number}", 1) for number in range(5)]
    expected = ["redeemable"] * 3 + ["exhausted", "redeemable"]
    assert expected == standings(ledger.database, found, NOW)
    assert [] == standings(ledger.database, [], NOW)
