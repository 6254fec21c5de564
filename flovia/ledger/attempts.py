"""The attempts that reports keep beside a ledger's events, as far as the ledger has to look after them.

Their tables are those of :mod:`flovia.insights.schema`, which knows nothing of the ledger, nor the ledger of it: but
what names a person has to go when the person is forgotten, and what is past its time when that has come. A database
in which no report was ever made has no such tables.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    TableClause,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    not_,
    select,
    table,
    tuple_,
    update,
)

from flovia.core.hiding import PREFIX, WORKFLOW
from flovia.core.retention import DAY_S, Retention
from flovia.ledger.hiding import fields_of
from flovia.ledger.sessions import forget_sessions, forget_workflows, mark_lanes, marked_workflows, prune_sessions

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

_COLUMNS: Final = ("key", "at", "day", "payer", "workflow", "workflow_rule", "session")
ATTEMPTS: Final[TableClause] = table("flovia_attempts", *map(column, _COLUMNS))
LINKS: Final[TableClause] = table("flovia_links", *map(column, ("payment", "link", "at")))
STATE: Final = table("flovia_insights", column("name"), column("value"))
STALE_DAYS: Final = table("flovia_stale_days", column("day"))
BATCH: Final = 200
FLOOR: Final = "floor"
"""In the state table: attempts that began before this (Unix seconds, the start of a day) are not there any more."""


def forget_attempts(database: "Database", names: Collection[str], hide: Callable[[str], str] | None) -> int:
    """Take a payer out of all attempts, with the workflows of theirs; how many were changed.

    To be called when it is out of the events: a fold that has read them before then writes nothing.
    """
    changed = 0
    while more := database.call(partial(_forget, database, names, hide)):
        changed += more
    while database.call(partial(_forget_sessions, database, names)):
        pass
    after: str | None = ""
    while after is not None:
        after = database.call(partial(_forget_workflows, database, after))
    return changed


def has_attempts(database: "Database") -> bool:
    """Whether reports were ever made from this ledger."""
    with database.write() as connection:
        return _there(connection)


def named_payers(database: "Database") -> list[str]:
    """Some payers that attempts name in clear."""
    with database.write() as connection:
        if not _there(connection):
            return []
        clear = func.substr(ATTEMPTS.c.payer, 1, len(PREFIX)) != PREFIX
        found = select(ATTEMPTS.c.payer).where(ATTEMPTS.c.payer.is_not(None), clear).distinct().limit(BATCH)
        return list(connection.scalars(found))


def prune_attempts(connection: Connection, retention: Retention, now: float, at_most: int) -> int:
    """Delete attempts past their time, in the transaction at hand; how many.

    Whole days go, oldest first, and none that has not been counted since it last changed.
    """
    if retention.attempts_days is None or not _there(connection):
        return 0
    end = _end(retention, now)
    if connection.execute(update(STATE).where(STATE.c.name == FLOOR).values(value=str(end))).rowcount == 0:
        connection.execute(insert(STATE).values(name=FLOOR, value=str(end)))
    old = select(ATTEMPTS.c.key).where(*_old(end)).order_by(ATTEMPTS.c.at).limit(at_most)
    theirs = select(ATTEMPTS.c.session).where(ATTEMPTS.c.key.in_(old), ATTEMPTS.c.session.is_not(None))
    prune_sessions(connection, list(connection.scalars(theirs.distinct())), end)
    links = select(LINKS.c.payment, LINKS.c.link).where(LINKS.c.at < end).limit(at_most)
    connection.execute(delete(LINKS).where(tuple_(LINKS.c.payment, LINKS.c.link).in_(links)))
    return connection.execute(delete(ATTEMPTS).where(ATTEMPTS.c.key.in_(old))).rowcount


def count_attempts(database: "Database", retention: Retention, now: float) -> int:
    """How many attempts :func:`prune_attempts` would delete, called until there are none."""
    if retention.attempts_days is None:
        return 0
    with database.write() as connection:
        if not _there(connection):
            return 0
        counted = select(func.count()).select_from(ATTEMPTS).where(*_old(_end(retention, now)))
        return connection.scalar(counted) or 0


def _end(retention: Retention, now: float) -> int:
    """The first moment that is kept: the start of a day."""
    return int((now - (retention.attempts_days or 0) * DAY_S) // DAY_S) * int(DAY_S)


def _old(end: int) -> tuple[ColumnElement[bool], ...]:
    return ATTEMPTS.c.at < end, not_(ATTEMPTS.c.day.in_(select(STALE_DAYS.c.day)))


def _there(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, ATTEMPTS.name)


def _forget(database: "Database", names: Collection[str], hide: Callable[[str], str] | None) -> int:
    with database.write() as connection:
        if not _there(connection):
            return 0
        # The cursor's text changes, so a fold that has read what was here before does not find it and does nothing.
        connection.execute(
            update(STATE).where(STATE.c.name == "cursor").values(value=STATE.c.value.concat(literal(".")))
        )
        theirs = select(ATTEMPTS.c.key, ATTEMPTS.c.payer, ATTEMPTS.c.workflow).where(ATTEMPTS.c.payer.in_(names))
        rows = connection.execute(theirs.limit(BATCH)).all()
        # Attempts that name a workflow and no payer may have counted as this one's.
        lanes = {(workflow, "") for _, _, workflow in rows if workflow is not None}
        if hide is not None:
            lanes |= {(_hidden(workflow, hide) or "", hide(payer)) for _, payer, workflow in rows}
        mark_lanes(connection, ((*lane, test) for lane in lanes for test in (0, 1)))
        put = update(ATTEMPTS).where(ATTEMPTS.c.key == bindparam("of_key"))
        for key, payer, workflow in rows:
            new: dict[str, str | None] = {"payer": None, "workflow": None, "workflow_rule": None, "session": None}
            if hide is not None:
                new = {"payer": hide(payer), "workflow": _hidden(workflow, hide), "session": None}
            connection.execute(put, {"of_key": key, **new})
        return len(rows)


def _hidden(workflow: str | None, hide: Callable[[str], str]) -> str | None:
    return workflow if workflow is None or WORKFLOW not in fields_of(hide) else hide(workflow)


def _forget_sessions(database: "Database", names: Collection[str]) -> int:
    with database.write() as connection:
        return forget_sessions(connection, names) if _there(connection) else 0


def _forget_workflows(database: "Database", after: str) -> str | None:
    """Of some workflows that only marks still name, take the marks away; the last one looked at, None at the end."""
    with database.write() as connection:
        if not _there(connection):
            return None
        marked = marked_workflows(connection, after)
        named = select(ATTEMPTS.c.workflow).where(ATTEMPTS.c.workflow.in_(marked)).distinct()
        # Asked once the marks are held: whoever writes an attempt marks its lane before.
        forget_workflows(connection, set(marked) - set(connection.scalars(named)))
        return marked[-1] if marked else None
