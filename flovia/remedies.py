"""What a person does about a finding of the integrity queue: let it be delivered again, or say that it is explained.

Giving money back is :meth:`flovia.Flovia.refund`. Whoever does one of them is named in the event of it, which is
written in the transaction of the change.
"""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, cast

import attrs

from flovia import entropy
from flovia.core import events as ev
from flovia.core.errors import CallerError, WiringError
from flovia.core.events import EventRow
from flovia.core.operator import Operator
from flovia.core.owed import challenge_of
from flovia.core.refunding import moved_event

if TYPE_CHECKING:
    from flovia.insights.attempt import Attempt
    from flovia.ledger.base import Ledger
    from flovia.ledger.reopening import Reopening
    from flovia.ledger.sql import SqlLedger

MOST: Final = 50
"""Attempts that one id may lead to."""
_CLAIMED_S: Final = 5.0
_LOOK_S: Final = 0.1
Explained = Literal["explained", "explained_before", "not_due", "several", "unknown"]


@attrs.frozen(kw_only=True)
class Explanation:
    """What became of an explanation.

    * ``explained``: it is on record, and the attempt is out of the queue.
    * ``explained_before``: it was out of it already; nothing was written.
    * ``not_due``: nothing needs somebody there; nothing was written.
    * ``several``: the id leads to more than one attempt that is due: name the payment of one.
    * ``unknown``: nothing here has this id.

    ``attempts``: those that the id leads to, as they were before.
    """

    outcome: Explained
    attempts: Sequence["Attempt"] = ()


@attrs.frozen(kw_only=True)
class Redelivery:
    """What became of a redelivery: ``reopening`` is None if the id leads to no payment, or to ``several``."""

    reopening: "Reopening | None" = None
    several: bool = False
    challenge_id: str = ""
    payment_id: str = ""


def with_database(ledger: "Ledger") -> "SqlLedger":
    """The same ledger, if it is in a database.

    Raises:
        WiringError: it is not.
    """
    if not hasattr(ledger, "database"):
        raise WiringError("this ledger is not in a database, so nobody can look after it: FLOVIA_LEDGER=sqlite:///…")
    return cast("SqlLedger", ledger)


def find_attempts(ledger: "SqlLedger", ident: str) -> list["Attempt"]:
    """The attempts that an id leads to: an attempt's own, that of a payment, a challenge, a request, the provider's.

    Those that are due come first. Events that are new are read before.

    Raises:
        CallerError: the id is empty.
        LedgerError: the ledger does not answer.
    """
    from flovia.insights.sql_choosing import find
    from flovia.ledger.history import look_up
    from flovia.reports.reading import fold_new

    if not ident.strip():
        raise CallerError("the id is empty: is the variable set that it was to come from?")
    fold_new(ledger)
    database = ledger.database
    kept = find(database, ident, MOST)
    if not kept:
        kept = [one for challenge in look_up(database, ident).challenge_ids for one in find(database, challenge, MOST)]
    return sorted((one.attempt for one in kept), key=lambda one: (not one.due, one.at, one.key))


def explain(ledger: "SqlLedger", ident: str, by: Operator) -> Explanation:
    """Say that nothing is to be done about a finding, and why; it is out of the queue then.

    It is one event, ``payment.explained``; nothing else changes. Money that is due stays due in the ledger, and can
    still be given back or delivered. Something that happens later and needs somebody anew puts it into the queue again.

    Args:
        ledger: in a database.
        ident: of the attempt, the payment, the challenge or a request.
        by: who says so, and why; the note may not be empty.

    Raises:
        CallerError: the note is empty.
        LedgerError: the ledger does not answer.
    """
    from flovia.insights.explaining import explained_event

    if not by.note:
        raise CallerError("say why nothing is to be done: the note is empty")
    mine = f"explain_{entropy.token()}"
    while True:
        found = find_attempts(ledger, ident)
        due = [one for one in found if one.due]
        if len(due) != 1:
            before = any(one.explained for one in found)
            known: Explained = "explained_before" if before else "not_due" if found else "unknown"
            return Explanation(outcome="several" if due else known, attempts=found)
        # Of many who explain it at once one does it, and the others read that. One that dies in between is not waited
        # for long.
        if ledger.remember("explaining", due[0].key, mine, _CLAIMED_S, True) == mine:
            break
        time.sleep(_LOOK_S)
    event = explained_event(due[0], ledger.now(), mine, by)
    _write(ledger, (event.to_row(),))
    return Explanation(outcome="explained", attempts=due)


def redeliver(
    ledger: "SqlLedger", ident: str, by: Operator | None = None, *, force: bool = False, fence: int | None = None
) -> Redelivery:
    """Make a payment that was taken and not delivered redeemable again, on record as ``payment.reopened``.

    Args:
        ledger: in a database.
        ident: of the challenge, the payment or a request.
        by: who wants it.
        force: end a delivery that still holds its lease; if it is alive, the same may be delivered twice.
        fence: that of the payment's row when whoever wants it looked; None for now. Of many who want it at once it is
            one who does it.

    Raises:
        CallerError: the id is empty.
        LedgerError: the ledger does not answer.
    """
    from flovia.ledger.history import look_up
    from flovia.ledger.reopening import reopen

    history = look_up(ledger.database, ident)
    rows = [row for row in history.payments if str(row["key"]).count("|") == 1]
    if len(rows) != 1:
        return Redelivery(several=bool(rows))
    (row,) = rows
    key, payment_id = str(row["key"]), str(row["payment_id"] or "")
    told = next((one for one in history.events if one.provider), None)
    provider, rail = (told.provider or "", told.rail or "") if told is not None else ("", "")
    money = int(str(row["amount"] or "0")), str(row["currency"] or "")
    id_ = (f"redeliver_{entropy.token()}", 1)
    paid = (challenge_of(key), payment_id)
    event = moved_event(ev.PAYMENT_REOPENED, ledger.now(), id_, provider, rail, money, paid, by).to_row()
    seen = cast(int, row["fence"]) if fence is None else fence
    result = reopen(ledger, key, (event,), force=force, fence=seen)
    return Redelivery(reopening=result, challenge_id=challenge_of(key), payment_id=payment_id)


def explained_payments(ledger: "SqlLedger", challenges: Iterable[str]) -> set[tuple[str, str]]:
    """Of the attempts for these challenges those that are explained: challenge id and payment id ("" if unknown).

    From events, so it can be asked where no report was ever made.

    Raises:
        LedgerError: the ledger does not answer.
    """
    from flovia.insights.attempt import attempts
    from flovia.insights.gathering import MOST_RELATED
    from flovia.ledger.related import RelatedEvents, explained_challenges

    said = explained_challenges(ledger, set(challenges))
    if not said:
        return set()
    source, none = RelatedEvents(ledger), range(0)
    about = source.of_challenges(said, MOST_RELATED, none)
    if len(about) >= MOST_RELATED:
        return set()  # what ends an explanation may be among those that were left out
    requests = {event.request_id for _, event in about}
    events = dict([*about, *source.of_requests(requests, MOST_RELATED, none)])
    return {(one.challenge_id or "", one.payment_id or "") for one in attempts(events.values()) if one.explained}


def _write(ledger: "SqlLedger", events: tuple[EventRow, ...]) -> None:
    def work() -> None:
        with ledger.database.write() as connection:
            ledger.insert_events(connection, events)

    ledger.database.call(work)
