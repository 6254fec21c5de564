"""A payment backend of a few lines, a provider that uses it well, and how to pay through it."""

import json
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import quote, unquote, urlsplit

from flovia.core.effects import Flow, HttpCall, HttpReply, http
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import HttpError, ParseError
from flovia.core.provider import NotPaid, Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from flovia.testing.provider_owed import OwedPromises
from flovia.testing.provider_reconciling import ReconcilePromises
from flovia.testing.providers import Ask, ProviderContract

BANK = "https://bank.test/v1/holds"


class Bank:
    """Holds money that payers set aside. A merchant looks a hold up, then captures it under an idempotency key."""

    def __init__(self) -> None:
        self.holds: dict[str, dict[str, object]] = {}
        self.keys: dict[str, bytes] = {}
        self.captured: list[str] = []

    def hold(self, cents: int, currency: str, state: str = "held") -> str:
        """Set money aside; the hold's id, which is a secret of the payer."""
        name = f"test-hold-{len(self.holds):04d}"
        self.holds[name] = {"id": f"p{len(self.holds)}", "cents": cents, "currency": currency, "state": state}
        return name

    def answer(self, call: HttpCall) -> HttpReply:
        """What a lenient HTTP server makes of a call: case, spaces, query and dots in the path do not matter to it."""
        headers = dict(call.headers)
        if headers.get("authorization") != "Bearer test-key":
            return HttpReply(status=401)
        parts = [part for part in urlsplit(call.url.strip()).path.split("/") if part not in ("", ".")]
        name = unquote(parts[2]).strip().lower().removeprefix("./").rstrip("/") if len(parts) > 2 else ""
        hold = self.holds.get(name)
        if hold is None:
            return HttpReply(status=404, body=b'{"error":"no such hold"}')
        if call.http_method == "POST":
            key = headers.get("idempotency-key", "")
            if key and key in self.keys:
                return HttpReply(status=200, body=self.keys[key])
            if hold["state"] != "held":
                return HttpReply(status=409, body=b'{"error":"not held"}')
            hold["state"] = "captured"
            self.captured.append(name)
            self.keys[key] = json.dumps(hold).encode()
        return HttpReply(status=200, body=json.dumps(hold).encode())


class BankProvider:
    """Captures holds. What could go wrong is a method each, so that a test can get one of them wrong."""

    name = "bank"
    method = "bank"
    intent = "charge"
    rail = "mpp"
    live = True
    fixed_terms = True
    deadline_s = 5.0
    receipt_header = "payment-receipt"

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Ask for the price."""
        yield from ()
        return Terms(request=charge_request(quote.price, recipient="acme"))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Look the hold up and capture it."""
        name = presented.payload.get("hold")
        if not isinstance(name, str) or not name:
            return NotPaid(problem="invalid-payload")
        try:
            reply = yield from http(self.call("GET", name, presented))
            if reply.status == 404:
                return NotPaid()
            if reply.status != 200:
                return self.unclear(reply)
            hold = loads_object(reply.body)
            cents = hold.get("cents")
            if not isinstance(cents, int):
                return Unknown()
            if hold.get("state") == "pending":
                return self.waiting()
            if cents != int(str(presented.charge["amount"])):
                return NotPaid(problem="payment-insufficient")
            reply = yield from http(self.call("POST", name, presented))
            if reply.status != 200:
                return self.unclear(reply)
            return self.paid(name, loads_object(reply.body))
        except HttpError as error:
            return self.lost(error)
        except ParseError:
            return Unknown()

    def call(self, http_method: str, name: str, presented: Presented) -> HttpCall:
        """One call about a hold."""
        key = (("idempotency-key", self.key(presented)),) if http_method == "POST" else ()
        return HttpCall(
            http_method=http_method, url=self.url(name), headers=(("authorization", "Bearer test-key"), *key)
        )

    def url(self, name: str) -> str:
        """Where the hold is."""
        return f"{BANK}/{quote(name, safe='')}"

    def key(self, presented: Presented) -> str:
        """The idempotency key."""
        return presented.nonce

    def waiting(self) -> Verdict:
        """The payer has not confirmed yet."""
        return NotPaid(same_challenge=True, retry_after_s=2)

    def unclear(self, reply: HttpReply) -> Verdict:
        """An answer that says nothing about the money."""
        return Unknown()

    def lost(self, error: HttpError) -> Verdict:
        """No answer."""
        return Unknown()

    def paid(self, name: str, hold: JsonObject) -> Verdict:
        """Captured, according to the bank."""
        ident, cents, currency = hold.get("id"), hold.get("cents"), hold.get("currency")
        if not isinstance(ident, str) or not isinstance(cents, int) or not isinstance(currency, str):
            return Unknown()
        return Paid(reference=ident, amount=cents, currency=currency, recipient="acme")


class BankContract(ProviderContract):
    """Pays with holds."""

    make: type[BankProvider] = BankProvider

    @cached_property
    def bank(self) -> Bank:
        """This test's own."""
        return Bank()

    def provider(self) -> BankProvider:
        """A new one."""
        return self.make()

    def pays(self, ask: Ask) -> JsonObject:
        """Set the money aside."""
        return {"hold": self.bank.hold(int(str(ask.charge["amount"])), str(ask.charge["currency"]))}

    def refused(self, ask: Ask) -> JsonObject:
        """Name a hold that nobody made."""
        return {"hold": "test-no-such-hold"}

    def pending(self, ask: Ask) -> JsonObject | None:
        """Name a hold that the payer has still to confirm."""
        return {"hold": self.bank.hold(int(str(ask.charge["amount"])), str(ask.charge["currency"]), "pending")}

    def backend(self, call: HttpCall) -> HttpReply:
        """The bank's answer."""
        return self.bank.answer(call)


def failing(contract: type[ProviderContract]) -> dict[str, str]:
    """The checks that a provider does not pass, by name, with what each says."""
    found: dict[str, str] = {}
    for name in checks():
        try:
            getattr(contract(), name)()
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def checks() -> Iterable[str]:
    """The names of all checks of the contract but those that have tests of their own: ``tests/hooks``, reconciling."""
    elsewhere = {*dir(OwedPromises), *dir(ReconcilePromises)}
    return [name for name in dir(ProviderContract) if name.startswith("test_") and name not in elsewhere]
