"""The seeded past: lived and not inserted, the same each time, known by its provider, and no trouble for others."""

import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from flovia.core.errors import LedgerError, WiringError
from flovia.core.events import Event
from flovia.core.money import Price
from flovia.insights.attempt import Attempt, attempts
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.ledger.verifying import verify
from flovia.showcase import seed_world, seeding
from flovia.showcase.seed_ledger import Batched
from flovia.showcase.seed_world import PRODUCTS
from flovia.showcase.seeding import Where, seed
from flovia.showcase.shop import PRICE

NOW = 1_780_000_000.0
WEEK_S = 7 * 86400
SECRET = b"test-secret-of-the-seeded-world!"


def where(folder: Path, name: str = "ledger.db") -> Where:
    """An empty ledger in a folder."""
    return Where(url=f"sqlite:///{folder / name}", secret=SECRET, now=NOW)


def events_of(found: Where) -> list[Event]:
    """All events of it, in their order."""
    with closing(open_ledger(found.url)) as ledger:
        return [event for _, event in ledger.read_events(limit=10_000_000)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Where, int]:
    """A world of a thousand attempts, and how many it says it has."""
    found = where(tmp_path_factory.mktemp("seeded"))
    return found, seed(found, 1000)


@pytest.fixture(scope="module")
def lived(world: tuple[Where, int]) -> list[Attempt]:
    """Its attempts."""
    return attempts(events_of(world[0]))


def test_made_up_money_is_in_no_sum_with_what_a_visitor_pays() -> None:
    """Reports never add two currencies up, and the made-up past has none of the price on the page."""
    assert Price.parse(PRICE).currency not in {one.currency for one in PRODUCTS}


def test_it_makes_about_as_many_as_asked(world: tuple[Where, int], lived: list[Attempt]) -> None:
    """Within a tenth; and what it counts is what the join finds, money that came by itself aside."""
    assert 900 <= world[1] <= 1100
    assert world[1] == sum(one.kind == "attempt" for one in lived)


def test_it_is_known_by_its_provider(lived: list[Attempt]) -> None:
    """Nothing of it has another provider than ``demo``, which nobody else has."""
    assert {"demo"} == {one.provider for one in lived}


def test_it_is_worth_looking_at(lived: list[Attempt]) -> None:
    """Six weeks that end now; every route, several prices of one, workflows, and money that waits for somebody."""
    begun = [one.at for one in lived]
    assert NOW - 6 * WEEK_S <= min(begun) < NOW - 5 * WEEK_S
    assert NOW - 86400 < max(begun) < NOW
    assert {one.endpoint for one in seed_world.PRODUCTS} == {one.endpoint for one in lived if one.endpoint}
    assert {20, 35, 50} == {one.price for one in lived if one.endpoint == "/v1/summaries"}
    assert {job.workflow for job, _ in seed_world.JOBS} == {one.workflow for one in lived}
    outcomes = Counter(one.outcome for one in lived)
    assert {"delivered", "not_paid", "not_accepted", "refunded"} < set(outcomes)
    assert 0.35 < outcomes["delivered"] / len(lived) < 0.75
    assert any(one.due for one in lived)


def test_every_kind_of_trouble_comes_in_a_larger_world(tmp_path: Path) -> None:
    """With some thousand attempts no way of a purchase is missing, so no part of the dashboard stays empty."""
    found = where(tmp_path)
    seed(found, 5000)
    assert {
        *("delivered", "not_paid", "not_accepted", "refunded", "partly_refunded", "late", "paid_twice", "mismatched"),
        *("undelivered", "failed_due", "unknown"),
    } == {one.outcome for one in attempts(events_of(found))}


def test_the_ledger_is_sound(world: tuple[Where, int]) -> None:
    """The books agree with the events: these rows were written by the gate."""
    with closing(open_ledger(world[0].url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        assert [] == list(verify(ledger.database))


def test_the_same_number_is_the_same_world(tmp_path: Path) -> None:
    """Event by event; another number is another world, with other people."""
    one, same, other = (where(tmp_path, name) for name in ("one.db", "same.db", "other.db"))
    for found, number in ((one, 1), (same, 1), (other, 2)):
        seed(found, 200, number=number)
    assert sorted(map(repr, events_of(one))) == sorted(map(repr, events_of(same)))
    assert not {event.payer for event in events_of(one) if event.payer} & {
        event.payer for event in events_of(other) if event.payer
    }


def test_others_write_while_it_goes_on(tmp_path: Path) -> None:
    """Requests of others get their turn between its batches, and none of theirs is lost."""
    found = where(tmp_path)
    done = threading.Event()
    with closing(open_ledger(found.url)) as ledger:
        background = seeding.Background(found, 1500)
        threading.Thread(target=lambda: (background.join(), done.set()), daemon=True).start()
        written = 0
        while not done.wait(0.02):
            assert f"{written}" == ledger.remember("test", f"key {written}", f"{written}", 3600.0, False)
            written += 1
        assert written > 0
        assert [f"{number}" for number in range(written)] == [ledger.recall("test", f"key {n}") for n in range(written)]
    assert background.made >= 1350
    background.close()


def test_the_background_ends_when_it_is_told(tmp_path: Path) -> None:
    """Closing it waits for the batch at hand and no longer, and the ledger is sound as far as it got."""
    found = where(tmp_path)
    with closing(open_ledger(found.url)):
        pass
    background = seeding.Background(found, 100_000)
    background.close()
    assert background.made < 100_000
    with closing(open_ledger(found.url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        assert [] == list(verify(ledger.database))


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was written since the last commit is undone, and the file goes on."""
    database = Batched(tmp_path / "ledger.db")
    with closing(SqlLedger(database)) as ledger:
        ledger.remember("test", "kept", "1", 3600.0, False)
        database.commit()
        ledger.remember("test", "gone", "1", 3600.0, False)
        with pytest.raises(ZeroDivisionError), database.write():
            _ = 1 / 0
        assert ("1", None) == (ledger.recall("test", "kept"), ledger.recall("test", "gone"))
        assert "2" == ledger.remember("test", "gone", "2", 3600.0, False)


def test_a_file_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    """No folder, no world."""
    with pytest.raises((WiringError, LedgerError)):
        seed(Where(url=f"sqlite:///{tmp_path}/no/such.db", secret=SECRET, now=NOW), 10)
