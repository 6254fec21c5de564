"""Money for a challenge that another payment has paid: it buys nothing, and is owed as soon as it is known.

A challenge may be paid with its own charge or with another proof, such as a saved wallet. Where both were paid, the one
that was settled buys, and the other is a second payment: on record like any other, and never asked for again.
"""

from typing import Final

from flovia.core.candidate import Candidate
from flovia.core.challenge import parse_expires
from flovia.core.effects import ClaimOutcome, Find, Flow, PaymentView, now, token
from flovia.core.guard import LedgerVerbs
from flovia.core.reconcile import Charge, ChargeUnknown, OwnCharge
from flovia.core.reconciling import Run, account_for, ask_charge, sold_otherwise
from flovia.core.returned import find_paid

AGAIN_S: Final = 5
_OVER: Final = frozenset({"foreign", "delivered", "refunded", "expired"})
"""What a claim is told of a payment that is made, by whichever credential."""

Refused = tuple[str, int | None]
"""A problem to refuse with, and after how many seconds to come back."""


def second_payment(candidate: Candidate, outcome: ClaimOutcome, rail: str, ledger: LedgerVerbs) -> Flow[Refused | None]:
    """The refusal of a credential whose charge was paid although its challenge was settled otherwise; else None.

    The backend is asked, and what it says is on record before the refusal goes out.

    Raises:
        LedgerError: the ledger does not answer; nothing is recorded.
    """
    provider, echo = candidate.plan.provider, candidate.credential.challenge
    if outcome not in _OVER or echo.expires is None or not isinstance(provider, OwnCharge):
        return None
    own = provider.own_charge(candidate.charge, candidate.credential.payload)
    if own is None:
        return None
    view: PaymentView | None = ledger.find(candidate.key) if ledger.direct else (yield Find(candidate.key))
    if not sold_otherwise(view, own):
        # Its own money, and another credential has it: that one is to come back, and nobody pays once more.
        return ("in-flight", AGAIN_S) if outcome == "foreign" else None
    proof = f"{echo.method}|{own}"
    found = yield from find_paid(proof, ledger)
    if found is None:
        charge = Charge(method=echo.method, handle=own, challenge=echo)
        state = yield from ask_charge(provider, charge, keep=True)
        if isinstance(state, ChargeUnknown):
            return "outcome-unknown", AGAIN_S
        if state is None or not state.payments:
            return None
        run = Run(rail, False, (yield from token()), (yield from now()))
        yield from account_for(run, provider, charge, state, parse_expires(echo.expires))
        if state.payments[0].partly:
            return "payment-refunded", None
        found = yield from find_paid(proof, ledger)
    if found is None or (found.key and not found.key.startswith(f"{candidate.key}|")):
        return None  # no money after all, or it has bought something elsewhere
    return "payment-refunded" if found.refund == "refunded" else "refund-due", None
