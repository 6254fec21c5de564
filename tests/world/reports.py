"""What the reports say: asked of the ledger's database by SQL, and of its events in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from flovia.core.encoding import JsonValue
from flovia.core.events import Event
from flovia.insights.asking import Asked, LeftOut, chosen
from flovia.insights.attempt import ATTEMPT, Attempt, attempts
from flovia.insights.funnel import funnel, latency
from flovia.insights.integrity import count_pending, counted_states, is_asked, queue
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.measures import Cells, measure
from flovia.insights.pricing import pricing
from flovia.insights.retention import Facts as RetentionFacts
from flovia.insights.retention import count as count_retention
from flovia.insights.retention import retention
from flovia.insights.revenue import revenue
from flovia.insights.rollup import measure_days
from flovia.insights.sessions import sessions
from flovia.insights.sql_integrity import count_due_sql, count_pending_sql, queue_sql
from flovia.insights.sql_measures import measure_sql
from flovia.insights.sql_retention import count_sql as count_retention_sql
from flovia.insights.sql_workflows import count_sql as count_workflows_sql
from flovia.insights.workflows import Facts as WorkflowFacts
from flovia.insights.workflows import count as count_workflows
from flovia.insights.workflows import workflows
from flovia.ledger.sql import SqlLedger
from flovia.reports.reading import catch_up
from tests.world.counting import Question

Json = Mapping[str, JsonValue]


class Answers(Protocol):
    """Somebody who answers questions."""

    name: str

    def cells(self, asked: Asked) -> tuple[Cells, LeftOut]:
        """What counts, and what is left out."""
        ...

    def integrity(self, asked: Asked, cells: Cells, now: float) -> tuple[Json, Sequence[Json], int]:
        """The states, the queue, and how long it is."""
        ...

    def retention(self, asked: Asked, now: float) -> RetentionFacts:
        """What retention is worked out from."""
        ...

    def workflows(self, asked: Asked, now: float) -> WorkflowFacts:
        """What workflows are worked out from."""
        ...


@dataclass
class BySql:
    """The kept days and attempts of a SQL ledger."""

    ledger: SqlLedger
    name: str = "SQL"

    def __post_init__(self) -> None:
        self._known, _ = catch_up(self.ledger)
        keep_sessions(self.ledger.database)

    def cells(self, asked: Asked) -> tuple[Cells, LeftOut]:
        """As the command line does it."""
        database = self.ledger.database
        span = (-inf if asked.since is None else asked.since, inf if asked.until is None else asked.until)
        own = measure_sql(database, *span, payers=asked.own) if asked.own else {}
        return chosen(measure_days(database, *span), own, asked, self._known)

    def integrity(self, asked: Asked, cells: Cells, now: float) -> tuple[Json, Sequence[Json], int]:
        """As the command line does it."""
        database = self.ledger.database
        states = counted_states(cells, count_pending_sql(database, asked, now))
        return dict(states), [one.to_json() for one in queue_sql(database, asked)], count_due_sql(database, asked)

    def retention(self, asked: Asked, now: float) -> RetentionFacts:
        """Counted by the database."""
        return count_retention_sql(self.ledger.database, asked, now)

    def workflows(self, asked: Asked, now: float) -> WorkflowFacts:
        """Counted by the database."""
        return count_workflows_sql(self.ledger.database, asked, now)


class ByHand:
    """All events joined in memory."""

    name = "Python"

    def __init__(self, events: Sequence[Event]) -> None:
        self.attempts: list[Attempt] = attempts(events)
        self._sessions = sessions(self.attempts)

    def cells(self, asked: Asked) -> tuple[Cells, LeftOut]:
        """Counted from the attempts."""
        inside = [one for one in self.attempts if asked.is_in_time(one)]
        own = measure(one for one in inside if asked.is_own(one.payer))
        return chosen(measure(inside), own, asked)

    def integrity(self, asked: Asked, cells: Cells, now: float) -> tuple[Json, Sequence[Json], int]:
        """Looked through."""
        states = counted_states(cells, count_pending(self.attempts, asked, now))
        found = queue(self.attempts, asked)
        return dict(states), [one.to_json() for one in found], len(found)

    def retention(self, asked: Asked, now: float) -> RetentionFacts:
        """Counted from sessions."""
        paid = sum(one.verified_at is not None for one in self._alone(asked))
        return count_retention(self._sessions, asked, now, paid)

    def workflows(self, asked: Asked, now: float) -> WorkflowFacts:
        """Counted from sessions."""
        return count_workflows(self._sessions, asked, now, len(self._alone(asked)))

    def _alone(self, asked: Asked) -> list[Attempt]:
        """Attempts in no session."""
        alone = [one for one in self.attempts if one.kind == ATTEMPT and not one.payer and not one.workflow]
        return [one for one in alone if is_asked(one, asked)]


def asked_of(question: Question) -> Asked:
    """A question as the reports know it."""
    return Asked(
        since=None if question.since is None else question.since / 1000,
        until=None if question.until is None else question.until / 1000,
        endpoint=question.endpoint,
        own=() if question.own is None else (f"{question.own}*",),
        test=question.test,
    )


def funnels(cells: Cells, by: Sequence[str]) -> Sequence[Json]:
    """The funnel's rows."""
    return [row.to_json() for row in funnel(cells, by)]


def latencies(cells: Cells, by: Sequence[str]) -> Sequence[Json]:
    """The rows of latency."""
    return [row.to_json() for row in latency(cells, by)]


def revenues(cells: Cells, by: Sequence[str]) -> Sequence[Json]:
    """The rows of revenue."""
    return [row.to_json() for row in revenue(cells, by)]


def prices(cells: Cells) -> Sequence[Json]:
    """The rows of pricing."""
    return [row.to_json() for row in pricing(cells)]


def returning(facts: RetentionFacts, asked: Asked, now: float) -> tuple[Json, Sequence[Json], Sequence[Json]]:
    """Retention, its cohorts by week and by endpoint."""
    found = retention(facts, asked, now)
    return found.to_json(), [one.to_json() for one in found.by_week], [one.to_json() for one in found.by_endpoint]


def together(facts: WorkflowFacts) -> Json:
    """The rows of workflows, each kind under its name."""
    found = workflows(facts)
    kinds = ("workflows", "paths", "transitions", "steps", "endpoints", "pairs")
    return {**found.to_json(), **{name: [row.to_json() for row in getattr(found, name)] for name in kinds}}
