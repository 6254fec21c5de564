"""Joined events as data: every one is what the published schema says, and its envelope follows what is known."""

import copy
import json
from collections.abc import Sequence
from contextlib import closing
from math import inf, nan
from typing import Any

import attrs
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.insights.attempt import KINDS, OUTCOMES, PROVENANCES, STATES, Attempt, attempts
from flovia.insights.fold import position_of
from flovia.insights.join import CONVERTED, INSIGHTS, join
from flovia.insights.joined import SCHEMA, TYPE, Kept, envelope, joined_event, line, schema
from flovia.insights.sql_joined import began, changed, last_changed
from flovia.insights.store import prepare, read_state
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from tests.insights.folding import Book
from tests.insights.living import attempt, many_attempts, put, wipe
from tests.insights.test_attempts import gated
from tests.insights.test_join import ANY_EVENTS, scenario, unpaid
from tests.insights.test_join import OUTCOMES as STORIES


def strict() -> dict[str, Any]:
    """The published schema, by which a member that it does not name is a mistake, and one that is missing too."""
    found: dict[str, Any] = copy.deepcopy(dict(schema()))
    found["additionalProperties"] = False
    found["required"] = list(found["properties"])
    found["properties"]["provenance"]["additionalProperties"] = False
    return found


VALIDATOR = jsonschema.Draft202012Validator(strict())
PUBLISHED = jsonschema.Draft202012Validator(dict(schema()))


def checked(one: Attempt) -> dict[str, Any]:
    """The joined event of an attempt, valid, and the same when it was read back."""
    event = joined_event(one, "c|first")
    VALIDATOR.validate(event)
    again: dict[str, Any] = json.loads(line(event))
    assert event == again
    return again


def only(events: Sequence[Event]) -> Attempt:
    """The one attempt that the events tell of."""
    (found,) = attempts(events)
    return found


def test_the_schema_is_one() -> None:
    """It is a schema of its version, and a member that it does not name is no mistake to whoever uses it."""
    jsonschema.Draft202012Validator.check_schema(dict(schema()))
    assert SCHEMA == schema()["$id"]
    event = joined_event(only(unpaid()))
    PUBLISHED.validate({**event, "flavour": "new"})
    with pytest.raises(jsonschema.ValidationError, match="flavour"):
        VALIDATOR.validate({**event, "flavour": "new"})
    with pytest.raises(jsonschema.ValidationError, match="requestId"):
        PUBLISHED.validate({name: value for name, value in event.items() if name != "requestId"})


def test_the_vocabulary() -> None:
    """What an insight, outcome, kind, state and provenance can be is in the schema, the first insight first."""
    of: Any = schema()["properties"]
    assert CONVERTED == of["insight"]["enum"][0]
    assert sorted(INSIGHTS) == sorted(of["insight"]["enum"])
    assert [OUTCOMES[insight] for insight in of["insight"]["enum"]] == of["outcome"]["enum"]
    assert list(KINDS) == of["kind"]["enum"]
    assert {*STATES.values(), "underpaid", "overpaid"} == set(of["state"]["enum"])
    for fact in of["provenance"]["properties"].values():
        assert list(PROVENANCES) == fact["enum"]


@given(ANY_EVENTS)
def test_any_events(events: list[Event]) -> None:
    """Whatever the events are, each joined event is valid, and so is the short form of the same."""
    for one in attempts(events):
        checked(one)
    for joined in join(events):
        PUBLISHED.validate(joined.to_json())


@given(st.lists(st.sampled_from(STORIES), max_size=6))
def test_whole_stories(chosen: list[tuple[list[str], str]]) -> None:
    """Those that a gate writes, too, each with the words of its end."""
    events = [one for number, (steps, _) in enumerate(chosen) for one in gated(scenario(number, steps))]
    found = [checked(one) for one in attempts(events)]
    assert [words for _, words in chosen] == [one["insight"] for one in found if one["kind"] != "money"]


@given(many_attempts(at=st.floats(0, 2e9)))
def test_made_up_attempts(found: list[Attempt]) -> None:
    """Those of the generators of sessions, too."""
    for one in found:
        checked(one)


def test_what_a_paid_call_says() -> None:
    """All that is known of it, each fact with how it is known; money in base units, as text."""
    event = checked(only(gated(scenario(1, ["settle", "deliver", "part"]))))
    assert "c|challenge-1" == event["attemptId"]
    assert ["req-1-0", "req-1-0-paid", "refund_1"] >= event["requestIds"][:2]
    assert ("100", "40", "usd", "100") == tuple(event[name] for name in ("amount", "refunded", "currency", "price"))
    assert ("partly_refunded", "attempt", "refunded", False) == tuple(
        event[name] for name in ("outcome", "kind", "state", "due")
    )
    assert event["challengedAt"] <= event["presentedAt"] <= event["verifiedAt"] <= event["deliveredAt"]
    assert ("c|first", "declared") == (event["session"], event["workflowRule"])
    assert {"payment": "verified", "price": "verified", "workflow": "declared"}.items() <= event["provenance"].items()
    assert only(gated(scenario(1, ["settle", "deliver", "part"]))).to_json() == {**event, "session": None}


@pytest.mark.parametrize(("said", "named", "known"), [
    ("did:example:payer", "did:example:payer", "declared"),
    (None, "did:example:payer", "verified"),
])  # fmt: skip
def test_whose_word_the_payer_is(said: str | None, named: str, known: str) -> None:
    """The provider's if it alone names somebody with the payment; else the credential's, or the app's."""
    events = [
        attrs.evolve(one, payer=said if one.type == ev.PAYMENT_CONTEXT_ATTACHED else one.payer and named)
        for one in gated(scenario(1, ["settle", "deliver"]))
    ]
    event = checked(only(events))
    assert (named, known) == (event["payer"], event["provenance"]["payer"])


@pytest.mark.parametrize("at", [inf, -inf, nan, 1e300, -5.0])
def test_times_that_are_none(at: float) -> None:
    """JSON has no infinity, and no reader a year 10000: such a time is null, and so is what has no time at all."""
    event = checked(only([attrs.evolve(one, at=at) for one in gated(unpaid())]))
    assert (None, None, None) == (event["at"], event["lastAt"], event["challengedAt"])
    assert "time" not in envelope(event, 7, "urn:flovia")


def test_text_that_is_none() -> None:
    """Half of a surrogate pair is nothing that JSON readers agree on."""
    assert "/a?" == checked(only([attrs.evolve(one, endpoint="/a\ud800") for one in unpaid()]))["endpoint"]


def test_an_envelope() -> None:
    """CloudEvents 1.0, in the words of exported events."""
    found = envelope(joined_event(only(gated(scenario(1, ["settle", "deliver"])))), 12, "api.example.com")
    assert {
        "specversion": "1.0",
        "source": "api.example.com",
        "type": TYPE,
        "subject": "c|challenge-1",
        "datacontenttype": "application/json",
        "dataschema": SCHEMA,
        "sequence": "0000000000000000012",
    }.items() <= found.items()
    assert isinstance(found["time"], str)
    assert found["time"].endswith("Z")
    PUBLISHED.validate(found["data"])
    required = {"specversion", "id", "source", "type"}
    assert required <= set(found)


def test_what_is_known_has_an_id_of_its_own() -> None:
    """The same knowledge has the same id; when something comes, the subject stays, the id changes, sequence grows."""
    before = only(gated(scenario(1, ["settle", "deliver"])))
    after = only(gated(scenario(1, ["settle", "deliver", "refund"])))
    first, same, then = (
        envelope(joined_event(one), position, "urn:flovia") for one, position in ((before, 9), (before, 9), (after, 10))
    )
    assert first == same
    assert first["subject"] == then["subject"]
    assert first["id"] != then["id"]
    assert str(first["sequence"]) < str(then["sequence"])
    assert first["id"] != envelope(joined_event(before), 10, "urn:flovia")["id"]


# --- as they are kept -----------------------------------------------------------------------------------------


def keys(pages: Sequence[Sequence[Kept]]) -> list[str]:
    """The attempts of pages, in their order."""
    return [one.attempt.key for page in pages for one in page]


def head(book: Book) -> int:
    """The position up to which events are folded."""
    return position_of(read_state(book.ledger.database)["cursor"])


@pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
def test_pages_by_time(both: Book) -> None:
    """Every attempt once, the oldest first, also where many began at the same moment, in any size of page."""
    wipe(both)
    found = [attempt(name, at) for name, at in zip("aBÄcdeF", (5.0, 1.0, 1.0, 1.0, 1.0, 9.0, 7.0), strict=True)]
    put(both, found)
    wanted = [one.key for one in sorted(found, key=lambda one: (one.at, one.key))]
    for page in (1, 2, 3, 7, 50):
        pages = list(began(both.ledger.database, page=page))
        assert wanted == keys(pages)
        assert max(map(len, pages)) <= page
    assert ["c|a", "c|F"] == keys(list(began(both.ledger.database, 5.0, 9.0)))
    assert [] == keys(list(began(both.ledger.database, endpoint="/nowhere")))
    assert [] == keys(list(began(both.ledger.database, position=0)))
    (first,) = next(began(both.ledger.database, page=1))
    assert (found[1], None, 1) == (first.attempt, first.session, first.position)


@pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
def test_what_changed(both: Book) -> None:
    """Whoever follows the folds sees the last word on every attempt, and nothing twice without a reason."""
    wipe(both)
    database, start = both.ledger.database, head(both)
    whole = gated(scenario(1, ["settle", "deliver", "refund"]))
    both.write(whole[:-1] + gated(scenario(2, [])) + gated(scenario(0, [])))
    both.fold()
    middle = head(both)
    assert ["c|challenge-1", "r|req-2-0", "r|req-0-0"] == keys(list(changed(database, start, middle, page=1)))
    assert [] == list(changed(database, middle, middle))
    assert ["r|req-2-0", "r|req-0-0"] == keys([last_changed(database, start, middle, 2)])
    assert keys(list(changed(database, start, middle))) == keys([last_changed(database, start, middle, 9)])
    assert [] == last_changed(database, middle, middle, 9)
    both.write(whole[-1:])
    both.fold()
    (page,) = changed(database, middle, head(both))
    assert [("c|challenge-1", "payment refunded", head(both))] == [
        (one.attempt.key, one.attempt.insight, one.position) for one in page
    ]
    assert [] == list(changed(database, middle, head(both), endpoint="/nowhere"))


@settings(max_examples=25)  # each writes and folds a whole book, in many pieces
@given(st.lists(st.integers(1, 9), max_size=12), st.randoms(use_true_random=False))
def test_following_misses_nothing(book: Book, sizes: list[int], random: Any) -> None:
    """Events that mix and come in pieces, folded in batches: what was seen last of each attempt is what is kept."""
    wipe(book)
    events = [
        one for number, (steps, _) in enumerate(random.sample(STORIES, 5)) for one in gated(scenario(number, steps))
    ]
    random.shuffle(events)
    seen: dict[str, Attempt] = {}
    position = head(book)
    for size in [*sizes, len(events)]:
        book.write(events[:size])
        del events[:size]
        book.fold(limit=3)
        for page in changed(book.ledger.database, position, head(book), page=2):
            seen |= {one.attempt.key: one.attempt for one in page}
        position = head(book)
    kept = {one.key: one for one in book.attempts()}
    assert kept == {key: seen[key] for key in kept}


def test_the_index_of_what_changed_comes_later(tmp_path: Any) -> None:
    """Tables that were made without it get it, and stay of their version."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    for drop in (True, False):
        ledger = open_ledger(url)
        assert isinstance(ledger, SqlLedger)
        with closing(ledger):
            prepare(ledger.database)
            with ledger.database.write() as connection:
                names = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'index'")).all()
                assert "flovia_attempts_changed" in names
                if drop:
                    connection.execute(text("DROP INDEX flovia_attempts_changed"))
