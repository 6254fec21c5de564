"""The wallet that was saved once: a person approves it, then servers may charge it within the grant's limits."""

from collections.abc import Callable

import attrs

from flovia.client.hitpay.grants import Grant, GrantFiles, GrantInfo
from flovia.client.hitpay.names import DEFAULT_WALLET_NAMES, WalletNames
from flovia.client.hitpay.pins import (
    Checkout,
    Pins,
    Unpayable,
    asked_limits,
    check_money,
    details,
    identifier,
    is_saved,
)
from flovia.client.hitpay.polling import Patience, Status, ask, wait_for
from flovia.client.hitpay.receipts import verify
from flovia.client.hitpay.terminal import show_in_terminal
from flovia.client.hitpay.wallet import HitPayWallet
from flovia.client.wallet import (
    Declined,
    PaidAnswer,
    Payment,
    PaymentContext,
    ReceiptUnverified,
    ReceiptVerdict,
    WalletVerdict,
    description_of,
)
from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, now
from flovia.core.errors import WiringError
from flovia.core.fields import printable
from flovia.signed import DEFAULT_LIMITS, BadToken, Jwks, KeysUnavailable, SignedLimits, require_joserfc

ENDED = frozenset({"detached", "revoked", "expired", "rejected", "failed"})
"""States in which a setup or a saved wallet is over (HitPay docs: MPP landing page, and its MPP samples)."""

SETUP_PATH = "/v1/saved-payment-methods"


@attrs.frozen(kw_only=True)
class Setup:
    """A setup as a challenge describes it, its addresses checked. ``issuer`` signs the grant."""

    saved_method_id: str
    checkout_url: str = attrs.field(repr=False)
    polling_url: str = attrs.field(repr=False)
    issuer: str


@attrs.frozen(kw_only=True)
class SavedMethodWallet:
    """Pays with a saved wallet (GrabPay, ShopeePay, Touch 'n Go): by its grant, or after a person approved one.

    A grant is used for every HitPay challenge of the server it was set up with. How an agent asks a server for a
    setup is the server's affair; flovia's takes the header ``x-mpp-payment-method: grabpay_direct``.

    Args:
        grants: where grants are kept, one for each server, realm and currency.
        once: pays one-time charges where no wallet is saved; None declines them.
        pins: which addresses are HitPay's.
        ask_first: ask the broker before each use whether the wallet is still bound, and forget the grant if not.
        show: gets the :class:`Checkout` of a setup once, for a person to approve.
        tick: called after every question to the broker with the seconds that are left.
        timeout_s: how long to wait for the approval. No money moves by it, so giving up is a plain refusal.
        poll_s: seconds between two questions to the broker.
        limits: of grants, receipts and keys.
        names: of members that HitPay has not published; ``once`` has its own.
    """

    grants: GrantFiles
    once: HitPayWallet | None = None
    pins: Pins = attrs.field(factory=Pins)
    ask_first: bool = True
    show: Callable[[Checkout], None] | None = show_in_terminal
    tick: Callable[[float], None] | None = None
    timeout_s: float = 300.0
    poll_s: float = 2.0
    limits: SignedLimits = DEFAULT_LIMITS
    names: WalletNames = DEFAULT_WALLET_NAMES

    def __attrs_post_init__(self) -> None:
        require_joserfc()
        if self.timeout_s <= 0 or self.poll_s <= 0:
            raise WiringError("SavedMethodWallet: timeout_s and poll_s are seconds, more than 0")

    @property
    def methods(self) -> tuple[str, ...]:
        """``hitpay/charge`` and HitPay's own name for saved wallets."""
        return ("hitpay/charge", "hitpay-save/charge")

    def can_pay(self, challenge: Challenge) -> bool:
        """True for charges by HitPay; whether a wallet is saved for the server, ``pay`` says."""
        return challenge.method in ("hitpay", "hitpay-save")

    def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
        """Known beforehand only where a person pays once; a grant is in the file before it is sent, in any case."""
        if self.once is None or is_saved(challenge) or self._kept(challenge.realm, context) is not None:
            return None
        return self.once.foresee(challenge, context)

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Present the grant, or have a person set one up first."""
        try:
            check_money(challenge, context.price)
        except Unpayable as reason:
            return Declined(reason=str(reason))
        name = GrantFiles.name_of(context.origin, context.realm, context.price.currency)
        kept = self._kept(context.realm, context)
        refusal = "no wallet is saved for this server"
        if kept is not None:
            refusal = kept.info.refusal(context.price, (yield from now())) or (yield from self._ended(kept)) or ""
        if kept is None or refusal:
            if self.once is not None and kept is None and not is_saved(challenge):
                return (yield from self.once.pay(challenge, context))
            made = yield from self._made(challenge, context, name)
            if isinstance(made, Declined):
                return Declined(reason=f"{refusal}, and {made.reason}")
            kept = made
        # Counted before it is sent: the other order could go over a cap.
        self.grants.spend(name, context.price)
        return Payment(payload={self.names.payload_grant: kept.jws})

    def verify_receipt(self, answer: PaidAnswer) -> Flow[ReceiptVerdict]:
        """Whether the answer's receipt is that of a charge of this saved wallet, by who signed its grant."""
        if self.names.payload_grant not in answer.payload and self.once is not None:
            return (yield from self.once.verify_receipt(answer))
        name = GrantFiles.name_of(answer.origin, answer.challenge.realm, answer.price.currency)
        kept = self.grants.load(name)
        if kept is None or answer.payload.get(self.names.payload_grant) != kept.jws:
            return ReceiptUnverified(reason="the grant of this payment is not kept any more")
        issuer = Jwks(origin=kept.info.issuer, limits=self.limits)
        return (yield from verify(answer, issuer, saved_method_id=kept.info.saved_method_id))

    def _kept(self, realm: str, context: PaymentContext) -> Grant | None:
        return self.grants.load(GrantFiles.name_of(context.origin, realm, context.price.currency))

    def _ended(self, kept: Grant) -> Flow[str | None]:
        """Why the broker says that the grant is over, if it does; then it is forgotten."""
        if not self.ask_first:
            return None
        found = yield from ask(f"{kept.info.issuer}{SETUP_PATH}/{kept.info.saved_method_id}", 10.0)
        if not isinstance(found, Status) or found.status not in ENDED:
            return None  # what cannot be asked without a key, the server's own charge will tell
        self.grants.revoke(kept.info.name)
        return f"the saved wallet is {found.status}"

    def _made(self, challenge: Challenge, context: PaymentContext, name: str) -> Flow[Grant | Declined]:
        """A new grant, if the challenge offers to set one up."""
        try:
            setup = self._setup(challenge, context)
        except Unpayable as reason:
            return Declined(reason=str(reason))
        return (yield from self._set_up(setup, challenge, context, name))

    def _setup(self, challenge: Challenge, context: PaymentContext) -> Setup:
        members = details(challenge)
        if not is_saved(challenge):
            raise Unpayable("the server offers no setup: ask it for one, flovia's by x-mpp-payment-method")
        url = members.get("setup_checkout_url", members.get("checkout_url"))
        if url is None:
            raise Unpayable("the challenge offers no setup")
        polling = members.get("polling_url")
        tail = polling.rpartition("/")[2] if isinstance(polling, str) else ""
        saved_id = identifier({self.names.asked_setup: tail, **members}, self.names.asked_setup)
        polling_url, issuer = self.pins.polling(polling, context.origin, saved_id, SETUP_PATH)
        checkout_url = self.pins.checkout(url, context.origin)
        return Setup(saved_method_id=saved_id, checkout_url=checkout_url, polling_url=polling_url, issuer=issuer)

    def _set_up(self, setup: Setup, challenge: Challenge, context: PaymentContext, name: str) -> Flow[Grant | Declined]:
        """Have a person approve, fetch the grant, and keep it once it was verified."""
        if self.show is not None:
            self.show(
                Checkout(
                    url=setup.checkout_url,
                    reference=context.reference,
                    origin=context.origin,
                    price=context.price,
                    charge_id=setup.saved_method_id,
                    expires_at=context.expires_at,
                    description=description_of(challenge),
                    setup=True,
                    limits=asked_limits(details(challenge), context.price.currency),
                )
            )
        at = yield from now()
        patience = Patience(poll_s=self.poll_s, until=at + self.timeout_s, tick=self.tick)
        found = yield from wait_for(
            setup.polling_url, patience, lambda status: status.status == "active" or status.status in ENDED
        )
        if found is None:
            return Declined(reason="nobody has approved the saved wallet in time; ask again for another setup")
        jws = found.members.get("saved_method_jws")
        if found.status != "active" or not isinstance(jws, str):
            return Declined(reason=f"the saved wallet is {printable(found.status[:20])}, without a grant")
        try:
            claims = yield from Jwks(origin=setup.issuer, limits=self.limits).grant(jws, from_issuer=True)
        except BadToken as error:
            return Declined(reason=f"the broker's grant does not hold: {error}")
        except KeysUnavailable as error:
            return Declined(reason=f"the broker's grant cannot be verified now: {error}")
        info = GrantInfo(
            name=name,
            origin=context.origin,
            issuer=setup.issuer,
            currency=claims.currency,
            payment_method=claims.payment_method,
            saved_method_id=claims.saved_method_id,
            max_amount_per_charge=claims.max_amount_per_charge,
            total_amount_cap=claims.total_amount_cap,
            max_uses=claims.max_uses,
            expires_at=claims.expires_at,
        )
        if claims.saved_method_id != setup.saved_method_id:
            return Declined(reason="the broker's grant is for another saved wallet")
        refusal = info.refusal(context.price, (yield from now()))
        grant = Grant(info=info, jws=jws)
        self.grants.keep(grant)
        return grant if refusal is None else Declined(reason=f"the new grant does not cover the charge: {refusal}")
