"""What the ledger does for the attempts beside it: a person is forgotten there too, and what is old goes."""

import attrs
import pytest
from sqlalchemy import select

from flovia.core.hiding import hider
from flovia.core.retention import DAY_S, Retention
from flovia.insights import fold as folding
from flovia.insights.attempt import day_of
from flovia.insights.fold import fold_batch
from flovia.insights.schema import ATTEMPTS, LINKS, STALE_DAYS, STATE
from flovia.insights.store import prepare, read_state
from flovia.ledger import attempts as module
from flovia.ledger.attempts import count_attempts, prune_attempts
from flovia.ledger.forgetting import forget
from flovia.ledger.opening import open_ledger
from flovia.ledger.related import RelatedEvents
from flovia.ledger.sql import SqlLedger
from tests.core.world import SECRET
from tests.insights.folding import Book
from tests.insights.test_attempts import gated
from tests.insights.test_join import delivered, refund, retry, scenario, unpaid

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
PAYER = "did:example:payer"


def test_the_ledger_has_the_names_right() -> None:
    """What the ledger looks after is what the insights have."""
    for ours, theirs in (
        (module.ATTEMPTS, ATTEMPTS),
        (module.LINKS, LINKS),
        (module.STATE, STATE),
        (module.STALE_DAYS, STALE_DAYS),
    ):
        assert ours.name == theirs.name
        assert set(ours.c.keys()) <= set(theirs.c.keys())


@BOTH
def test_a_forgotten_payer(both: Book) -> None:
    """It is in no attempt any more, nor are its workflows; other payers stay."""
    other = [attrs.evolve(one, payer=one.payer and "did:example:other") for one in gated(scenario(7, ["settle"]))]
    both.write([*gated([*unpaid(), *retry(), *delivered()]), *other])
    both.fold()
    assert 1 == forget(both.ledger.database, {PAYER}).attempts
    first, second = both.attempts()
    assert (None, None, "did:example:other", "nightly") == (first.payer, first.workflow, second.payer, second.workflow)
    assert 0 == forget(both.ledger.database, {PAYER}).attempts
    both.write(refund())
    both.fold()
    assert (None, "refunded") == (both.attempts()[0].payer, both.attempts()[0].outcome)


def test_a_forgotten_payer_whose_events_are_gone(book: Book) -> None:
    """Its attempts are found all the same; with a key a hash stays in place of its name."""
    book.clear()
    book.write(gated([*unpaid(), *retry(), *delivered()]))
    book.fold()
    book.prune(before=1e9)
    hide = hider(SECRET)
    assert 1 == forget(book.ledger.database, {PAYER}, hide).attempts
    (found,) = book.attempts()
    assert (hide(PAYER), hide("nightly")) == (found.payer, found.workflow)


def test_forgotten_while_somebody_folds(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that has read a name before it was forgotten does not write it."""
    book.clear()
    book.write(gated([*unpaid(), *retry(), *delivered()]))
    original = folding._worked_out
    tries: list[int] = []

    def slow(*arguments: object) -> object:
        found = original(*arguments)  # type: ignore[arg-type]
        if not tries:
            forget(book.ledger.database, {PAYER})
        tries.append(1)
        return found

    monkeypatch.setattr(folding, "_worked_out", slow)
    assert fold_batch(book.source, book.ledger.database) is not None
    assert 2 == len(tries)
    assert [None] == [one.payer for one in book.attempts()]


def test_forgetting_where_no_report_was_made(tmp_path: object) -> None:
    """There is nothing to forget, and nothing to prune, and no table is made."""
    ledger = open_ledger(f"sqlite:///{tmp_path}/other.db", retention=Retention(attempts_days=30))
    assert isinstance(ledger, SqlLedger)
    assert 0 == forget(ledger.database, {PAYER}).attempts
    assert 0 == ledger.prune()
    assert 0 == ledger.count_forgettable()["attempts"]
    ledger.close()


@BOTH
def test_old_attempts_go(both: Book) -> None:
    """Whole days of them, in batches, once they were counted; what comes for them later is counted as left out."""
    database, policy = both.ledger.database, Retention(attempts_days=30)
    now = 100 * DAY_S + 5000
    for number, day in enumerate((10, 69, 70, 99)):
        shift = day * DAY_S - 100.0 * number
        both.write([attrs.evolve(one, at=one.at + shift) for one in gated(scenario(number, ["settle", "deliver"]))])
    both.fold()
    with database.write() as connection:
        assert 0 == prune_attempts(connection, policy, now, 10)
        connection.execute(STALE_DAYS.delete())
    assert 2 == count_attempts(database, policy, now)
    with database.write() as connection:
        assert [1, 1, 0] == [prune_attempts(connection, policy, now, 1) for _ in range(3)]
    assert [70, 99] == [day_of(one.at) for one in both.attempts()]
    assert str(70 * int(DAY_S)) == read_state(database)["floor"]
    assert {"challenge-2", "challenge-3"} == {
        str(row[0])[2:] for row in database.query(select(LINKS.c.link).distinct(), {})
    }
    both.write([attrs.evolve(one, at=99 * DAY_S, payment_id="pay-1-0") for one in refund(challenge="challenge-0")])
    both.fold()
    assert [70, 99] == [day_of(one.at) for one in both.attempts()]
    assert "1" == read_state(database)["too_old"]
    assert [] == list(database.query(select(STALE_DAYS.c.day), {}))


def test_old_attempts_go_with_the_rest(tmp_path: object) -> None:
    """The ledger counts them when it forgets by itself, and from then on reports know from when on all are there."""
    policy = Retention(attempts_days=30)
    ledger = open_ledger(f"sqlite:///{tmp_path}/shop.db", retention=policy, clock=lambda: 100 * DAY_S)
    assert isinstance(ledger, SqlLedger)
    prepare(ledger.database)
    book = Book("", ledger, RelatedEvents(ledger))
    for number, day in enumerate((10, 70, 99)):
        events = gated(scenario(number, ["settle", "deliver"]))
        book.write([attrs.evolve(event, at=day * DAY_S) for event in events])
    book.fold()
    with ledger.database.write() as connection:
        connection.execute(STALE_DAYS.delete())
    assert {"attempts": 1} == {name: rows for name, rows in ledger.count_forgettable().items() if rows}
    assert 1 == ledger.prune()
    assert 70 * DAY_S == float(read_state(ledger.database)["floor"])
    assert 0 == ledger.prune()
    assert [70, 99] == [day_of(one.at) for one in book.attempts()]
    links = ledger.database.query(select(LINKS.c.link).distinct().order_by(LINKS.c.link), {})
    assert ["c|challenge-1", "c|challenge-2"] == [row[0] for row in links]
    ledger.close()


def test_no_policy_no_pruning(book: Book) -> None:
    """Without one attempts are kept for ever."""
    book.clear()
    book.write(unpaid())
    book.fold()
    with book.ledger.database.write() as connection:
        connection.execute(STALE_DAYS.delete())
        assert 0 == prune_attempts(connection, Retention(), 1e12, 10)
    assert 0 == count_attempts(book.ledger.database, Retention(), 1e12)
    assert 1 == len(book.attempts())
