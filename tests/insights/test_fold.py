"""The fold: events in pieces, in any order, again and late give the attempts of all events at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, Text, literal_column, select, text

from flovia.core import events as ev
from flovia.core.errors import LedgerError, WiringError
from flovia.core.events import Event
from flovia.insights import fold as module
from flovia.insights import store
from flovia.insights.attempt import attempts
from flovia.insights.fold import fold_batch
from flovia.insights.schema import INSIGHTS_VERSION
from flovia.insights.sealed import carried, stand_ins
from flovia.insights.store import prepare, read_state
from flovia.ledger.opening import open_ledger
from flovia.ledger.related import RelatedEvents
from flovia.ledger.sql import SqlLedger
from flovia.reports.reading import fold_on
from tests.insights.folding import Book, pieces
from tests.insights.test_attempts import gated
from tests.insights.test_join import (
    ANY_EVENTS,
    OUTCOMES,
    delivered,
    failed,
    moved,
    redeemed,
    refund,
    retry,
    scenario,
    unpaid,
)
from tests.postgres.server import PASSWORD, PLAIN_USER, Server

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def many(chosen: list[list[str]]) -> list[Event]:
    """Whole attempts, by their steps."""
    return [one for number, steps in enumerate(chosen) for one in gated(scenario(number, steps))]


@BOTH
def test_everything_at_once(both: Book) -> None:
    """What is folded is what is joined, in either database."""
    events = many([steps for steps, _ in OUTCOMES])
    both.write(events)
    both.fold()
    assert attempts(events) == both.attempts()


@BOTH
def test_step_by_step(both: Book) -> None:
    """After each event the attempts are those of the events so far."""
    events = many([["settle", "fail", "redeem", "refund"], ["refuse", "late"]])
    for count, event in enumerate(events, 1):
        both.write([event])
        assert fold_batch(both.source, both.ledger.database) is not None
        assert attempts(events[:count]) == both.attempts()
    assert fold_batch(both.source, both.ledger.database) is None


def test_the_last_batch_says_so(book: Book) -> None:
    """It is the one that found fewer events than it might have read."""
    book.clear()
    book.write(many([["settle", "deliver"]]))
    count = len(book.events())
    found = book.fold(count - 1)
    assert [(count - 1, False), (1, True)] == [(one.events, one.last) for one in found]
    book.clear()
    book.write(many([["settle", "deliver"]]))
    assert [(count, False)] == [(one.events, one.last) for one in book.fold(count)]


def test_where_events_come_all_the_time(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who folds what is there comes to an end: what came meanwhile is for the next time."""
    book.clear()
    book.write(many([["settle", "deliver"]]))
    end, folded = book.ledger.read_events()[-1][0], []

    def busily(*arguments: object) -> object:
        folded.append(fold_batch(*arguments))  # type: ignore[arg-type] # what it is called with
        book.write(unpaid(f"r{len(folded)}", 7.0, f"c{len(folded)}"))
        return folded[-1]

    monkeypatch.setattr(module, "fold_batch", busily)
    assert end == fold_on(book.ledger)
    assert 1 == len(folded)
    assert end < fold_on(book.ledger)
    assert 2 == len(folded)


@CHEAP
@given(st.data(), ANY_EVENTS)
def test_any_events_in_any_pieces(book: Book, data: st.DataObject, events: list[Event]) -> None:
    """Whatever the events, their order, and the sizes of pieces and batches: the attempts of all at once."""
    book.clear()
    again = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    for piece in pieces(events + again, data.draw(st.lists(st.integers(0, 8), max_size=4))):
        book.write(piece)
        book.fold(data.draw(st.integers(1, 9)))
    assert attempts(book.events()) == book.attempts()


@CHEAP
@given(st.lists(st.sampled_from(OUTCOMES), max_size=5), st.randoms(use_true_random=False), st.integers(1, 40))
def test_whole_stories_in_any_order(book: Book, chosen: list[tuple[list[str], str]], random: Random, size: int) -> None:
    """Events that come late, and before those that led to them, change nothing in the end."""
    book.clear()
    events = many([steps for steps, _ in chosen])
    expected = attempts(events)
    random.shuffle(events)
    for start in range(0, len(events), size):
        book.write(events[start : start + size])
        book.fold(size)
    assert expected == book.attempts()


@pytest.mark.parametrize(("steps", "outcome"), OUTCOMES)
def test_stand_ins_tell_the_same(steps: list[str], outcome: str) -> None:
    """An attempt can be made again from its row alone."""
    for attempt in attempts(gated(scenario(1, steps))):
        (again,) = attempts(stand_ins(attempt))
        assert attempt == carried(attempt, again)


def what_can_come() -> Iterator[tuple[list[str], str]]:
    """Stories, and what may happen to each after its events are gone."""
    for steps, _ in OUTCOMES:
        yield steps, "second"
        if steps in ([], ["refuse"]):
            yield from ((steps, later) for later in ("overdue", "other"))
        elif not {"refund", "part"} & set(steps):
            yield from ((steps, later) for later in ("refund", "part"))
        if steps[-1:] == ["fail"]:
            yield steps, "redeem"


@pytest.mark.parametrize(("steps", "later"), list(what_can_come()))
def test_what_comes_after_its_events_were_pruned(book: Book, steps: list[str], later: str) -> None:
    """A refund, a redelivery or late money finds its attempt as if nothing had been pruned."""
    before = gated(scenario(1, steps))
    if later == "second":
        after = [moved(ev.PAYMENT_LATE, "hook-2", 900.0, "challenge-1", "second-1", reason=ev.DUPLICATE)]
    else:
        whole = gated(scenario(1, [*steps, later]))
        after = [attrs.evolve(one, at=one.at + 800) for one in whole if one not in before]
    book.clear()
    book.write(before)
    book.fold()
    assert len(before) == book.prune(before=800.0)
    assert attempts(before) == book.attempts()
    book.write(after)
    book.fold()
    assert attempts([*before, *after]) == book.attempts()


def test_pruned_in_part(book: Book) -> None:
    """Of an attempt that was told of by old events and new ones nothing is lost when the old ones go."""
    book.clear()
    events = gated([*unpaid(at=1.0), *retry(at=10.0), *failed(at=500.0)])
    book.write(events)
    book.fold()
    book.prune(before=100.0)
    after = gated(redeemed(at=600.0))
    book.write(after)
    book.fold()
    (found,) = book.attempts()
    assert attrs.evolve(found, failures=1) == attempts([*events, *after])[0]


@BOTH
def test_many_at_once(both: Book) -> None:
    """Whoever folds the same ledger, each through connections of its own: every batch is written once."""
    events = many([steps for steps, _ in OUTCOMES * 4])
    both.write(events)
    failures: list[BaseException] = []

    def work() -> None:
        ledger = open_ledger(both.url, patience_s=60)
        assert isinstance(ledger, SqlLedger)
        try:
            while fold_batch(RelatedEvents(ledger), ledger.database, limit=7):
                pass
        except BaseException as error:
            failures.append(error)
        finally:
            ledger.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    assert attempts(events) == both.attempts()


def test_who_comes_second_writes_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was folded by somebody else meanwhile is let go, and the next one is read."""
    book.clear()
    events = many([["settle", "deliver"], ["late"]])
    book.write(events)
    once: list[Callable[[], object]] = [lambda: book.fold(3)]
    original = module._worked_out

    def overtaken(*arguments: object) -> object:
        found = original(*arguments)  # type: ignore[arg-type]
        while once:
            once.pop()()
        return found

    monkeypatch.setattr(module, "_worked_out", overtaken)
    assert fold_batch(book.source, book.ledger.database) is None
    assert attempts(events) == book.attempts()


def test_an_attempt_with_too_many_events(book: Book) -> None:
    """Beyond the bound its events are counted and left out; everything else is folded."""
    book.clear()
    crowd = [one for number in range(30) for one in gated(retry(f"again-{number}", 20.0 + number))]
    book.write([*unpaid(), *retry(), *delivered(), *crowd, *gated(scenario(7, ["settle", "deliver"]))])
    book.fold(limit=10, most=40)
    assert "challenge-7" in {one.challenge_id for one in book.attempts()}
    assert int(read_state(book.ledger.database)["crowded"]) > 0
    assert {"delivered"} == {one.outcome for one in book.attempts()}


def test_events_of_a_later_version(book: Book) -> None:
    """A type that this version does not know is counted, once."""
    book.clear()
    strange = attrs.evolve(unpaid()[0], type="payment.teleported", seq=5)
    book.write([*unpaid(), strange])
    book.fold(limit=2)
    assert "1" == read_state(book.ledger.database)["unknown"]


def test_made_ready_twice(book: Book) -> None:
    """Who comes second finds the tables, and leaves what is in them."""
    book.clear()
    book.write([*unpaid(), *refund()])
    book.fold()
    before = book.attempts()
    prepare(book.ledger.database)
    assert before == book.attempts()


def test_who_may_not_make_tables(postgres: Server, ledger_template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the first report has to be the owner's; what is said is what to do."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    database = postgres.database(ledger_template)
    with postgres.connect(database) as raw:
        raw.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        raw.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {PLAIN_USER}")
        raw.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {PLAIN_USER}")
    ledger = open_ledger(postgres.url(database, user=PLAIN_USER))
    assert isinstance(ledger, SqlLedger)
    with closing(ledger), pytest.raises(WiringError, match="run the report once as the owner"):
        prepare(ledger.database)
    owner = Book.open(postgres.url(database))
    owner.ledger.close()


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """It is an outage like any other."""
    book = Book.open(f"sqlite:///{tmp_path}/ledger.db")
    book.ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        prepare(book.ledger.database)


def test_tables_of_an_earlier_version(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later version adds is added when it opens them, and nothing else is touched."""
    book.clear()
    book.write(unpaid())
    book.fold()
    extra = Column("flavour", Text)
    Table("flovia_links", MetaData(), extra)
    table = extra.table
    later = INSIGHTS_VERSION + 1
    monkeypatch.setattr(store, "INSIGHTS_VERSION", later)
    monkeypatch.setattr(store, "ADDED", {later: ((table, "flavour"),)})
    prepare(book.ledger.database)
    assert str(later) == read_state(book.ledger.database)["version"]
    rows = book.ledger.database.query(select(literal_column("flavour")).select_from(text("flovia_links")), {})
    assert [] == list(rows)
    assert 1 == len(book.attempts())
    with book.ledger.database.write() as connection:
        connection.execute(text("ALTER TABLE flovia_links DROP COLUMN flavour"))
        put = text("UPDATE flovia_insights SET value = :version WHERE name = 'version'")
        connection.execute(put, {"version": str(INSIGHTS_VERSION)})


def test_attempts_from_before_explanations(tmp_path: Path) -> None:
    """Tables of version 1 get the columns, and what is in them stays."""
    book = Book.open(f"sqlite:///{tmp_path}/ledger.db")
    with closing(book.ledger):
        book.write(gated(scenario(1, ["settle", "fail"])))
        book.fold()
        before = book.attempts()
        with book.ledger.database.write() as connection:
            for column in ("explained_at", "explained_by", "explanation"):
                connection.execute(text(f"ALTER TABLE flovia_attempts DROP COLUMN {column}"))
            connection.execute(text("UPDATE flovia_insights SET value = '1' WHERE name = 'version'"))
        prepare(book.ledger.database)
        assert str(INSIGHTS_VERSION) == read_state(book.ledger.database)["version"]
        assert before == book.attempts()
