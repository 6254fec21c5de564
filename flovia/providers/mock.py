"""The mock provider: no money, no network. For tests, demos and trying an integration. INSECURE by design.

Anybody can make up a proof, so flovia refuses it beside a live provider. A credential's payload is
``{"proof": "<text>"}``; what the text starts with decides the outcome:

=============  ==========================================================================================
``ok…``        paid; the whole text identifies the payment, so the same text twice is one payment
``pending…``   not paid yet: 402 ``verification-failed`` with the same challenge, Retry-After 2
``declined…``  not paid: 402 ``verification-failed`` with a fresh challenge
``unknown…``   nobody knows: 503 without a challenge
``slow…``      answers one second after the provider's deadline, which makes it unknown
anything else  not paid: 402 ``verification-failed``
=============  ==========================================================================================

``paid_amount`` (base units, digits) and ``paid_currency`` in the payload claim that the bank was paid
something else than the challenge asked, which the gate must refuse.
"""

from hashlib import sha256
from typing import Final

import attrs

from flovia.core.effects import Flow, sleep
from flovia.core.errors import ParseError
from flovia.core.money import check_amount
from flovia.providers.base import (
    NotPaid,
    Paid,
    Presented,
    Quote,
    Refunded,
    RefundOrder,
    RefundVerdict,
    Terms,
    Unknown,
    Verdict,
    charge_request,
)

NOT_PAID: Final = NotPaid()
PENDING: Final = NotPaid(retry_after_s=2, same_challenge=True)
INVALID_PAYLOAD: Final = NotPaid(problem="invalid-payload")


@attrs.frozen(kw_only=True)
class MockProvider:
    """Accepts made-up proofs. See the module's text for the outcomes.

    Args:
        method: the payment method id; a second mock under another one makes a route with two offers.
        recipient: who is paid, if the challenge shall say so.
        external_id: the merchant's own reference, bound into the challenge; the payload must repeat it.
        deadline_s: seconds after which ``slow…`` counts as unknown.
    """

    name: str = "mock"
    method: str = "mock"
    intent: str = "charge"
    rail: str = "mpp"
    live: bool = False
    fixed_terms: bool = True
    deadline_s: float = 10.0
    receipt_header: str = "payment-receipt"
    recipient: str | None = None
    external_id: str | None = None

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Ask for the price and nothing else."""
        yield from ()
        return Terms(
            request=charge_request(
                quote.price,
                recipient=self.recipient,
                description=quote.description,
                external_id=self.external_id,
            )
        )

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Do what the proof says."""
        payload, charge = presented.payload, presented.charge
        proof = payload.get("proof")
        if not isinstance(proof, str):
            return INVALID_PAYLOAD
        if self.external_id is not None and payload.get("externalId") != self.external_id:
            # Attribution only from what the challenge bound, never from what the client adds.
            return NotPaid(problem="invalid-challenge")
        if not proof.startswith("ok"):
            if proof.startswith("slow"):
                yield from sleep(self.deadline_s + 1.0)
            return self._unpaid(proof)
        amount, currency = (
            payload.get("paid_amount", charge["amount"]),
            payload.get("paid_currency", charge["currency"]),
        )
        try:
            paid = check_amount(amount)
        except ParseError:
            return INVALID_PAYLOAD
        if not isinstance(currency, str):
            return INVALID_PAYLOAD
        return Paid(
            reference="mock_" + sha256(proof.encode()).hexdigest()[:32],
            amount=paid,
            currency=currency,
            recipient=self.recipient,
            payer=presented.source,
            receipt_extra={"externalId": self.external_id} if self.external_id is not None else {},
        )

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Give back what was never paid: always, and the same refund for the same nonce."""
        yield from ()
        refund_id = "mock_refund_" + sha256(order.nonce.encode()).hexdigest()[:32]
        return Refunded(refund_id=refund_id, amount=order.amount, currency=order.currency)

    @staticmethod
    def _unpaid(proof: str) -> Verdict:
        if proof.startswith("pending"):
            return PENDING
        if proof.startswith(("unknown", "slow")):
            return Unknown()
        return NOT_PAID
