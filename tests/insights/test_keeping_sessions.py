"""Sessions in the database: whatever comes in whatever order, they are those of all attempts at once."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flovia.insights.attempt import Attempt
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.sessions import memberships, sessions
from tests.insights.folding import Book
from tests.insights.living import attempt, many_attempts, members, one_attempt, put, stored, wipe

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
