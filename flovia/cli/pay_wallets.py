"""The wallets of ``flovia pay``: HitPay's with its progress on the terminal, the mock one, and one for dry runs."""

import time
from typing import Literal

from flovia.cli.pay_output import Printer, WouldPay
from flovia.client import (
    Budget,
    Challenge,
    Declined,
    Flow,
    MockWallet,
    OutcomeUnknown,
    PaymentContext,
    PaymentDeclined,
    PendingFiles,
    Policy,
    Uncertain,
    Wallet,
    WalletVerdict,
)
from flovia.client.drive import Services
from flovia.client.hitpay import BROKER, Checkout, HitPayWallet, Pins
from flovia.client.hitpay.terminal import checkout_text
from flovia.client.pending import Pending
from flovia.client.wallet import description_of
from flovia.core.challenge import parse_expires
from flovia.core.credential import parse_credential
from flovia.core.errors import ParseError
from flovia.core.fields import printable
from flovia.runtime import run


class Progress:
    """What a person sees while a wallet works. ``reference``: what can be resumed once a checkout was shown."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self.reference: str | None = None

    def show(self, checkout: Checkout) -> None:
        """The link and the QR code."""
        self.reference = checkout.reference
        self._printer.show(checkout_text(checkout, time.time()))

    def tick(self, left_s: float) -> None:
        """One more question to the broker is over."""
        self._printer.waiting(left_s)


def choose_wallet(
    name: Literal["hitpay", "mock"], broker: str | None, auto_pay: bool, timeout_s: float, progress: Progress
) -> Wallet:
    """The wallet that ``--wallet`` names.

    Raises:
        WiringError: the broker is none, a package is missing, or the time-out is not more than 0.
    """
    if name == "mock":
        return MockWallet()
    return HitPayWallet(
        pins=Pins(broker=broker or BROKER),
        show=progress.show,
        tick=progress.tick,
        auto_pay=auto_pay,
        timeout_s=timeout_s,
    )


def wait_again(pending: Pending, wallet: Wallet) -> None:
    """Before a kept HitPay credential is presented again: wait for the person, if it is still to be paid.

    Raises:
        PaymentDeclined: it can no longer be paid, and was not.
        OutcomeUnknown: it is still not paid.
    """
    if not isinstance(wallet, HitPayWallet) or pending.credential is None:
        return
    try:
        challenge = parse_credential(pending.credential).challenge
        expires_at = None if challenge.expires is None else parse_expires(challenge.expires)
    except ParseError:
        return
    if not wallet.can_pay(challenge):
        return
    context = PaymentContext(
        reference=pending.reference,
        http_method=pending.http_method,
        origin=pending.origin,
        realm=pending.realm,
        price=pending.price,
        recipient=pending.recipient,
        expires_at=expires_at,
        asked_at=time.time(),
    )
    services = Services.of(wallet, Budget("1 JPY"), Policy(), PendingFiles(), None)  # for its world alone
    verdict = run(wallet.pay(challenge, context), services.world())
    if isinstance(verdict, Declined):
        raise PaymentDeclined(f"it was not paid in time, and cannot be paid any more: {verdict.reason}")
    if isinstance(verdict, Uncertain):
        raise OutcomeUnknown(f"it is still not known to be paid: {verdict.reason}", reference=pending.reference)


class DryRun:
    """Takes the place of a wallet, up to the point where money would move."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet
        self.found: WouldPay | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """Those of the wallet."""
        return self._wallet.methods

    def can_pay(self, challenge: Challenge) -> bool:
        """Whether the wallet could."""
        return self._wallet.can_pay(challenge)

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Note what would be paid, and decline."""
        yield from ()
        why_not = self._wallet.refusal(challenge, context) if isinstance(self._wallet, HitPayWallet) else None
        left = None if context.expires_at is None else max(0, round(context.expires_at - time.time()))
        self.found = WouldPay(
            method=challenge.method,
            price=str(context.price),
            origin=context.origin,
            realm=printable(context.realm[:200]),
            recipient=None if context.recipient is None else printable(context.recipient[:200]),
            expires_in_s=left,
            description=description_of(challenge),
            payable=why_not is None,
            why_not=why_not,
        )
        return Declined(reason="this is a dry run")
