"""Noting whose sessions are not right any more, in the transaction that changes their attempts.

Before the attempts: the pass that makes sessions holds a lane's row first, too, so that neither waits for the other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import case, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from flovia.insights.asking import TEST_PROVIDERS
from flovia.insights.schema import ATTEMPTS, IS_ATTEMPT
from flovia.insights.sessions import Lane
from flovia.insights.sessions_schema import END_OF_TIME, NO_TIME, STALE_LANES

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MANY: Final = 400
Span = tuple[float, float]
ALWAYS: Final[Span] = (NO_TIME, END_OF_TIME)
_WAS: Final = select(ATTEMPTS.c.workflow, ATTEMPTS.c.payer, ATTEMPTS.c.provider, ATTEMPTS.c.at).where(
    IS_ATTEMPT, or_(ATTEMPTS.c.payer.is_not(None), ATTEMPTS.c.workflow.is_not(None))
)


def mark_changed(connection: "Connection", keys: Collection[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Note the lanes of attempts that go, and of those that come in their place, in the transaction at hand.

    Args:
        connection: of the transaction.
        keys: of the attempts that go.
        rows: the columns of those that come.
    """
    spans: dict[Lane, Span] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), _MANY):
        found = connection.execute(_WAS.where(ATTEMPTS.c.key.in_(wanted[start : start + _MANY])))
        for workflow, payer, provider, at in found:
            _widen(spans, workflow, payer, provider, at)
    for row in rows:
        if row["kind"] == "attempt" and (row["payer"] or row["workflow"]):
            _widen(spans, row["workflow"], row["payer"], row["provider"], row["at"])
    mark(connection, spans)


def mark(connection: "Connection", spans: Mapping[Lane, Span]) -> None:
    """Note lanes as stale, each between two times in Unix seconds."""
    if not spans:
        return
    rows: Sequence[dict[str, object]] = [
        {
            "workflow": lane.workflow,
            "payer": lane.payer,
            "test": int(lane.test),
            "since": since,
            "since_key": "",
            "until": until,
        }
        for lane, (since, until) in sorted(spans.items(), key=lambda one: (one[0].workflow, one[0].payer, one[0].test))
    ]
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(STALE_LANES)
    new, old = insert.excluded, STALE_LANES.c
    put = insert.on_conflict_do_update(
        index_elements=[old.workflow, old.payer, old.test],
        set_={
            "since": case((new.since < old.since, new.since), else_=old.since),
            "since_key": case((new.since <= old.since, new.since_key), else_=old.since_key),
            "until": case((new.until > old.until, new.until), else_=old.until),
        },
    )
    connection.execute(put, rows)


def _widen(spans: dict[Lane, Span], workflow: object, payer: object, provider: object, at: object) -> None:
    lane = Lane(str(workflow or ""), str(payer or ""), provider in TEST_PROVIDERS)
    when = cast("float", at)
    since, until = spans.get(lane, (when, when))
    spans[lane] = min(since, when), max(until, when)
