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

from typing import Final, Literal, Protocol, runtime_checkable

import attrs

from flovia.core.challenge import Challenge, clean_description
from flovia.core.effects import Flow, token
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.fields import printable
from flovia.core.http import Headers
from flovia.core.money import Price
from flovia.core.receipt import Receipt


@attrs.frozen(kw_only=True)
class PaymentContext:
    """What a wallet is told about the payment it is asked for, already checked against policy and budget.

    ``reference``: 128 random bits, base64url, one per paying call; use it as the idempotency key.
    ``origin``: scheme, host and port of the server. ``realm``: what the server calls itself.
    ``price`` and ``recipient``: what the challenge asks, decoded. ``expires_at``: Unix seconds after which
    the server no longer takes the payment, or None if it did not say. ``asked_at``: Unix seconds at which the wallet
    was asked first; ``attempt`` counts from 1 how often (see :class:`Unconfirmed`).
    """

    reference: str
    http_method: str
    origin: str
    realm: str
    price: Price
    recipient: str | None
    expires_at: float | None
    asked_at: float = 0.0
    attempt: int = 1


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
    """Nobody can say whether money moved, or will. The budget keeps the amount reserved; nothing is sent.

    ``reason`` is for people; it must not hold a secret.
    """

    reason: str | None = None


@attrs.frozen(kw_only=True)
class Unconfirmed:
    """Perhaps paid by now, perhaps not yet: let the server say.

    ``payment`` is presented once. If the server answers with the same challenge again, nobody has paid yet, and the
    wallet is asked once more, with the next ``attempt``. For payments by a person, whose confirmation may get stuck
    on its way to the wallet and not on its way to the server.
    """

    payment: Payment


MAX_SHOWN: Final = 200
"""Most characters of a stranger's text that a person is shown."""


def description_of(challenge: Challenge) -> str | None:
    """What the challenge says that it is for, for a person: one line without control characters, at most 200 long.

    A header carries ASCII only. Where the text in it is what is left of the one in the challenge's request
    (``K?se`` of ``Käse``), it is that one; a text in the request that is another one is shown to nobody.
    """
    told, whole = challenge.description, challenge.request_json.get("description")
    if told is None:
        return None
    if isinstance(whole, str) and clean_description(whole) == told:
        return "".join(c if c.isprintable() else printable(c) for c in whole[:MAX_SHOWN])
    return printable(told[:MAX_SHOWN])


WalletVerdict = Payment | Declined | Uncertain | Unconfirmed


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


@runtime_checkable
class ForeseeingWallet(Protocol):
    """A wallet that may know its proof before any money moves, because it only names what somebody else will pay.

    Then the credential is kept before :meth:`Wallet.pay` is called: if the program ends while a person still pays,
    or the wallet gives up waiting, ``resume`` presents it, and nobody pays twice.
    """

    def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
        """The very payment that ``pay`` will return if it pays, or None if that is not known now."""
        ...


# --- receipts that somebody signed ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PaidAnswer:
    """The head of a paid answer, for a look at its receipt.

    ``challenge`` and ``payload`` are what the credential was made of, ``price`` what the policy read in the challenge.
    ``receipt`` is the core receipt, or None if there is none that can be read. ``headers`` are the answer's.
    """

    origin: str
    price: Price
    recipient: str | None
    challenge: Challenge
    payload: JsonObject = attrs.field(repr=False)
    headers: Headers
    receipt: Receipt | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ReceiptVerified:
    """The receipt is signed by whom it should be, and it is for this payment."""


@attrs.frozen(kw_only=True)
class ReceiptUnverified:
    """Nobody can say: there is none, or the keys to verify it cannot be had. ``reason`` is for people."""

    reason: str


@attrs.frozen(kw_only=True)
class ReceiptWrong:
    """The receipt is forged, or for another payment. ``reason`` is for people; it must not hold a secret."""

    reason: str


ReceiptVerdict = ReceiptVerified | ReceiptUnverified | ReceiptWrong


@runtime_checkable
class ReceiptVerifier(Protocol):
    """Something that can tell whether a paid answer's receipt is genuine; often the wallet itself."""

    def verify_receipt(self, answer: PaidAnswer) -> Flow[ReceiptVerdict]:
        """Look at the receipt. An exception counts as :class:`ReceiptUnverified`."""
        ...


Outcome = Literal["paid", "declined", "uncertain"]

MOCK_METHODS: Final = ("mock",)


class MockWallet:
    """A wallet without money, for tests and demos: it pays the ``mock`` provider.

    ``proof`` begins the proof: the mock provider takes those that start with ``ok`` and scripts other
    verdicts by other beginnings (``pending``, ``declined``, ``unknown`` …); random text follows, so that
    every payment is another one. ``payload`` adds members to it. ``outcome`` scripts the wallet itself. ``source`` is
    who pays: two wallets with other sources are two payers.
    ``payments`` counts how often it was asked to pay.
    """

    def __init__(
        self,
        proof: str = "ok",
        *,
        outcome: Outcome = "paid",
        method_ids: tuple[str, ...] = MOCK_METHODS,
        payload: JsonObject | None = None,
        source: str = "mock:agent",
    ) -> None:
        self.proof = proof
        self.outcome: Outcome = outcome
        self.method_ids = method_ids
        self.payload: JsonObject = payload or {}
        self.source = source
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
        return Payment(payload=proof, source=self.source)
