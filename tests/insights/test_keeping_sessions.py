"""Sessions in the database: whatever comes in whatever order, they are those of all attempts at once."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, select, table, text

from flovia.core.errors import CallerError
from flovia.core.hiding import hider
from flovia.core.retention import DAY_S, Retention
from flovia.insights import keeping_sessions as keeping
from flovia.insights.attempt import Attempt
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.lanes import mark
from flovia.insights.sessions import memberships, sessions
from flovia.insights.sessions_schema import CHILDREN, END_OF_TIME, NO_TIME, OWNERS, SESSIONS, STALE_LANES
from flovia.ledger import sessions as module
from flovia.ledger.attempts import prune_attempts
from flovia.ledger.forgetting import forget
from tests.core.world import SECRET
from tests.insights.folding import Book
from tests.insights.living import attempt, many_attempts, members, one_attempt, put, stored, wipe

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TIMES = st.integers(0, 40).map(lambda number: number * 97.0)


def check(book: Book, attempts: list[Attempt], gap_s: float = 300.0) -> None:
    """What is kept is what is worked out of everything."""
    assert sessions(attempts, gap_s) == stored(book)
    assert memberships(attempts, gap_s) == members(book)


@CHEAP
@given(st.data(), many_attempts(at=TIMES))
def test_any_order_any_changes(book: Book, data: st.DataObject, attempts: list[Attempt]) -> None:
    """Attempts come late, are made anew and go; after each pass the sessions are those of what is there."""
    wipe(book)
    there: dict[str, Attempt] = {}
    waiting = data.draw(st.permutations(attempts))
    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        come, waiting = waiting[:size], waiting[size:]
        keys = sorted(there)
        again = data.draw(st.lists(st.sampled_from(keys), max_size=4, unique=True)) if keys else []
        come += [data.draw(one_attempt(key[2:], TIMES)) for key in again]
        gone = data.draw(st.lists(st.sampled_from(keys), max_size=3, unique=True)) if keys else []
        put(book, come, set(gone) - set(again))
        there = {key: one for key, one in there.items() if key not in gone} | {one.key: one for one in come}
        if data.draw(st.booleans()):
            keep_sessions(book.ledger.database, page=data.draw(st.integers(1, 12)))
            check(book, list(there.values()))
    keep_sessions(book.ledger.database, page=data.draw(st.integers(1, 12)))
    check(book, list(there.values()))


@BOTH
@pytest.mark.parametrize("page", [1, 2, 3])
def test_sessions_that_begin_at_one_moment(both: Book, page: int) -> None:
    """However few attempts a transaction reads, it comes to an end, also where several sessions begin at once."""
    wipe(both)
    # Sessions of their own by their keys' order: each attempt ends long before the next one of its payer.
    apart = [attempt(key, 1000.0 * number) for number, key in enumerate("bcd")]
    put(both, apart)
    keep_sessions(both.ledger.database, page=page)
    together = [attempt(key, 0.0) for key in "abcd"]
    put(both, together)
    keep_sessions(both.ledger.database, page=page, between=at_most(100))
    check(both, together)


def at_most(times: int) -> Callable[[], None]:
    """Fails if it is called more often."""
    calls = iter(range(times))

    def call() -> None:
        assert next(calls, None) is not None, "it comes no further"

    return call


@BOTH
def test_in_either_database(both: Book) -> None:
    """PostgreSQL makes the same sessions."""
    wipe(both)
    attempts = [
        attempt("b", 0.0, endpoint="/buy"),
        attempt("A", 0.0),
        attempt("c", 500.0, wait=9000.0),
        attempt("d", 900.0, payer=None, workflow="nightly", paid=False),
        attempt("e", 950.0, workflow="nightly"),
        attempt("f", 960.0, payer="did:example:b", provider="mock", amount=10**77 + 1),
    ]
    for one in reversed(attempts):
        put(both, [one])
        keep_sessions(both.ledger.database)
    check(both, attempts)
    put(both, [attempt("g", 961.0, payer="did:example:b", workflow="nightly")])
    assert 3 <= keep_sessions(both.ledger.database, page=2)
    check(both, [*attempts, attempt("g", 961.0, payer="did:example:b", workflow="nightly")])
    assert 0 == keep_sessions(both.ledger.database)
    keep_sessions(both.ledger.database, gap_s=900.0)
    check(both, [*attempts, attempt("g", 961.0, payer="did:example:b", workflow="nightly")], 900.0)


def test_the_ledger_has_the_names_right() -> None:
    """What the ledger looks after is what the insights have."""
    tables = {table.name: table for table in (SESSIONS, STALE_LANES, OWNERS, *CHILDREN)}
    assert set(tables) == {table.name for table in module.TABLES}
    for ours in module.TABLES:
        assert set(ours.c.keys()) <= set(tables[ours.name].c.keys())
    assert (NO_TIME, END_OF_TIME) == (module.BEGINNING, module.END)


def everything(book: Book) -> str:
    """All that the tables of sessions hold."""
    database = book.ledger.database
    return repr([database.query(select(table), {}) for table in (SESSIONS, STALE_LANES, OWNERS, *CHILDREN)])


@BOTH
@pytest.mark.parametrize("keyed", [False, True])
def test_a_forgotten_payer(both: Book, keyed: bool) -> None:
    """It is in no session any more, at once; with a key its hash has the same sessions."""
    wipe(both)
    database, payer, hide = both.ledger.database, "did:example:a", hider(SECRET)
    attempts = [
        attempt("1", 0.0, workflow="nightly"),
        attempt("2", 9.0, workflow="nightly", payer=None, paid=False),
        attempt("3", 20.0),
        attempt("4", 30.0, payer="did:example:b"),
    ]
    put(both, attempts)
    keep_sessions(database)
    put(both, [attempt("5", 40.0)])
    forget(database, {payer}, hide if keyed else None)
    assert payer not in everything(both)
    keep_sessions(database)
    assert payer not in everything(both)
    left = [attempts[1], attempts[3]]
    if keyed:
        left += [
            attempt("1", 0.0, workflow=hide("nightly"), payer=hide(payer)),
            *(attempt(key, at, payer=hide(payer)) for key, at in (("3", 20.0), ("5", 40.0))),
        ]
    check(both, left)


@BOTH
@pytest.mark.parametrize("keyed", [False, True])
def test_a_forgotten_payers_workflow(both: Book, keyed: bool) -> None:
    """No table of the database names it any more, at once; a workflow that somebody else names too is still theirs."""
    wipe(both)
    database, payer, hide = both.ledger.database, "did:example:a", hider(SECRET)
    put(
        both,
        [
            attempt("1", 0.0, payer=payer, workflow="bobs-tax-return"),
            attempt("2", 1.0, payer=payer, workflow="nightly"),
            attempt("3", 9.0, payer="did:example:b", workflow="nightly"),
        ],
    )
    keep_sessions(database)
    assert "bobs-tax-return" in whole(both)
    # Marked, and not made again yet.
    put(both, [attempt("4", 40.0, payer=payer, workflow="bobs-tax-return")])
    forget(database, {payer}, hide if keyed else None)
    for name in (payer, "bobs-tax-return"):
        assert name not in whole(both)
    keep_sessions(database)
    left = [attempt("3", 9.0, payer="did:example:b", workflow="nightly")]
    if keyed:
        left += [
            attempt(key, at, payer=hide(payer), workflow=hide(workflow))
            for key, at, workflow in (
                ("1", 0.0, "bobs-tax-return"),
                ("2", 1.0, "nightly"),
                ("4", 40.0, "bobs-tax-return"),
            )
        ]
    check(both, left)


def whole(book: Book) -> str:
    """All rows of all tables of a database."""
    with book.ledger.database.write() as connection:
        tables = inspect(connection).get_table_names()
        assert {SESSIONS.name, STALE_LANES.name, "flovia_events", "flovia_attempts"} <= set(tables)
        return repr([connection.execute(select(text("*")).select_from(table(name))).all() for name in tables])


@CHEAP
@given(many_attempts(at=st.integers(-30, 30).map(lambda number: 10 * DAY_S + number * 97.0)), st.integers(1, 9))
def test_old_attempts_go(book: Book, attempts: list[Attempt], at_most: int) -> None:
    """Sessions of attempts that are past their time go with them; one that goes on behind them is made again."""
    wipe(book)
    database, policy, end = book.ledger.database, Retention(attempts_days=2), 10 * DAY_S
    put(book, attempts)
    keep_sessions(database)
    while True:
        with database.write() as connection:
            if not prune_attempts(connection, policy, 12 * DAY_S + 50, at_most):
                break
    keep_sessions(database)
    check(book, [one for one in attempts if one.at >= end])


@BOTH
def test_after_many_changes(both: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is told of them, so that it does not take the tables for empty."""
    monkeypatch.setattr(keeping, "_MANY", 1)
    wipe(both)
    attempts = [attempt(str(number), 400.0 * number, payer=f"p{number % 3}") for number in range(30)]
    put(both, attempts)
    keep_sessions(both.ledger.database, page=5)
    check(both, attempts)
    with both.ledger.database.write() as connection:
        if connection.dialect.name == "postgresql":
            known = text("SELECT reltuples FROM pg_class WHERE relname = 'flovia_sessions'")
            assert 30 == connection.scalar(known)


@pytest.mark.parametrize("gap_s", [0.0, -1.0, float("nan"), 86401.0])
def test_a_pause_that_is_none(book: Book, gap_s: float) -> None:
    """It is refused, and nothing changes."""
    with pytest.raises(CallerError, match="write seconds"):
        keep_sessions(book.ledger.database, gap_s=gap_s)


def test_a_change_of_the_pause_that_was_interrupted(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one goes on with it, and the new pause is remembered."""
    wipe(book)
    attempts = [attempt(str(number), 200.0 * number, payer=f"payer-{number % 9}") for number in range(30)]
    put(book, attempts)
    keep_sessions(book.ledger.database)
    calls: list[object] = []

    def dying(connection: object, spans: object) -> None:
        calls.append(spans)
        if len(calls) == 2:
            raise KeyboardInterrupt
        mark(connection, spans)  # type: ignore[arg-type]

    monkeypatch.setattr(keeping, "_LANES", 4)
    monkeypatch.setattr(keeping, "mark", dying)
    with pytest.raises(KeyboardInterrupt):
        keep_sessions(book.ledger.database, gap_s=2000.0)
    keep_sessions(book.ledger.database)
    check(book, attempts, 2000.0)


def test_changed_by_somebody_else_meanwhile(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two transactions of a pass attempts may change: what it has done then is done again."""
    wipe(book)
    attempts = [attempt(str(number), 100.0 * number) for number in range(12)]
    put(book, attempts)
    original = keeping._advance_some
    meanwhile = [[attempt("0", 5.0, paid=False)], [attempt("new", -200.0)], [attempt("7", 9000.0)]]

    def overtaken(*arguments: object) -> int | None:
        found = original(*arguments)  # type: ignore[arg-type]
        if meanwhile:
            put(book, meanwhile.pop())
        return found

    monkeypatch.setattr(keeping, "_advance_some", overtaken)
    keep_sessions(book.ledger.database, page=5)
    check(
        book,
        [attempt("0", 5.0, paid=False), attempt("new", -200.0), attempt("7", 9000.0), *attempts[1:7], *attempts[8:]],
    )
