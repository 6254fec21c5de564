"""The wallet that has a person pay: it shows the checkout, waits, and presents what was paid."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import attrs

from flovia.client.hitpay.names import DEFAULT_WALLET_NAMES, WalletNames
from flovia.client.hitpay.pins import ChargeTerms, Checkout, Pins, Unpayable, charge_terms, checkout, is_saved
from flovia.client.hitpay.polling import Patience, Status, ask, wait_for
from flovia.client.hitpay.receipts import verify
from flovia.client.hitpay.terminal import show_in_terminal
from flovia.client.wallet import (
    Declined,
    PaidAnswer,
    Payment,
    PaymentContext,
    ReceiptUnverified,
    ReceiptVerdict,
    Uncertain,
    Unconfirmed,
    WalletVerdict,
)
from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, HttpCall, http, now
from flovia.core.errors import HttpError, WiringError
from flovia.core.money import Price, to_base_units
from flovia.core.origin import is_loopback
from flovia.signed import DEFAULT_LIMITS, Jwks, SignedLimits, require_joserfc

ENDED: Final = frozenset({"expired", "declined", "failed", "canceled", "cancelled", "inactive"})
"""States in which a charge cannot be paid any more. The broker documents ``expired``; the rest is HitPay's API."""

LATE_S: Final = 30.0
"""How long after a challenge's end the broker is still asked: its clock says when it is over."""


@attrs.frozen(kw_only=True)
class HitPayWallet:
    """Pays ``hitpay`` challenges through a person at HitPay's checkout, or at the local sandbox by itself.

    Args:
        pins: which addresses are HitPay's. ``HitPayWallet.at(broker)`` is short for the usual case.
        show: gets the :class:`Checkout` once; by default it is printed with a QR code. It must not block for long.
        tick: called after every question to the broker with the seconds that are left.
        auto_pay: pay by the sandbox's control interface instead of a person. Works on loopback addresses only.
        timeout_s: how long to wait for the person. If the charge can still be paid then, the outcome is unknown:
            the credential is kept and ``resume`` presents it, so that nobody pays twice.
        poll_s: seconds between two questions to the broker.
        present_s: seconds after which the server is asked instead, because the broker's status was seen to get stuck;
            if it says that nobody has paid, the broker is asked again for as long. It is asked once more when
            ``timeout_s`` is over, however short that is.
        verify_receipts: hold receipts against the broker's keys (extra ``receipts``).
        limits: of receipts and keys.
        names: of members that HitPay has not published.
    """

    pins: Pins = attrs.field(factory=Pins)
    show: Callable[[Checkout], None] | None = show_in_terminal
    tick: Callable[[float], None] | None = None
    auto_pay: bool = False
    timeout_s: float = 600.0
    poll_s: float = 2.0
    present_s: float = 20.0
    verify_receipts: bool = True
    limits: SignedLimits = DEFAULT_LIMITS
    names: WalletNames = DEFAULT_WALLET_NAMES

    def __attrs_post_init__(self) -> None:
        if self.verify_receipts:
            require_joserfc()
        if min(self.timeout_s, self.poll_s, self.present_s) <= 0:
            raise WiringError("HitPayWallet: timeout_s, poll_s and present_s are seconds, more than 0")

    @classmethod
    def at(cls, broker: str, *, show: Callable[[Checkout], None] | None = show_in_terminal) -> "HitPayWallet":
        """A wallet for one broker, ``https://sandbox.mpp.hitpay.dev`` say.

        Raises:
            WiringError: the broker is no https origin (or loopback).
        """
        return cls(pins=Pins(broker=broker), show=show)

    @property
    def methods(self) -> tuple[str, ...]:
        """``hitpay/charge``."""
        return ("hitpay/charge",)

    def can_pay(self, challenge: Challenge) -> bool:
        """True for one-time charges by HitPay. Whether its addresses are HitPay's, ``pay`` says."""
        return challenge.method == "hitpay" and not is_saved(challenge)

    def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
        """The credential names the charge that a person will pay; it is known before they do."""
        try:
            return self._payment(charge_terms(challenge, context.origin, self.pins, context.price, self.names))
        except Unpayable:
            return None

    def refusal(self, challenge: Challenge, context: PaymentContext) -> str | None:
        """Why ``pay`` would decline without asking anybody: the challenge contradicts itself, or is not HitPay's."""
        try:
            charge_terms(challenge, context.origin, self.pins, context.price, self.names)
        except Unpayable as reason:
            return str(reason)
        return None

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Show the checkout and wait until it is paid, over, or too late."""
        try:
            terms = charge_terms(challenge, context.origin, self.pins, context.price, self.names)
        except Unpayable as reason:
            return Declined(reason=str(reason))
        first = yield from ask(terms.polling_url, min(10.0, self.timeout_s))
        if isinstance(first, Status):
            if first.status == "paid":
                return self._payment(terms)
            if first.status in ENDED or not self._agrees(first, terms, context.price):
                return Declined(
                    reason=_ended(first.status)
                    if first.status in ENDED
                    else "the broker has another amount for this charge than the challenge asks"
                )
        if context.attempt > 1:
            pass  # the person knows, and may be paying right now
        elif self.auto_pay:
            refusal = yield from self._pay_here(terms)
            if refusal is not None:
                return refusal
        elif self.show is not None:
            self.show(checkout(terms, challenge, context))
        return (yield from self._wait(terms, context))

    def verify_receipt(self, answer: PaidAnswer) -> Flow[ReceiptVerdict]:
        """Whether the answer's receipt is the broker's, for this charge and this amount."""
        if not self.verify_receipts:
            return ReceiptUnverified(reason="this wallet was told not to verify receipts")
        try:
            terms = charge_terms(answer.challenge, answer.origin, self.pins, answer.price, self.names)
        except Unpayable:
            return ReceiptUnverified(reason="it is not a receipt of a charge this wallet pays")
        issuer = Jwks(origin=terms.issuer, limits=self.limits)
        return (yield from verify(answer, issuer, charge_id=terms.charge_id))

    def _pay_here(self, terms: ChargeTerms) -> Flow[WalletVerdict | None]:
        """Be the payer of a local sandbox. None: go on and ask whether it worked."""
        if not is_loopback(urlsplit(terms.issuer).hostname or ""):
            return Declined(reason=f"auto-pay works with a sandbox on this machine only, not with {terms.issuer}")
        url = f"{terms.issuer}/__emulator/charges/{terms.charge_id}/pay"
        call = HttpCall(http_method="POST", url=url, headers=(("content-type", "application/json"),), body=b"{}")
        try:
            reply = yield from http(call)
        except HttpError as error:
            if error.sent:
                return None
            return Declined(reason=f"no sandbox answers at {terms.issuer}")
        if reply.status in (400, 401, 403, 404, 405, 409, 422):
            return Declined(reason=f"the sandbox at {terms.issuer} would not pay the charge ({reply.status})")
        return None

    def _wait(self, terms: ChargeTerms, context: PaymentContext) -> Flow[WalletVerdict]:
        at = yield from now()
        started = context.asked_at or at
        until = started + self.timeout_s
        if context.expires_at is not None:
            until = min(until, max(context.expires_at, started) + LATE_S)
        if at >= until and context.attempt > 1:
            # The server has said that it is not paid, and since then the broker, too.
            return Uncertain(reason="nobody has paid yet, and the charge may still be paid")
        pause = min(until, at + self.present_s)

        def tick(left: float) -> None:
            if self.tick is not None:
                self.tick(left + until - pause)

        patience = Patience(poll_s=self.poll_s, until=pause, tick=tick)
        found = yield from wait_for(
            terms.polling_url, patience, lambda status: status.status == "paid" or status.status in ENDED
        )
        if found is None:
            # At the end of all patience as well: a broker that is stuck would hide a payment from who asks it alone.
            return Unconfirmed(payment=self._payment(terms))
        if found.status == "paid":
            return self._payment(terms)
        return Declined(reason=_ended(found.status))

    def _payment(self, terms: ChargeTerms) -> Payment:
        return Payment(payload={self.names.payload_charge: terms.charge_id})

    def _agrees(self, status: Status, terms: ChargeTerms, price: Price) -> bool:
        """Whether the broker speaks of the same charge and sum. What it does not say, it cannot contradict."""
        members, names = status.members, self.names
        amount, currency = members.get(names.polled_amount), members.get(names.polled_currency)
        if members.get(names.polled_charge, terms.charge_id) != terms.charge_id:
            return False
        if isinstance(currency, str) and currency.lower() != price.currency:
            return False
        if not isinstance(amount, str):
            return True
        try:
            return to_base_units(amount, price.currency) == price.amount
        except WiringError:
            return False


def _ended(status: str) -> str:
    # Of a payment that came too late the broker says no more than this.
    if status == "expired":
        return "the charge is expired; if it was paid all the same, that money is to go back: ask the seller"
    return f"the charge is {status[:20]}, and cannot be paid any more: ask for a fresh one"
