"""The same numbers three ways: counted here, by the database, and added up from days."""

from math import inf

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.core.operator import Operator
from flovia.insights import rollup as module
from flovia.insights.asking import Asked, chosen
from flovia.insights.attempt import DAY_S, LAST_DAY, Attempt, attempts, day_of
from flovia.insights.buckets import ERROR, bucket, middle, percentile
from flovia.insights.explaining import explained_event
from flovia.insights.integrity import count_pending, counted_states, queue
from flovia.insights.measures import ALL_DAYS, ROUTE, TIMES, Cell, Cells, measure, merge, narrowed
from flovia.insights.rollup import measure_days, roll_up
from flovia.insights.schema import COUNTS, MAPS, MONEY, STALE_DAYS
from flovia.insights.sql_integrity import count_due_sql, count_pending_sql, queue_sql
from flovia.insights.sql_measures import measure_sql
from tests.insights.folding import Book
from tests.insights.test_attempts import gated
from tests.insights.test_join import ANY_EVENTS, OUTCOMES, refund, scenario, unpaid

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HALF_DAYS = st.integers(-1, 12).map(lambda half: half * DAY_S / 2)
PAYERS = st.sampled_from([None, "mock:me", "mock:ME", "did:example:bob"])


def varied(data: st.DataObject) -> list[Event]:
    """Events of a few days: any events, and whole stories at different prices, days, payers and providers."""
    events = [attrs.evolve(one, at=one.at * DAY_S) for one in data.draw(ANY_EVENTS)]
    for number, (steps, _) in enumerate(data.draw(st.lists(st.sampled_from(OUTCOMES), max_size=5)), 10):
        shift, price = data.draw(HALF_DAYS), data.draw(st.sampled_from([50, 100, 10**24]))
        provider, payer = data.draw(st.sampled_from(["mock", "hitpay", None])), data.draw(PAYERS)
        for one in gated(scenario(number, steps)):
            amount = one.amount and one.amount * price // 100
            more = {"provider": one.provider and provider, "payer": one.payer and payer, "amount": amount}
            events.append(attrs.evolve(one, at=abs(one.at + shift), **more))
    by = Operator(name="alice", note="known")
    due = [one for one in attempts(events) if one.due and (one.challenge_id or one.payment_id)]
    said = data.draw(st.sets(st.sampled_from(range(len(due))))) if due else set()
    return [*events, *(explained_event(due[number], 9e5, f"explain_{number}", by) for number in said)]


@CHEAP
@given(st.data())
def test_three_ways(book: Book, data: st.DataObject) -> None:
    """Whatever the attempts, the time, and how many are counted at once, all three agree on every number."""
    book.clear()
    book.write(varied(data))
    book.fold()
    found, database = book.attempts(), book.ledger.database
    rows = data.draw(st.integers(1, 10))
    roll_up(database, slice_rows=rows)
    assert measure(found) == measure_sql(database, slice_rows=rows) == measure_days(database, -inf, inf)
    since, until = data.draw(HALF_DAYS), data.draw(HALF_DAYS)
    inside = measure(one for one in found if since <= one.at < until)
    assert inside == measure_sql(database, since, until) == measure_days(database, since, until, slice_rows=rows)
    width, by = data.draw(st.sampled_from([1, 2, 3, ALL_DAYS])), data.draw(st.sets(st.sampled_from(ROUTE)))
    wanted = narrowed(inside, width, by)
    assert wanted == measure_days(database, since, until, width=width, by=by)
    assert wanted == measure_sql(database, since, until, width=width, by=by, slice_rows=rows)
    shown = {route: Cell(attempts=cell.attempts) for route, cell in wanted.items() if cell.attempts}
    assert shown == measure_sql(database, since, until, width=width, by=by, shown_only=True)
    days = measure_days(database, since, until, width=width, by=by, shown_only=True)
    assert shown == {route: cell for route, cell in days.items() if cell.attempts}


@CHEAP
@given(st.data(), st.sampled_from([(), ("pay",), ("latency", "verify")]))
def test_only_some_durations(book: Book, data: st.DataObject, times: tuple[str, ...]) -> None:
    """Those that were not asked for are left out, and nothing else is."""
    book.clear()
    book.write(varied(data))
    book.fold()
    roll_up(book.ledger.database)
    cells = measure(book.attempts())
    for cell in cells.values():
        for name in TIMES:
            if name not in times:
                cell.time(name).clear()
    database = book.ledger.database
    assert cells == measure_days(database, -inf, inf, times=times) == measure_sql(database, times=times)


@CHEAP
@given(st.data())
def test_what_is_left_out(book: Book, data: st.DataObject) -> None:
    """Without the merchant's own payers and test money there are just the other attempts, and the rest is counted."""
    book.clear()
    book.write(varied(data))
    book.fold()
    found, database = book.attempts(), book.ledger.database
    own = ("did:example:bob", "mock:m*")
    asked = Asked(own=own, endpoint=data.draw(st.sampled_from([None, "/a", "/reports/{id}"])))
    cells, left_out = chosen(measure_sql(database), measure_sql(database, payers=own), asked)
    concerned = [one for one in found if asked.endpoint in (None, one.endpoint)]
    wanted = [one for one in concerned if one.provider != "mock" and not asked.is_own(one.payer)]
    assert without_last(measure(wanted)) == without_last(cells)
    requests = [one for one in concerned if one.http_method]
    assert sum(one.provider == "mock" for one in requests) == left_out.test
    assert sum(one.provider != "mock" and asked.is_own(one.payer) for one in requests) == left_out.own
    assert sum(one.probe for one in wanted if one.kind == "probe") == left_out.probes


def without_last(cells: Cells) -> Cells:
    """The cells without what cannot be taken away."""
    return {route: attrs.evolve(cell, shown_at=0.0) for route, cell in cells.items() if not cell.empty}


@CHEAP
@given(st.data())
def test_the_queue(book: Book, data: st.DataObject) -> None:
    """What needs somebody is the same list by an index as by looking through everything, and so are the counts."""
    book.clear()
    book.write(varied(data))
    book.fold()
    found, database = book.attempts(), book.ledger.database
    asked = Asked(
        since=data.draw(st.none() | HALF_DAYS),
        until=data.draw(st.none() | HALF_DAYS),
        endpoint=data.draw(st.sampled_from([None, "/a"])),
        own=data.draw(st.sampled_from([(), ("mock:me",), ("mock:*",)])),
        test=data.draw(st.booleans()),
    )
    limit = data.draw(st.none() | st.integers(1, 3))
    assert queue(found, asked, limit) == queue_sql(database, asked, limit)
    assert len(queue(found, asked)) == count_due_sql(database, asked)
    now = data.draw(HALF_DAYS)
    pending = count_pending(found, asked, now)
    assert pending == count_pending_sql(database, asked, now)
    states = counted_states(measure(found), pending)
    assert sum(one.kind != "probe" for one in found) == sum(states.values())


@BOTH
def test_both_databases(both: Book) -> None:
    """PostgreSQL and SQLite count alike."""
    events = [one for number, (steps, _) in enumerate(OUTCOMES) for one in gated(scenario(number, steps))]
    both.write([attrs.evolve(one, at=one.at * 900, amount=one.amount and one.amount * 10**30) for one in events])
    both.fold()
    database = both.ledger.database
    roll_up(database)
    found = both.attempts()
    asked = Asked(test=True, own=("nobody", "no*"))
    assert measure(found) == measure_sql(database, slice_rows=4) == measure_days(database, -inf, inf)
    assert {} == measure_sql(database, payers=asked.own)
    assert queue(found, asked) == queue_sql(database, asked)


@BOTH
@pytest.mark.parametrize("elsewhere", ["nothing", "counted", "counted and changed"])
def test_a_day_that_changes_while_it_is_counted(both: Book, monkeypatch: pytest.MonkeyPatch, elsewhere: str) -> None:
    """What was counted is kept, and the day stays to be counted; unless another process has counted it later, for then
    what that one kept stands, whatever has changed since.
    """
    both.clear()
    both.write(gated(scenario(1, ["settle", "deliver"])))
    both.fold()
    database, original, overtaken = both.ledger.database, module.measure_day, [False]

    def overtaking(*arguments: object, **more: object) -> Cells:
        found = original(*arguments, **more)  # type: ignore[arg-type] # what it is called with
        if not overtaken[0]:
            overtaken[0] = True
            both.write(attrs.evolve(one, payment_id="pay-1-1") for one in refund(challenge="challenge-1"))
            both.fold()
            if elsewhere != "nothing":
                assert 1 == roll_up(database)
            if elsewhere == "counted and changed":
                both.write(gated(scenario(2, ["settle", "deliver"])))
                both.fold()
        return found

    monkeypatch.setattr(module, "measure_day", overtaking)
    assert 0 == roll_up(database)
    stale = [day for (day,) in database.query(select(STALE_DAYS.c.day), {})]
    (cell,) = measure_days(database, -inf, inf).values()
    assert 1 == cell.delivered
    assert {"nothing": ([0], 0), "counted": ([], 100), "counted and changed": ([0], 100)}[elsewhere] == (
        stale,
        cell.refunded,
    )
    assert len(stale) == roll_up(database)
    assert [] == list(database.query(select(STALE_DAYS.c.day), {}))
    assert measure(both.attempts()) == measure_days(database, -inf, inf)


def test_an_attempt_that_moves_to_another_day(book: Book) -> None:
    """An event that comes late may be the first one: then the day before gains what the other loses."""
    book.clear()
    whole = [attrs.evolve(one, at=one.at + DAY_S) for one in gated(scenario(1, ["settle", "deliver"]))]
    book.write(whole[1:])
    book.fold()
    roll_up(book.ledger.database)
    book.write([attrs.evolve(whole[0], at=100.0)])
    book.fold()
    roll_up(book.ledger.database)
    cells = measure_days(book.ledger.database, -inf, inf)
    assert {0} == {route.day for route in cells}
    assert measure(book.attempts()) == cells


@pytest.mark.parametrize("at", [-5.0, 1e300, 0.0, DAY_S * (LAST_DAY + 0.5)])
def test_a_clock_that_is_far_off(book: Book, at: float) -> None:
    """It belongs to the first or the last day that there is; nothing is lost."""
    book.clear()
    book.write([attrs.evolve(one, at=at) for one in unpaid()])
    book.fold()
    roll_up(book.ledger.database)
    cells = measure_days(book.ledger.database, -inf, inf)
    assert measure(book.attempts()) == cells
    assert {day_of(at)} == {route.day for route in cells} <= {0, LAST_DAY}


def test_many_at_one_moment(book: Book) -> None:
    """Attempts that no time tells apart are counted together, however many are to be counted at once."""
    book.clear()
    book.write([one for number in range(5) for one in unpaid(f"r{number}", 7.0, f"c{number}")])
    book.write(unpaid("r9", 8.0, "c9"))
    book.fold()
    assert measure(book.attempts()) == measure_sql(book.ledger.database, slice_rows=2)


def test_columns_are_the_cells() -> None:
    """A day's columns hold all that a cell counts."""
    (cell,) = measure(attempts(unpaid())).values()
    assert {*COUNTS, *MONEY, *MAPS, "shown_at"} == {field.name for field in attrs.fields(type(cell))}


def test_taking_away_leaves_nothing() -> None:
    """What was added is gone when it is taken away, but for the time when it was last seen."""
    cells = measure(attempts(gated(scenario(1, ["settle", "deliver"]))))
    ((route, cell),) = cells.items()
    left = merge(merge({}, cells), cells, -1)
    assert {route: Cell(shown_at=cell.shown_at)} == left
    assert left[route].empty


@given(st.lists(st.floats(0.001, 1e9, exclude_min=True), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0]))
def test_percentiles_are_within_their_error(times: list[float], part: float) -> None:
    """The nearest rank, within one per cent."""
    counts: dict[int, int] = {}
    for ms in times:
        counts[bucket(ms)] = counts.get(bucket(ms), 0) + 1
    exact = sorted(times)[max(1, -int(-part * len(times) // 1)) - 1]
    found = percentile(counts, part)
    assert found is not None
    assert abs(found - exact) <= exact * ERROR * 1.0001


def test_no_times_no_percentile() -> None:
    """Of nothing there is none; what is too short to measure took nothing."""
    assert percentile({}, 0.5) is None
    assert 0 == bucket(0.0) == bucket(0.001)
    assert 0.0 == middle(0)


def sold(number: int, at: float, **more: object) -> list[Attempt]:
    """An attempt that was delivered."""
    events = gated(scenario(number, ["settle", "deliver"]))
    return attempts([attrs.evolve(one, at=one.at + at, **more) for one in events])


def test_errors_by_phase() -> None:
    """A failing 402, a verdict that did not come and a failing handler are told apart."""
    failing = attempts([attrs.evolve(unpaid()[0], type=ev.CHALLENGE_ISSUED, challenge_id="c"), ended("req-1", 503)])
    story = gated(scenario(2, ["refuse"]))[:-2]
    unknown = attempts([*story, attrs.evolve(ended(story[-1].request_id, 503), challenge_id="challenge-2")])
    failed = attempts(gated(scenario(3, ["settle", "fail"])))
    cells = measure([*failing, *unknown, *failed, *sold(4, 0.0)])
    totals = [sum(getattr(cell, f"{phase}_errors") for cell in cells.values()) for phase in _PHASES]
    assert [1, 1, 1] == totals


_PHASES = ("challenge", "verify", "handler")


def ended(request_id: str, status: int) -> Event:
    """The end of a request."""
    event = Event(type=ev.REQUEST_FAILED, at=2e5, request_id=request_id, seq=9, endpoint="/r", http_method="GET")
    return attrs.evolve(event, status=status, challenge_id="c", latency_ms=5.0)
