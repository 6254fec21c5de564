"""A bank of the simulator's own, and the provider that asks it: small, fast, and with every way to be vague.

``push``: the payer pays first and the credential names the payment. ``pull``: verifying charges a card, once per nonce.
"""

import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from flovia.core.challenge import parse_expires
from flovia.core.effects import Flow, HttpCall, http
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.provider import NotPaid, Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from flovia.core.refund import NotRefunded, Refunded, RefundOrder, RefundUnknown, RefundVerdict
from flovia.core.webhook import Heard, LatePayment, Notice, RefundedPayment

if TYPE_CHECKING:
    from tests.simulator.world import World

URL: Final = "http://bank.test"
CONFIRMED_MS: Final = (0, 0, 0, 2_000, 20_000)


@attrs.define(kw_only=True)
class Money:
    """One payment at the bank. ``until``: when its challenge expires, Unix seconds; ``at``: when it was made, ms."""

    id: str
    challenge: str
    amount: int
    currency: str = "sgd"
    at: int = 0
    until: float = 0.0
    paid: bool = False
    confirmed_at: int = 0
    refunded: int = 0
    refunds: dict[str, int] = attrs.field(factory=dict[str, int])

    @property
    def late(self) -> bool:
        """Whether it was made when its challenge had expired."""
        return self.at >= self.until * 1000


class Bank:
    """Accounts, and what the bank answers."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.payments: dict[str, Money] = {}
        self.charges: dict[str, Money] = {}

    def open(self, challenge: str, amount: int, until: float) -> Money:
        """A payment that somebody is about to make."""
        money = Money(id=f"p{len(self.payments) + 1}", challenge=challenge, amount=amount, until=until)
        self.payments[money.id] = money
        return money

    def pay(self, money: Money) -> None:
        """The money moves."""
        money.at, money.paid = self.world.now, True
        money.confirmed_at = money.at + self.world.rng.choice(CONFIRMED_MS)

    def give_back(self, money: Money, nonce: str, amount: int) -> None:
        """Refund once for a nonce."""
        if nonce not in money.refunds:
            money.refunds[nonce] = amount
            money.refunded += amount
            self.world.model.given_back(money.id, len(money.refunds), money.refunded, money.amount)

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """One call to the bank."""
        asked = json.loads(body)
        if path == "/charge":
            return self._charge(asked)
        money = self.payments.get(asked["id"])
        if money is None:
            return 404, {}
        if path == "/refund":
            over = money.refunded + asked["amount"] > money.amount and asked["nonce"] not in money.refunds
            if not money.paid or over:
                return 409, {}
            self.give_back(money, asked["nonce"], asked["amount"])
            return 200, {"amount": money.refunds[asked["nonce"]]}
        earlier = (one for one in self.payments.values() if one.challenge == money.challenge and one.paid)
        return 200, {
            "state": "open" if not money.paid else "paid" if money.confirmed_at <= self.world.now else "moving",
            "at": money.at,
            "amount": money.amount,
            "currency": money.currency,
            "challenge": money.challenge,
            "late": money.late,
            "again": next(earlier, money) is not money,
            "refunded": money.refunded,
        }

    def _charge(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if asked["card"].startswith("declined"):
            return 402, {}
        money = self.charges.get(asked["nonce"])
        if money is None:
            money = self.charges[asked["nonce"]] = self.open(asked["challenge"], asked["amount"], float("inf"))
            money.at, money.paid = self.world.now, True
            self.world.model.charged(money.challenge, asked["card"])
        return 200, {"id": money.id, "amount": money.amount, "currency": money.currency}


class BankProvider:
    """Asks the bank. Third parties' providers look like this one."""

    rail = "mpp"
    intent = "charge"
    live = False
    fixed_terms = True
    deadline_s = 10.0
    receipt_header = "payment-receipt"

    def __init__(self, pull: bool) -> None:
        self.name = self.method = "pull" if pull else "push"
        self._pull = pull
        self.redeem_late_s = 0.0 if pull else 86400.0

    def quote(self, quote: Quote) -> Flow[Terms]:
        """The price, nothing else."""
        yield from ()
        return Terms(request=charge_request(quote.price))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Ask whether it was paid, or charge the card."""
        if self._pull:
            return (yield from self._charge(presented))
        proof = presented.payload.get("proof")
        if not isinstance(proof, str):
            return NotPaid(problem="invalid-payload")
        found = yield from _ask("/look", {"id": proof})
        if found is None:
            return Unknown()
        status, said = found
        if status == 404:
            return NotPaid()
        if said["state"] == "open":
            return NotPaid(retry_after_s=2, same_challenge=True)
        if said["at"] >= parse_expires(presented.challenge.expires or "") * 1000:
            return NotPaid(problem="payment-expired")
        if said["state"] != "paid":
            return Unknown()
        return Paid(reference=proof, amount=said["amount"], currency=said["currency"])

    def _charge(self, presented: Presented) -> Flow[Verdict]:
        card = presented.payload.get("card")
        if not isinstance(card, str):
            return NotPaid(problem="invalid-payload")
        amount = int(str(presented.charge["amount"]))
        challenge = presented.challenge.id
        body = {"card": card, "nonce": presented.nonce, "amount": amount, "challenge": challenge}
        found = yield from _ask("/charge", body)
        if found is None:
            return Unknown()
        status, said = found
        if status == 402:
            return NotPaid()
        return Paid(reference=said["id"], amount=said["amount"], currency=said["currency"])

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Give back, once for the order's nonce."""
        found = yield from _ask("/refund", {"id": order.payment_id, "nonce": order.nonce, "amount": order.amount})
        if found is None:
            return RefundUnknown()
        status, said = found
        if status != 200:
            return NotRefunded(reason="the bank refuses")
        return Refunded(refund_id=f"r{order.payment_id}", amount=said["amount"], currency=order.currency)

    max_webhook = 1000

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """A payment is named; the bank says what is true about it."""
        ident = json.loads(body)["id"]
        found = yield from _ask("/look", {"id": ident})
        if found is None:
            return Heard(status=503, code="try-again")
        _, said = found
        notices: list[Notice] = []
        if said["late"] or said["again"]:
            notices.append(
                LatePayment(
                    challenge_id=said["challenge"],
                    method=self.method,
                    payment_id=ident,
                    amount=said["amount"],
                    currency=said["currency"],
                )
            )
        if said["refunded"]:
            notices.append(
                RefundedPayment(
                    method=self.method, payment_id=ident, amount=said["refunded"], currency=said["currency"]
                )
            )
        return Heard(notices=tuple(notices))


def _ask(path: str, body: dict[str, Any]) -> Flow[tuple[int, dict[str, Any]] | None]:
    """The bank's answer; None if it is of no use."""
    call = HttpCall(http_method="POST", url=URL + path, body=json.dumps(body).encode())
    try:
        reply = yield from http(call)
    except HttpError:
        return None
    if reply.status >= 500:
        return None
    return reply.status, json.loads(reply.body or b"{}")
