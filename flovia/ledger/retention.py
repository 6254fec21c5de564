"""Which events are past their time, and taking them away."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs
from sqlalchemy import bindparam, delete, func, select

from flovia.core.events import FIELDS, Event
from flovia.core.retention import DAY_S, Retention
from flovia.ledger.sql_events import read_event
from flovia.ledger.sql_schema import EVENTS, META, SINKS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flovia.ledger.sql_database import Database

UNPAID_CURSOR: Final = "unpaid events pruned to"
EVENTS_FLOOR: Final = "events pruned before"
_HEAD: Final = (
    select(EVENTS.c.position, EVENTS.c.at, EVENTS.c.request_id)
    .where(EVENTS.c.position > bindparam("after"), EVENTS.c.position <= bindparam("up_to"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("at_most"))
)
_SLOWEST: Final = select(func.min(SINKS.c.position))
_SINKS: Final = select(SINKS.c.position, SINKS.c.name).order_by(SINKS.c.position, SINKS.c.name)
_NEWEST: Final = select(func.max(EVENTS.c.position))
_META: Final = select(META.c.value).where(META.c.name == bindparam("of_name"))


@attrs.frozen(kw_only=True)
class Doomed:
    """Events past their time, in one batch. ``head`` and ``unpaid``: how far was looked; ``more``: look on from there.

    ``cutoff``: nothing older than this is kept (Unix seconds), 0 if events are kept for ever.
    """

    positions: tuple[int, ...]
    head: int
    unpaid: int
    more: bool
    cutoff: float


@attrs.frozen(kw_only=True)
class Held:
    """Events past their time that some sinks have not got: how many, and the sinks' names, the slowest first."""

    events: int
    sinks: tuple[str, ...]


def unpaid_cursor(database: "Database") -> int:
    """Up to where unpaid events have been looked at."""
    return int(float(_read_meta(database, UNPAID_CURSOR) or 0))


def events_floor(database: "Database") -> float:
    """Events older than this may have been pruned; Unix seconds."""
    return float(_read_meta(database, EVENTS_FLOOR) or 0.0)


def find_doomed(
    database: "Database",
    retention: Retention,
    now: float,
    *,
    head: int = 0,
    unpaid: int = 0,
    limit: int = 512,
    up_to: int | None = None,
) -> Doomed:
    """A batch of events past their time. What a registered exporter has not got yet is not among them.

    With ``up_to`` all of them up to this position are, whoever has them.
    """
    up_to = _exported_up_to(database) if up_to is None else up_to
    doomed: set[int] = set()
    more = False
    cutoff = 0.0
    if retention.events_days is not None:
        cutoff = now - retention.events_days * DAY_S
        rows = _window(database, head, up_to, limit)
        doomed.update(position for position, at, _ in rows if at < cutoff)
        # Positions and times grow together, so once one is young the old ones are at their end.
        more = len(rows) == limit and rows[-1][1] < cutoff
        head = rows[-1][0] if more else head
    if retention.unpaid_events_days is not None:
        young = now - retention.unpaid_events_days * DAY_S
        rows = _window(database, unpaid, up_to, limit)
        old = [row for row in rows if row[1] < young]
        paid = _paid_requests(database, {request_id for _, _, request_id in old})
        doomed.update(position for position, _, request_id in old if request_id not in paid)
        if old:
            unpaid = old[-1][0]
        more = more or len(old) == limit
    return Doomed(positions=tuple(sorted(doomed)), head=head, unpaid=unpaid, more=more, cutoff=cutoff)


def find_held(database: "Database", retention: Retention, now: float) -> Held | None:
    """The events past their time that stay because of sinks; None if there are none."""
    sinks = [(int(position or 0), str(name)) for position, name in database.query(_SINKS, {})]
    newest = int(database.query(_NEWEST, {})[0][0] or 0)
    if retention.for_ever or not sinks:
        return None
    head = sinks[0][0]
    unpaid, more, held = max(head, unpaid_cursor(database)), True, set[int]()
    while more:
        doomed = find_doomed(database, retention, now, head=head, unpaid=unpaid, up_to=newest)
        held.update(doomed.positions)
        head, unpaid, more = doomed.head, doomed.unpaid, doomed.more
    if not held:
        return None
    last = max(held)
    return Held(events=len(held), sinks=tuple(name for position, name in sinks if position < last))


def events_of(database: "Database", doomed: Doomed) -> list[tuple[int, Event]]:
    """The events of a batch, with their positions, in order."""
    columns = select(EVENTS.c.position, *(EVENTS.c[name] for name in FIELDS))
    rows = database.query(columns.where(EVENTS.c.position.in_(doomed.positions)).order_by(EVENTS.c.position), {})
    return [read_event(row) for row in rows]


def remove(database: "Database", connection: "Connection", doomed: Doomed) -> int:
    """Delete a batch and note how far that went, in the transaction at hand; returns how many there were."""
    gone = 0
    if doomed.positions:
        gone = connection.execute(delete(EVENTS).where(EVENTS.c.position.in_(doomed.positions))).rowcount
    notes = {UNPAID_CURSOR: float(doomed.unpaid)} | ({EVENTS_FLOOR: doomed.cutoff} if doomed.cutoff else {})
    for name, value in notes.items():
        statement = database.upsert(META)
        put = statement.on_conflict_do_update(index_elements=[META.c.name], set_={"value": statement.excluded.value})
        connection.execute(put, {"name": name, "value": repr(value)})
    return gone


def _exported_up_to(database: "Database") -> int:
    slowest = database.query(_SLOWEST, {})[0][0]
    newest = database.query(_NEWEST, {})[0][0]
    return min(int(found) for found in (slowest, newest or 0) if found is not None)


def _window(database: "Database", after: int, up_to: int, limit: int) -> Sequence[tuple[int, float, str]]:
    rows = database.query(_HEAD, {"after": after, "up_to": up_to, "at_most": limit})
    return [(cast("int", position), cast("float", at), str(request_id)) for position, at, request_id in rows]


def _paid_requests(database: "Database", requests: Iterable[str]) -> set[str]:
    """Which of these requests belong to a payment: their own, or one whose challenge they were given."""
    wanted = tuple(requests)
    if not wanted:
        return set()
    columns = select(EVENTS.c.request_id, EVENTS.c.challenge_id, EVENTS.c.payment_id)
    rows = database.query(columns.where(EVENTS.c.request_id.in_(wanted)), {})
    challenges = {str(challenge) for _, challenge, _ in rows if challenge is not None}
    paid_for: set[str] = set()
    if challenges:
        statement = select(EVENTS.c.challenge_id).where(
            EVENTS.c.challenge_id.in_(challenges), EVENTS.c.payment_id.is_not(None)
        )
        paid_for = {str(row[0]) for row in database.query(statement.distinct(), {})}
    return {str(request) for request, challenge, payment in rows if payment is not None or challenge in paid_for}


def _read_meta(database: "Database", name: str) -> str | None:
    found = database.query(_META, {"of_name": name})
    return str(found[0][0]) if found else None
