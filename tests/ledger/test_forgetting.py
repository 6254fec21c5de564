"""What a ledger must not forget, or give away, too early."""

from contextlib import closing
from pathlib import Path

import flovia
from flovia.ledger import fences
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.providers.mock import MockProvider
from flovia.testing.ledger_steps import KEY, LEASE_S, ManualClock, claim
from tests.core.world import Clock, Shop, buy, deliver, problem, request


class LateMock(MockProvider):
    """A mock whose payments may be presented for a day after their challenge has expired."""

    redeem_late_s = 86400.0


def test_a_payment_presented_late_buys_once() -> None:
    """A delivered payment is not taken again as long as its challenge would still be verified (a day, for HitPay)."""
    shop = Shop()
    paid: flovia.PaidApi = shop.flovia.paid_api(provider=LateMock(), price="1.00 SGD", redeem_for=60)
    credential, passage = buy(paid)
    deliver(paid, passage)
    for _ in range(20):
        shop.clock.advance(3600)
        again = paid.enter(request(credential))
        assert again.response is not None
        assert 402 == again.response.status
        assert problem(again.response) in ("payment-expired", "invalid-challenge")


def test_a_used_proof_is_known_when_its_payment_can_be_redeemed_no_more() -> None:
    """A proof buys nothing under a fresh challenge either, however short payments can be redeemed."""
    shop = Shop()
    paid: flovia.PaidApi = shop.flovia.paid_api(provider="mock", price="1.00 SGD", redeem_for=60)
    _, passage = buy(paid, "ok1")
    deliver(paid, passage)
    for hours in (1, 24, 140, 10_000):
        shop.clock.advance(3600 * hours)
        _, again = buy(paid, "ok1")
        assert again.response is not None
        assert (402, "verification-failed") == (again.response.status, problem(again.response))


def test_a_claim_made_late_keeps_its_lease() -> None:
    """A process that stood still between reading a credential and claiming it holds its claim like any other."""
    clock = Clock()
    ledger = MemoryLedger(clock=clock)
    assert 1 == ledger.claim("r|c", "f", False, 15.0, 60.0, clock.now - 1, 5).fence
    clock.advance(1)
    assert "busy" == ledger.claim("r|c", "f", False, 15.0, 60.0, clock.now + 360, 5).outcome
    clock.advance(15)
    assert 2 == ledger.claim("r|c", "f", False, 15.0, 60.0, clock.now + 360, 5).fence


def test_a_claim_made_late_whose_holder_vanished_is_parked() -> None:
    """When its lease has run out, and somebody looks: money may have moved."""
    clock = Clock()
    ledger = MemoryLedger(clock=clock)
    assert 1 == ledger.claim("r|c", "f", False, 15.0, 60.0, clock.now - 1, 5).fence
    for seconds, number, state in ((1, 1, "claimed"), (13, 2, "claimed"), (1, 3, "parked")):
        clock.advance(seconds)
        ledger.claim(f"r|{number}", "f", False, 15.0, 60.0, clock.now + 360, 5)
        found = ledger.find("r|c")
        assert found is not None
        assert state == found.state


def test_a_key_that_is_forgotten_while_it_is_claimed_anew(tmp_path: Path) -> None:
    """Whoever still holds the forgotten row has a fence that counts no more: the new row begins behind it."""
    clock = ManualClock()
    with closing(open_ledger(f"sqlite:///{tmp_path}/shop.db", clock=clock)) as ledger:
        assert isinstance(ledger, SqlLedger)
        assert 1 == claim(ledger, clock).fence
        database = ledger.database
        for floor, fence in ((None, 1), (0, 1), (1, 2), (7, 8)):
            with database.write() as connection:
                if floor is not None:
                    fences.raise_floor(connection, database.upsert, floor)
                assert fence == fences.checked(connection, KEY, 1)
            found = ledger.find(KEY)
            assert found is not None
            assert fence == found.fence
        with database.write() as connection:
            fences.raise_floor(connection, database.upsert, 3)
            assert 8 == fences.checked(connection, KEY, 1)
            assert 9 == fences.checked(connection, KEY, 9)
        clock.advance(LEASE_S)
        assert (9, 2) == ((again := claim(ledger, clock)).fence, again.attempt)


def test_what_is_owed_is_not_forgotten() -> None:
    """Money that has to go back stays on record until it has gone back, however short payments can be redeemed."""
    clock = Clock()
    ledger = MemoryLedger(clock=clock)
    assert ledger.late("r|c|m|p", "m|p", "p", 100, "sgd", clock.now + 60, ())
    clock.advance(100)
    ledger.claim("r|d", "f", False, 15.0, 60.0, clock.now + 360, 5)
    assert ["p"] == [due.payment_id for due in ledger.find_due(10)]
    assert not ledger.late("r|c|m|p", "m|p", "p", 100, "sgd", clock.now + 60, ())
    opening = ledger.open_refund("m|p", None, None, "n" * 22, 15.0)
    assert ledger.close_refund("m|p", opening.fence, "refunded", 100, "r1", "", ())
    clock.advance(8 * 86400)
    ledger.claim("r|e", "f", False, 15.0, 60.0, clock.now + 360, 5)
    assert [] == ledger.find_due(10)
    assert ledger.find("r|c|m|p") is None
    found = ledger.find_paid("m|p")
    assert found is not None
    assert ("refunded", 100) == (found.state, found.refunded)
