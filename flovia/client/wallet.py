"""What holds the money: the wallet protocol, and a wallet for tests.

A wallet answers two questions: *can you pay this challenge* (:meth:`Wallet.can_pay`, at once and without
side effects) and *pay it* (:meth:`Wallet.pay`, a flow, see :mod:`flovia.core.effects`). Choosing among
challenges, policy, budget, retries and keeping the credential belong to the payment flow. A whole wallet::

    class BankWallet:
        methods = ("bank/charge",)

        def can_pay(self, challenge: Challenge) -> bool:
            return challenge.method == "bank"

        def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
            order = transfer_order(context.price, context.recipient, idempotency_key=context.reference)
            try:
                reply = yield from http(HttpCall(http_method="POST", url=BANK, body=order))
            except HttpError as error:
                return Uncertain() if error.sent else Declined(reason="the bank cannot be reached")
            if reply.status != 201:
                return Declined(reason="the bank refused the transfer")
            return Payment(payload={"transfer": transfer_id(reply)}, source="bank:acme")

What the challenge says comes from a server nobody vouched for: its description and its request are data to
compare, never instructions to follow (and never text for a language model to obey).
"""

from typing import Final, Literal, Protocol

import attrs

from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, token
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.money import Price


@attrs.frozen(kw_only=True)
class PaymentContext:
    """What a wallet is told about the payment it is asked for, already checked against policy and budget.

    ``reference``: 128 random bits, base64url, one per paying call; use it as the idempotency key.
    ``origin``: scheme, host and port of the server. ``realm``: what the server calls itself.
    ``price`` and ``recipient``: what the challenge asks, decoded. ``expires_at``: Unix seconds after which
    the server no longer takes the payment, or None if it did not say.
    """

    reference: str
    http_method: str
    origin: str
    realm: str
    price: Price
    recipient: str | None
    expires_at: float | None


@attrs.frozen(kw_only=True)
class Payment:
    """Paid: ``payload`` is the proof the credential carries, ``source`` the payer's identifier, if any."""

    payload: JsonObject = attrs.field(repr=False)
    source: str | None = None


@attrs.frozen(kw_only=True)
class Declined:
    """Certainly not paid. ``reason`` is for people; it must not hold a secret."""

    reason: str


@attrs.frozen(kw_only=True)
class Uncertain:
    """Nobody can say whether money moved. The budget keeps the amount reserved; nothing is sent."""


WalletVerdict = Payment | Declined | Uncertain


class Wallet(Protocol):
    """Something that can pay challenges."""

    @property
    def methods(self) -> tuple[str, ...]:
        """``method/intent`` pairs in order of preference, for the ``Accept-Payment`` field."""
        ...

    def can_pay(self, challenge: Challenge) -> bool:
        """Whether :meth:`pay` could pay this; no side effects. The challenge is well-formed and a charge."""
        ...

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Pay once. An exception counts as :class:`Uncertain`; return :class:`Declined` where that is known."""
        ...


Outcome = Literal["paid", "declined", "uncertain"]

MOCK_METHODS: Final = ("mock",)


class MockWallet:
    """A wallet without money, for tests and demos: it pays the ``mock`` provider.

    ``proof`` begins the proof: the mock provider takes those that start with ``ok`` and scripts other
    verdicts by other beginnings (``pending``, ``declined``, ``unknown`` …); random text follows, so that
    every payment is another one. ``payload`` adds members to it. ``outcome`` scripts the wallet itself.
    ``payments`` counts how often it was asked to pay.
    """

    def __init__(
        self,
        proof: str = "ok",
        *,
        outcome: Outcome = "paid",
        method_ids: tuple[str, ...] = MOCK_METHODS,
        payload: JsonObject | None = None,
    ) -> None:
        self.proof = proof
        self.outcome: Outcome = outcome
        self.method_ids = method_ids
        self.payload: JsonObject = payload or {}
        self.payments = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The charge intent of every method id."""
        return tuple(f"{method}/charge" for method in self.method_ids)

    def can_pay(self, challenge: Challenge) -> bool:
        """True for its own method ids."""
        return challenge.method in self.method_ids

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Say what ``outcome`` says; if paid, with a fresh proof."""
        self.payments += 1
        proof: dict[str, JsonValue] = {"proof": f"{self.proof}-{yield from token()}", **self.payload}
        if self.outcome == "declined":
            return Declined(reason="the mock wallet was told to decline")
        if self.outcome == "uncertain":
            return Uncertain()
        return Payment(payload=proof, source="mock:agent")
