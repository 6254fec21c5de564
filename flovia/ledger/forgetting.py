"""Forgetting a person: the payer and the workflows of events are taken out; what moved and where it went stays.

In batches, so that paid requests go on meanwhile, and as often as one likes: what was forgotten is not there any more.
"""

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import attrs
from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select, update

from flovia.core.hiding import PREFIX
from flovia.ledger.attempts import forget_attempts, named_payers
from flovia.ledger.sql_parts import challenge_part
from flovia.ledger.sql_schema import ANSWERS, DEAD_LETTERS, EVENTS, PAYMENTS, PROOFS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

WINDOW: Final = 5000
BATCH: Final = 200
_NEWEST: Final = select(EVENTS.c.position).order_by(EVENTS.c.position.desc()).limit(1)
_PAYER_IN_RECORD: Final = 1
"""Where :func:`flovia.core.settlement.write_record` puts it."""


@attrs.frozen(kw_only=True)
class Forgotten:
    """How many rows were changed; ``answers``: taken away."""

    events: int = 0
    payments: int = 0
    dead_letters: int = 0
    answers: int = 0
    attempts: int = 0


def forget(database: "Database", names: Collection[str], hide: Callable[[str], str] | None = None) -> Forgotten:
    """Take a payer out of everything that names it, and take away the stored answers of its payments.

    Args:
        database: of the ledger.
        names: what the payer is called: in clear, and as ``hide`` has written it.
        hide: what to write in its place; None for nothing at all.

    Raises:
        LedgerError: the ledger does not answer; run it again.
    """
    newest = database.query(_NEWEST, {})
    end = int(newest[0][0] or 0) if newest else 0
    events = answers = 0
    for start in range(0, end, WINDOW):
        inside = (EVENTS.c.position > start, EVENTS.c.position <= start + WINDOW)
        found = select(EVENTS.c.request_id, EVENTS.c.challenge_id).where(*inside, EVENTS.c.payer.in_(names))
        rows = database.query(found.distinct(), {})
        requests = {str(request) for request, _ in rows}
        challenges = sorted({str(challenge) for _, challenge in rows if challenge is not None})
        for at in range(0, len(challenges), BATCH):
            # Before the events: it is they who tell whose answers these are, should this end here.
            answers += database.call(partial(_answers, database, challenges[at : at + BATCH]))
            # Also the request that was asked to pay: it is the same agent's.
            asked = select(EVENTS.c.request_id).where(EVENTS.c.challenge_id.in_(challenges[at : at + BATCH]))
            requests |= {str(row[0]) for row in database.query(asked.distinct(), {})}
        ordered = sorted(requests)
        for at in range(0, len(ordered), BATCH):
            events += database.call(partial(_events, database, names, ordered[at : at + BATCH], hide))
    payments, dead_letters = _records(database, names), _dead(database, names)
    attempts = forget_attempts(database, names, hide)
    return Forgotten(events=events, payments=payments, dead_letters=dead_letters, answers=answers, attempts=attempts)


def hides_names(database: "Database") -> bool:
    """Whether there is an event that names its payer by a keyed hash."""
    hashed = func.substr(EVENTS.c.payer, 1, len(PREFIX)) == PREFIX
    return bool(database.query(select(EVENTS.c.position).where(hashed).limit(1), {}))


def hash_names(database: "Database", hide: Callable[[str], str]) -> Forgotten:
    """Write ``hide`` of each payer that events and attempts name in clear in its place; nothing else is changed.

    What is kept for a redelivery stays, because the handler is still to know its payer, and so do stored answers.

    Raises:
        LedgerError: the ledger does not answer; run it again.
    """
    newest = database.query(_NEWEST, {})
    end = int(newest[0][0] or 0) if newest else 0
    clear = func.substr(EVENTS.c.payer, 1, len(PREFIX)) != PREFIX
    events = attempts = 0
    for start in range(0, end, WINDOW):
        inside = (EVENTS.c.position > start, EVENTS.c.position <= start + WINDOW)
        found = select(EVENTS.c.payer).where(*inside, EVENTS.c.payer.is_not(None), clear).distinct()
        names = [str(row[0]) for row in database.query(found, {})]
        for at in range(0, len(names), BATCH):
            events += database.call(partial(_hash, database, inside, names[at : at + BATCH], hide))
    while names := named_payers(database):
        attempts += forget_attempts(database, names, hide)
    return Forgotten(events=events, attempts=attempts)


def _hash(
    database: "Database", inside: Sequence[ColumnElement[bool]], names: Sequence[str], hide: Callable[[str], str]
) -> int:
    put = update(EVENTS).where(*inside, EVENTS.c.payer == bindparam("of_payer"))
    with database.write() as connection:
        return sum(connection.execute(put, {"of_payer": one, "payer": hide(one)}).rowcount for one in names)


def _answers(database: "Database", challenges: Sequence[str]) -> int:
    """What was delivered for these challenges, and kept for a request that comes again."""
    keys = select(PROOFS.c.key).where(challenge_part(PROOFS.c.key).in_(challenges))
    with database.write() as connection:
        return connection.execute(delete(ANSWERS).where(ANSWERS.c.key.in_(keys))).rowcount


def _events(
    database: "Database",
    names: Collection[str],
    requests: Sequence[str],
    hide: Callable[[str], str] | None,
) -> int:
    """Of these requests, also where only the workflow is known, as before the payment."""
    # Another payer may have used the same request id.
    theirs = and_(EVENTS.c.request_id.in_(requests), or_(EVENTS.c.payer.is_(None), EVENTS.c.payer.in_(names)))
    changed = 0
    with database.write() as connection:
        if hide is None:
            gone = update(EVENTS).where(theirs, or_(EVENTS.c.payer.is_not(None), EVENTS.c.workflow.is_not(None)))
            return connection.execute(gone, {"payer": None, "workflow": None}).rowcount
        rows = connection.execute(select(EVENTS.c.position, EVENTS.c.payer, EVENTS.c.workflow).where(theirs)).all()
        for position, payer, workflow in rows:
            new = {"payer": payer and hide(payer), "workflow": workflow and hide(workflow)}
            if new != {"payer": payer, "workflow": workflow}:
                put = update(EVENTS).where(EVENTS.c.position == bindparam("of_position"))
                changed += connection.execute(put, {"of_position": position, **new}).rowcount
    return changed


def _records(database: "Database", names: Collection[str]) -> int:
    """What is kept for a redelivery names the payer too."""
    changed = 0
    after = ""
    page = (
        select(PAYMENTS.c.key, PAYMENTS.c.record)
        .where(PAYMENTS.c.record.is_not(None), PAYMENTS.c.record != "", PAYMENTS.c.key > bindparam("after"))
        .order_by(PAYMENTS.c.key)
        .limit(BATCH)
    )
    put = update(PAYMENTS).where(PAYMENTS.c.key == bindparam("of_key"), PAYMENTS.c.record == bindparam("of_record"))
    while rows := database.query(page, {"after": after}):
        after = str(rows[-1][0])
        for key, record in rows:
            found = _read(str(record))
            fields = cast("list[object]", found) if isinstance(found, list) else []
            if len(fields) <= _PAYER_IN_RECORD:
                continue
            if fields[_PAYER_IN_RECORD] not in names:
                continue
            fields[_PAYER_IN_RECORD] = None
            text = json.dumps(fields, separators=(",", ":"))
            with database.write() as connection:
                changed += connection.execute(put, {"of_key": key, "of_record": record, "record": text}).rowcount
    return changed


def _dead(database: "Database", names: Collection[str]) -> int:
    """Events that an exporter could not get rid of are kept as they were sent."""
    changed = 0
    after = 0
    page = (
        select(DEAD_LETTERS.c.number, DEAD_LETTERS.c.body)
        .where(DEAD_LETTERS.c.number > bindparam("after"))
        .order_by(DEAD_LETTERS.c.number)
        .limit(BATCH)
    )
    put = update(DEAD_LETTERS).where(DEAD_LETTERS.c.number == bindparam("of_number"))
    while rows := database.query(page, {"after": after}):
        after = int(rows[-1][0] or 0)
        for number, body in rows:
            text = json.dumps(_without(_read(str(body)), names), separators=(",", ":"))
            if text != json.dumps(_read(str(body)), separators=(",", ":")):
                with database.write() as connection:
                    changed += connection.execute(put, {"of_number": number, "body": text}).rowcount
    return changed


def _without(value: object, names: Collection[str]) -> object:
    """The same without a payer and what stands beside it about workflows, however deep."""
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, object]", value)
    theirs = found.get("payer") in names
    return {
        name: _without(member, names)
        for name, member in found.items()
        if not (theirs and name in ("payer", "workflow"))
    }


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
