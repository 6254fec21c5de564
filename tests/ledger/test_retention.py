"""Retention: what goes when, what never goes, and forgetting a person."""

import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from sqlalchemy import select, text

import flovia
from flovia.core import events as ev
from flovia.core.errors import WiringError
from flovia.core.events import Event
from flovia.core.exchange import DELIVERED, PARKED, REFUNDED, SETTLED
from flovia.core.hiding import hider
from flovia.core.refunding import moved_event
from flovia.core.retention import Retention
from flovia.ledger import forgetting, sql, sql_keeping
from flovia.ledger.forgetting import Forgotten, forget
from flovia.ledger.history import look_up
from flovia.ledger.opening import open_ledger
from flovia.ledger.retention import find_doomed, remove, unpaid_cursor
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_delivery import keep_answer
from flovia.ledger.sql_schema import PAYMENTS
from flovia.ledger.verifying import verify
from flovia.testing.ledger_answers import answer
from flovia.testing.ledger_steps import ManualClock, claim
from tests.core.world import SECRET, challenges, deliver, pay, request

DAY_S = 86400.0
BOB = "did:example:bob"


@attrs.define
class Shop:
    """A shop on a ledger with a policy."""

    clock: ManualClock
    ledger: SqlLedger
    gate: flovia.PaidApi

    def events(self) -> list[Event]:
        """All events."""
        self.ledger.flush()
        return [event for _, event in self.ledger.read_events(limit=100_000)]

    def unpaid(self) -> None:
        """A request that nobody pays for."""
        self.gate.enter(request(headers={"flovia-workflow": "nightly"}))

    def sell(self, proof: str, status: int = 200, payer: str | None = None) -> str:
        """A request that is paid; its challenge."""
        (challenge,) = challenges(self.gate.enter(request(headers={"flovia-workflow": "nightly"})).response)
        passage = self.gate.enter(request(pay(challenge, proof, payer), headers={"flovia-workflow": "nightly"}))
        if passage.response is None:
            deliver(self.gate, passage, status)
        return challenge.id

    def states(self) -> list[str]:
        """Of all payments."""
        return sorted(str(row[0]) for row in self.ledger.database.query(select(PAYMENTS.c.state), {}))

    def prune(self, days: float) -> None:
        """Let time pass, and forget until nothing is left to forget."""
        self.ledger.flush()
        self.clock.advance(days * DAY_S)
        while self.ledger.prune():
            pass


def open_shop(url: str, retention: Retention | None = None, hash_payers: bool = False) -> Shop:
    """A shop with a clock of its own."""
    clock = ManualClock()
    hide = hider(SECRET) if hash_payers else None
    ledger = open_ledger(url, clock=clock, retention=retention, hide=hide)
    assert isinstance(ledger, SqlLedger)
    flo = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock)
    return Shop(clock, ledger, flo.paid_api(provider="mock", price="1.00 USD"))


@pytest.fixture
def shops(url: str) -> Generator[object]:
    """Open shops; they are closed at the end."""
    with_all: list[Shop] = []

    def open_one(retention: Retention | None = None, *, hash_payers: bool = False) -> Shop:
        with_all.append(open_shop(url, retention, hash_payers))
        return with_all[-1]

    yield open_one
    for shop in with_all:
        shop.ledger.close()


def test_the_default(shops: object) -> None:
    """Events are kept for ever; delivered payments go after a week, unknown and undelivered ones never."""
    shop: Shop = shops()  # type: ignore[operator]  # a function
    shop.sell("ok1")
    shop.sell("ok2", 500)
    shop.sell("unknown")
    shop.unpaid()
    count = len(shop.events())
    shop.prune(400)
    assert [PARKED, SETTLED] == shop.states()
    assert count == len(shop.events())
    assert [] == list(verify(shop.ledger.database))


def test_unpaid_events(shops: object) -> None:
    """Events of requests that nobody paid for go; those that led to a payment stay, also from before it was paid."""
    shop: Shop = shops(Retention(unpaid_events_days=3))  # type: ignore[operator]  # a function
    for number in range(3):
        shop.unpaid()
        shop.sell(f"ok{number}")
    before = {event.request_id for event in shop.events()}
    shop.prune(2)
    assert before == {event.request_id for event in shop.events()}
    shop.prune(2)
    left = shop.events()
    assert 6 == len({event.request_id for event in left})
    assert 3 == len({event.challenge_id for event in left if event.challenge_id})
    assert {"payment.settled", "paid_api.challenge_issued", "paid_api.request_started"} <= {e.type for e in left}
    cursor = unpaid_cursor(shop.ledger.database)
    shop.unpaid()
    shop.prune(1)
    assert cursor == unpaid_cursor(shop.ledger.database)
    shop.prune(3)
    assert len(left) == len(shop.events())
    assert [] == list(verify(shop.ledger.database))


def test_events_that_name_only_a_payment(shops: object) -> None:
    """What is told of a payment whose challenge nobody knows, as of a refund made elsewhere, is not of nobody's."""
    shop: Shop = shops(Retention(unpaid_events_days=3))  # type: ignore[operator]  # a function
    shop.unpaid()
    told = moved_event(ev.PAYMENT_REFUNDED, shop.clock(), ("hook", 1), "mock", "mpp", (100, "usd"), ("", "pay-1"))
    shop.ledger.append([attrs.evolve(told, challenge_id=None).to_row()])
    shop.prune(4)
    assert ["hook"] == [event.request_id for event in shop.events()]


def test_all_events(shops: object) -> None:
    """Every event goes after its time, with what is older than all that is kept noted for verify."""
    shop: Shop = shops(Retention(events_days=10, unpaid_events_days=2))  # type: ignore[operator]  # a function
    shop.sell("ok1", 500)
    shop.unpaid()
    shop.prune(11)
    assert [] == shop.events()
    assert [SETTLED] == shop.states()
    shop.sell("ok2")
    assert [] == list(verify(shop.ledger.database))
    credential = shop.sell("ok1")
    assert [] == [e for e in shop.events() if e.type == "payment.settled" and e.challenge_id == credential]


def test_delivered(shops: object) -> None:
    """Delivered and refunded payments are kept longer if wanted; their proofs for ever."""
    shop: Shop = shops(Retention(delivered_days=30))  # type: ignore[operator]  # a function
    shop.sell("ok1")
    shop.sell("ok2")
    flo = flovia.Flovia(ledger=shop.ledger, clock=shop.clock)
    (payment_id,) = {e.payment_id for e in shop.events() if e.type == "payment.settled"} - {None} - {_id(shop)}
    assert "refunded" == flo.refund(str(payment_id), provider="mock").status
    shop.prune(20)
    assert [DELIVERED, REFUNDED] == shop.states()
    shop.prune(11)
    assert [] == shop.states()
    with pytest.raises(flovia.RefundError, match="given back already"):
        flo.refund(str(payment_id), provider="mock")
    assert [] == list(verify(shop.ledger.database))


def _id(shop: Shop) -> str | None:
    return next(e.payment_id for e in shop.events() if e.type == "payment.settled")


def test_what_exporters_have_not_got(shops: object) -> None:
    """An event that a registered sink has not got is not pruned, whatever its age."""
    shop: Shop = shops(Retention(events_days=2))  # type: ignore[operator]  # a function
    shop.sell("ok1")
    shop.ledger.flush()
    positions = [position for position, _ in shop.ledger.read_events()]
    lease = shop.ledger.lease_sink("warehouse", "test", 60.0)
    assert lease.fence is not None
    shop.ledger.advance_sink("warehouse", lease.fence, positions[2], 60.0)
    shop.prune(10)
    assert positions[3:] == [position for position, _ in shop.ledger.read_events()]
    assert shop.ledger.forget_sink("warehouse")
    shop.prune(1)
    assert [] == shop.events()


def test_batches(shops: object) -> None:
    """Nothing is left out and nothing is taken twice, however small the batches; hosts may do it at the same time."""
    shop: Shop = shops()  # type: ignore[operator]  # a function
    for number in range(4):
        shop.unpaid()
        shop.sell(f"ok{number}")
    total = len(shop.events())
    now, database = shop.clock() + 5 * DAY_S, shop.ledger.database
    policy = Retention(events_days=4, unpaid_events_days=3)
    seen: list[int] = []
    head = unpaid = 0
    while True:
        doomed = find_doomed(database, policy, now, head=head, unpaid=unpaid, limit=5)
        seen += doomed.positions
        head, unpaid = doomed.head, doomed.unpaid
        if not doomed.more:
            break
    assert total == len(set(seen))
    first = find_doomed(database, policy, now, limit=5)
    for expected in (len(first.positions), 0):
        with database.write() as connection:
            assert expected == remove(database, connection, first)


def test_in_the_background(shops: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app forgets by itself, while it serves."""
    monkeypatch.setattr(sql, "PRUNE_EVERY", 1)
    shop: Shop = shops(Retention(events_days=2))  # type: ignore[operator]  # a function
    shop.unpaid()
    assert 3 == len(shop.events())
    shop.clock.advance(3 * DAY_S)
    shop.sell("ok1")
    assert {shop.clock()} == {event.at for event in shop.events()}


@pytest.mark.parametrize("paid", [True, False], ids=["paid", "probes"])
def test_keeps_up(shops: object, monkeypatch: pytest.MonkeyPatch, paid: bool) -> None:
    """As much is forgotten as comes, however many events a request has, and where nobody ever pays, too."""
    monkeypatch.setattr(sql, "PRUNE_EVERY", 8)
    monkeypatch.setattr(sql_keeping, "PRUNE_BATCH", 16)
    shop: Shop = shops(Retention(events_days=2))  # type: ignore[operator]  # a function
    before = 0
    for number in range(60):
        if number == 15:
            before = len(shop.events())
        if paid:
            shop.sell(f"ok{number}")
        shop.unpaid()
        shop.ledger.flush()
        shop.clock.advance(DAY_S / 4)
    # As many as after four days, and what may wait for its turn.
    assert len(shop.events()) <= before + 16


@pytest.mark.parametrize("events_days", [1, -1, 2.5, True])
def test_too_short(events_days: int) -> None:
    """Less than the time in which a payment can be presented is refused."""
    with pytest.raises(WiringError, match="whole number of days"):
        Retention(events_days=events_days)


def test_parsed() -> None:
    """As a setting."""
    assert Retention(events_days=400, unpaid_events_days=90) == Retention.parse("events=400d, unpaid_events=90")
    assert not Retention.parse("events=400d").for_ever
    assert Retention.parse("delivered=30d").for_ever
    for wrong in ("", "events", "events=x", "other=3d", "events=3d,events=4d", "events=1d"):
        with pytest.raises(WiringError):
            Retention.parse(wrong)


# --- forgetting a person ----------------------------------------------------------------------------------


def named(shop: Shop) -> set[str | None]:
    """The payers and workflows of all events."""
    return {event.payer for event in shop.events()} | {event.workflow for event in shop.events()}


@pytest.mark.parametrize("window", [5000, 3])
def test_forgotten(shops: object, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    """A payer, the workflows of its requests and what it was answered are gone, the money is not; another's stay."""
    monkeypatch.setattr(forgetting, "WINDOW", window)
    monkeypatch.setattr(forgetting, "BATCH", 2)
    shop: Shop = shops()  # type: ignore[operator]  # a function
    bobs = shop.sell("ok1", payer=BOB)
    redeem = shop.sell("ok2", 500, payer=BOB)
    alices = shop.sell("ok3", payer="did:example:alice")
    shop.sell("ok4", 500, payer="did:example:alice")
    shop.events()
    with shop.ledger.database.write() as connection:
        for challenge in (bobs, alices):
            keep_answer(connection, f"localhost|{challenge}", answer(shop.clock() + DAY_S))
    first = forget(shop.ledger.database, {BOB})
    assert (first.payments, first.dead_letters, first.answers) == (1, 0, 1)
    kept = [shop.ledger.find_answer(f"localhost|{challenge}") is not None for challenge in (bobs, alices)]
    assert [False, True] == kept
    # Three of the first request and six of the second, all of the other; each says a workflow.
    assert len([e for e in shop.events() if e.challenge_id in (bobs, redeem)]) < first.events
    assert first.events == len([e for e in shop.events() if e.workflow is None])
    assert Forgotten() == forget(shop.ledger.database, {BOB})
    assert BOB not in named(shop)
    assert {None} == {e.workflow for e in shop.events() if e.challenge_id in (bobs, redeem)}
    assert {"nightly"} == {e.workflow for e in shop.events() if e.challenge_id == alices}
    assert {"did:example:alice"} <= named(shop)
    records = [str(row[0]) for row in shop.ledger.database.query(select(PAYMENTS.c.record), {}) if row[0]]
    assert [False, True] == sorted("alice" in record for record in records)
    assert not any("bob" in record for record in records)
    assert [] == list(verify(shop.ledger.database))


def test_forgotten_where_only_a_payer_is_named(shops: object) -> None:
    """Of requests without a workflow those events are changed, and counted, that say who paid."""
    for hide in (None, hider(SECRET)):
        shop: Shop = shops()  # type: ignore[operator]  # a function
        (challenge,) = challenges(shop.gate.enter(request()).response)
        deliver(shop.gate, shop.gate.enter(request(pay(challenge, f"ok-{hide is None}", BOB))))
        named_ = [event for event in shop.events() if event.payer == BOB]
        assert 0 < len(named_) < len(shop.events())
        assert len(named_) == forget(shop.ledger.database, {BOB}, hide).events
        assert BOB not in named(shop)


def test_forgotten_behind_records_of_others(shops: object) -> None:
    """A record that this flovia cannot read hides no payer's: all others are looked at."""
    shop: Shop = shops()  # type: ignore[operator]  # a function
    for number, record in enumerate(("[]", "{}", "no JSON", '["ref"]')):
        key, until = f"a.test|{number}", shop.clock() + DAY_S
        money = (f"mock|pay-{number}", f"pay-{number}", 100, "usd")
        fence = claim(shop.ledger, shop.clock, key).fence
        assert "settled" == shop.ledger.settle(key, fence, *money, record, 60.0, until, False, ())
    shop.sell("ok1", 500, payer=BOB)
    assert 1 == forget(shop.ledger.database, {BOB}).payments
    records = [str(row[0]) for row in shop.ledger.database.query(select(PAYMENTS.c.record), {})]
    assert (5, []) == (len(records), [record for record in records if BOB in record])


def test_forgotten_by_hash(shops: object) -> None:
    """With a keyed hash in its place what is left still joins, and tells nobody who it was."""
    shop: Shop = shops()  # type: ignore[operator]  # a function
    shop.sell("ok1", payer=BOB)
    shop.sell("ok2", payer=BOB)
    shop.events()
    hide = hider(SECRET)
    assert forget(shop.ledger.database, {BOB}, hide).events > 0
    assert 0 == forget(shop.ledger.database, {BOB}, hide).events
    assert {None, hide(BOB), hide("nightly")} == named(shop)


def test_hashed_from_the_start(shops: object) -> None:
    """Events never hold a name, and the same name is the same text; the handler still gets it."""
    shop: Shop = shops(hash_payers=True)  # type: ignore[operator]  # a function
    shop.sell("ok1", payer=BOB)
    shop.unpaid()
    hide = hider(SECRET)
    assert {None, hide(BOB), hide("nightly")} == named(shop)
    assert hide(BOB) == hide(hide(BOB))
    assert hide(BOB) != hider(SECRET + "2")(BOB)
    assert forget(shop.ledger.database, {BOB, hide(BOB)}).events > 0
    assert {None, hide("nightly")} == named(shop)


def test_dead_letters(shops: object) -> None:
    """What a sink refused names nobody any more either; what is no event is left as it is."""
    shop: Shop = shops()  # type: ignore[operator]  # a function
    bodies = [
        {"data": {"payer": BOB, "workflow": "nightly", "amount": "1"}},
        {"data": {"payer": "alice", "amount": "2"}},
    ]
    insert = text(
        "INSERT INTO flovia_dead_letters (sink, position, event_id, body, reason, tries, at)"
        " VALUES ('warehouse', 1, :id, :body, 'no', 1, 0.0)"
    )
    with shop.ledger.database.write() as connection:
        for number, body in enumerate([json.dumps(body) for body in bodies] + ["no JSON", "[]"]):
            connection.execute(insert, {"id": f"evt_{number}", "body": body})
    assert Forgotten(dead_letters=1) == forget(shop.ledger.database, {BOB})
    rows = shop.ledger.database.query(select(text("body")).select_from(text("flovia_dead_letters")), {})
    assert '{"data":{"amount":"1"}}' in [row[0] for row in rows]
    assert Forgotten() == forget(shop.ledger.database, {BOB})


def test_nothing_to_forget(tmp_path: Path) -> None:
    """An empty ledger."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/shop.db")) as ledger:
        assert isinstance(ledger, SqlLedger)
        assert Forgotten() == forget(ledger.database, {BOB})


def test_what_would_go_is_counted(url: str) -> None:
    """By kind, as many as go; and a payment is found by its backend's own id, in both databases."""
    clock = ManualClock()
    with closing(open_ledger(url, clock=clock)) as ledger:
        assert isinstance(ledger, SqlLedger)
        gate = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock).paid_api(provider="mock", price="1.00 USD")
        shop = Shop(clock, ledger, gate)
        challenge = shop.sell("ok1")
        payment = next(event.payment_id for event in shop.events() if event.payment_id)
        for own in ("9ef68e2e-3569", "R-7"):
            ledger.remember("acme", f"reference {own}", payment, 60.0, False)
        for ident in (payment, challenge, f"mock|{payment}", "9ef68e2e-3569", "R-7"):
            assert [payment] == [row["payment_id"] for row in look_up(ledger.database, ident).payments], ident
        for ident in ("9ef68e2e", "R-", "R-70", "late"):
            assert not look_up(ledger.database, ident).found, ident
        assert {"payments": 0, "short texts": 0, "stored answers": 0} == ledger.count_forgettable()
        clock.advance(30 * DAY_S)
        counted = ledger.count_forgettable()
        assert {"payments": 1, "short texts": 2, "stored answers": 0} == counted
        assert sum(counted.values()) == ledger.prune()
