"""Workflows: what is used together and in which order; what is counted in memory is what SQL counts."""

from math import inf, isfinite

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flovia.insights import sql_workflows
from flovia.insights import workflows as module
from flovia.insights.asking import Asked
from flovia.insights.attempt import Attempt
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.sessions import OTHER, sessions, visit_of
from flovia.insights.sql_workflows import count_sql
from flovia.insights.workflows import Facts, Workflows, count, workflows
from tests.insights.folding import Book
from tests.insights.living import attempt, many_attempts, put, wipe
from tests.insights.test_retention import ASKED, MONDAY, NOW, numbers

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TIMES = st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda at: MONDAY + at[0] // 9 * 86400 + at[1] * 100.0)


def counted(attempts: list[Attempt], asked: Asked, now: float = NOW, least: int = 2) -> Facts:
    """The facts, from memory."""
    end = now if asked.until is None else min(asked.until, now)
    alone = sum(
        visit_of(one) is None
        and (-inf if asked.since is None else asked.since) <= one.at < end
        and asked.endpoint in (None, one.endpoint)
        and (asked.test or one.provider != "mock")
        for one in attempts
    )
    return count(sessions(attempts), asked, now, alone, least)


def ask(attempts: list[Attempt], least: int = 2) -> Workflows:
    """The answer, from memory."""
    return workflows(counted(attempts, Asked(), least=least))


@CHEAP
@given(many_attempts(at=TIMES, least=5, max_size=40), st.lists(ASKED, min_size=3, max_size=6), st.integers(1, 4))
def test_sql_counts_the_same(book: Book, attempts: list[Attempt], questions: list[Asked], least: int) -> None:
    """Whatever happened and whatever is asked, in the same order."""
    wipe(book)
    put(book, attempts)
    keep_sessions(book.ledger.database)
    for asked in questions:
        found = counted(attempts, asked, least=least)
        by_sql = count_sql(book.ledger.database, asked, NOW, least)
        assert found == by_sql
        for name in ("names", "paths", "moves", "using", "together"):
            assert list(getattr(found, name)) == list(getattr(by_sql, name))
        answer = workflows(found)
        rows = [*answer.paths, *answer.workflows, *answer.transitions, *answer.steps, *answer.endpoints, *answer.pairs]
        assert all(map(isfinite, numbers([answer.to_json(), *(row.to_json() for row in rows)])))


@BOTH
def test_in_either_database(both: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL counts the same, and of many only the most frequent, by the same order."""
    for of in (module, sql_workflows):
        monkeypatch.setattr(of, "MOST", 3)
    wipe(both)
    names = ["/a", "/B", "/ä", "/_", "/a b"]
    attempts = [
        attempt(f"{number}-{place}", MONDAY + number * 1000 + place, payer=f"p{number % 3}", endpoint=endpoint)
        for number in range(12)
        for place, endpoint in enumerate([*names[number % 5 :], *names[: number % 4]])
    ]
    put(both, attempts)
    keep_sessions(both.ledger.database)
    for asked in (Asked(), Asked(endpoint="/ä", own=("p1",))):
        found, by_sql = counted(attempts, asked), count_sql(both.ledger.database, asked, NOW, 2)
        assert found == by_sql
        assert list(found.paths) == list(by_sql.paths)
    assert (3, 5) == (len(found.moves), found.kinds["endpoints"])


def run(name: str, *endpoints: str, payer: str | None = "a", last_paid: bool = True, **more: object) -> list[Attempt]:
    """A session of these endpoints, one after the other."""
    at = MONDAY + 2000 * int(name)
    return [
        attempt(
            f"{name}-{place}",
            at + place,
            endpoint=endpoint,
            payer=payer,
            paid=last_paid or place < len(endpoints),
            **more,
        )  # type: ignore[arg-type]
        for place, endpoint in enumerate(endpoints, 1)
    ]


def test_nothing() -> None:
    """Without sessions there is nothing to divide by."""
    found = ask([])
    assert (0, None, ()) == (found.sessions, found.paid.value, found.paths)


def test_paths() -> None:
    """The endpoints in the order of their first use, how often, and who came back to it."""
    found = ask(
        [
            *run("1", "/find", "/read", "/find"),
            *run("2", "/find", "/read"),
            *run("3", "/find", "/read", payer="b", last_paid=False),
            *run("4", "/read", payer="b"),
        ]
    )
    first, second = found.paths
    assert ("/find → /read", 3, (3, 3), (2, 3), (1, 2)) == (
        first.name,
        first.sessions,
        (first.paid.count, first.paid.of),
        (first.finished.count, first.finished.of),
        (first.returned.count, first.returned.of),
    )
    assert ("/read", 1) == (second.name, second.sessions)


def test_a_declared_workflow() -> None:
    """It has its agent's name; of sessions whose payer nobody knows nothing is said about coming back."""
    found = ask(
        [
            *run("1", "/find", workflow="nightly"),
            *run("2", "/find", workflow="nightly"),
            *run("3", "/read", workflow="nightly", payer="b"),
            *run("4", "/read", workflow="nightly", payer=None, last_paid=False),
            *run("5", "/read"),
        ]
    )
    (nightly,) = found.workflows
    assert ("nightly", 4, 3, (1, 2)) == (
        nightly.name,
        nightly.sessions,
        nightly.paid.count,
        (nightly.returned.count, nightly.returned.of),
    )
    assert (5, 4, 1) == (found.sessions, found.declared, found.nameless)


def test_transitions() -> None:
    """What follows an endpoint, also itself, of all that does."""
    found = ask([*run("1", "/find", "/find", "/read"), *run("2", "/find", "/read")])
    assert [("/find", "/read", 2, 3), ("/find", "/find", 1, 3)] == [
        (one.origin, one.target, one.share.count, one.share.of) for one in found.transitions
    ]


def test_where_sessions_end_unpaid() -> None:
    """By the endpoint of the last attempt, and by how many endpoints there had been."""
    found = ask(
        [
            *run("1", "/find", "/read", "/buy"),
            *run("2", "/find", "/read", last_paid=False),
            *run("3", "/find", last_paid=False),
        ]
    )
    assert [("1", 1, 3), ("2", 1, 2), ("3", 0, 1)] == [
        (one.name, one.dropped.count, one.dropped.of) for one in found.steps
    ]
    assert {"/find": (1, 3), "/read": (1, 2), "/buy": (0, 1)} == {
        one.name: (one.dropped.count, one.dropped.of) for one in found.endpoints
    }


def test_what_begins_later_than_now() -> None:
    """It is counted as left out, own payers and test money apart."""
    attempts = [*run("1", "/a"), *run("2", "/a", payer="own:c"), *run("3", "/a", provider="mock")]
    found = counted(attempts, Asked(own=("own:*",)), now=MONDAY)
    assert (0, 1, 0, 0) == (found.sessions, found.ahead, found.own, found.test)


def test_lift() -> None:
    """Two endpoints in as many sessions as chance would bring have 1; below the support nothing is said."""
    attempts = [*run("1", "/a", "/b"), *run("2", "/b", "/a"), *run("3", "/a"), *run("4", "/c", "/d")]
    (pair,) = ask(attempts).pairs
    assert ("/a", "/b", 2, 2 * 4 / (3 * 2)) == (pair.one, pair.other, pair.sessions, pair.lift)
    assert () == ask(attempts, least=3).pairs


def test_a_session_of_very_many_endpoints() -> None:
    """What comes after twenty of them is counted under one name, and is in no pair."""
    found = ask(run("1", *(f"/{number:02}" for number in range(30))), least=1)
    assert found.paths[0].name.endswith(f"/19 → {OTHER}")
    assert 21 == len(found.steps)
    assert OTHER not in {name for pair in found.pairs for name in (pair.one, pair.other)}
    assert 190 == found.kinds["pairs"]
