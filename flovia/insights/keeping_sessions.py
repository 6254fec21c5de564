"""Keeping the sessions of a ledger's database right: what changed is made again, lane by lane, in short transactions.

What is there in the end is what :func:`flovia.insights.sessions.sessions` makes of all attempts, whatever the order in
which these came. An attempt that comes late may join two sessions. Any number of processes may do this at once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy import Select, and_, bindparam, delete, exists, insert, not_, or_, select, text, update

from flovia.core.errors import CallerError
from flovia.insights.asking import TEST_PROVIDERS
from flovia.insights.lanes import ALWAYS, mark
from flovia.insights.schema import ATTEMPTS, HAS_WORKFLOW, IS_ATTEMPT, STATE
from flovia.insights.session_rows import Rows, read_session
from flovia.insights.sessions import GAP_S, Lane, Run, Visit, in_turn, visit
from flovia.insights.sessions_schema import CHILDREN, OWNERS, SESSIONS, STALE_LANES
from flovia.insights.sql_text import by_code
from flovia.insights.store import Database, read_state

if TYPE_CHECKING:
    from sqlalchemy import Connection

PAGE: Final = 400
"""Attempts of one transaction: so few that no paid request waits long for it."""
_LANES: Final = 100
_MANY: Final = 20
"""Transactions after which the tables may have become others."""
_LOCK: Final = 0x666C6F7669610003
_GAP: Final = "session_gap_s"
_REGAP: Final = "session_gap_todo"
_TEST: Final = ATTEMPTS.c.provider.in_(TEST_PROVIDERS)
_AFTER: Final = or_(
    ATTEMPTS.c.at > bindparam("since"),
    and_(ATTEMPTS.c.at == bindparam("since"), by_code(ATTEMPTS.c.key) > bindparam("since_key")),
)


def _facts_of(named: bool, workflow: bool, test: bool) -> Select[*tuple[Any, ...]]:
    """The next attempts of a lane. Made once: SQLAlchemy takes longer to put one together than SQLite to answer it."""
    payer = ATTEMPTS.c.payer == bindparam("payer") if named else ATTEMPTS.c.payer.is_(None)
    of = ATTEMPTS.c.workflow == bindparam("workflow") if workflow else ATTEMPTS.c.workflow.is_(None)
    kind = _TEST if test else or_(ATTEMPTS.c.provider.is_(None), not_(_TEST))
    return (
        select(
            *(ATTEMPTS.c[name] for name in ("at", "key", "presented_at", "verified_at", "delivered_at", "endpoint")),
            *(ATTEMPTS.c[name] for name in ("payer", "workflow", "provider", "amount", "currency", "refunded")),
        )
        .where(IS_ATTEMPT, payer, of, kind, ATTEMPTS.c.at >= bindparam("since"), _AFTER)
        .order_by(ATTEMPTS.c.at, by_code(ATTEMPTS.c.key))
        .limit(bindparam("at_most"))
    )


_FACTS: Final = {
    kind: _facts_of(*kind)
    for kind in (
        (True, False, False),
        (True, False, True),
        *((n, True, t) for n in (True, False) for t in (True, False)),
    )
}
_OF_LANE: Final = and_(
    SESSIONS.c.workflow == bindparam("workflow"),
    SESSIONS.c.payer == bindparam("payer"),
    SESSIONS.c.test == bindparam("test"),
)
# Not one that begins at the very moment of the mark and behind it: whoever began with that again would come no further.
_BEFORE: Final = (
    select(SESSIONS)
    .where(
        _OF_LANE,
        SESSIONS.c.started_at <= bindparam("since"),
        or_(SESSIONS.c.started_at < bindparam("since"), by_code(SESSIONS.c.key) <= bindparam("since_key")),
    )
    .order_by(SESSIONS.c.started_at.desc(), by_code(SESSIONS.c.key).desc())
    .limit(1)
)
_STORED: Final = select(SESSIONS.c.key, SESSIONS.c.started_at).where(
    _OF_LANE, SESSIONS.c.started_at >= bindparam("since"), SESSIONS.c.started_at <= bindparam("until")
)
_LANES_HELD: Final = select(
    STALE_LANES,
    exists()
    .where(
        SESSIONS.c.workflow == STALE_LANES.c.workflow,
        SESSIONS.c.payer == STALE_LANES.c.payer,
        SESSIONS.c.test == STALE_LANES.c.test,
    )
    .label("known"),
)
_OWNER: Final = select(OWNERS.c.payer).where(OWNERS.c.workflow == bindparam("workflow"))
_MARK: Final = and_(
    STALE_LANES.c.workflow == bindparam("of_workflow"),
    STALE_LANES.c.payer == bindparam("of_payer"),
    STALE_LANES.c.test == bindparam("of_test"),
)


def keep_sessions(
    database: Database, gap_s: float | None = None, *, page: int = PAGE, between: Callable[[], None] = lambda: None
) -> int:
    """Make the sessions of all that changed since the last time; how many lanes that were.

    Args:
        database: where the attempts are.
        gap_s: seconds without anything that end a session; another value than before makes all sessions anew. None
            for that of the last time, and at first 300.
        page: attempts of one transaction.
        between: called between two transactions, to let others have their turn.

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
    done = rounds = 0
    while (more := database.call(partial(_advance_some, database, page))) is not None:
        done += more
        rounds += 1
        between()
    if rounds > _MANY:
        database.call(partial(_tell_planner, database))
    return done


def _tell_planner(database: Database) -> None:
    """PostgreSQL learns of new rows within a minute, and until then takes the tables for as small as they were."""
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            for table in (SESSIONS, *CHILDREN):
                connection.execute(text(f"ANALYZE {table.name}"))  # our own constant


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
    """``known``: whether the lane has sessions."""

    lane: Lane
    since: float
    since_key: str
    until: float
    known: bool

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
        left = page
        moved: set[str] = set()
        over: list[_Mark] = []
        for one in marks:
            if one.lane.workflow in moved:  # it was marked anew
                continue
            if one.lane.workflow and _redirect(connection, one, rows):
                moved.add(one.lane.workflow)
                continue
            read, is_over = _advance(connection, one, gap_s, left, rows)
            over += [one] if is_over else []
            left -= read
            if left <= 0:
                break
        if over:
            connection.execute(delete(STALE_LANES).where(_MARK), [one.where for one in over])
        rows.write(connection)
        return len(over)


def _held(connection: "Connection") -> list[_Mark]:
    """Some stale lanes, held until the transaction ends."""
    some = _LANES_HELD.limit(_LANES).with_for_update(skip_locked=True, of=STALE_LANES)
    found = connection.execute(some).all()
    if not found:  # what is left somebody else holds: wait for one, holding none
        found = connection.execute(_LANES_HELD.limit(1).with_for_update(of=STALE_LANES)).all()
    return [
        _Mark(Lane(row.workflow, row.payer, bool(row.test)), row.since, row.since_key, row.until, row.known)
        for row in found
    ]


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
    found = connection.execute(_BEFORE, {**lane, "since": since, "since_key": since_key}).first() if one.known else None
    if found is not None and (found.last_at, found.last_key) <= (since, since_key):
        run = Run.resumed(read_session(connection, found))
    elif found is not None:
        # It has attempts that may have changed: from its beginning, and from the first attempt of that time.
        since, since_key = found.started_at, ""
    visits = _visits(connection, one.lane, since, since_key, at_most)
    over = len(visits) < at_most
    until = ALWAYS[1] if over else visits[-1].at
    stored = _stored(connection, {**lane, "since": since, "until": until}, run) if one.known else {}
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
    if not over:
        last = in_turn(visits[-1])
        stored = {key: started for key, started in stored.items() if (started, key) <= last}
        moved = update(STALE_LANES).where(_MARK).values(since=last[0], since_key=last[1])
        connection.execute(moved, one.where)
    rows.gone |= set(stored) - set(rows.come)
    return len(visits), over


def _stored(connection: "Connection", where: dict[str, object], run: Run | None) -> dict[str, float]:
    """When the lane's sessions of some time began, by their keys; without the one that goes on."""
    found = connection.execute(_STORED, where)
    return {key: started for key, started in found if run is None or key != run.key}


def _visits(connection: "Connection", lane: Lane, since: float, since_key: str, at_most: int) -> Sequence[Visit]:
    """The next attempts of a lane."""
    named = [True] if lane.payer else []
    if lane.workflow and lane.payer in ("", connection.scalar(_OWNER, {"workflow": lane.workflow})):
        named.append(False)
    where: dict[str, object] = {"payer": lane.payer, "workflow": lane.workflow}
    where |= {"since": since, "since_key": since_key, "at_most": at_most}
    found = [_read(connection, _FACTS[one, bool(lane.workflow), lane.test], where) for one in named]
    return list(islice(merge(*found, key=in_turn), at_most))


def _read(connection: "Connection", facts: Select[*tuple[Any, ...]], where: dict[str, object]) -> Iterator[Visit]:
    for row in connection.execute(facts, where):
        at, key, presented, verified, delivered, endpoint, payer, workflow, provider, amount, currency, refunded = row
        yield visit(
            at=at,
            key=key,
            times=(presented, verified, delivered),
            endpoint=endpoint,
            payer=payer,
            workflow=workflow,
            provider=provider,
            amount=None if amount is None else int(amount),
            currency=currency,
            refunded=None if refunded is None else int(refunded),
        )
