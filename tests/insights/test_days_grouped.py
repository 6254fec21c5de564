"""However attempts are grouped into days, the answer is the same."""

from math import inf

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from flovia.insights.asking import Asked, chosen
from flovia.insights.attempt import DAY_S, Attempt, day_of
from flovia.insights.funnel import funnel
from flovia.insights.measures import Cells, measure, narrowed
from flovia.insights.pricing import PricingRow, pricing
from flovia.insights.revenue import revenue
from flovia.insights.rollup import measure_days, roll_up
from flovia.insights.schema import STALE_DAYS
from flovia.insights.sql_measures import measure_sql
from tests.insights.folding import Book
from tests.insights.living import attempt, put, wipe

OWN = ("own:*",)
ASKED = Asked(own=OWN)
CHEAP = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ATTEMPTS = st.lists(
    st.tuples(
        st.integers(0, 24).map(lambda quarter: quarter * DAY_S / 4),
        st.sampled_from([None, "did:example:a", "own:c"]),
        st.sampled_from([100, 200, 300]),
        st.booleans(),
    ),
    max_size=12,
)


def lived(drawn: list[tuple[float, str | None, int, bool]]) -> list[Attempt]:
    """Attempts at some prices, some of the merchant's own payer."""
    return [
        attempt(str(number), at, payer=payer, amount=price, paid=paid)
        for number, (at, payer, price, paid) in enumerate(drawn)
    ]


def answers(cells: Cells, own: Cells) -> tuple[object, ...]:
    """What is asked of them that tells no days apart."""
    found, left_out = chosen(cells, own, ASKED)
    return pricing(found, 1), funnel(found), revenue(found), left_out


@given(ATTEMPTS, st.integers(1, 30))
def test_any_width(drawn: list[tuple[float, str | None, int, bool]], width: int) -> None:
    """Days, or so many of them in one: prices, and which of them is the present one, are the same."""
    found = lived(drawn)
    cells, own = measure(found), measure(one for one in found if ASKED.is_own(one.payer))
    assert answers(cells, own) == answers(narrowed(cells, width), narrowed(own, width))


@CHEAP
@given(st.data())
def test_any_width_from_the_database(book: Book, data: st.DataObject) -> None:
    """What is kept by day and added up by the database gives what counting here gives."""
    wipe(book)
    found, database = lived(data.draw(ATTEMPTS)), book.ledger.database
    put(book, found)
    with database.write() as connection:
        add = database.upsert(STALE_DAYS).on_conflict_do_nothing()
        for day in {day_of(one.at) for one in found}:
            connection.execute(add, {"day": day, "mark": 1})
    roll_up(database)
    assert not database.query(select(STALE_DAYS.c.day), {})
    wanted = answers(measure(found), measure(one for one in found if ASKED.is_own(one.payer)))
    width = data.draw(st.integers(1, 30))
    cells = measure_days(database, -inf, inf, width=width)
    assert wanted == answers(cells, measure_sql(database, payers=OWN, width=width))
    assert wanted == answers(measure_sql(database, width=width), measure_sql(database, payers=OWN, width=width))


def prices(*drawn: tuple[float, str | None, int, bool]) -> PricingRow:
    """What pricing says of these attempts."""
    found = lived([*drawn])
    cells, own = measure(found), measure(one for one in found if ASKED.is_own(one.payer))
    (row,) = pricing(chosen(cells, own, ASKED)[0], 1)
    return row


def test_the_present_price_may_have_been_shown_to_the_own_payers_alone() -> None:
    """It is the price that was shown last, to whomever; who paid for themselves is not counted in any."""
    raised = prices(
        (0.0, "did:example:a", 200, True), (DAY_S, "did:example:a", 100, True), (2 * DAY_S, "own:c", 200, True)
    )
    assert (200, [1, 1]) == (raised.current, [one.attempts for one in raised.prices])
    assert [DAY_S, 2 * DAY_S] == [one.shown_at for one in raised.prices]
    tried = prices((0.0, "did:example:a", 100, True), (DAY_S, "own:c", 300, True))
    assert (100, [100]) == (tried.current, [one.price for one in tried.prices]), "nobody else has seen it"
