"""Giving back what was paid and never presented, as a flow: the backend is asked first whether the money is there.

Such a payment is in no ledger. It is put on record like money that came too late, with its proof used, and then
refunded like any other: either its credential buys something, or it goes back, and never both.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from flovia.core import events as ev
from flovia.core.challenge import parse_expires
from flovia.core.effects import Flow, now, token
from flovia.core.issued import find_issued
from flovia.core.money import Price
from flovia.core.operator import Operator
from flovia.core.owed import Late, late_key
from flovia.core.provider import Provider
from flovia.core.reconcile import Charge, ChargeUnknown, Moved, ReconcilingProvider
from flovia.core.reconciling import KEEP_S, Run, account_for, ask_charge
from flovia.core.refund import RefundingProvider
from flovia.core.refunding import RefundCode, RefundError, RefundResult, refund

AGAIN_S: Final = 5
_NOT_NOW: Final[Mapping[str, tuple[RefundCode, str, int | None]]] = MappingProxyType(
    {
        "busy": ("busy", "a request is verifying or delivering {} at this moment; call again", AGAIN_S),
        "unknown": (
            "unknown",
            "{} is paid, and only its own credential can settle it; it is refunded after that",
            None,
        ),
        "refunded_in_part": (
            "refunded",
            "a part of {} went back elsewhere, and the provider does not say how much; give the rest back there",
            None,
        ),
    }
)
"""What reconciling may find that cannot be refunded here, or not now."""


def refund_anything(
    payment_id: str, amount: Price | None, providers: Iterable[Provider], rail: str, by: Operator | None = None
) -> Flow[RefundResult]:
    """As :func:`~flovia.core.refunding.refund`, also for a charge that is paid and that nobody has presented.

    Raises:
        RefundError: it cannot be asked for; see its ``code``.
        LedgerError: the ledger does not answer; nothing was asked for.
    """
    asked = list(providers)
    try:
        return (yield from refund(payment_id, amount, asked, rail, by))
    except RefundError as error:
        if error.code != "unknown":
            raise
        missing = error
    for provider in asked:
        if isinstance(provider, ReconcilingProvider) and isinstance(provider, RefundingProvider):
            challenge = yield from find_issued(provider.method, payment_id)
            if challenge is not None and challenge.expires is not None:
                charge = Charge(method=provider.method, handle=payment_id, challenge=challenge)
                yield from _put_on_record(provider, charge, parse_expires(challenge.expires), amount, rail)
                return (yield from refund(payment_id, amount, [provider], rail, by))
    raise missing


def _put_on_record(
    provider: ReconcilingProvider, charge: Charge, expires: float, amount: Price | None, rail: str
) -> Flow[None]:
    """What the backend says of a charge; what waits for its agent does so no longer."""
    run = Run(rail, False, (yield from token()), (yield from now()))
    state = yield from ask_charge(provider, charge, keep=True)
    if isinstance(state, ChargeUnknown):
        raise RefundError(
            "unknown",
            f"{charge.handle} is not on record here, and {provider.name} does not say whether it was paid:"
            f" {state.reason}",
        )
    if state is None or not state.payments:
        raise RefundError("unknown", f"nobody has paid {charge.handle}, says {provider.name}, so nothing can go back")
    yield from account_for(run, provider, charge, state, expires)
    moved = state.payments[0]
    for finding in run.findings:
        if finding.status == "waiting":
            _check(charge.handle, amount, moved)
            row = run.event(ev.PAYMENT_LATE, provider.name, charge, moved, ev.NOT_PRESENTED)
            proof = f"{charge.method}|{moved.reference}"
            key = late_key(charge.challenge.realm, charge.challenge.id, proof)
            yield Late(key, proof, moved.reference, moved.amount, moved.currency.lower(), run.at + KEEP_S, (row,))
        elif finding.status in _NOT_NOW:
            code, text, again = _NOT_NOW[finding.status]
            raise RefundError(code, text.format(charge.handle), again)


def _check(payment_id: str, amount: Price | None, moved: Moved) -> None:
    """Refuse an amount that cannot go back, while the payment may still buy something."""
    if amount is None:
        return
    if amount.currency.lower() != moved.currency.lower():
        raise RefundError("other_currency", f"{payment_id} paid in {moved.currency.upper()}; name the amount in that")
    if amount.amount > moved.amount:
        raise RefundError("too_much", f"{payment_id} paid less than {amount}, so no more can go back; ask for less")
