"""Money that went back without a refund of ours: on record once, and never asked for again in silence."""

import logging
from collections.abc import Callable
from typing import Final, cast

from flovia.core import events as ev
from flovia.core.effects import Flow
from flovia.core.errors import LedgerError
from flovia.core.events import EventRow
from flovia.core.guard import LedgerVerbs
from flovia.core.owed import FindPaid, NoteRefund, NoteResult, PaidView
from flovia.core.passage import Trace
from flovia.core.provider import PaidBack

_log = logging.getLogger("flovia")

TRIES: Final = 5


def refusal_of(proof: str, key: str, ledger: LedgerVerbs) -> Flow[str | None]:
    """The problem to answer with where a used proof is money that is being given back, or was; else None.

    ``key``: of the payment that the proof was presented for.
    """
    found = yield from find_paid(proof, ledger)
    if found is None:
        return None
    if found.refund == "refunded":
        return "payment-refunded"
    # It was meant for this very challenge: nobody is asked to pay that once more while somebody gives it back.
    return "refund-due" if found.refund is not None and found.key.startswith(f"{key}|") else None


def record_returned(
    proof: str, money: tuple[int, str], told: Callable[[str], EventRow], ledger: LedgerVerbs | None = None
) -> Flow[None]:
    """Put a refund that was made elsewhere on record, unless it is known.

    Args:
        proof: of the payment.
        money: what went back, base units and currency.
        told: the event, by the payment's key, "" where nobody has presented it; written with the record or not at all.
        ledger: called on the spot where it never waits; without it, as effects.

    Raises:
        LedgerError: the ledger does not answer; whether it was written is unknown, and doing it again does no harm.
    """
    for _ in range(TRIES):
        found = yield from find_paid(proof, ledger)
        key = found.key if found is not None else ""
        note = (key, proof, *money, (told(key),))
        if ledger is not None and ledger.direct:
            noted = ledger.note_refund(*note)
        else:
            noted = cast("NoteResult", (yield NoteRefund(*note)))
        if noted != "moved":
            return
    raise LedgerError("a payment changes its key all the time")


def note_returned(trace: Trace, at: float, method: str, back: PaidBack, ledger: LedgerVerbs) -> Flow[None]:
    """Put on record what a provider says about the payment of a credential, and name that in the request's events.

    Raises:
        LedgerError: as :func:`record_returned`.
    """
    if not _is_sane(back):
        _log.error("a provider said PaidBack with a reference, amount or currency that is none; nothing is recorded")
        return
    trace.payment_id = back.reference
    if back.amount is None:
        return
    money = back.amount, back.currency.lower()
    asked = trace.offer_amount, trace.offer_currency
    trace.offer_amount, trace.offer_currency = money
    trace.note(ev.PAYMENT_REFUNDED, at)
    trace.offer_amount, trace.offer_currency = asked
    *before, refunded = trace.take()
    trace.rows.extend(before)
    yield from record_returned(f"{method}|{back.reference}", money, lambda _: refunded, ledger)


def find_paid(proof: str, ledger: LedgerVerbs | None) -> Flow[PaidView | None]:
    """The payment that used a proof; the ledger is called on the spot where it never waits."""
    if ledger is not None and ledger.direct:
        return ledger.find_paid(proof)
    return cast("PaidView | None", (yield FindPaid(proof)))


def _is_sane(back: PaidBack) -> bool:
    texts = (cast("object", back.reference), cast("object", back.currency))
    named = all(isinstance(text, str) and text for text in texts)
    return named and (back.amount is None or (type(back.amount) is int and back.amount > 0))
