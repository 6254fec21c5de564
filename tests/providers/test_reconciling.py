"""The contract of a provider whose charges can be asked about: one that keeps it, and each mistake that is noticed."""

import json
import logging
from typing import Any, Final, cast

import attrs
import pytest

from flovia.core.effects import Flow, HttpCall, HttpReply, http
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import HttpError, ParseError
from flovia.core.provider import NotPaid, Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved, ReconcilingProvider
from flovia.providers.mock import MockProvider
from flovia.testing.provider_reconciling import ReconcilePromises
from flovia.testing.providers import Ask, ProviderContract

ORDERS: Final = "https://bank.test/orders/"


class OrderProvider:
    """Numbers what it asks for, and asks the bank about the number, whoever comes."""

    name = method = "bank"
    intent, rail = "charge", "mpp"
    live, fixed_terms = True, False
    deadline_s, receipt_header = 5.0, "payment-receipt"
    redeem_late_s, reconcile_pause_s = 0.0, 0.1
    kept_s = 86400.0

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Open an order at the bank."""
        yield from self.call("PUT", quote.nonce, quote.price.amount)
        opaque = {"order": quote.nonce}
        request = charge_request(quote.price)
        return Terms(request=request, opaque=opaque, handle=quote.nonce, handle_kept_s=self.kept_s)

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Whether the order is paid; the proof is the payer's slip."""
        slip = presented.payload.get("slip")
        if not isinstance(slip, str) or not slip:
            return NotPaid(problem="invalid-payload")
        try:
            reply = yield from self.call("GET", str(presented.opaque["order"]))
            if reply.status == 404:
                return NotPaid()
            found = loads_object(reply.body)
            if reply.status != 200 or found.get("slip") not in (slip, None):
                return NotPaid() if reply.status == 200 else Unknown()
            moved = moved_of(found)
            return NotPaid() if moved is None else Paid(**attrs.asdict(moved, filter=_of_paid))
        except (HttpError, ParseError):
            return Unknown()

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """What became of an order."""
        try:
            reply = yield from self.call("GET", charge.handle)
            return self.said(reply)
        except (HttpError, ParseError):
            return self.lost()

    def call(self, http_method: str, order: str, cents: int = 0) -> Flow[HttpReply]:
        """One call about an order."""
        body = json.dumps({"cents": cents}).encode() if cents else b""
        return (yield from http(HttpCall(http_method=http_method, url=ORDERS + order, body=body)))

    def said(self, reply: HttpReply) -> ChargeState | ChargeUnknown | None:
        """What an answer means."""
        if reply.status != 200:
            return ChargeUnknown(reason="the bank gives no answer")
        found = loads_object(reply.body)
        asked, moved = found.get("asked"), moved_of(found)
        if not isinstance(asked, int):
            return ChargeUnknown(reason="the bank gives no answer")
        if moved is None:
            return ChargeState(asked=asked, currency="usd")
        paid = Paid(reference=moved.reference, amount=moved.amount, currency=moved.currency)
        return ChargeState(asked=asked, currency="usd", payments=(moved,), redeemable=True, paid=paid)

    def lost(self) -> ChargeState | ChargeUnknown | None:
        """No answer."""
        return ChargeUnknown(reason="the bank gives no answer")


def _of_paid(field: "attrs.Attribute[Any]", _: object) -> bool:
    return field.name in ("reference", "amount", "currency")


def moved_of(found: JsonObject) -> Moved | None:
    """The payment that the bank tells of.

    Raises:
        ParseError: the answer says neither that there is one nor that there is none.
    """
    number, cents = found.get("number"), found.get("cents")
    if found.get("state") == "open":
        return None
    if not isinstance(number, str) or type(cents) is not int:
        raise ParseError("no order")
    return Moved(reference=number, amount=cents, currency="usd")


class OrderContract(ProviderContract):
    """Pays orders."""

    make: type[OrderProvider] = OrderProvider
    optional_members = frozenset({"slip"})

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, object]] = {}

    def provider(self) -> OrderProvider:
        """A new one."""
        return self.make()

    def pays(self, ask: Ask) -> JsonObject:
        """Pay the order."""
        order = self.orders[str(ask.opaque["order"])]
        slip = f"test-slip-{len(self.orders):04d}"
        order |= {"state": "paid", "number": f"T{len(self.orders)}", "cents": order["asked"], "slip": slip}
        return {"slip": slip}

    def refused(self, ask: Ask) -> JsonObject:
        """The slip of another order."""
        return {"slip": "test-slip-none"}

    def idempotent(self, call: HttpCall) -> bool:
        """A PUT opens the same order."""
        return call.http_method in ("GET", "PUT")

    def backend(self, call: HttpCall) -> HttpReply:
        """The bank's answer."""
        name = call.url.removeprefix(ORDERS)
        if call.http_method == "POST":
            return HttpReply(status=200, body=b"{}")
        if call.http_method == "PUT":
            self.orders.setdefault(name, {"state": "open", "asked": loads_object(call.body)["cents"]})
        if name not in self.orders:
            return HttpReply(status=404)
        return HttpReply(status=200, body=json.dumps(self.orders[name]).encode())


CHECKS: Final = [name for name in dir(ReconcilePromises) if name.startswith("test_")]


def failing(make: type[OrderProvider]) -> set[str]:
    """The checks that a provider does not pass."""
    contract = cast("type[OrderContract]", type("Contract", (OrderContract,), {"make": make}))
    found: set[str] = set()
    for name in CHECKS:
        try:
            getattr(contract(), name)()
        except AssertionError:
            found.add(name.removeprefix("test_reconcile_"))
    return found


def test_a_provider_that_keeps_its_promises() -> None:
    """Passes every check."""
    assert isinstance(OrderProvider(), ReconcilingProvider)
    assert failing(OrderProvider) == set()


def test_a_provider_that_cannot_be_asked() -> None:
    """Has nothing to promise."""

    class Mock(OrderContract):
        """The mock provider."""

        def provider(self) -> Any:
            """No backend."""
            return MockProvider()

    for name in CHECKS:
        getattr(Mock(), name)()


# --- mistakes -----------------------------------------------------------------------------------------------


class Impatient(OrderProvider):
    """Waits for ever between two charges."""

    reconcile_pause_s = float("inf")


class Forgetful(OrderProvider):
    """Its charges are forgotten before anybody looks."""

    kept_s = 60.0


class Nameless(OrderProvider):
    """Never says under which name its charges can be asked about."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Without a handle."""
        terms = yield from super().quote(quote)
        return attrs.evolve(terms, handle=None)


class Hasty(OrderProvider):
    """Takes an open order for one that is over."""

    def said(self, reply: HttpReply) -> ChargeState | ChargeUnknown | None:
        """Over."""
        state = super().said(reply)
        over = isinstance(state, ChargeState) and not state.payments
        return attrs.evolve(state, over=True) if over and isinstance(state, ChargeState) else state


class Otherwise(OrderProvider):
    """Spells the reference in another way than verify."""

    def said(self, reply: HttpReply) -> ChargeState | ChargeUnknown | None:
        """With a prefix."""
        state = super().said(reply)
        if not isinstance(state, ChargeState) or not state.payments:
            return state
        return attrs.evolve(state, payments=(attrs.evolve(state.payments[0], reference="bank_T1"),))


class Orders(OrderProvider):
    """Takes the money while it looks."""

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """Capture."""
        yield from self.call("POST", charge.handle)
        return (yield from super().reconcile(charge, keep=keep))


class Careless(OrderProvider):
    """Asks about the challenge, whatever the charge."""

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """By what the challenge says."""
        from flovia.core.scope import read_opaque

        order = str(read_opaque(charge.challenge.opaque or "").extra["order"])
        return (yield from super().reconcile(attrs.evolve(charge, handle=order), keep=keep))


class Hopeless(OrderProvider):
    """Takes no answer for no payment."""

    def lost(self) -> ChargeState | ChargeUnknown | None:
        """None."""
        return None


class Talkative(OrderProvider):
    """Logs what the bank says."""

    def said(self, reply: HttpReply) -> ChargeState | ChargeUnknown | None:
        """All of it."""
        logging.getLogger("test").info("%s", reply.body)
        return super().said(reply)


CAUGHT: Final[dict[type[OrderProvider], set[str]]] = {
    Impatient: {"attributes"},
    Forgetful: {"attributes"},
    Nameless: {"attributes", "unpaid", "paid", "elsewhere", "failures", "shows_no_secret"},
    Hasty: {"unpaid"},
    Otherwise: {"paid"},
    Orders: {"paid"},
    Careless: {"elsewhere"},
    Hopeless: {"failures"},
    Talkative: {"shows_no_secret"},
}


@pytest.mark.parametrize("make", CAUGHT, ids=lambda make: make.__name__)
def test_a_mistake_is_noticed(make: type[OrderProvider]) -> None:
    """By the checks of the promise that it breaks, and by no other."""
    assert failing(make) == CAUGHT[make]


def test_every_check_has_caught_something() -> None:
    """No check is there for show."""
    assert {name.removeprefix("test_reconcile_") for name in CHECKS} == set.union(*CAUGHT.values())
