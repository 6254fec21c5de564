"""``verify``: a ledger that was used holds together, and each kind of damage is found."""

import re
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from sqlalchemy import text

import flovia
from flovia.core import events as ev
from flovia.core.owed import RefundEnd, late_key
from flovia.core.refunding import moved_event
from flovia.ledger import verifying
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.ledger.verifying import Counts, verify
from flovia.testing.ledger_keeping import settle_found
from flovia.testing.ledger_refunds import LATE_PROOF, open_refund
from flovia.testing.ledger_steps import DAY_S, ManualClock, claim
from tests.core.world import SECRET, Tokens, buy, challenges, deliver, pay, request
from tests.postgres.server import Server

FINDINGS = Path(__file__).with_suffix(".txt")


def late(ledger: SqlLedger, clock: ManualClock, proof: str) -> None:
    """Money that comes too late, with its event."""
    payment_id = proof.partition("|")[2]
    paid = ("challenge-1", payment_id)
    row = moved_event(ev.PAYMENT_LATE, clock(), (f"hook_{payment_id}", 1), "mock", "mpp", (100, "usd"), paid).to_row()
    key = late_key("localhost", "challenge-1", proof)
    assert ledger.late(key, proof, payment_id, 100, "usd", clock() + DAY_S, (row,))


def sold(ledger: SqlLedger, clock: ManualClock, payment_id: str, method: str = "mock") -> None:
    """A payment that was delivered, with an id of the provider's own, and its events."""
    by = "" if method == "mock" else f" by {method}"
    key = f"localhost|of {payment_id.partition('|')[0]}{by}"
    told = moved_event(ev.PAYMENT_SETTLED, clock(), (payment_id, 1), "mock", "mpp", (100, "usd"), ("", payment_id))
    settled = attrs.evolve(told, challenge_id=key.partition("|")[2])
    fence = claim(ledger, clock, key).fence
    until = clock() + DAY_S
    money = (f"{method}|{payment_id}", payment_id, 100, "usd", "[]")
    assert "settled" == ledger.settle(key, fence, *money, 60.0, until, False, (settled.to_row(),))
    assert ledger.deliver(key, fence, (attrs.evolve(settled, type=ev.PAYMENT_DELIVERED, seq=2).to_row(),))


def use(ledger: SqlLedger, clock: ManualClock) -> None:
    """All that may happen to payments."""
    flo = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock, tokens=Tokens())
    gate = flo.paid_api(provider="mock", price="1.00 USD")
    _, delivered = buy(gate)
    deliver(gate, delivered)
    (challenge,) = challenges(gate.enter(request()).response)
    failed = gate.enter(request(pay(challenge, "ok2")))
    deliver(gate, failed, 500)
    _, running = buy(gate, "ok3")
    assert running.response is None
    assert buy(gate, "unknown")[1].response is not None
    assert buy(gate, "unpaid")[1].response is not None
    (challenge,) = challenges(gate.enter(request()).response)
    _, back = buy(gate, "ok4")
    deliver(gate, back)
    for passage, amount in ((back, "0.40 USD"), (failed, None)):
        assert passage.grant is not None
        assert "refunded" == flo.refund(passage.grant.payment_id, amount, provider="mock").status
    (challenge,) = challenges(gate.enter(request()).response)
    again = gate.enter(request(pay(challenge, "ok5")))
    deliver(gate, again, 500)
    late(ledger, clock, LATE_PROOF)
    open_refund(ledger, proof=LATE_PROOF)
    late(ledger, clock, "mock|pay-3")
    late(ledger, clock, "mock|pay|4")
    sold(ledger, clock, "pay|5")
    assert "noted" == ledger.note_refund("", "mock|elsewhere", 5, "usd", ())
    ledger.flush()


def used_in(path: Path) -> SqlLedger:
    """A ledger in a file, used."""
    clock = ManualClock()
    ledger = open_ledger(f"sqlite:///{path}", clock=clock)
    assert isinstance(ledger, SqlLedger)
    use(ledger, clock)
    return ledger


@pytest.fixture
def used(tmp_path: Path) -> Generator[SqlLedger]:
    """A ledger in a file, used."""
    with closing(used_in(tmp_path / "shop.db")) as ledger:
        yield ledger


def damage(ledger: SqlLedger, sql: str) -> None:
    """Change rows behind its back."""
    with ledger.database.write() as connection:
        assert connection.execute(text(sql)).rowcount > 0


def found(ledger: SqlLedger) -> set[tuple[str, str]]:
    """What does not hold, and the beginning of its text."""
    return {(finding.invariant, finding.text) for finding in verify(ledger.database)}


def test_a_used_ledger(used: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with it, whatever the size of the pages."""
    counts = Counts()
    assert [] == list(verify(used.database, counts))
    assert (11, 10, 4) == (counts.payments, counts.proofs, counts.refunds)
    assert counts.events > 10
    monkeypatch.setattr(verifying, "PAGE", 2)
    assert [] == list(verify(used.database))


@pytest.mark.parametrize(("outcome", "back"), [("refunded", 100), ("refused", 0)])
def test_refunds_that_have_ended(used: SqlLedger, outcome: RefundEnd, back: int) -> None:
    """Nothing is wrong with money that went back, nor with what the provider would not give back."""
    opening = used.open_refund("mock|pay-3", None, None, "nonce-9", 15.0)
    assert used.close_refund("mock|pay-3", opening.fence, outcome, back, "", "", ())
    assert [] == list(verify(used.database))


DAMAGE = {
    "version": ("UPDATE flovia_meta SET value = '99' WHERE name = 'version'", "schema", "the tables have version 99"),
    "state": (
        "UPDATE flovia_payments SET state = 'gone' WHERE state = 'delivered'",
        "state",
        "there is no state 'gone'",
    ),
    "fence": ("UPDATE flovia_payments SET fence = 0 WHERE state = 'delivered'", "fence", "its fence is 0"),
    "deliveries": ("UPDATE flovia_payments SET deliveries = -1 WHERE state = 'settled'", "deliveries", "it has -1"),
    "key": ("UPDATE flovia_payments SET key = 'k' WHERE state = 'issued'", "key", "its key names no challenge"),
    "unpaid": (
        "UPDATE flovia_payments SET amount = '1' WHERE state = 'parked'",
        "unpaid",
        "it is parked and holds what was paid",
    ),
    "unpaid due": (
        "UPDATE flovia_payments SET refund_due = 1 WHERE state = 'parked'",
        "refund_due",
        "it is parked and its refund is due",
    ),
    "amount": (
        "UPDATE flovia_payments SET amount = '1.00' WHERE state = 'delivered'",
        "amount",
        "it is delivered, and its amount, currency or payment id cannot be read",
    ),
    "record": (
        "UPDATE flovia_payments SET record = NULL WHERE state = 'settled'",
        "record",
        "it is settled, and what its credential would be answered with is gone",
    ),
    "record kept": (
        "UPDATE flovia_payments SET record = '[]' WHERE state = 'delivered'",
        "record",
        "it is delivered, and what its receipt is made of was not let go",
    ),
    "free": (
        "UPDATE flovia_payments SET deliveries = 0 WHERE state = 'delivered'",
        "deliveries",
        "it is delivered, and no delivery was begun",
    ),
    "proof lost": (
        "DELETE FROM flovia_proofs WHERE key IN (SELECT key FROM flovia_payments WHERE state = 'delivered')",
        "proof",
        "it was settled, and its proof is not among those used",
    ),
    "proof of another": (
        "UPDATE flovia_proofs SET key = 'r|other'"
        " WHERE key IN (SELECT key FROM flovia_payments WHERE state = 'delivered')",
        "proof",
        "its proof was used for another payment, r|other",
    ),
    "proof of none": (
        "UPDATE flovia_payments SET proof = NULL, key = key || 'x' WHERE state = 'delivered'",
        "proof",
        "it was settled, and no proof of it is among those used",
    ),
    "proof amount": (
        "UPDATE flovia_proofs SET amount = '-1' WHERE proof = 'mock|pay-3'",
        "amount",
        "its amount '-1' is no number of base units",
    ),
    "proof name": (
        "UPDATE flovia_proofs SET proof = 'pay' WHERE proof = 'mock|pay-3'",
        "proof",
        "it names no payment method",
    ),
    "two proofs": (
        "UPDATE flovia_proofs SET key = (SELECT key FROM flovia_payments WHERE state = 'delivered')"
        " WHERE proof = 'mock|pay-3'",
        "proof",
        "it used 2 proofs",
    ),
    "settled twice": (
        "UPDATE flovia_events SET type = 'payment.settled' WHERE type = 'payment.delivered'",
        "events",
        "it was settled once, and 2 events tell of that",
    ),
    "settled and not told": (
        "DELETE FROM flovia_events WHERE type = 'payment.settled'",
        "events",
        "it was settled once, and 0 events tell of that",
    ),
    "late and not told": (
        "DELETE FROM flovia_events WHERE type = 'payment.late'",
        "events",
        "it is money to go back, and 0 events tell of it (and 0 of a settlement)",
    ),
    "told and not settled": (
        "UPDATE flovia_events SET payment_id = 'invented' WHERE type = 'payment.settled'",
        "events",
        "it tells of a settlement of which no proof was used",
    ),
    "delivered and not settled": (
        "UPDATE flovia_events SET payment_id = 'invented' WHERE type = 'payment.delivered'",
        "events",
        "it tells of a delivery of which no proof was used",
    ),
    "event": (
        "UPDATE flovia_events SET type = 'payment.x' WHERE type = 'payment.unknown'",
        "events",
        "there is no event 'payment.x'",
    ),
    "event without money": (
        "UPDATE flovia_events SET type = 'payment.x', amount = NULL WHERE type = 'payment.unknown'",
        "events",
        "there is no event 'payment.x'",
    ),
    "event amount": (
        "UPDATE flovia_events SET amount = 'x' WHERE type = 'payment.unknown'",
        "amount",
        "its amount 'x' is no number of base units",
    ),
    "refund state": (
        "UPDATE flovia_refunds SET state = 'lost' WHERE state = 'open'",
        "state",
        "there is no state 'lost' of a refund",
    ),
    "refund amount": ("UPDATE flovia_refunds SET amount = 'x' WHERE state = 'open'", "amount", "its amounts cannot be"),
    "refund too much": (
        "UPDATE flovia_refunds SET amount = '101' WHERE state = 'open'",
        "amount",
        "101 of 100 were to go back",
    ),
    "refund of nothing": (
        "UPDATE flovia_refunds SET key = 'r|none' WHERE state = 'open'",
        "refund",
        "it is a refund of a payment whose proof was not used",
    ),
    "refunded and delivered": (
        "UPDATE flovia_payments SET state = 'delivered', deliveries = 1 WHERE state = 'refunded'",
        "refund",
        "it went back, and its payment is delivered",
    ),
    "refund and delivery": (
        "UPDATE flovia_payments SET refund_due = 0 WHERE key LIKE '%|mock|pay-2'",
        "refund",
        "its refund is under way, and its payment may be delivered",
    ),
    "refunded without": (
        "UPDATE flovia_payments SET state = 'refunded', record = NULL WHERE state = 'settled'",
        "refund",
        "it is refunded, and no refund of it is on record",
    ),
}


def told_of(ledger: SqlLedger) -> list[str]:
    """All that is found, as it is told; but the place of an event, which its writer's thread decides."""
    findings = [f"{finding.subject}: {finding.invariant}: {finding.text}" for finding in verify(ledger.database)]
    return [re.sub(r"^event [1-9][0-9]*:", "event N:", finding) for finding in findings]


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(used: SqlLedger, name: str) -> None:
    """Each invariant is shown to fire, of the row that was damaged, and of what does not fit to that any more."""
    sql, invariant, beginning = DAMAGE[name]
    damage(used, sql)
    told = found(used)
    assert [] != [one for one in told if one[0] == invariant and one[1].startswith(beginning)], told
    assert findings()[name] == told_of(used)


def findings() -> dict[str, list[str]]:
    """By damage; ``python -m tests.ledger.test_verifying FOLDER`` writes them."""
    parts = FINDINGS.read_text(encoding="utf-8").split("# ")[1:]
    return {name: text.strip("\n").split("\n") for name, _, text in (part.partition("\n") for part in parts)}


def test_a_page_that_changes(used: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is settled while a page is read is looked at again before it is told."""
    real: Callable[..., object] = verifying._count_events
    calls: list[int] = []

    def behind(*arguments: object) -> object:
        calls.append(1)
        return {} if len(calls) == 1 else real(*arguments)

    monkeypatch.setattr(verifying, "_count_events", behind)
    assert [] == list(verify(used.database))
    assert len(calls) > 2


def test_payments_of_several_methods(used: SqlLedger) -> None:
    """What an event tells of is looked for among the proofs of all methods: it does not say which one it was."""
    for method in ("card", "hitpay", "stripe"):
        sold(used, ManualClock(), f"pay-{method}", method)
    assert [] == list(verify(used.database))


def test_other_orders_of_texts(used: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where texts are not in the order of their bytes, methods are not looked for without an end."""
    monkeypatch.setattr(verifying, "PAGE", 1)
    assert [] == list(verify(used.database))


def test_in_postgresql(postgres: Server, ledger_template: str) -> None:
    """The same in PostgreSQL."""
    clock = ManualClock()
    with closing(open_ledger(postgres.url(postgres.database(ledger_template)), clock=clock)) as ledger:
        assert isinstance(ledger, SqlLedger)
        use(ledger, clock)
        fence = claim(ledger, clock, "realm.test|found").fence
        settle_found(ledger, clock, fence, "realm.test|found", proof="mock|found")
        assert {("events", "it was settled once, and 0 events tell of that")} == found(ledger)


if __name__ == "__main__":
    import sys

    texts: list[str] = []
    for number, (name, (sql, *_)) in enumerate(DAMAGE.items()):
        with closing(used_in(Path(sys.argv[1], f"{number}.db"))) as ledger:
            damage(ledger, sql)
            texts.append(f"# {name}\n" + "\n".join(told_of(ledger)))
    FINDINGS.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
