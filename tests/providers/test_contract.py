"""The contract of a provider, on what we ship, on the example, and on providers that break it one promise at a time."""

import runpy
from collections.abc import Iterable
from itertools import count
from typing import Any, cast

import pytest

import flovia
from flovia.core.effects import Find, Flow, HttpCall, HttpReply, http, now, recall, remember, sleep, token
from flovia.core.encoding import JsonObject, JsonValue, canonical, loads_object
from flovia.core.errors import HttpError
from flovia.core.provider import NotPaid, Paid, Presented, Provider, Quote, Terms, Unknown, Verdict, charge_request
from flovia.providers.mock import MockProvider
from flovia.testing.flows import ByHand, drive
from flovia.testing.providers import Ask, ProviderContract
from tests.providers.bank import BANK, BankContract, BankProvider, checks, failing
from tests.providers.broken import CAUGHT
from tests.tree import ROOT


class TestMock(ProviderContract):
    """The mock provider."""

    optional_members = frozenset({"paid_amount"})

    @pytest.fixture(autouse=True)
    def _numbers(self) -> None:
        self.numbers = count()

    def provider(self) -> Provider:
        """With a recipient, so that it is compared too."""
        return MockProvider(recipient="acct-test")

    def pays(self, ask: Ask) -> JsonObject:
        """Make a proof up."""
        return {"proof": f"ok-test-proof-{next(self.numbers)}", "paid_amount": ask.charge["amount"]}

    def refused(self, ask: Ask) -> JsonObject:
        """A proof that says so."""
        return {"proof": "declined-test-proof"}

    def pending(self, ask: Ask) -> JsonObject | None:
        """A proof that says so."""
        return {"proof": "pending-test-proof"}

    def spellings(self, payload: JsonObject) -> Iterable[JsonObject]:
        """Each text is a payment of its own: proofs are made up."""
        return ()


class TestVouchers(ProviderContract):
    """The provider of examples/third_party_provider.py."""

    price = flovia.Price.parse("0.50 USD")

    @pytest.fixture(autouse=True)
    def _example(self) -> None:
        # Not named __main__, so nothing is served.
        self.example: dict[str, Any] = runpy.run_path(str(ROOT / "examples" / "third_party_provider.py"))
        self.numbers = count(100)

    def provider(self) -> Provider:
        """The example's."""
        return cast("Provider", self.example["VoucherProvider"]())

    def pays(self, ask: Ask) -> JsonObject:
        """Buy a voucher."""
        code = f"TEST-VOUCHER-{next(self.numbers):04d}"
        self.example["SOLD"][code] = flovia.Price(
            amount=int(str(ask.charge["amount"])), currency=str(ask.charge["currency"])
        )
        return {"voucher": code}

    def refused(self, ask: Ask) -> JsonObject:
        """A voucher nobody sold."""
        return {"voucher": "TEST-VOUCHER-NONE"}


class TestBank(BankContract):
    """A provider that looks up and captures, with a backend that fails in every way."""


class OrderProvider(BankProvider):
    """Sends one order with the key in its body, and is answered without one; its terms differ each time."""

    fixed_terms = False

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Number the order."""
        order = yield from token()
        return Terms(request=charge_request(quote.price), opaque={"order": order})

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Order the money."""
        hold, charge = presented.payload.get("hold"), presented.charge
        if not isinstance(hold, str):
            return NotPaid(problem="invalid-payload")
        order: dict[str, JsonValue] = {"hold": hold, "key": presented.nonce, "amount": charge["amount"]}
        try:
            reply = yield from http(HttpCall(http_method="POST", url=BANK, body=canonical(order)))
        except HttpError as error:
            return Unknown() if error.sent else NotPaid(same_challenge=True, retry_after_s=2)
        if reply.status in (404, 422):
            return NotPaid()
        payment = reply.header("x-payment")
        if reply.status != 204 or payment is None:
            return Unknown()
        return Paid(reference=payment, amount=int(str(charge["amount"])), currency=str(charge["currency"]))


class TestOrders(BankContract):
    """A provider that gives orders and asks nothing; an order that never left is certainly not paid."""

    make = OrderProvider
    keys: dict[str, str]

    @pytest.fixture(autouse=True)
    def _keys(self) -> None:
        self.keys = {}

    def pending(self, ask: Ask) -> JsonObject | None:
        """There is no waiting here."""
        return None

    def backend(self, call: HttpCall) -> HttpReply:
        """Pay once per hold, and tell it again to whoever has the key."""
        order = loads_object(call.body)
        name = str(order["hold"])
        hold = self.bank.holds.get(name)
        if hold is None:
            return HttpReply(status=404)
        if str(hold["cents"]) != order["amount"]:
            return HttpReply(status=422)
        if self.keys.setdefault(name, str(order["key"])) != order["key"]:
            return HttpReply(status=409)
        return HttpReply(status=204, headers=(("x-payment", str(hold["id"])),))


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda broken: broken.__name__)
def test_a_broken_provider_is_caught(broken: type[BankProvider]) -> None:
    """Each mistake is noticed by the checks of the promise it breaks, and by no other."""
    contract = cast("type[ProviderContract]", type("Broken", (BankContract,), {"make": broken}))
    found = failing(contract)
    assert {f"test_{check}" for check in CAUGHT[broken]} == set(found), found


def test_every_check_has_caught_something() -> None:
    """No check of the contract is there for show."""
    assert set(checks()) == {f"test_{check}" for caught in CAUGHT.values() for check in caught}


def test_a_backend_without_a_script_is_named() -> None:
    """Who forgets backend() is told so, instead of being told that their provider is wrong."""

    class Unscripted(BankContract):
        """Has no backend."""

        def backend(self, call: HttpCall) -> HttpReply:
            """What a contract without one does."""
            return ProviderContract.backend(self, call)

    assert "override backend()" in failing(Unscripted)["test_paid"]


def test_a_bug_in_the_script_is_named() -> None:
    """An exception of the author's own backend() does not pass for one of the provider's."""

    class Buggy(BankContract):
        """Has a bug."""

        def backend(self, call: HttpCall) -> HttpReply:
            """Ask for what is not there."""
            raise KeyError("test")

    found = failing(Buggy)
    assert "backend() raised KeyError" in found["test_garbage"]
    assert "backend() raised KeyError" in found["test_in_a_gate"]


def test_a_slow_provider_is_cut_off() -> None:
    """Past its deadline a verdict is Unknown, as in a gate, and no time passes in the test."""

    class Slow(BankProvider):
        """Polls for longer than it may."""

        def verify(self, presented: Presented) -> Flow[Verdict]:
            """Wait for a minute."""
            yield from sleep(60.0)
            return (yield from super().verify(presented))

    contract = cast("type[ProviderContract]", type("Late", (BankContract,), {"make": Slow}))
    assert "pays() was answered with Unknown" in failing(contract)["test_paid"]


# --- driving by hand ---------------------------------------------------------------------------------------

CALL = HttpCall(http_method="GET", url="https://bank.test/")


def test_what_a_provider_may_not_ask_for() -> None:
    """The ledger's verbs belong to the gate; what is remembered can be recalled."""
    world = ByHand(lambda call: HttpReply(status=200))
    assert "one" == drive(remember("test", "key", "one", ttl_s=60.0), world)
    assert "one" == drive(recall("test", "key"), world)

    def grabs() -> Flow[None]:
        yield Find("realm.test|challenge-1")

    with pytest.raises(AssertionError, match="Find is the gate's"):
        drive(grabs(), world)


def test_driving_with_a_list() -> None:
    """Results are given in order, and an exception among them is thrown into the flow."""

    def flow() -> Flow[str]:
        try:
            yield from http(CALL)
        except HttpError as error:
            return f"{error} at {(yield from now())}"
        return "answered"

    assert "answered" == drive(flow(), [HttpReply(status=200)])
    assert "lost at 5.0" == drive(flow(), [HttpError("lost", sent=True), 5.0])
    with pytest.raises(AssertionError, match="no answer is left"):
        drive(flow(), [])
    with pytest.raises(AssertionError, match="ended before"):
        drive(flow(), [HttpReply(status=200), 5.0])


def test_what_is_no_flow_or_never_ends() -> None:
    """Two mistakes of a first provider: verify() without a yield, and a loop that waits for good news."""

    def waits() -> Flow[None]:
        while True:
            yield from sleep(1.0)

    with pytest.raises(AssertionError, match="is no flow"):
        drive(cast("Flow[None]", Unknown()), [])
    with pytest.raises(AssertionError, match="waiting for something in a loop"):
        drive(waits(), ByHand(lambda call: HttpReply(status=200)))
