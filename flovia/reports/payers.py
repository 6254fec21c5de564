"""The reports about payers: who comes back, and what is used together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from flovia.core.encoding import JsonValue
from flovia.reports.answer import Answer, Row
from flovia.reports.tables import left_out_words
from flovia.words import counted

if TYPE_CHECKING:
    from flovia.insights.asking import Asked, LeftOut
    from flovia.ledger.sql import SqlLedger

LEAST: Final = 5
"""Sessions that must have used two endpoints before anything is said of the pair."""
LIMIT: Final = 10
"""Rows of each kind for people."""
_KNOWN: Final = ("unknownEvents", "crowdedEvents", "tooOld", "prunedEvents", "ownUnmatched")
By = Literal["workflow", "path", "transition", "step", "endpoint", "pair"]


def retention_answer(
    ledger: "SqlLedger", asked: "Asked", known: "LeftOut", now: float, by: Literal["week", "endpoint"]
) -> Answer:
    """Who comes back, of the sessions that are kept."""
    from flovia.insights.retention import retention as ask
    from flovia.insights.sql_retention import count_sql
    from flovia.reports.payers_parts import retention_parts

    facts = count_sql(ledger.database, asked, now)
    found = ask(facts, asked, now)
    cohorts = found.by_week if by == "week" else found.by_endpoint
    words = [
        (facts.own, "of your own payers", None),
        (facts.test, "paid session with the mock provider (--test counts them)", "paid sessions with the mock provider"
         " (--test counts them)"),
        (facts.ahead, "paid session that begins later than now", "paid sessions that begin later than now"),
        (facts.nameless, "paid attempt whose payer nobody knows", "paid attempts whose payer nobody knows"),
        (facts.amountless, "paid attempt without an amount", "paid attempts without an amount"),
    ]  # fmt: skip
    rows = [one.to_json() for one in cohorts]
    counts: dict[str, JsonValue] = {
        name: getattr(facts, name) for name in ("own", "test", "ahead", "nameless", "amountless")
    }
    told = [f"{count} {one if count == 1 or many is None else many}" for count, one, many in words if count]
    told += left_out_words(known)
    return Answer(
        name="retention",
        about="Who comes back with another paid session, when, and who may have gone.",
        asked=asked,
        now=now,
        payload=_payload("retention", asked, {"by": by, **found.to_json(), "rows": list(rows)}, known, counts),
        rows=rows,
        show=lambda: retention_parts(found, cohorts, by),
        left_out=told,
        some=facts.active > 0,
        nothing=lambda place: _nothing("paid session of a known payer", place, told),
    )


def workflows_answer(
    ledger: "SqlLedger", asked: "Asked", known: "LeftOut", now: float, *, by: By, limit: int, least: int
) -> Answer:
    """What is used together, of the sessions that are kept."""
    from flovia.insights.sql_workflows import count_sql
    from flovia.insights.workflows import workflows as ask
    from flovia.reports.payers_parts import workflows_parts

    facts = count_sql(ledger.database, asked, now, least)
    found = ask(facts)
    kinds: dict[str, Sequence[Row]] = {
        "workflow": found.workflows,
        "path": found.paths,
        "transition": found.transitions,
        "step": found.steps,
        "endpoint": found.endpoints,
        "pair": found.pairs,
    }
    words = [
        (facts.alone, "attempt whose payer nobody knows", "attempts whose payer nobody knows"),
        (facts.own, "session of your own payers", "sessions of your own payers"),
        (facts.test, "session with the mock provider (--test counts them)", "sessions with the mock provider (--test"
         " counts them)"),
        (facts.ahead, "session that begins later than now", "sessions that begin later than now"),
    ]  # fmt: skip
    every: dict[str, JsonValue] = {f"{kind}s": [row.to_json() for row in rows] for kind, rows in kinds.items()}
    more = {**found.to_json(), "leastTogether": least, **every}
    counts: dict[str, JsonValue] = {name: getattr(facts, name) for name in ("alone", "own", "test", "ahead")}
    told = [*(counted(count, one, many) for count, one, many in words if count), *left_out_words(known)]
    return Answer(
        name="workflows",
        about="What is used together and in which order, and where sessions end unpaid.",
        asked=asked,
        now=now,
        payload=_payload("workflows", asked, more, known, counts),
        rows=[row.to_json() for row in kinds[by]],
        show=lambda: workflows_parts(found, limit, least),
        left_out=told,
        some=facts.sessions > 0,
        nothing=lambda place: _nothing("session", place, told),
    )


def _payload(
    name: str,
    asked: "Asked",
    more: Mapping[str, JsonValue],
    known: "LeftOut",
    counts: Mapping[str, JsonValue],
) -> dict[str, JsonValue]:
    """All as JSON members. ``counts``: what is not counted, besides what is known of the whole ledger."""
    from flovia.insights.intervals import CONFIDENCE

    left: dict[str, JsonValue] = {what: value for what, value in known.to_json().items() if what in _KNOWN}
    about: dict[str, JsonValue] = {"report": name, "since": asked.since, "until": asked.until}
    return {**about, "confidence": CONFIDENCE, **more, "leftOut": {**left, **counts}}


def _nothing(what: str, place: str, told: Sequence[str]) -> str:
    left = f"; left out: {'; '.join(told)}" if told else ""
    return f"no {what} in {place} that is asked about{left}"
