"""The sessions that reports keep beside a ledger's events, as far as the ledger has to look after them.

Their tables are those of :mod:`flovia.insights.sessions_schema`. What is taken away here the next report makes again
from the attempts that are left, of the lanes that are marked as stale: before the attempts are changed, as everywhere.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import Connection, Select, TableClause, column, delete, select, table
from sqlalchemy.dialects import postgresql, sqlite

_PARTS: Final = tuple(
    table(name, column("session")) for name in ("flovia_steps", "flovia_moves", "flovia_session_money")
)
SESSIONS: Final[TableClause] = table(
    "flovia_sessions", *map(column, ("id", "key", "workflow", "payer", "test", "last_at"))
)
STALE_LANES: Final[TableClause] = table(
    "flovia_stale_lanes", *map(column, ("workflow", "payer", "test", "since", "since_key", "until"))
)
OWNERS: Final[TableClause] = table("flovia_workflow_owners", *map(column, ("workflow", "payer")))
TABLES: Final = (*_PARTS, SESSIONS, STALE_LANES, OWNERS)
BATCH: Final = 200
BEGINNING: Final = -1e300
END: Final = 1e300
LaneKey = tuple[str, str, int]
"""Workflow and payer, "" for none; 1 for test money."""


def mark_lanes(connection: Connection, lanes: Iterable[LaneKey], until: float = END) -> None:
    """Note that sessions are to be made again, from the beginning to a time."""
    rows = [
        {"workflow": workflow, "payer": payer, "test": test, "since": BEGINNING, "since_key": "", "until": until}
        for workflow, payer, test in sorted(set(lanes))
    ]
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(STALE_LANES)
    # A later end that somebody else has noted stays: nothing is forgotten, and more is done than needed.
    put = statement.on_conflict_do_update(
        index_elements=["workflow", "payer", "test"],
        set_={"since": BEGINNING, "since_key": "", "until": END},
    )
    connection.execute(put, rows)


def forget_sessions(connection: Connection, names: Collection[str]) -> int:
    """Delete some of a payer's sessions and all else that names it, in the transaction at hand; how many rows went."""
    gone = _delete(connection, select(SESSIONS.c.id).where(SESSIONS.c.payer.in_(names)).limit(BATCH))
    for other in (STALE_LANES, OWNERS):
        gone += connection.execute(delete(other).where(other.c.payer.in_(names))).rowcount
    return gone


def marked_workflows(connection: Connection, after: str) -> list[str]:
    """Some workflows whose attempts without a payer are marked, in order behind ``after``; the marks are held."""
    marks = select(STALE_LANES.c.workflow).where(STALE_LANES.c.payer == "", STALE_LANES.c.workflow > after)
    return list(connection.scalars(marks.order_by(STALE_LANES.c.workflow).limit(BATCH).with_for_update()))


def forget_workflows(connection: Connection, workflows: Collection[str]) -> None:
    """Delete all that names workflows which no attempt names any more, in the transaction at hand."""
    if not workflows:
        return
    while _delete(connection, select(SESSIONS.c.id).where(SESSIONS.c.workflow.in_(workflows)).limit(BATCH)):
        pass
    for other in (STALE_LANES, OWNERS):
        connection.execute(delete(other).where(other.c.workflow.in_(workflows)))


def prune_sessions(connection: Connection, keys: Collection[str], end: float) -> None:
    """Delete the sessions of attempts that are about to be deleted, in the transaction at hand.

    Args:
        connection: of the transaction.
        keys: of the sessions.
        end: what began before this (Unix seconds) is to go; a session that goes on behind it is made again.
    """
    for start in range(0, len(keys), BATCH):
        part = sorted(keys)[start : start + BATCH]
        lane = select(SESSIONS.c.workflow, SESSIONS.c.payer, SESSIONS.c.test, SESSIONS.c.last_at)
        rows = connection.execute(lane.where(SESSIONS.c.key.in_(part))).all()
        over = {(row.workflow, row.payer, row.test) for row in rows if row.last_at >= end}
        # Perhaps another payer is the only one left that names this workflow.
        mark_lanes(connection, over | {(row.workflow, "", row.test) for row in rows if row.workflow}, end)
        _delete(connection, select(SESSIONS.c.id).where(SESSIONS.c.key.in_(part)))


def _delete(connection: Connection, ids: Select[tuple[Any]]) -> int:
    found = list(connection.scalars(ids))
    if found:
        for part in _PARTS:
            connection.execute(delete(part).where(part.c.session.in_(found)))
        connection.execute(delete(SESSIONS).where(SESSIONS.c.id.in_(found)))
    return len(found)
