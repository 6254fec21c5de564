"""Keeping the sessions of a ledger's database right: what changed is made again, lane by lane, in short transactions.

What is there in the end is what :func:`flovia.insights.sessions.sessions` makes of all attempts, whatever the order in
which these came. An attempt that comes late may join two sessions. Any number of processes may do this at once.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

import attrs
from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, not_, or_, select, text, update

from flovia.core.errors import CallerError
from flovia.insights.asking import TEST_PROVIDERS
from flovia.insights.lanes import ALWAYS, mark
from flovia.insights.schema import ATTEMPTS, HAS_WORKFLOW, IS_ATTEMPT, STATE
from flovia.insights.session_rows import Rows, read_session
from flovia.insights.sessions import GAP_S, Lane, Run, Visit, in_turn, visit
from flovia.insights.sessions_schema import OWNERS, SESSIONS, STALE_LANES
from flovia.insights.sql_text import by_code
from flovia.insights.store import Database, read_state

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

PAGE: Final = 400
"""Attempts of one transaction: so few that no paid request waits long for it."""
_LANES: Final = 100
_LOCK: Final = 0x666C6F7669610003
_GAP: Final = "session_gap_s"
_REGAP: Final = "session_gap_todo"
_TEST: Final = ATTEMPTS.c.provider.in_(TEST_PROVIDERS)
_KIND: Final = {True: _TEST, False: or_(ATTEMPTS.c.provider.is_(None), not_(_TEST))}
_AFTER: Final = or_(
    ATTEMPTS.c.at > bindparam("since"),
    and_(ATTEMPTS.c.at == bindparam("since"), by_code(ATTEMPTS.c.key) > bindparam("since_key")),
)
_FACTS: Final = (
    select(
        *(ATTEMPTS.c[name] for name in ("at", "key", "presented_at", "verified_at", "delivered_at", "endpoint")),
        *(ATTEMPTS.c[name] for name in ("payer", "workflow", "provider", "amount", "currency", "refunded")),
    )
    .where(IS_ATTEMPT, ATTEMPTS.c.at >= bindparam("since"), _AFTER)
    .order_by(ATTEMPTS.c.at, by_code(ATTEMPTS.c.key))
    .limit(bindparam("at_most"))
)
_OF_LANE: Final = and_(
    SESSIONS.c.workflow == bindparam("workflow"),
    SESSIONS.c.payer == bindparam("payer"),
    SESSIONS.c.test == bindparam("test"),
)
_BEFORE: Final = (
    select(SESSIONS)
    .where(_OF_LANE, SESSIONS.c.started_at <= bindparam("since"))
    .order_by(SESSIONS.c.started_at.desc(), by_code(SESSIONS.c.key).desc())
    .limit(1)
)
_STORED: Final = select(SESSIONS.c.key, SESSIONS.c.started_at).where(
    _OF_LANE, SESSIONS.c.started_at >= bindparam("since"), SESSIONS.c.started_at <= bindparam("until")
)
_MARK: Final = and_(
    STALE_LANES.c.workflow == bindparam("of_workflow"),
    STALE_LANES.c.payer == bindparam("of_payer"),
    STALE_LANES.c.test == bindparam("of_test"),
)


def keep_sessions(database: Database, gap_s: float | None = None, *, page: int = PAGE) -> int:
    """Make the sessions of all that changed since the last time; how many lanes that were.

    Args:
        database: where the attempts are.
        gap_s: seconds without anything that end a session; another value than before makes all sessions anew. None
            for that of the last time, and at first 300.
        page: attempts of one transaction.

    Raises:
        CallerError: the gap is no length of time.
        LedgerError: the database does not answer; what was made is kept.
    """
    if gap_s is not None and not 0 < gap_s <= 86400:
        raise CallerError(f"a pause of {gap_s:g} s ends no session; write seconds, at most 86400 (a day)")
    state = read_state(database)
    changed = gap_s is not None and gap_s != float(state.get(_GAP, GAP_S))
    if gap_s is not None and changed:
        database.call(partial(_change_gap, database, gap_s))
    if changed or _REGAP in state:
        _mark_all(database)
    done = 0
    while (more := database.call(partial(_advance_some, database, page))) is not None:
        done += more
    return done


def _change_gap(database: Database, gap_s: float) -> None:
    with database.write() as connection:
        connection.execute(delete(STATE).where(STATE.c.name.in_([_GAP, _REGAP])))
        connection.execute(insert(STATE), [{"name": _GAP, "value": repr(gap_s)}, {"name": _REGAP, "value": ""}])


def _mark_all(database: Database) -> None:
    """Note every lane as stale, so many sessions at a time; who is interrupted goes on where it was."""
    page = select(SESSIONS.c.key, SESSIONS.c.workflow, SESSIONS.c.payer, SESSIONS.c.test).order_by(SESSIONS.c.key)
    after = read_state(database).get(_REGAP, "")
    while rows := database.query(page.where(SESSIONS.c.key > after).limit(_LANES), {}):
        lanes = {Lane(str(workflow), str(payer), bool(test)): ALWAYS for _, workflow, payer, test in rows}
        after = str(rows[-1][0])
        with database.write() as connection:
            mark(connection, lanes)
            connection.execute(update(STATE).where(STATE.c.name == _REGAP).values(value=after))
    with database.write() as connection:
        connection.execute(delete(STATE).where(STATE.c.name == _REGAP))


@attrs.frozen
class _Mark:
    lane: Lane
    since: float
    since_key: str
    until: float

    @property
    def where(self) -> dict[str, object]:
        return {"of_workflow": self.lane.workflow, "of_payer": self.lane.payer, "of_test": int(self.lane.test)}


def _advance_some(database: Database, page: int) -> int | None:
    """Go on with some lanes, in one transaction; how many were ended, None if none is left."""
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        marks = _held(connection)
        if not marks:
            return None
        rows = Rows()
        gap_s = float(connection.scalar(select(STATE.c.value).where(STATE.c.name == _GAP)) or GAP_S)
        ended, left = 0, page
        moved: set[str] = set()
        for one in marks:
            if one.lane.workflow in moved:  # it was marked anew
                continue
            if one.lane.workflow and _redirect(connection, one, rows):
                moved.add(one.lane.workflow)
                continue
            read, over = _advance(connection, one, gap_s, left, rows)
            ended += over
            left -= read
            if left <= 0:
                break
        rows.write(connection)
        return ended


def _held(connection: "Connection") -> list[_Mark]:
    """Some stale lanes, held until the transaction ends."""
    some = select(STALE_LANES).limit(_LANES).with_for_update(skip_locked=True)
    found = connection.execute(some).all()
    if not found:  # what is left somebody else holds: wait for one, holding none
        found = connection.execute(select(STALE_LANES).limit(1).with_for_update()).all()
    return [_Mark(Lane(row.workflow, row.payer, bool(row.test)), row.since, row.since_key, row.until) for row in found]


def _redirect(connection: "Connection", one: _Mark, rows: Rows) -> bool:
    """See to it that attempts without a payer are where they belong; True if the lane is not to be made by itself."""
    workflow = one.lane.workflow
    # The two ends of an index; both at once, or a count, would read all that is between them.
    named = select(ATTEMPTS.c.payer).where(*HAS_WORKFLOW, ATTEMPTS.c.workflow == workflow).limit(1)
    least = connection.scalar(named.order_by(ATTEMPTS.c.payer))
    owner = least if least is not None and least == connection.scalar(named.order_by(ATTEMPTS.c.payer.desc())) else ""
    was = connection.scalar(select(OWNERS.c.payer).where(OWNERS.c.workflow == workflow)) or ""
    if owner != was:
        connection.execute(delete(OWNERS).where(OWNERS.c.workflow == workflow))
        if owner:
            connection.execute(insert(OWNERS), {"workflow": workflow, "payer": owner})
        moved = {Lane(workflow, payer, test): ALWAYS for payer in {owner, was, ""} for test in (False, True)}
        mark(connection, {**moved, one.lane: ALWAYS})
        return True
    if not owner or one.lane.payer:
        return False
    mark(connection, {Lane(workflow, owner, one.lane.test): (one.since, one.until)})
    connection.execute(delete(STALE_LANES).where(_MARK), one.where)
    mine = (SESSIONS.c.workflow == workflow, SESSIONS.c.payer == "", SESSIONS.c.test == int(one.lane.test))
    rows.gone |= set(connection.scalars(select(SESSIONS.c.key).where(*mine)))
    return True


def _advance(connection: "Connection", one: _Mark, gap_s: float, at_most: int, rows: Rows) -> tuple[int, bool]:
    """Make the sessions of a lane again from where they are not right; attempts read, and whether it is done."""
    lane = {"workflow": one.lane.workflow, "payer": one.lane.payer, "test": int(one.lane.test)}
    run: Run | None = None
    since, since_key = one.since, one.since_key
    found = connection.execute(_BEFORE, {**lane, "since": since}).first()
    if found is not None and (found.last_at, found.last_key) <= (since, since_key):
        run = Run.resumed(read_session(connection, found))
    elif found is not None:
        # It has attempts that may have changed: from its beginning, and from the first attempt of that time.
        since, since_key = found.started_at, ""
    visits = _visits(connection, one.lane, since, since_key, at_most)
    over = len(visits) < at_most
    until = ALWAYS[1] if over else visits[-1].at
    stored = {
        key: started
        for key, started in connection.execute(_STORED, {**lane, "since": since, "until": until})
        if run is None or key != run.key
    }
    for one_visit in visits:
        if run is None or not run.takes(one_visit, gap_s):
            if run is not None:
                rows.come[run.key] = run.session()
            if one_visit.at > one.until and one_visit.key in stored:
                # From here on nothing has changed.
                start = in_turn(one_visit)
                stored = {key: started for key, started in stored.items() if (started, key) < start}
                run, over = None, True
                break
            run = Run.begun(one.lane, one_visit)
        else:
            run.add(one_visit)
        rows.join(one_visit.key, run.key, one.lane.rule)
    if run is not None:
        rows.come[run.key] = run.session()
    if over:
        connection.execute(delete(STALE_LANES).where(_MARK), one.where)
    else:
        last = in_turn(visits[-1])
        stored = {key: started for key, started in stored.items() if (started, key) <= last}
        moved = update(STALE_LANES).where(_MARK).values(since=last[0], since_key=last[1])
        connection.execute(moved, one.where)
    rows.gone |= set(stored) - set(rows.come)
    return len(visits), over


def _visits(connection: "Connection", lane: Lane, since: float, since_key: str, at_most: int) -> Sequence[Visit]:
    """The next attempts of a lane."""
    whose: list[ColumnElement[bool]] = [ATTEMPTS.c.payer == lane.payer] if lane.payer else []
    if lane.workflow:
        owner = connection.scalar(select(OWNERS.c.payer).where(OWNERS.c.workflow == lane.workflow))
        if lane.payer in ("", owner):
            whose.append(ATTEMPTS.c.payer.is_(None))
    of = ATTEMPTS.c.workflow == lane.workflow if lane.workflow else ATTEMPTS.c.workflow.is_(None)
    after: dict[str, object] = {"since": since, "since_key": since_key, "at_most": at_most}
    found = [_read(connection, _FACTS.where(of, payer, _KIND[lane.test]), after) for payer in whose]
    return list(islice(merge(*found, key=in_turn), at_most))


def _read(connection: "Connection", facts: "Select[*tuple[object, ...]]", after: dict[str, object]) -> Iterator[Visit]:
    for row in connection.execute(facts, after):
        yield visit(
            at=row.at,
            key=row.key,
            times=(row.presented_at, row.verified_at, row.delivered_at),
            endpoint=row.endpoint,
            payer=row.payer,
            workflow=row.workflow,
            provider=row.provider,
            amount=None if row.amount is None else int(row.amount),
            currency=row.currency,
            refunded=None if row.refunded is None else int(row.refunded),
        )
