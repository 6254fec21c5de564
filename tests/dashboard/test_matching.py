"""What comes live is what the page's table shows for the same filters, whatever they are."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flovia
from flovia.core.errors import CallerError
from flovia.core.hiding import hider
from flovia.dashboard.joined_rows import matcher
from flovia.insights.asking import Asked
from flovia.insights.attempt import OUTCOMES, STATES, Attempt
from flovia.insights.sql_choosing import STEPS, Chosen, newest
from flovia.insights.sql_joined import began
from tests.dashboard.shop import NOW, SECRET, fresh, served, story, write
from tests.insights.folding import Book
from tests.insights.living import ENDPOINTS, PAYERS, one_attempt, put, wipe

PROBLEMS = ("expired", "malformed-credential")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Generator[Book]:
    """A ledger in a file; each example clears it."""
    found = Book.open(f"sqlite:///{tmp_path_factory.mktemp('book')}/ledger.db")
    with closing(found.ledger):
        yield found


def any_attempt(key: str) -> st.SearchStrategy[Attempt]:
    """An attempt with this key, of every kind and state, also some that no events would make."""
    return st.builds(
        attrs.evolve,
        one_attempt(key, st.sampled_from([0.0, 1.0, 2.0, 3.0])),
        insight=st.sampled_from([*OUTCOMES]),
        http_method=st.sampled_from(["GET", "GET", "GET", ""]),
        challenge_id=st.sampled_from([key, key, key, None]),
        probe=st.sampled_from([False, False, True]),
        rail=st.sampled_from(["mpp", None]),
        price=st.sampled_from([None, 0, 100, 10**20 + 7]),
        price_currency=st.sampled_from(["usd", "sgd", None]),
        presented_at=st.sampled_from([None, 4.0]),
        problem=st.sampled_from([None, *PROBLEMS]),
        explained_at=st.sampled_from([None, None, 5.0]),
    )


ATTEMPTS = st.integers(0, 12).flatmap(lambda count: st.tuples(*(any_attempt(str(one)) for one in range(count))))
CHOSEN = st.builds(
    Chosen,
    workflow=st.sampled_from(["", "", "", "nightly", "None"]),
    payer=st.sampled_from(["", "", "", *PAYERS]),
    rail=st.sampled_from(["", "", "", "mpp", "other"]),
    price=st.sampled_from(["", "", "", "0", "100", "0100", str(10**20 + 7), "None"]),
    price_currency=st.sampled_from(["", "", "", "usd", "USD"]),
    currency=st.sampled_from(["", "", "", "sgd"]),
    state=st.sampled_from(["", "", "", *sorted({*STATES.values(), "underpaid", "overpaid", "explained", "nothing"})]),
    problem=st.sampled_from(["", "", "", *PROBLEMS]),
    step=st.sampled_from(["", "", *STEPS]),
)
ASKED = st.builds(
    Asked,
    since=st.sampled_from([None, None, 1.0, 2.5]),
    until=st.sampled_from([None, None, 3.0]),
    endpoint=st.sampled_from([None, None, *ENDPOINTS]),
    own=st.sampled_from([(), (), ("own:*",), ("did:example:a", "*"), ("OWN:c", "did:example:b")]),
    test=st.booleans(),
)


@given(ATTEMPTS, st.lists(st.tuples(ASKED, CHOSEN), min_size=1, max_size=8))
def test_live_rows_are_those_of_the_table(
    book: Book, attempts: tuple[Attempt, ...], questions: list[tuple[Asked, Chosen]]
) -> None:
    """Every filter that an attempt at hand can be told by, against the rows of the database."""
    wipe(book)
    put(book, attempts)
    every = [one for page in began(book.ledger.database) for one in page]
    assert len(attempts) == len(every)
    for asked, chosen in [*questions, *((asked, Chosen(step=step)) for asked, _ in questions[:1] for step in STEPS)]:
        shown = {one.attempt.key for one in newest(book.ledger.database, asked, chosen, 100)}
        wanted = matcher(asked, chosen)
        assert shown == {one.attempt.key for one in every if wanted(one)}, (asked, chosen)


def test_nothing_at_hand_tells_a_path() -> None:
    """So it is not guessed."""
    with pytest.raises(CallerError, match="leave path out"):
        matcher(Asked(), Chosen(path='["/find"]'))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("step=paid", 1),
        ("step=abandoned", 1),
        ("state=paid_and_delivered", 1),
        ("state=unpaid", 1),
        ("since=2025-06-15", 2),
        ("since=2025-06-16", 0),
        ("until=2025-06-15", 0),
    ],
)
def test_what_comes_is_what_is_shown(tmp_path: Path, query: str, count: int) -> None:
    """By the addresses that the page has: the same attempts from the table's JSON and from what is new."""
    assert NOW == 1_750_000_000.0  # 2025-06-15
    url = fresh(tmp_path)
    with served(url) as client:
        write(url, story(1, "settle", "deliver"), story(2))
        shown = client.get(f"/api/events?{query}").json()["events"]
        came = client.get(f"/events/new?after=0&{query}").json()["rows"]
        assert count == len(shown) == len(came)
        assert {one["attemptId"] for one in shown} == {one["id"] for one in came}


def test_hashed_payers_of_our_own_stay_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is left out of the table by name, where payers are kept under a hash, does not come live, either."""
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "did:example:me")
    monkeypatch.setenv("FLOVIA_HASH_PAYERS", "true")
    url = fresh(tmp_path)
    with closing(flovia.Flovia(ledger=url, secret=SECRET)) as flo:
        (key, *_) = flo.settings.hiding_keys
    with served(url) as client:
        for number, payer in enumerate(("did:example:me", "did:example:other")):
            write(url, story(number, "settle", "deliver"), payer=hider(key)(payer))
        shown = [one["attemptId"] for one in client.get("/api/events").json()["events"]]
        assert ["c|challenge-1"] == shown == [one["id"] for one in client.get("/events/new?after=0").json()["rows"]]
