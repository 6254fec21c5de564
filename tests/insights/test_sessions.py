"""Sessions: which attempts belong together, and what found it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.insights.attempt import Attempt
from flovia.insights.retention import date_of
from flovia.insights.sessions import GAP_S, OTHER, Session, memberships, sessions, visit_of, week_of
from tests.insights.living import attempt, many_attempts

TIMES = st.integers(0, 40).map(lambda number: number * 97.0)


def keys(attempts: list[Attempt], gap_s: float = GAP_S) -> list[set[str]]:
    """Which attempts are in which session, the oldest session first."""
    member = memberships(attempts, gap_s)
    return [{key[2:] for key, of in member.items() if of == one.key} for one in sessions(attempts, gap_s)]


def test_a_pause_ends_a_session() -> None:
    """Of five minutes, or as long as one says; exactly so long is none yet."""
    attempts = [attempt("1", 0.0), attempt("2", 300.0), attempt("3", 601.0)]
    assert [{"1", "2"}, {"3"}] == keys(attempts)
    assert [{"1"}, {"2"}, {"3"}] == keys(attempts, 60.0)
    assert [{"1", "2", "3"}] == keys(attempts, 301.0)


def test_an_attempt_under_way_is_no_pause() -> None:
    """A person takes minutes to pay, but one that comes back hours later was away."""
    assert [{"1", "2"}] == keys([attempt("1", 0.0, wait=900.0), attempt("2", 1100.0)])
    assert [{"1"}, {"2"}] == keys([attempt("1", 0.0, wait=9000.0), attempt("2", 8000.0)])


def test_each_payer_has_sessions_of_its_own() -> None:
    """And test money keeps to itself."""
    attempts = [attempt("1", 0.0), attempt("2", 1.0, payer="did:example:b"), attempt("3", 2.0, provider="mock")]
    assert [{"1"}, {"2"}, {"3"}] == keys(attempts)
    assert [False, False, True] == [one.lane.test for one in sessions(attempts)]


def test_a_declared_workflow_comes_first() -> None:
    """What the agent names is kept apart from what it does beside it, and says which rule found it."""
    attempts = [attempt("1", 0.0), attempt("2", 1.0, workflow="nightly"), attempt("3", 2.0)]
    assert [{"1", "3"}, {"2"}] == keys(attempts)
    assert [("gap", ""), ("declared", "nightly")] == [(one.rule, one.lane.workflow) for one in sessions(attempts)]


@pytest.mark.parametrize(
    "strange",
    [
        attempt("1", 0.0, payer=None, paid=False),
        attempt("1", 0.0, payer=""),
    ],
)
def test_who_is_not_known_is_in_no_session(strange: Attempt) -> None:
    """It may be anybody."""
    assert visit_of(strange) is None
    assert [] == sessions([strange])


def test_an_unpaid_attempt_that_names_a_workflow() -> None:
    """It is the payer's, as long as only one is known under that name; then it is nobody's."""
    unpaid = attempt("2", 5.0, payer=None, workflow="run-7f", paid=False)
    attempts = [attempt("1", 0.0, workflow="run-7f"), unpaid]
    (found,) = sessions(attempts)
    assert ("did:example:a", 2, 1) == (found.payer, found.attempts, found.unnamed)
    attempts.append(attempt("3", 9e5, workflow="run-7f", payer="did:example:b"))
    assert [{"1"}, {"2"}, {"3"}] == keys(attempts)
    assert [None] == [one.payer for one in sessions([unpaid])]


def test_what_a_session_holds() -> None:
    """Endpoints in the order of their first use, moves, money less what went back, and how it ended."""
    (found,) = sessions(
        [
            attempt("1", 0.0, endpoint="/find", paid=False, amount=None),
            attempt("2", 10.0, endpoint="/read", refunded=30),
            attempt("3", 20.0, endpoint="/find", currency="sgd", delivered=False),
            attempt("4", 30.0, endpoint="/find", amount=None, paid=True),
        ]
    )
    assert ("/find", "/read") == found.signature
    assert {("/find", "/read"): 1, ("/read", "/find"): 1, ("/find", "/find"): 1} == found.moves
    assert [{"sgd": 100}, {"usd": 70}] == [step.net for step in found.steps]
    assert (4, 3, 2, 1) == (found.attempts, found.paid, found.delivered, found.amountless)
    assert (0.0, 30.0, "c|4", True) == (found.started_at, found.ended_at, found.last_key, found.last_paid)
    first = found.first_paid
    assert first is not None
    assert ("/read", 10.0) == (first.endpoint, first.paid_at)


def test_many_endpoints() -> None:
    """A session tells twenty of them apart."""
    (found,) = sessions([attempt(f"{number:02}", float(number), endpoint=f"/{number:02}") for number in range(30)])
    assert (21, OTHER, 10) == (len(found.signature), found.signature[-1], found.steps[-1].attempts)
    assert 9 == found.moves[OTHER, OTHER]


def test_a_clock_that_went_wrong() -> None:
    """A time before 1970, or after all that there can be, is still in some week."""
    assert (0, 1) == (week_of(-1e9), week_of(4 * 86400.0))
    assert "9999-12-27" == date_of(week_of(1e300))


@given(st.data(), many_attempts(at=TIMES))
def test_order_makes_no_difference(data: st.DataObject, attempts: list[Attempt]) -> None:
    """The same attempts make the same sessions, and each is in one at most."""
    found = sessions(attempts)
    assert found == sessions(data.draw(st.permutations(attempts)))
    member = memberships(attempts)
    assert {one.key for one in attempts if visit_of(one) is not None} == set(member)
    assert len(member) == sum(one.attempts for one in found)
    assert [one.key for one in found] == sorted(set(member.values()), key=[one.key for one in found].index)
    assert all(_is_whole(one) for one in found)


def _is_whole(one: Session) -> bool:
    return (
        one.attempts == sum(step.attempts for step in one.steps) == 1 + sum(one.moves.values())
        and one.started_at <= one.last_at <= one.ended_at
    )
