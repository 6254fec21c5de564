"""What a provider can say beyond its three plain verdicts: refusals, the look of a 402, receipts, own credentials."""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

import flovia
from flovia import runtime
from flovia.core.challenge import Challenge, format_expires, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Flow, now
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import LedgerError
from flovia.core.http import Body, BodyState, Headers
from flovia.core.issued import find_issued
from flovia.core.passage import Passage
from flovia.core.problems import FLOVIA, ProblemType
from flovia.core.provider import (
    Adopted,
    AdoptingProvider,
    LateRedeeming,
    Look,
    NotPaid,
    Paid,
    PaidBack,
    Presented,
    PriceChecking,
    Quote,
    Refusal,
    Terms,
    Unknown,
    Verdict,
    charge_request,
)
from flovia.core.settlement import read_data, write_record
from flovia.insights.join import join
from flovia.ledger.opening import open_ledger
from tests.core.world import START, Shop, request

CLOSED = ProblemType(code="closed", type=FLOVIA + "closed", status=503, title="Closed", detail="Come back tomorrow.")
PAID = Paid(reference="toy_1", amount=100, currency="usd")
BROKE = ProblemType(code="broke", type=FLOVIA + "broke", status=402, title="Broke", detail="No.")


@attrs.define(kw_only=True)
class Toy:
    """A provider that says what the test wants it to say."""

    name: str = "toy"
    method: str = "toy"
    intent: str = "charge"
    rail: str = "mpp"
    live: bool = False
    fixed_terms: bool = False
    deadline_s: float = 10.0
    receipt_header: str = "payment-receipt"
    terms: Mapping[str, object] = attrs.field(factory=dict[str, object])
    quoting: Exception | None = None
    verdict: Verdict | Exception = PAID
    quotes: list[Quote] = attrs.field(factory=list[Quote])
    asked: int = 0

    def quote(self, quote: Quote) -> Flow[Terms]:
        """The price, and what the test adds."""
        yield from now()
        self.quotes.append(quote)
        if self.quoting is not None:
            raise self.quoting
        return Terms(request=charge_request(quote.price), **self.terms)  # type: ignore[arg-type]  # a test's words

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """The verdict of the test."""
        self.asked += 1
        yield from now()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@attrs.define(kw_only=True)
class Late(Toy):
    """Payments of the toy may be presented a minute late."""

    redeem_late_s: float = 60.0


@attrs.define(kw_only=True)
class Picky(Toy):
    """Takes even prices only."""

    def check_price(self, price: flovia.Price) -> None:
        """Refuse odd prices."""
        if price.amount % 2:
            raise flovia.WiringError("write an even price")


@attrs.define(kw_only=True)
class Native(Toy):
    """``handle.NAME`` stands for what was asked for under NAME, ``grant.X`` pays without having been asked."""

    def adopt(self, token: str, quote: Quote) -> Flow[Adopted | None]:
        """Read a token of our own."""
        yield from now()
        kind, _, rest = token.partition(".")
        if kind == "refuse":
            raise Refusal(CLOSED, retry_after_s=3)
        if kind == "handle":
            return Adopted(payload={"proof": rest}, handle=rest)
        if kind == "grant":
            return Adopted(payload={"grant": rest}, terms=Terms(request=charge_request(quote.price)))
        return None


class Door:
    """A route of the toy's and an agent in front of it."""

    def __init__(self, toy: Toy, *, shop: Shop | None = None, **settings: object) -> None:
        self.toy = toy
        self.shop = shop or Shop()
        flo = self.shop.flovia
        self.paid = flo.paid_api(provider=toy, price="1.00 USD", **settings)  # type: ignore[arg-type]  # as above

    def enter(self, token: str | None = None, **more: str) -> Passage:
        """One request."""
        return self.paid.enter(request(None if token is None else f"Payment {token}", **more))  # type: ignore[arg-type]

    def refusal(self, token: str | None = None, **more: str) -> flovia.HttpResponse:
        """One request that is refused."""
        response = self.enter(token, **more).response
        assert response is not None
        return response

    def challenge(self) -> Challenge:
        """A fresh one."""
        return asked_in(self.refusal())

    def credential(self, challenge: Challenge) -> str:
        """In the protocol's form."""
        return format_credential(Credential(challenge, {"proof": "x"})).removeprefix("Payment ")

    def deliver(self, passage: Passage, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
        """The head of the answer."""
        assert passage.grant is not None, passage.response
        start = passage.start(status, Headers.of(headers))
        self.paid.leave(passage, completed=True)
        return dict(start.apply(list(headers)))


def asked_in(response: flovia.HttpResponse) -> Challenge:
    """The challenge of a 402."""
    return parse_challenges([value for name, value in response.headers if name == "www-authenticate"])[0]


def said(response: flovia.HttpResponse) -> tuple[int, str, str | None, bool]:
    """Status, code, Retry-After, and whether there is a challenge."""
    fields = dict(response.headers)
    code = str(loads_object(response.body)["type"]).rpartition("/")[2].rpartition(":")[2]
    return response.status, code, fields.get("retry-after"), "www-authenticate" in fields


class TestRefusals:
    """A provider refuses with a problem of its own."""

    def test_in_quote(self) -> None:
        """Its problem, its members, Retry-After and no challenge, as an event too."""
        door = Door(Toy(quoting=Refusal(CLOSED, retry_after_s=9, body={"error": "closed", "type": "mine"})))
        response = door.refusal()
        assert (503, "closed", "9", False) == said(response)
        body = loads_object(response.body)
        assert ("closed", FLOVIA + "closed") == (body["error"], body["type"])
        events = [event for _, event in door.shop.ledger.read_events(limit=100)]
        assert ("paid_api.request_failed", "closed") == (events[-1].type, events[-1].problem)

    def test_by_code(self) -> None:
        """A code of the protocol's or ours will do."""
        assert (429, "rate-limited", "5", False) == said(
            Door(Toy(quoting=Refusal("rate-limited", retry_after_s=5))).refusal()
        )
        assert (400, "method-unsupported", None, False) == said(
            Door(Toy(quoting=Refusal("method-unsupported"))).refusal()
        )

    @pytest.mark.parametrize("problem", ["no-such-code", "payment-required", BROKE])
    def test_never_a_402(self, problem: str | ProblemType) -> None:
        """A 402 without a challenge never leaves: that is a bug of the provider's."""
        for toy in (Toy(quoting=Refusal(problem)), Toy(verdict=Refusal(problem))):
            door = Door(toy)
            token = None if toy.quoting else door.credential(door.challenge())
            assert (500, "internal-payment-error", None, False) == said(door.refusal(token))

    def test_in_verify(self) -> None:
        """With an open outcome the claim is parked, and the same credential comes in later, even expired."""
        toy = Toy(verdict=Refusal(CLOSED, retry_after_s=9))
        door = Door(toy)
        token = door.credential(door.challenge())
        assert (503, "closed", "9", False) == said(door.refusal(token))
        assert "payment.unknown" in door.shop.events()
        door.shop.clock.advance(400)
        toy.verdict = Paid(reference="toy_1", amount=100, currency="usd")
        assert door.enter(token).grant is not None

    def test_in_verify_for_sure(self) -> None:
        """With a certain outcome the claim is given back: once it has expired it has to be paid afresh."""
        toy = Toy(verdict=Refusal(CLOSED, open_outcome=False))
        door = Door(toy)
        token = door.credential(door.challenge())
        assert (503, "closed", None, False) == said(door.refusal(token))
        assert "payment.unknown" not in door.shop.events()
        door.shop.clock.advance(400)
        assert (402, "payment-expired", None, True) == said(door.refusal(token))

    @pytest.mark.parametrize("open_outcome", [True, False])
    def test_at_once(self, open_outcome: bool) -> None:
        """Also where verify refuses before it asks for anything."""

        @attrs.define(kw_only=True)
        class Quick(Toy):
            def verify(self, presented: Presented) -> Flow[Verdict]:
                raise Refusal(CLOSED, open_outcome=open_outcome)
                yield  # pragma: no cover  # makes it a flow

        door = Door(Quick())
        assert (503, "closed", None, False) == said(door.refusal(door.credential(door.challenge())))
        assert open_outcome == ("payment.unknown" in door.shop.events())

    def test_its_text(self) -> None:
        """The exception names the problem and nothing else."""
        assert "refused: closed" == str(Refusal(CLOSED, body={"secret": "test"}))
        assert "refused: rate-limited" == str(Refusal("rate-limited"))


class TestPaidBack:
    """A provider says that the money was given back."""

    def test_refused(self) -> None:
        """403 without a challenge, the refund on record with its event, and the payment named in the request's."""
        toy = Toy(verdict=PaidBack(reference="toy_1", amount=60, currency="USD"))
        door = Door(toy)
        challenge = door.challenge()
        token = door.credential(challenge)
        for _ in range(2):
            assert (403, "payment-refunded", None, False) == said(door.refusal(token))
        events = [event for _, event in door.shop.ledger.read_events(limit=100)]
        (back,) = (event for event in events if event.type == "payment.refunded")
        assert (60, "usd", "toy_1", challenge.id) == (back.amount, back.currency, back.payment_id, back.challenge_id)
        last = events[-1]
        assert ("paid_api.request_completed", "payment-refunded") == (last.type, last.problem)
        assert (100, "toy_1", challenge.id) == (last.amount, last.payment_id, last.challenge_id)
        (joined,) = join(events)
        assert ("payment refunded in part", 60, 100) == (joined.insight, joined.refunded, joined.amount)
        found = door.shop.ledger.find_paid("toy|toy_1")
        assert found is not None
        assert ("refunded", 60) == (found.refund, found.refunded)

    def test_nobody_says_how_much(self) -> None:
        """Then it is refused all the same, and nothing is recorded."""
        door = Door(Toy(verdict=PaidBack(reference="toy_1", amount=None, currency="usd")))
        assert (403, "payment-refunded", None, False) == said(door.refusal(door.credential(door.challenge())))
        assert "payment.refunded" not in door.shop.events()
        assert door.shop.ledger.find_paid("toy|toy_1") is None

    @pytest.mark.parametrize(
        "change", [{"reference": None}, {"reference": ""}, {"amount": 0}, {"amount": 1.5}, {"currency": 7}], ids=str
    )
    def test_a_bug(self, change: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
        """What names no payment or no money is logged and not recorded; nobody gets in."""
        verdict = attrs.evolve(PaidBack(reference="toy_1", amount=60, currency="usd"), **change)
        door = Door(Toy(verdict=verdict))
        assert (403, "payment-refunded", None, False) == said(door.refusal(door.credential(door.challenge())))
        assert "PaidBack" in caplog.text
        assert "payment.refunded" not in door.shop.events()

    def test_the_ledger_is_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """503, and said again when it is back."""
        door = Door(Toy(verdict=PaidBack(reference="toy_1", amount=60, currency="usd")))
        token = door.credential(door.challenge())

        def down(*_: object) -> str:
            raise LedgerError("down, a test")

        with monkeypatch.context() as patch:
            patch.setattr(door.shop.ledger, "note_refund", down)
            assert (503, "ledger-unavailable") == said(door.refusal(token))[:2]
        door.shop.clock.advance(20)
        assert (403, "payment-refunded") == said(door.refusal(token))[:2]
        assert 1 == door.shop.events().count("payment.refunded")

    def test_on_a_file(self, tmp_path: Path) -> None:
        """The same where the ledger waits."""
        toy = Toy(verdict=PaidBack(reference="toy_1", amount=60, currency="usd"))
        ledger = open_ledger(f"sqlite:///{tmp_path}/flovia.db")
        door = Door(toy, shop=Shop(ledger))
        token = door.credential(door.challenge())
        assert (403, "payment-refunded", None, False) == said(door.refusal(token))
        toy.verdict = PAID  # the provider's books say something else by now: what went back stays so
        assert (403, "payment-refunded", None, False) == said(door.refusal(token))
        ledger.flush()
        assert 1 == door.shop.events().count("payment.refunded")
        ledger.close()


class TestLook:
    """What else a 402 says."""

    LOOK = Look(headers=(("x-look", "1"),), body={"error": "pay", "title": "mine"}, content_type="application/json")

    def test_beside_the_problem(self) -> None:
        """Fields and members are added; the problem's own members win."""
        response = Door(Toy(terms={"look": self.LOOK, "body": {"more": 1}, "headers": (("x-more", "2"),)})).refusal()
        fields = dict(response.headers)
        assert ("1", "2", "application/json") == (fields["x-look"], fields["x-more"], fields["content-type"])
        body = loads_object(response.body)
        assert ("pay", 1, "Payment required") == (body["error"], body["more"], body["title"])
        assert str(len(response.body)) == fields["content-length"]

    def test_in_place_of_it(self) -> None:
        """The whole body, where one offer speaks; of two the problem says what this is."""
        whole = attrs.evolve(self.LOOK, whole_body=True)
        assert {"error": "pay", "title": "mine"} == loads_object(Door(Toy(terms={"look": whole})).refusal().body)
        shop = Shop()
        offers = [
            flovia.Offer(provider=Toy(terms={"look": whole}), price="1.00 USD"),
            flovia.Offer(provider=Toy(name="two", method="two"), price="1.00 USD"),
        ]
        response = shop.flovia.paid_api(offers=offers).enter(request()).response
        assert response is not None
        assert ("pay", 402) == (loads_object(response.body)["error"], loads_object(response.body)["status"])

    def test_of_the_same_challenge(self) -> None:
        """A challenge that is presented again has the look that the verdict gives it; a fresh one has its own."""
        verdict = NotPaid(same_challenge=True, retry_after_s=2, look=self.LOOK)
        door = Door(Toy(verdict=verdict))
        challenge = door.challenge()
        response = door.refusal(door.credential(challenge))
        assert challenge.id == asked_in(response).id
        assert "pay" == loads_object(response.body)["error"]
        door.toy.verdict = attrs.evolve(verdict, same_challenge=False)
        response = door.refusal(door.credential(challenge))
        assert "error" not in loads_object(response.body)


class TestTime:
    """Expiry of the payment's own, and payments presented late."""

    def test_own_expiry(self) -> None:
        """The payment's own deadline counts, shorter or longer than the route's; else it may only shorten."""
        for own, terms_at, expected in ((True, 900, 900), (True, 100, 100), (False, 900, 300), (False, 100, 100)):
            door = Door(Toy(terms={"expires_at": START + terms_at, "own_expiry": own}))
            assert format_expires(int(START) + expected) == door.challenge().expires

    def test_late(self) -> None:
        """Within its time after the expiry the provider is asked; after that it is not."""
        for seconds, admitted in ((301, True), (359, True), (360, False), (5000, False)):
            door = Door(Late())
            token = door.credential(door.challenge())
            door.shop.clock.advance(seconds)
            assert admitted == (door.enter(token).grant is not None), seconds
            assert int(admitted) == door.toy.asked
        assert isinstance(Late(), LateRedeeming)
        assert not isinstance(Toy(), LateRedeeming)

    def test_late_and_unpaid(self) -> None:
        """An expired challenge is never presented again, even if the provider would wait for it."""
        door = Door(Late(verdict=NotPaid(problem="payment-expired", same_challenge=True)))
        challenge = door.challenge()
        door.shop.clock.advance(310)
        response = door.refusal(door.credential(challenge))
        assert (402, "payment-expired", None, True) == said(response)
        assert challenge.id != asked_in(response).id

    def test_late_and_open(self) -> None:
        """A late payment whose outcome is open is parked like any other."""
        door = Door(Late(verdict=Unknown()))
        token = door.credential(door.challenge())
        door.shop.clock.advance(310)
        assert 503 == door.refusal(token).status
        door.shop.clock.advance(1000)
        door.toy.verdict = Paid(reference="toy_1", amount=100, currency="usd")
        assert door.enter(token).grant is not None


class TestReceipt:
    """A receipt in the provider's form, and what is kept with the payment."""

    def test_own_receipt(self) -> None:
        """It replaces the protocol's, also when the payment is delivered again; a handler cannot add another."""
        own = Paid(
            reference="toy_1",
            amount=100,
            currency="usd",
            receipt='own-"receipt"',
            receipt_headers=(("x-own", "1"),),
            data={"inner": "p1"},
        )
        door = Door(Toy(verdict=own))
        token = door.credential(door.challenge())
        door.deliver(door.enter(token), 500)
        forged = (("x-own", "forged"), ("payment-receipt", "forged"))
        fields = door.deliver(door.enter(token), 200, forged)
        assert ('own-"receipt"', "1") == (fields["payment-receipt"], fields["x-own"])
        assert 1 == door.toy.asked

    def test_record(self) -> None:
        """What is kept can be read again; records of before have no data."""
        paid = Paid(reference="r", amount=1, currency="usd", data={"a": "b"})
        record = write_record(paid, None, "2030-01-01T00:00:00Z")
        assert {"a": "b"} == read_data(record)
        assert {} == read_data(write_record(attrs.evolve(paid, data={}), None, "2030-01-01T00:00:00Z"))
        assert 5 == len(json.loads(write_record(attrs.evolve(paid, data={}), None, "2030-01-01T00:00:00Z")))


def test_a_challenge_that_was_kept_and_cannot_be_read() -> None:
    """A store that somebody else wrote to stands for no challenge."""
    door = Door(Toy())
    door.shop.ledger.remember("issued", "toy|x", "no challenge", 60.0, False)
    world = runtime.World(ledger=door.shop.ledger)
    assert runtime.run(find_issued("toy", "x"), world) is None


class TestAdopting:
    """Credentials in a provider's own form."""

    def door(self, **terms: object) -> Door:
        """A route that knows what it asked for by the name ``one``."""
        return Door(Native(terms={"handle": "one", "handle_kept_s": 1000.0, **terms}))

    def test_handle(self) -> None:
        """It opens once, under the challenge that was kept."""
        door = self.door()
        challenge = door.challenge()
        passage = door.enter("handle.one")
        assert passage.grant is not None
        assert challenge.id == passage.grant.challenge_id
        door.deliver(passage)
        assert (402, "invalid-challenge", None, True) == said(door.refusal("handle.one"))

    def test_mac_scope_and_expiry_hold(self) -> None:
        """Another path, another secret, an expired challenge and a name that was never asked for open nothing."""
        door = self.door()
        assert (402, "invalid-challenge", None, True) == said(door.refusal("handle.two"))
        door.challenge()
        assert (402, "invalid-challenge", None, True) == said(door.refusal("handle.one", path="/other"))
        other = door.shop.open(secret="test-another-secret-of-32-bytes!!").paid_api(provider=door.toy, price="1.00 USD")
        response = other.enter(request("Payment handle.one")).response
        assert response is not None
        assert (402, "invalid-challenge", None, True) == said(response)
        door.challenge()
        door.shop.clock.advance(400)
        assert (402, "payment-expired", None, True) == said(door.refusal("handle.one"))
        assert 0 == door.toy.asked

    def test_nothing_of_the_providers(self) -> None:
        """Every other token is malformed; so is it where no provider adopts, and where there is none."""
        assert (402, "malformed-credential", None, True) == said(self.door().refusal("what.ever"))
        assert (402, "malformed-credential", None, True) == said(Door(Toy()).refusal("handle.one"))
        door = self.door()
        response = door.paid.enter(request("Payment")).response
        assert response is not None
        assert (402, "malformed-credential", None, True) == said(response)

    def test_refusal(self) -> None:
        """A provider may refuse here as well."""
        assert (503, "closed", "3", False) == said(self.door().refusal("refuse.x"))

    def test_without_a_challenge(self) -> None:
        """A credential that comes unasked gets a challenge for each payment, and one only while it is open."""
        toy = Native(verdict=Unknown())
        door = Door(toy)
        assert 503 == door.refusal("grant.x").status
        toy.verdict = Paid(reference="toy_1", amount=100, currency="usd")
        first = door.enter("grant.x")
        assert first.grant is not None
        door.deliver(first, 500)
        again = door.enter("grant.x")
        assert again.grant is not None
        assert again.grant.redelivery
        assert first.grant.challenge_id == again.grant.challenge_id
        door.deliver(again)
        toy.verdict = Paid(reference="toy_2", amount=100, currency="usd")
        third = door.enter("grant.x")
        assert third.grant is not None
        assert first.grant.challenge_id != third.grant.challenge_id

    def test_one_payment_at_a_time(self) -> None:
        """The same credential on the same request meanwhile: 409; on another request it is another payment."""
        toy = Native()
        door = Door(toy)
        door.enter("grant.x")
        assert (409, "in-flight") == said(door.refusal("grant.x"))[:2]
        toy.verdict = Paid(reference="toy_2", amount=100, currency="usd")
        assert door.enter("grant.x", path="/other").grant is not None

    def test_a_body(self) -> None:
        """The body's digest is bound into the challenge that is made."""
        door = Door(Native())
        body = Body(state=BodyState.READ, sha256=b"x" * 32, size=1)
        asked = request("Payment grant.x", http_method="POST", body=body)
        assert door.paid.enter(asked).grant is not None

    def test_on_a_file(self, tmp_path: Path) -> None:
        """The same with a ledger that waits."""
        shop = Shop()
        ledger = open_ledger(f"sqlite:///{tmp_path}/test.db", clock=shop.clock)
        try:
            door = Door(Native(verdict=Unknown()), shop=Shop(ledger=ledger, clock=shop.clock))
            assert 503 == door.refusal("grant.x").status
            door.toy.verdict = Paid(reference="toy_1", amount=100, currency="usd")
            assert door.enter("grant.x").grant is not None
        finally:
            ledger.close()

    def test_protocols(self) -> None:
        """They are told apart by what they have."""
        assert isinstance(Native(), AdoptingProvider)
        assert not isinstance(Toy(), AdoptingProvider | PriceChecking)


def test_prices_that_cannot_be_paid() -> None:
    """A provider may refuse a price when the route is set up."""
    Door(Picky())
    with pytest.raises(flovia.WiringError, match="even price"):
        Shop().flovia.paid_api(provider=Picky(), price="1.01 USD")


def test_the_client_is_told() -> None:
    """A quote says who asks, as the app counts clients."""
    toy = Toy()
    flo = Shop().open(client_of=lambda asked: "ann")
    flo.paid_api(provider=toy, price="1.00 USD").enter(request())
    assert "ann" == toy.quotes[0].client


def test_empty_look() -> None:
    """Terms without any look leave the response as it is."""
    empty: JsonObject = {}
    assert empty == Look().body
