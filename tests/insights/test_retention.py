"""Retention: who comes back; what is counted of sessions in memory is what SQL counts."""

from math import inf, isfinite

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flovia.insights.asking import Asked
from flovia.insights.attempt import Attempt
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.retention import Concentration, Facts, Retention, count, date_of, rank, retention
from flovia.insights.sessions import sessions, visit_of
from flovia.insights.sql_retention import count_sql
from tests.insights.folding import Book
from tests.insights.living import ENDPOINTS, attempt, many_attempts, put, wipe

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAY = 86400.0
MONDAY = 20_003 * DAY  # 2024-10-07
TIMES = st.tuples(st.integers(0, 40), st.integers(0, 3)).map(lambda at: MONDAY + at[0] * DAY + at[1] * 400.0)
NOW = MONDAY + 38 * DAY
ASKED = st.builds(
    Asked,
    since=st.one_of(st.none(), st.integers(0, 30).map(lambda day: MONDAY + day * DAY + 100)),
    until=st.one_of(st.none(), st.integers(31, 45).map(lambda day: MONDAY + day * DAY)),
    endpoint=st.one_of(st.none(), st.sampled_from([*ENDPOINTS, "/nowhere"])),
    own=st.sampled_from([(), ("own:*",), ("did:example:b", "*"), ("own:c", "nobody")]),
    test=st.booleans(),
)


def counted(attempts: list[Attempt], asked: Asked, now: float = NOW) -> Facts:
    """The facts, from memory."""
    end = now if asked.until is None else min(asked.until, now)
    nameless = sum(
        one.verified_at is not None
        and visit_of(one) is None
        and (-inf if asked.since is None else asked.since) <= one.at < end
        and asked.endpoint in (None, one.endpoint)
        and (asked.test or one.provider != "mock")
        for one in attempts
    )
    return count(sessions(attempts), asked, now, nameless)


def ask(attempts: list[Attempt], asked: Asked | None = None, now: float = NOW) -> Retention:
    """The answer, from memory."""
    asked = asked or Asked()
    return retention(counted(attempts, asked, now), asked, now)


def paid(number: int, day: float, payer: str = "did:example:a", **more: object) -> Attempt:
    """A paid attempt, so many days after the Monday."""
    return attempt(str(number), MONDAY + day * DAY, payer=payer, **more)  # type: ignore[arg-type]


@CHEAP
@given(many_attempts(at=TIMES, least=5, max_size=40), st.lists(ASKED, min_size=3, max_size=6))
def test_sql_counts_the_same(book: Book, attempts: list[Attempt], questions: list[Asked]) -> None:
    """Whatever happened and whatever is asked."""
    wipe(book)
    put(book, attempts)
    keep_sessions(book.ledger.database)
    for asked in questions:
        found = counted(attempts, asked)
        assert found == count_sql(book.ledger.database, asked, NOW)
        answer = retention(found, asked, NOW)
        assert all(map(isfinite, numbers(answer.to_json())))
        for cohort in (*answer.by_week, *answer.by_endpoint):
            assert all(map(isfinite, numbers(cohort.to_json())))


def numbers(value: object) -> list[float]:
    """All numbers in an answer."""
    if isinstance(value, dict):
        return [one for member in value.values() for one in numbers(member)]
    if isinstance(value, list):
        return [one for member in value for one in numbers(member)]
    return [value] if isinstance(value, float) else []


@BOTH
def test_in_either_database(both: Book) -> None:
    """PostgreSQL counts the same, huge amounts too."""
    wipe(both)
    attempts = [
        paid(number, day, payer, endpoint=ENDPOINTS[number % 3], amount=10**77 + number)
        for number, (day, payer) in enumerate(
            (day + shift, payer) for day in (0, 1, 2, 9, 20) for shift, payer in ((0, "a"), (0.2, "B"), (0.4, "ä"))
        )
    ]
    put(both, attempts)
    keep_sessions(both.ledger.database)
    for asked in (Asked(), Asked(since=MONDAY + DAY, endpoint="/buy", own=("a",)), Asked(until=MONDAY)):
        assert counted(attempts, asked) == count_sql(both.ledger.database, asked, NOW)


def test_nobody() -> None:
    """Without a sample there are no shares, and nothing is divided by it."""
    found = ask([])
    assert (None, 0) == (found.repeat.value, found.repeat.of)
    assert (None, None, None) == (found.second.value, found.second_p50_s, found.at_risk.value)
    assert ((), (), (), ()) == (found.by_week, found.by_endpoint, found.named, found.concentration)


def test_who_comes_back() -> None:
    """A payer with two paid sessions does, not one with many attempts in one session, nor one that only looked."""
    found = ask(
        [
            *(paid(number, 0.001 * number, "busy") for number in range(3)),
            *(paid(10 + number, number, "loyal") for number in range(2)),
            paid(20, 0, "shy"),
            paid(21, 5, "shy", paid=False),
        ]
    )
    assert (1, 3) == (found.repeat.count, found.repeat.of)
    assert (3, 1, DAY) == (found.new, found.second.count, found.second_p50_s)


def test_who_was_there_before_is_not_new() -> None:
    """Whoever comes in a time and came before it has come back, and is in no cohort of it."""
    found = ask([paid(1, 0, "old"), paid(2, 10, "old"), paid(3, 11, "new")], Asked(since=MONDAY + 7 * DAY))
    assert (1, 2) == (found.repeat.count, found.repeat.of)
    assert [("2024-10-14", 1)] == [(one.name, one.payers) for one in found.by_week]


def test_cohorts_by_week() -> None:
    """W0 is everybody; a week that is not over says so, and one that has not begun is not there."""
    found = ask([paid(1, 0, "a"), paid(2, 3, "b"), paid(3, 15, "a"), paid(4, 36, "b")])
    (cohort,) = found.by_week
    assert ("2024-10-07", 2, False) == (cohort.name, cohort.payers, cohort.partial)
    assert [2, 0, 1, 0, 0, 1] == [week.share.count for week in cohort.weeks]
    assert [False] * 5 + [True] == [week.partial for week in cohort.weeks]
    assert not ask([paid(1, 0)], now=MONDAY + 200 * DAY).by_week[0].weeks[12].partial
    assert 13 == len(ask([paid(1, 0)], now=MONDAY + 200 * DAY).by_week[0].weeks)


def test_twelve_weeks_are_followed() -> None:
    """Who comes again later than that is counted as coming back, and in no week."""
    found = ask([paid(1, 0), paid(2, 7 * 13)], now=MONDAY + 200 * DAY)
    assert [1, *[0] * 12] == [week.share.count for week in found.by_week[0].weeks]
    assert 1 == found.repeat.count


def test_a_cohort_that_is_cut() -> None:
    """Of a week that is asked about from its middle not everybody is there."""
    assert [True] == [one.partial for one in ask([paid(1, 2)], Asked(since=MONDAY + DAY)).by_week]
    assert [False] == [one.partial for one in ask([paid(1, 2)], Asked(since=MONDAY)).by_week]
    assert [True] == [one.partial for one in ask([paid(1, 37)]).by_week]


def test_cohorts_by_endpoint() -> None:
    """By what was paid first; each week's share is of those for whom it is over."""
    found = ask(
        [
            paid(1, 0, "a", endpoint="/find"),
            paid(2, 8, "a", endpoint="/buy"),
            paid(3, 30, "b", endpoint="/find"),
            paid(4, 35, "b", endpoint="/find"),
            paid(5, 1, "c", endpoint="/buy"),
        ]
    )
    assert [("/find", 2), ("/buy", 1)] == [(one.name, one.payers) for one in found.by_endpoint]
    find = found.by_endpoint[0]
    assert [(2, 2), (1, 1), (0, 1), (0, 1), (0, 1)] == [(one.share.count, one.share.of) for one in find.weeks]


def test_who_may_have_gone() -> None:
    """Silent for more than three of its own average pauses, and a day; too few sessions say nothing."""
    daily = [paid(number, day, "daily") for number, day in enumerate((0, 1, 3, 3.5, 4))]
    weekly = [paid(10 + number, day, "weekly") for number, day in enumerate((8, 15, 22))]
    gone = [paid(20 + number, day, "gone") for number, day in enumerate((8, 9, 10))]
    hourly = [paid(30 + number, 37.1 + number / 24, "hourly") for number in range(4)]
    once = [paid(40, 1, "twice"), paid(41, 2, "twice")]
    found = ask([*daily, *weekly, *gone, *hourly, *once])
    assert (2, 4) == (found.at_risk.count, found.at_risk.of)
    assert [("daily", 5, DAY), ("gone", 3, DAY)] == [(one.payer, one.sessions, one.pause_s) for one in found.named]
    assert (0, 2) == (lambda one: (one.count, one.of))(
        ask([*weekly, *gone, *hourly], Asked(since=MONDAY + 20 * DAY)).at_risk
    )


@pytest.mark.parametrize(
    ("nets", "gini", "tenth"),
    [([100] * 10, 0.0, 0.1), ([0] * 9 + [500], 0.9, 1.0), ([1, 2, 3, 4], 0.25, 0.4), ([0, 0], None, None)],
)
def test_concentration(nets: list[int], gini: float | None, tenth: float | None) -> None:
    """The Gini coefficient and the share of the first tenth, exact, and who they are."""
    (found,) = ask(
        [paid(number, 0.1 * number, f"p{number}", amount=net) for number, net in enumerate(nets)]
    ).concentration
    assert (gini, tenth, len(nets), sum(nets)) == (found.gini, found.tenth, found.payers, found.net)
    assert max(nets) == found.top[0][1]


def test_currencies_are_never_added() -> None:
    """Each has a row of its own, less what went back."""
    found = ask([paid(1, 0), paid(2, 1, currency="sgd", refunded=30), paid(3, 2, "b", currency="sgd")]).concentration
    assert [("sgd", 2, 170), ("usd", 1, 100)] == [(one.currency, one.payers, one.net) for one in found]
    assert isinstance(found[0], Concentration)


def test_what_is_left_out() -> None:
    """Own payers, test money, what begins later than now, and whose payer nobody knows: each is counted."""
    found = counted(
        [
            paid(1, 0, "own:c"),
            paid(2, 0, "own:d"),
            paid(3, 0, provider="mock"),
            paid(4, 39),
            attempt("5", MONDAY, payer=None),
            attempt("6", MONDAY, payer=None, workflow="nightly"),
            paid(7, 0, "b", amount=None),
        ],
        Asked(own=("own:*",)),
    )
    assert (2, 1, 1, 2, 1) == (found.own, found.test, found.ahead, found.nameless, found.amountless)
    assert 1 == found.active


def test_ranks() -> None:
    """The nearest rank: a value that was there."""
    assert [1, 1, 2, 5, 19, 1] == [rank(*one) for one in ((50, 1), (50, 2), (50, 3), (50, 10), (95, 20), (95, 0))]


def test_weeks_begin_on_monday() -> None:
    """And are named by it."""
    from flovia.insights.sessions import week_of

    assert ("2024-10-07", "2024-09-30") == (date_of(week_of(MONDAY)), date_of(week_of(MONDAY - 1)))
