"""The contract of a provider as tests: whoever writes one runs them all.

Subclass :class:`ProviderContract` in a test module, say how to make the provider and how to pay through it, and
play its backend::

    class TestMyProvider(ProviderContract):
        def provider(self):
            return MyProvider(key="test-key")

        def pays(self, ask):
            return {"transfer": self.bank.transfer(ask.charge["amount"], ask.charge["currency"])}

        def refused(self, ask):
            return {"transfer": "no-such-transfer"}

        def backend(self, call):
            return self.bank.answer(call)

Each test wants an instance of its own (pytest makes one), so state may be kept in it. Nothing here needs pytest;
any runner that calls the ``test_`` methods will do. Nothing is sent: the provider's flows are driven by hand, and
some of them through a real gate on a memory ledger.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Final, cast

import attrs

from flovia.api import Flovia, PaidApi
from flovia.core.challenge import is_intent, is_method, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject, canonical, decode_param, encode_param
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.money import Price, check_amount
from flovia.core.passage import Passage
from flovia.core.problems import PROBLEMS
from flovia.core.provider import NotPaid, Paid, PaidBack, Provider, Unknown, Verdict
from flovia.core.receipt import parse_receipt, receipt_text
from flovia.core.scope import opaque_param, read_opaque
from flovia.providers.registry import RAILS
from flovia.testing.flows import ByHand, drive
from flovia.testing.provider_owed import OwedPromises
from flovia.testing.provider_reconciling import ReconcilePromises
from flovia.testing.provider_steps import (
    FAULTS,
    READING,
    REALM,
    SECRET,
    STEERING,
    UNSAFE,
    Ask,
    Bench,
    Failing,
    Fault,
    a_request,
    garbage,
    logged,
    parts_of,
    respelt,
    texts,
)

__all__ = ["Ask", "ProviderContract"]

MIN_SECRET_TEXT: Final = 8
"""Shorter texts of a payload turn up in logs by chance."""


class ProviderContract(OwedPromises, ReconcilePromises):
    """Every promise of :class:`flovia.providers.base.Provider`, one test each.

    ``price``: what is asked. ``optional_members``: members of a payload that need not be there.
    ``not_paid_statuses``: the statuses by which the backend says that there was no payment and will be none. All
    others leave it open; 401 and 403, for one, say something about the merchant's key and nothing about the money.
    """

    price: Price = Price(amount=100, currency="usd")
    optional_members: frozenset[str] = frozenset()
    not_paid_statuses: frozenset[int] = frozenset({400, 402, 404, 410, 422})

    # --- what the author says -------------------------------------------------------------------------------

    @abstractmethod
    def provider(self) -> Provider:
        """A provider as an app would make it, with a test key. Called several times: as if the app had restarted."""
        ...

    @abstractmethod
    def pays(self, ask: Ask) -> JsonObject:
        """Pay what is asked, as a payer would, and return the payload that proves it: another payment each time."""
        ...

    @abstractmethod
    def refused(self, ask: Ask) -> JsonObject:
        """A well-formed payload of a payment that was not made and never will be."""
        ...

    def pending(self, ask: Ask) -> JsonObject | None:
        """A payload of a payment that is still under way; None if there is no such thing."""
        return None

    def backend(self, call: HttpCall) -> HttpReply:
        """What the payment backend answers.

        Raises:
            HttpError: it gives no answer.
        """
        raise AssertionError(f"{call!r}: override backend() to answer the provider's HTTP calls")

    def spellings(self, payload: JsonObject) -> Iterable[JsonObject]:
        """Other ways to write the same payment: other case, spaces, escapes; add those that your backend forgives.

        Return nothing where each text is a payment of its own.
        """
        return respelt(payload)

    def secrets(self, payload: JsonObject) -> Iterable[str]:
        """The texts of a payload that nobody else may read. Leave out those that are public by design."""
        return [text for text in texts(dict(payload)) if len(text) >= MIN_SECRET_TEXT]

    def idempotent(self, call: HttpCall) -> bool:
        """Whether the backend does nothing new when it gets this call twice; by default RFC 9110's list says so."""
        return call.http_method not in UNSAFE

    # --- attributes -----------------------------------------------------------------------------------------

    def test_attributes(self) -> None:
        """The attributes have the forms that routes, challenges and headers need."""
        provider = self.provider()
        for name in ("name", "rail", "method", "intent", "receipt_header"):
            value: object = getattr(provider, name)
            assert isinstance(value, str), f"{name} has to be text, not {value!r}"
            assert value, f"{name} is empty"
        for name in ("live", "fixed_terms"):
            assert isinstance(getattr(provider, name), bool), f"{name} has to be True or False"
        assert is_method(provider.method), f"method {provider.method!r}: [a-z][a-z0-9:_-]*"
        assert is_intent(provider.intent), f"intent {provider.intent!r}: letters, digits and '-'"
        assert provider.intent == "charge", f"intent {provider.intent!r}: only 'charge' is supported"
        assert provider.rail in RAILS, f"rail {provider.rail!r} is none of {', '.join(RAILS)}"
        deadline = cast("object", provider.deadline_s)
        number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
        assert number, f"deadline_s has to be a number of seconds, not {deadline!r}"
        assert math.isfinite(provider.deadline_s), "deadline_s has to end some time"
        assert provider.deadline_s > 0, "deadline_s has to be more than 0 seconds"
        header = provider.receipt_header
        assert header == header.lower(), f"receipt_header {header!r} has to be in lower case"
        assert header.replace("-", "").isalnum(), f"receipt_header {header!r} is no field name"
        assert header.isascii(), f"receipt_header {header!r} is no field name"

    # --- quoting --------------------------------------------------------------------------------------------

    def test_quote(self) -> None:
        """A challenge asks for the price, in base units, and everything in it can be sent and read back."""
        for amount in (self.price.amount, self.price.amount + 1):
            price = attrs.evolve(self.price, amount=amount)
            bench = self._bench()
            terms = bench.terms(price)
            asked = (check_amount(terms.request.get("amount")), terms.request.get("currency"))
            assert asked == (price.amount, price.currency), f"asks for {asked} where the price is {price}"
            assert decode_param(encode_param(terms.request)) == terms.request
            assert {"n", "s"}.isdisjoint(terms.opaque), "the names n and s of opaque are the gate's"
            for name, text in cast("dict[object, object]", terms.opaque).items():
                assert isinstance(name, str), f"opaque is a flat map of texts, not {name!r}"
                assert isinstance(text, str), f"opaque is a flat map of texts, not {name}={text!r}"
            assert read_opaque(opaque_param("0" * 22, "0" * 43, terms.opaque)).extra == dict(terms.opaque)
            assert terms.expires_at is None or terms.expires_at > bench.world.clock(), "it has expired already"
            canonical(terms.body)
            _check_fields(terms.headers)

    def test_fixed_terms(self) -> None:
        """Fixed terms ask for nothing and are the same for everybody, and only their request is used."""
        if not self.provider().fixed_terms:
            return
        bench = self._bench()
        first = bench.terms(self.price)
        assert bench.world.effects == 0, "quote() asks for an effect: set fixed_terms = False"
        bench.world.clock.advance(1000.0)
        for again in (bench.terms(self.price, path="/other"), self._bench().terms(self.price, nonce="")):
            assert again == first, "quote() looks at more than price and description: set fixed_terms = False"
        more = (first.opaque, first.body, first.headers, first.expires_at)
        assert not any(more), "of fixed terms only the request reaches the client: set fixed_terms = False"

    # --- the verdicts -----------------------------------------------------------------------------------

    def test_paid(self) -> None:
        """What was paid is Paid, with the money that moved, in a form that makes a receipt."""
        bench = self._bench()
        ask = bench.ask(self.price)
        verdict = bench.verify(ask, self.pays(ask))
        assert isinstance(verdict, Paid), f"pays() was answered with {_kind(verdict)}"
        self._check_paid(verdict)
        paid = (verdict.amount, verdict.currency)
        assert paid == (self.price.amount, self.price.currency), f"reports {paid} where {self.price} was paid"
        recipient = ask.charge.get("recipient")
        assert recipient is None or verdict.recipient == recipient, "paid to somebody else than the challenge names"

    def test_not_paid(self) -> None:
        """A payment that was not made is NotPaid, with a problem type of a 402 and a fresh challenge."""
        bench = self._bench()
        ask = bench.ask(self.price)
        verdict = bench.verify(ask, self.refused(ask))
        assert isinstance(verdict, NotPaid), f"refused() was answered with {_kind(verdict)}"
        self._check_not_paid(verdict)
        assert not verdict.same_challenge, "same_challenge means that the payment is still under way"

    def test_pending(self) -> None:
        """A payment that is under way is NotPaid for now: the same challenge again, and when to come back."""
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pending(ask)
        if payload is None:
            return
        verdict = bench.verify(ask, payload)
        assert isinstance(verdict, NotPaid), f"pending() was answered with {_kind(verdict)}"
        self._check_not_paid(verdict)
        assert verdict.same_challenge, "a fresh challenge would ask for the same money twice"
        assert verdict.retry_after_s, "say when to come back: retry_after_s"

    # --- one payment, one reference ------------------------------------------------------------------------------

    def test_reference(self) -> None:
        """One payment has one reference, whoever asks and how often; two payments have two."""
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pays(ask)
        first = self._paid(bench, ask, payload)
        assert self._paid(bench, ask, payload, 2).reference == first.reference
        restarted = Bench(self.provider(), self._backend, bench.world)
        assert self._paid(restarted, ask, payload, 3).reference == first.reference, "another after a restart"
        for other in (bench, self._bench()):
            again = self._judge(other, other.ask(self.price), payload)
            assert not isinstance(again, Paid) or again.reference == first.reference, "another under another challenge"
        second_ask = bench.ask(self.price)
        second = self._paid(bench, second_ask, self.pays(second_ask))
        assert second.reference != first.reference, "two payments with one reference: the second would be refused"

    def test_spelling(self) -> None:
        """A payment written another way is the same payment, or none: else it would pay twice."""
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pays(ask)
        first = self._paid(bench, ask, payload)
        for other in self.spellings(payload):
            fresh = self._bench()
            verdict = self._judge(fresh, fresh.ask(self.price), other)
            same = not isinstance(verdict, Paid) or verdict.reference == first.reference
            assert same, f"{sorted(other)} written another way has another reference: take it from the backend's answer"

    # --- what a client may send -------------------------------------------------------------------------------

    def test_garbage(self) -> None:
        """A payload of any shape is answered with a verdict, without an exception, and is never Paid."""
        paying = self._bench()
        good_ask = paying.ask(self.price)
        for member, payload in garbage(self.pays(good_ask)):
            bench = self._bench()
            shown = f"{member or 'payload'} as {str(payload.get(member))[:40]!r}"
            try:
                verdict = bench.verify(bench.ask(self.price) if member == "" else good_ask, payload)
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"{shown}: verify() raised {type(error).__name__}: {error}") from error
            assert isinstance(verdict, Paid | NotPaid | Unknown | PaidBack), f"{shown}: {_kind(verdict)} is no verdict"
            assert not isinstance(verdict, Paid) or member in self.optional_members, f"{shown} was taken for a payment"

    def test_calls_stay_on_their_way(self) -> None:
        """A client's text cannot lead a call elsewhere, and calls go over TLS (or to this machine)."""
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pays(ask)
        self._judge(bench, ask, payload)
        for name, text in payload.items():
            for steering in STEERING if isinstance(text, str) else ():
                self._judge(bench, ask, {**payload, name: f"{text}{steering}x"})
        for call in bench.world.calls:
            assert not any(steering in call.url for steering in STEERING), f"escape what a client sends: {call.url!r}"
            for name, value in call.headers:
                assert not any(end in name + value for end in "\r\n"), f"a client's text ends the field {name!r}"
            local = call.url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
            assert local or call.url.startswith("https://"), f"{call.url!r}: keys and proofs need TLS"

    # --- what a backend may do ----------------------------------------------------------------------------------

    def test_backend_failures(self) -> None:
        """However the backend fails, nobody gets in for free, and nobody who paid is told that they did not."""
        for first in range(self._count_calls()):
            for fault in FAULTS:
                self._check_fault(fault, first)

    def _count_calls(self) -> int:
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pays(ask)
        before = len(bench.world.calls)
        self._paid(bench, ask, payload)
        return len(bench.world.calls) - before

    def _check_fault(self, fault: Fault, first: int) -> None:
        bench = self._bench()
        ask = bench.ask(self.price)
        payload = self.pays(ask)
        failing = bench.world.backend = Failing(self._backend, fault, first)
        verdict = self._judge(bench, ask, payload)
        if failing.same:
            return
        what = f"{fault.name} at call {first + 1}"
        assert isinstance(verdict, NotPaid | Unknown), f"{what}: the verdict is {_kind(verdict)}"
        if isinstance(verdict, NotPaid):
            assert self._certain(fault, failing), f"{what}: NotPaid, but money may have moved; answer Unknown"
            if not verdict.same_challenge:
                return
        failing.healed = True
        # As a client does: not before it was told to come back.
        bench.world.clock.advance(float(verdict.retry_after_s or 0))
        self._paid(bench, ask, payload, 2, f"{what}, then asked again with the same credential")

    def _certain(self, fault: Fault, failing: Failing) -> bool:
        """Whether a failure proves that no money moved."""
        if failing.acted or failing.failed is None:
            return False
        if not fault.sent:
            # An order that never left moved nothing. A question that never left leaves the answer open.
            return failing.failed.http_method not in READING
        return fault.status in self.not_paid_statuses

    def test_idempotency(self) -> None:
        """An order to the backend that is repeated for the same credential has the same key, and one of its own."""
        payload: JsonObject | None = None
        orders: list[list[set[tuple[str, str]]]] = []
        for attempts in (2, 1):
            bench = self._bench()
            ask = bench.ask(self.price)
            payload = self.pays(ask) if payload is None else payload
            found = list[set[tuple[str, str]]]()
            for attempt in range(1, attempts + 1):
                bench.world.calls.clear()
                bench.world.backend = self._without_orders
                self._judge(bench, ask, payload, attempt)
                bench.world.clock.advance(2.0)
                calls = [call for call in bench.world.calls if not self.idempotent(call)]
                found += [parts_of(call) for call in calls[:1]]
            orders.append(found)
        if len(orders[0]) < 2:
            return
        elsewhere: set[tuple[str, str]] = orders[1][0] if orders[1] else set()
        kept = (orders[0][0] & orders[0][1]) - elsewhere
        assert kept, "nothing in the call is the same on a retry and other elsewhere: send presented.nonce as the key"

    # --- secrets -----------------------------------------------------------------------------------------------

    def test_no_secret_is_shown(self) -> None:
        """No proof stands in a verdict's or provider's repr, in a log line, an event or an exception (S37, S38)."""
        shown: list[str] = []
        secret: set[str] = set()
        with logged() as lines:
            for make in (self.pays, self.refused, self.pending):
                bench = self._bench()
                ask = bench.ask(self.price)
                payload = make(ask)
                if payload is not None:
                    secret.update(self.secrets(payload))
                    shown.append(repr(bench.verify(ask, payload)))
                    shown.append(repr(bench.provider))
            for fault in FAULTS:
                world, flo, paid = self._shop()
                ask = self._ask(paid, world)
                payload = self.pays(ask)
                secret.update(self.secrets(payload))
                world.backend = Failing(self._backend, fault, 0)
                self._present(paid, world, ask, payload)
                shown += (repr(event) for _, event in flo.ledger.read_events(limit=1000))
        for text in shown + lines:
            assert not any(one in text for one in secret), "a proof is shown; see ProviderContract.secrets"

    # --- in a gate -----------------------------------------------------------------------------------------------

    def test_in_a_gate(self) -> None:
        """A payment opens a route once (S04, S44): not twice, and not for another challenge."""
        world, _, paid = self._shop()
        ask = self._ask(paid, world)
        payload = self.pays(ask)
        passage = self._present(paid, world, ask, payload)
        assert passage.grant is not None, f"pays() was refused: {passage.response!r}"
        receipt = dict(passage.start(200, Headers.of(())).add).get("payment-receipt", "")
        assert parse_receipt(receipt).reference == passage.grant.payment_id
        drive(paid.guard.leave(passage, True), world)
        assert self._present(paid, world, ask, payload).grant is None, "the same credential twice"
        assert self._present(paid, world, self._ask(paid, world), payload).grant is None, "the same payment twice"
        for make in (self.refused, self.pending):
            other = self._ask(paid, world)
            unpaid = make(other)
            assert unpaid is None or self._present(paid, world, other, unpaid).grant is None, "let in for nothing"

    def test_the_money_that_was_asked(self) -> None:
        """A payment of one price does not open a route with a higher one (H03)."""
        world, flo, paid = self._shop()
        dearer = flo.paid_api(
            provider=self.provider(), price=attrs.evolve(self.price, amount=self.price.amount * 2), name="dearer"
        )
        payload = self.pays(self._ask(paid, world))
        assert self._present(dearer, world, self._ask(dearer, world), payload).grant is None, (
            "let in for half the price"
        )

    # --- steps ---------------------------------------------------------------------------------------------------

    def _backend(self, call: HttpCall) -> HttpReply:
        """The author's backend; a bug in it must not look like one of the provider's."""
        try:
            return self.backend(call)
        except (HttpError, AssertionError):
            raise
        except Exception as error:
            raise AssertionError(f"backend() raised {type(error).__name__} for {call!r}") from error

    def _without_orders(self, call: HttpCall) -> HttpReply:
        """The backend while orders get lost on the way there."""
        if self.idempotent(call):
            return self._backend(call)
        raise HttpError("test: the order was lost", sent=True)

    def _bench(self) -> Bench:
        return Bench(self.provider(), self._backend)

    def _judge(self, bench: Bench, ask: Ask, payload: JsonObject, attempt: int = 1) -> Verdict:
        """The verdict as a gate takes it: an exception counts as Unknown."""
        try:
            return bench.verify(ask, payload, attempt)
        except AssertionError:
            raise
        except Exception:
            return Unknown()

    def _paid(self, bench: Bench, ask: Ask, payload: JsonObject, attempt: int = 1, when: str = "pays()") -> Paid:
        verdict = self._judge(bench, ask, payload, attempt)
        assert isinstance(verdict, Paid), f"{when}: the verdict is {_kind(verdict)} (attempt {attempt})"
        return verdict

    @staticmethod
    def _check_paid(paid: Paid) -> None:
        reference, amount = cast("object", paid.reference), cast("object", paid.amount)
        assert isinstance(reference, str), f"reference has to be text, not {reference!r}"
        assert reference, "reference is empty"
        assert reference == reference.strip(), "reference has spaces around it: not one spelling"
        assert reference.isprintable(), "reference holds control characters"
        assert type(amount) is int, f"amount has to be an int in base units, not {amount!r}"
        assert isinstance(cast("object", paid.currency), str), "currency has to be text"
        _check_fields(paid.receipt_headers)
        receipt = parse_receipt(receipt_text("test", paid.reference, "2030-01-01T00:00:00Z", paid.receipt_extra))
        assert receipt.reference == paid.reference

    @staticmethod
    def _check_not_paid(verdict: NotPaid) -> None:
        known = PROBLEMS.get(verdict.problem)
        assert known is not None, f"there is no problem type {verdict.problem!r}"
        assert known.status == 402, f"{verdict.problem} is no problem type of a 402"
        wait = cast("object", verdict.retry_after_s)
        assert wait is None or (type(wait) is int and wait > 0), f"retry_after_s: whole seconds, not {wait!r}"

    def _shop(self) -> tuple[ByHand, Flovia, PaidApi]:
        world = ByHand(self._backend)
        flo = Flovia(ledger=world.ledger, secret=SECRET, realm=REALM, clock=world.clock, tokens=world.token, limit=None)
        return world, flo, flo.paid_api(provider=self.provider(), price=self.price, name="test")

    def _ask(self, paid: PaidApi, world: ByHand) -> Ask:
        response = drive(paid.guard.enter(a_request()), world).response
        assert response is not None, "a request without a credential was let in"
        assert response.status == 402, f"no challenge: {response!r}"
        (challenge,) = parse_challenges([value for name, value in response.headers if name == "www-authenticate"])
        return Ask.of(challenge)

    @staticmethod
    def _present(paid: PaidApi, world: ByHand, ask: Ask, payload: JsonObject) -> Passage:
        credential = format_credential(Credential(challenge=ask.challenge, payload=payload))
        return drive(paid.guard.enter(a_request(credential=credential)), world)


def _kind(verdict: object) -> str:
    return type(verdict).__name__


def _check_fields(fields: Iterable[tuple[str, str]]) -> None:
    for name, value in fields:
        assert name == name.lower(), f"write the field name {name!r} in lower case"
        assert name.replace("-", "").isalnum(), f"{name!r} is no field name"
        assert value.isprintable(), f"the field {name!r} holds control characters"
