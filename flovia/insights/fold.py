"""Folding: events are read once, in their order, and the attempts that they change are written anew.

What is written after any number of batches is what :func:`flovia.insights.attempt.attempts` makes of all events
at once: late events, repetitions and the size of the batches make no difference. Any number of processes may fold the
same ledger: who finds the cursor moved has done nothing, and reads on from there.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs
from sqlalchemy import Select, select, update

from flovia.core.events import EVENT_TYPES
from flovia.insights.attempt import DAY_S, Attempt, attempt_of
from flovia.insights.gathering import MOST_RELATED, Found, Gathered, Source, TooManyError, gather
from flovia.insights.grouping import challenge_key, grouped
from flovia.insights.schema import ATTEMPTS, LINKS, STALE_DAYS, STATE
from flovia.insights.sealed import carried, stand_ins
from flovia.insights.store import (
    COLUMNS,
    Database,
    add_to_state,
    parts,
    read_attempt,
    read_state,
    values_of,
    write_rows,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH: Final = 1000
"""Events of one transaction: so few that no paid request waits long for it."""
_KNOWN: Final = frozenset(EVENT_TYPES)


@attrs.frozen(kw_only=True)
class Folded:
    """One batch: how many events it read, up to which position, how many attempts it wrote; and whether no more events
    were there when it was read.
    """

    events: int
    position: int
    attempts: int
    last: bool


def fold_batch(source: Source, database: Database, *, limit: int = BATCH, most: int = MOST_RELATED) -> Folded | None:
    """Fold the next events; None if there are no more.

    Args:
        source: the events.
        database: where the attempts are, made ready by :func:`flovia.insights.store.prepare`.
        limit: events to read, at most.
        most: events that may be held at once; the others of an attempt that has more are counted and left out.

    Raises:
        LedgerError: the database does not answer; nothing of the batch was written.
    """
    while True:
        state = read_state(database)
        cursor = state.get("cursor", "0")
        batch = source.read(position_of(cursor), limit)
        if not batch:
            return None
        left_out = 0
        try:
            found = _worked_out(batch, source, database, most)
        except TooManyError:
            if len(batch) > 1:
                limit = len(batch) // 2
                continue
            found, left_out = _Written((), (), {}), 1
        floor = float(state.get("floor", "-inf"))
        unknown = sum(event.type not in _KNOWN for _, event in batch)
        position = batch[-1][0]
        counts = {"crowded": left_out, "unknown": unknown}
        if database.call(lambda: _write(database, cursor, position, found, floor, counts)):  # noqa: B023 - called here
            return Folded(events=len(batch), position=position, attempts=len(found.rows), last=len(batch) < limit)


def position_of(cursor: str) -> int:
    """The position that a cursor's text says. Each dot behind it says that somebody was forgotten meanwhile."""
    return int(cursor.rstrip("."))


@attrs.frozen
class _Written:
    """What a batch changes."""

    keys: Collection[str]
    rows: Sequence[dict[str, object]]
    links: Mapping[tuple[str, str], float]


@attrs.frozen
class _Row:
    """An attempt that was there, and the positions of its oldest and newest event."""

    attempt: Attempt
    first: int
    last: int


class _Links:
    def __init__(self, database: Database) -> None:
        self._database = database

    def linked(self, payments: Collection[str]) -> Collection[str]:
        found: set[str] = set()
        for part in parts(sorted(payments)):
            rows = self._database.query(select(LINKS.c.link).where(LINKS.c.payment.in_(part)).distinct(), {})
            found |= {str(row[0]) for row in rows}
        return found


def _worked_out(batch: Found, source: Source, database: Database, most: int) -> _Written:
    # Of a payment whose events were pruned only the row knows the challenge.
    moved = {event.payment_id for _, event in batch if not event.http_method and event.payment_id is not None}
    also = {
        str(row[0])
        for part in parts(sorted(moved))
        for row in database.query(select(ATTEMPTS.c.challenge_id).where(ATTEMPTS.c.payment_id.in_(part)), {})
        if row[0] is not None
    }
    near = gather(batch, source, _Links(database), also=also, most=most)
    sealed = _sealed(database, near, source)
    keys = near.keys | set(sealed)
    positions = {id(event): position for position, event in near.events.items()}
    told = [event for row in sealed.values() for event in stand_ins(row.attempt)]
    unanswered = {challenge_key(row.attempt.challenge_id or ""): row for key, row in sealed.items() if key[0] == "r"}
    rows: list[dict[str, object]] = []
    for group in grouped([*near.events.values(), *told]):
        if group.key not in keys:
            continue
        attempt = attempt_of(group)
        events = (*(event for request in group.requests for event in request.events), *group.moved)
        mine = [positions[id(event)] for event in events if id(event) in positions]
        old = sealed.get(group.key) or unanswered.get(group.key)
        if old is not None:
            attempt = carried(old.attempt, attempt)
            mine += [old.first, old.last]
        rows.append(values_of(attempt, min(mine), max(mine)))
    return _Written(keys, rows, near.links)


def _sealed(database: Database, near: Gathered, source: Source) -> dict[str, _Row]:
    """The attempts in question whose events are not all there any more."""
    ends: dict[str, tuple[int, int]] = {}
    for column, ids in ((ATTEMPTS.c.key, near.keys), (ATTEMPTS.c.challenge_id, near.challenges)):
        for part in parts(sorted(ids)):
            there = select(ATTEMPTS.c.key, ATTEMPTS.c.first_position, ATTEMPTS.c.last_position).where(column.in_(part))
            rows = database.query(cast("Select[*tuple[object, ...]]", there), {})
            ends |= {str(key): (int(first or 0), int(last or 0)) for key, first, last in rows}
    wanted = {position for pair in ends.values() for position in pair} - set(near.events)
    gone = wanted - source.present(wanted) if wanted else wanted
    found: dict[str, _Row] = {}
    columns = select(*(ATTEMPTS.c[name] for name in COLUMNS))
    for part in parts(sorted(key for key, pair in ends.items() if not gone.isdisjoint(pair))):
        for row in database.query(cast("Select[*tuple[object, ...]]", columns.where(ATTEMPTS.c.key.in_(part))), {}):
            attempt = read_attempt(row)
            found[attempt.key] = _Row(attempt, *ends[attempt.key])
    return found


def _write(
    database: Database, cursor: str, position: int, found: _Written, floor: float, counts: dict[str, int]
) -> bool:
    """Write a batch; False, and nothing is written, if the cursor is not where it was."""
    with database.write() as connection:
        moved = update(STATE).where(STATE.c.name == "cursor", STATE.c.value == cursor).values(value=str(position))
        if connection.execute(moved).rowcount != 1:
            return False
        rows = [row for row in found.rows if float(str(row["at"])) >= floor]
        days = write_rows(connection, found.keys, rows)
        _mark(database, connection, {day for day in days if day * DAY_S >= floor}, position)
        if found.links:
            links = [{"payment": of, "link": link, "at": at} for (of, link), at in sorted(found.links.items())]
            connection.execute(database.upsert(LINKS).on_conflict_do_nothing(), links)
        for name, count in counts.items():
            add_to_state(connection, name, count)
        add_to_state(connection, "too_old", len(found.rows) - len(rows))
    return True


def _mark(database: Database, connection: "Connection", days: Collection[int], position: int) -> None:
    """Note that what was counted for these days is no longer so."""
    if days:
        statement = database.upsert(STALE_DAYS)
        put = statement.on_conflict_do_update(index_elements=[STALE_DAYS.c.day], set_={"mark": statement.excluded.mark})
        connection.execute(put, [{"day": day, "mark": position} for day in sorted(days)])
