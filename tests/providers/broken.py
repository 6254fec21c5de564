"""Providers that get one thing wrong each, and the checks of the contract that have to notice."""

import logging
from hashlib import sha256
from typing import Final, cast

import attrs

from flovia.core.effects import Flow, HttpCall, HttpReply, http, recall, token
from flovia.core.encoding import JsonObject, loads, loads_object
from flovia.core.errors import HttpError, ParseError
from flovia.core.provider import NotPaid, Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from tests.providers.bank import BANK, BankProvider

# --- attributes and terms ---------------------------------------------------------------------------------


class MixedCaseHeader(BankProvider):
    """An Observer would never find this field."""

    receipt_header = "Payment-Receipt"


class NoDeadline(BankProvider):
    """Waits for ever."""

    deadline_s = float("inf")


class UnknownRail(BankProvider):
    """paid_api would not know it."""

    rail = "swift"


class AsksInUnits(BankProvider):
    """Asks for whole units where base units are meant: a hundredth of the price."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """One dollar is 1."""
        yield from ()
        request = charge_request(quote.price, recipient="acme")
        return Terms(request={**request, "amount": str(quote.price.amount // 100)})


class TakesTheGatesName(BankProvider):
    """Puts the gate's own nonce into opaque."""

    fixed_terms = False

    def quote(self, quote: Quote) -> Flow[Terms]:
        """As the bank, with an n."""
        yield from ()
        return Terms(request=charge_request(quote.price), opaque={"n": "mine"})


class NotSoFixed(BankProvider):
    """Says fixed, and looks at the request."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Another order for each path."""
        yield from ()
        return Terms(request=charge_request(quote.price, external_id=quote.request.path))


class AsksForFixedTerms(BankProvider):
    """Says fixed, and asks the ledger."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """The recipient of the day."""
        found = yield from recall("bank", "recipient")
        return Terms(request=charge_request(quote.price, recipient=found or "acme"))


class LosesAHeader(BankProvider):
    """Says fixed, and adds what no client will ever see."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """As the bank, with a header."""
        yield from ()
        return Terms(request=charge_request(quote.price), headers=(("x-order", "1"),))


# --- verdicts -----------------------------------------------------------------------------------------------


class AmountAsText(BankProvider):
    """Hands the amount on as text."""

    def paid(self, name: str, hold: JsonObject) -> Verdict:
        """Text looks like a number."""
        verdict = super().paid(name, hold)
        return attrs.evolve(verdict, amount=cast("int", str(verdict.amount))) if isinstance(verdict, Paid) else verdict


class OddProblem(BankProvider):
    """Names a problem type that is none of a 402."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Whatever is not paid is internal."""
        verdict = yield from super().verify(presented)
        wrong = isinstance(verdict, NotPaid) and verdict.problem == "verification-failed" and not verdict.same_challenge
        return NotPaid(problem="internal-payment-error") if wrong else verdict


class PendingIsRefused(BankProvider):
    """Asks for the money again while it is under way."""

    def waiting(self) -> Verdict:
        """A fresh challenge."""
        return NotPaid()


class SaysYes(BankProvider):
    """Answers True instead of a verdict to what is no hold."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Nothing to look up, nothing to say."""
        if not presented.payload:
            return cast("Verdict", True)
        return (yield from super().verify(presented))


# --- references -------------------------------------------------------------------------------------------------


class ReferenceFromTheClient(BankProvider):
    """Looks a payment up, and names it as the client wrote it."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Nothing to capture: the money has moved already."""
        name = presented.payload.get("hold")
        if not isinstance(name, str) or not name:
            return NotPaid(problem="invalid-payload")
        try:
            reply = yield from http(self.call("GET", name, presented))
            if reply.status == 404:
                return NotPaid()
            hold = loads_object(reply.body)
        except (HttpError, ParseError):
            return Unknown()
        if hold.get("state") == "pending":
            return self.waiting()
        verdict = self.paid(name, hold) if reply.status == 200 else Unknown()
        reference = sha256(name.encode()).hexdigest()
        return attrs.evolve(verdict, reference=reference) if isinstance(verdict, Paid) else verdict


class ReferenceOfTheDay(BankProvider):
    """Makes a name up each time."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """A random one."""
        verdict = yield from super().verify(presented)
        reference = yield from token()
        return attrs.evolve(verdict, reference=reference) if isinstance(verdict, Paid) else verdict


class OneReference(BankProvider):
    """Has one name for all payments."""

    def paid(self, name: str, hold: JsonObject) -> Verdict:
        """The same for all."""
        verdict = super().paid(name, hold)
        return attrs.evolve(verdict, reference="p") if isinstance(verdict, Paid) else verdict


# --- what a client sends ----------------------------------------------------------------------------------------


class TrustsTheForm(BankProvider):
    """Believes that a hold is always text."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Call a method of text on anything."""
        cast("str", presented.payload["hold"]).strip()
        return (yield from super().verify(presented))


class TakesAnything(BankProvider):
    """Makes text of whatever comes."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """A list of one hold will do."""
        hold = presented.payload.get("hold")
        name = hold[0] if isinstance(hold, list) and hold else hold
        presented.payload = {"hold": name}
        return (yield from super().verify(presented))


class PastesIntoTheUrl(BankProvider):
    """Puts the client's text into the address as it is."""

    def url(self, name: str) -> str:
        """Not escaped."""
        return f"{BANK}/{name}"


class NoTls(BankProvider):
    """Sends key and proof in the clear."""

    def url(self, name: str) -> str:
        """The address without an s."""
        return super().url(name).replace("https:", "http:")


# --- what a backend does ------------------------------------------------------------------------------------------


class FreeWhenTheBankIsDown(BankProvider):
    """Lets everybody in while the bank gives no answer."""

    def lost(self, error: HttpError) -> Verdict:
        """They will have paid."""
        return Paid(reference="later", amount=100, currency="usd", recipient="acme")


class LostIsRefused(BankProvider):
    """Takes a lost answer for a no."""

    def lost(self, error: HttpError) -> Verdict:
        """Ask for the money again."""
        return NotPaid()


class LostOrderIsRefused(BankProvider):
    """Takes an order whose answer was lost for one that was not carried out."""

    last = ""

    def call(self, http_method: str, name: str, presented: Presented) -> HttpCall:
        """Remember which call it is."""
        self.last = http_method
        return super().call(http_method, name, presented)

    def lost(self, error: HttpError) -> Verdict:
        """Ask for the money again."""
        return NotPaid() if self.last == "POST" else Unknown()


class UnclearIsRefused(BankProvider):
    """Takes an error of the bank for a no."""

    def unclear(self, reply: HttpReply) -> Verdict:
        """Ask for the money again."""
        return NotPaid()


class IgnoresTheCapture(BankProvider):
    """Believes any 200 to its order, whoever sent it."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Go by the status, and by what was known before."""
        steps = super().verify(presented)
        found: HttpReply | None = None
        try:
            effect = next(steps)
            while True:
                reply: HttpReply = yield effect
                found = reply if found is None else found
                believed = reply.status == 200 and isinstance(effect, HttpCall) and effect.http_method == "POST"
                effect = steps.send(found if believed else reply)
        except StopIteration as stop:
            return cast("Verdict", stop.value)
        except HttpError:
            return Unknown()


class NoKey(BankProvider):
    """Sends its orders without an idempotency key."""

    def call(self, http_method: str, name: str, presented: Presented) -> HttpCall:
        """No key."""
        call = super().call(http_method, name, presented)
        return attrs.evolve(call, headers=call.headers[:1])


class KeyOfTheAttempt(BankProvider):
    """Has another key each time it tries."""

    def key(self, presented: Presented) -> str:
        """With the attempt's number."""
        return f"{presented.nonce}-{presented.attempt}"


class OneKey(BankProvider):
    """Has one key for all orders."""

    def key(self, presented: Presented) -> str:
        """The same for all."""
        return "flovia"


# --- secrets and money ------------------------------------------------------------------------------------


class ReferenceIsTheProof(BankProvider):
    """Makes the payer's secret the payment's public name."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the hold is called (one spelling: the bank's own)."""
        verdict = yield from super().verify(presented)
        name = str(presented.payload.get("hold"))
        canonical = name.strip().lower().removeprefix("./").rstrip("/")
        return attrs.evolve(verdict, reference=canonical) if isinstance(verdict, Paid) else verdict


class LogsThePayload(BankProvider):
    """Logs what it is shown."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """For debugging, surely."""
        logging.getLogger("bank").debug("verifying %s", dict(presented.payload))
        return (yield from super().verify(presented))


class RaisesTheProof(BankProvider):
    """Tells the secret in an exception."""

    def lost(self, error: HttpError) -> Verdict:
        """With the text of the call that failed, say."""
        raise RuntimeError("no answer about test-hold-0000")


class WhateverIsAsked(BankProvider):
    """Reports the amount that was asked for in place of the one that was paid."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Looks only whether the hold is there."""
        name = presented.payload.get("hold")
        found = yield from http(self.call("GET", name if isinstance(name, str) else "", presented))
        asked = presented.charge
        if found.status == 200 and isinstance(name, str):
            presented.charge = {**asked, "amount": str(cast("dict[str, object]", loads(found.body)).get("cents"))}
        verdict = yield from super().verify(presented)
        return attrs.evolve(verdict, amount=int(str(asked["amount"]))) if isinstance(verdict, Paid) else verdict


CAUGHT: Final[dict[type[BankProvider], set[str]]] = {
    MixedCaseHeader: {"attributes"},
    NoDeadline: {"attributes"},
    UnknownRail: {"attributes"},
    AsksInUnits: {"quote", "paid"},
    TakesTheGatesName: {"quote"},
    NotSoFixed: {"fixed_terms"},
    AsksForFixedTerms: {"fixed_terms", "in_a_gate", "no_secret_is_shown", "the_money_that_was_asked"},
    LosesAHeader: {"fixed_terms"},
    AmountAsText: {"paid", "in_a_gate"},
    OddProblem: {"not_paid"},
    PendingIsRefused: {"pending"},
    SaysYes: {"garbage"},
    ReferenceFromTheClient: {"spelling"},
    ReferenceOfTheDay: {"reference"},
    OneReference: {"reference"},
    TrustsTheForm: {"garbage"},
    TakesAnything: {"garbage"},
    PastesIntoTheUrl: {"calls_stay_on_their_way"},
    NoTls: {"calls_stay_on_their_way"},
    FreeWhenTheBankIsDown: {"backend_failures"},
    LostIsRefused: {"backend_failures"},
    LostOrderIsRefused: {"backend_failures"},
    UnclearIsRefused: {"backend_failures"},
    IgnoresTheCapture: {"backend_failures"},
    NoKey: {"idempotency", "reference", "backend_failures"},
    KeyOfTheAttempt: {"idempotency", "reference", "backend_failures"},
    OneKey: {"idempotency", "reference"},
    ReferenceIsTheProof: {"no_secret_is_shown"},
    LogsThePayload: {"no_secret_is_shown"},
    RaisesTheProof: {"no_secret_is_shown"},
    WhateverIsAsked: {"the_money_that_was_asked"},
}
"""Which checks notice which mistake: these, and no others. Most mistakes break one promise, a few break several."""
