"""Stored answers: the key's grammar, the copy of an answer, and the gate that sends it again (S41)."""

import logging
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flovia
from flovia.core import exchange
from flovia.core.answers import MAX_HEAD, AnswerCopy, caller_of, read_key
from flovia.core.delivery import Delivery
from flovia.core.errors import ParseError
from flovia.core.http import Body, BodyState, Headers, HttpResponse
from flovia.core.provider import Paid
from flovia.insights.join import CONVERTED, join
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from tests.core.test_provider_hooks import Door, Native
from tests.core.world import Shop, challenges, header, pay, problem, request

KEY = {"idempotency-key": '"key-1"'}
FIELDS = (("content-type", "text/plain"), ("x-order", "1"), ("x-order", "2"))


def route(shop: Shop, **settings: object) -> flovia.PaidApi:
    """A route with a policy."""
    policy = Delivery(**settings)  # type: ignore[arg-type]  # only right ones here
    return shop.flovia.paid_api(provider="mock", price="1.00 USD", delivery=policy)


def answer(paid: flovia.PaidApi, passage: flovia.Passage, body: bytes = b"hello", status: int = 200) -> HttpResponse:
    """Let a handler answer as an adapter does, and return what went out."""
    start = passage.start(status, Headers.of(FIELDS))
    copy = passage.copy()
    for piece in (body[:2], body[2:]):
        if copy is not None:
            copy.feed(piece)
    paid.leave(passage, completed=True)
    return HttpResponse(status, tuple(start.apply(list(FIELDS))), body)


def bought(paid: flovia.PaidApi, **about: object) -> tuple[str, HttpResponse]:
    """A delivered request: its credential, and what went out."""
    (challenge,) = challenges(paid.enter(request(**about)).response)  # type: ignore[arg-type]
    credential = pay(challenge)
    return credential, answer(paid, paid.enter(request(credential, **about)))  # type: ignore[arg-type]


class TestKey:
    """The grammar of Idempotency-Key."""

    @pytest.mark.parametrize(
        ("value", "key"),
        [
            ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (' "padded" ', "padded"),
            ('"a, b; c"', "a, b; c"),
            (r'"a\"b\\c"', 'a"b\\c'),
            ('"a";p=1;q', "a"),
            ("KG5LxwFBepaKHyUD", "KG5LxwFBepaKHyUD"),
            ("1", "1"),
            ('"' + "x" * 255 + '"', "x" * 255),
        ],
    )
    def test_read(self, value: str, key: str) -> None:
        """A quoted string is what stands in it; a bare word is the same key as with quotes."""
        assert key == read_key([value])

    @pytest.mark.parametrize(
        "values",
        [
            [],
            ['"a"', '"a"'],
            [""],
            ['""'],
            ['"'],
            ['"a'],
            ['"a"b'],
            ['"a", "b"'],
            ["a b"],
            ["a,b"],
            ["a;p=1"],
            ["(a)"],
            [":YQ==:"],
            ["?1"],
            ['"é"'],
            ["é"],
            ['"\x7f"'],
            [r'"a\b"'],
            ["x" * 256],
            ['"' + "x" * 256 + '"'],
            ['"' + "x" * 2000 + '"'],
        ],
    )
    def test_refused(self, values: list[str]) -> None:
        """Two keys, an empty or long one, and whatever is no string of the grammar."""
        with pytest.raises(ParseError):
            read_key(values)

    def test_how_long_the_field_may_be(self) -> None:
        """With parameters, which mean nothing, 1024 characters; more is refused before anybody looks at it."""
        field = '"key";p=' + "x" * 1016
        assert (1024, "key") == (len(field), read_key([f" {field} "]))
        with pytest.raises(ParseError, match="longer than 1024 characters"):
            read_key([field + "x"])

    @given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
    def test_any_string(self, key: str) -> None:
        """Every printable ASCII text can be a key."""
        assert key == read_key(['"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'])

    @given(st.text(max_size=40))
    def test_nothing_else_escapes(self, value: str) -> None:
        """Whatever a client sends, it is a key or our own error."""
        with suppress(ParseError):
            assert read_key([value])


def made(limit: int) -> AnswerCopy:
    """A copy that an adapter asked for."""
    copy = AnswerCopy("caller-1", limit)
    copy.asked_for = True
    return copy


class TestCopy:
    """An answer while it passes."""

    def test_copy(self) -> None:
        """Status, fields in order, and the body from its pieces."""
        copy = made(10)
        copy.begin(200, FIELDS)
        copy.feed(b"hello")
        copy.feed(bytearray(b"world"))
        stored = copy.stored(5.0)
        assert stored is not None
        assert HttpResponse(200, FIELDS, b"helloworld") == stored.response
        assert ("caller-1", 5.0) == (stored.caller, stored.until)

    def test_what_is_not_kept(self) -> None:
        """No cookie, nothing of the connection, and no date: a server writes its own."""
        copy = made(10)
        names = ("set-cookie", "date", "connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "te")
        copy.begin(200, [*((name, "x") for name in names), ("payment-receipt", "kept")])
        stored = copy.stored(5.0)
        assert stored is not None
        assert (("payment-receipt", "kept"),) == stored.headers

    @pytest.mark.parametrize("length", ["11", "9" * 30])
    def test_announced_too_long(self, length: str) -> None:
        """An answer that says that it is too long is not even begun."""
        copy = made(10)
        copy.begin(200, [("content-length", length)])
        copy.feed(b"x")
        assert copy.stored(5.0) is None

    def test_too_long(self) -> None:
        """One that turns out to be is given up with its first byte too many."""
        copy = made(10)
        copy.begin(200, [("content-length", "odd")])
        for _ in range(11):
            copy.feed(b"x")
        assert copy.stored(5.0) is None
        copy.feed(b"x")

    def test_too_much_head(self) -> None:
        """So is one with too many header fields."""
        copy = made(10)
        copy.begin(200, [("x", "y" * MAX_HEAD)])
        assert copy.stored(5.0) is None

    def test_begun_again(self) -> None:
        """An error page takes the place of what was begun before it."""
        copy = made(1000)
        copy.take(HttpResponse(500, (("x", "y"),), b"first"))
        assert copy.whole
        copy.begin(404, ())
        copy.feed(b"second")
        stored = copy.stored(5.0)
        assert stored is not None
        assert (404, b"second", False) == (stored.status, stored.body, copy.whole)

    def test_no_secret_shows(self) -> None:
        """Neither what was answered nor whose it is."""
        copy = made(1000)
        copy.begin(200, [("payment-receipt", "receipt-test")])
        copy.feed(b"body-test")
        shown = repr(copy.stored(5.0)) + repr(copy)
        assert not any(secret in shown for secret in ("receipt-test", "body-test", "caller-1"))

    def test_caller(self) -> None:
        """Key and credential both count, and nothing of either can be moved into the other."""
        print_1, print_2 = "1" * 64, "2" * 64
        assert 3 == len({caller_of("a", print_1), caller_of("b", print_1), caller_of("a", print_2)})
        assert caller_of("a", print_1) == caller_of("a", print_1)


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Shop]:
    """A shop on a ledger that answers at once, and one on a ledger that waits."""
    shop = Shop()
    if request.param == "memory":
        yield shop
        return
    with closing(open_ledger(f"sqlite:///{tmp_path}/test.db", clock=shop.clock)) as ledger:
        yield Shop(ledger=ledger, clock=shop.clock)


class TestGate:
    """The gate sends an answer again."""

    def test_s41_repeated(self, shop: Shop) -> None:
        """The stored answer comes again as it went out, the handler is not asked, an event says so (S41)."""
        paid = route(shop)
        credential, sent = bought(paid, headers=KEY)
        passage = paid.enter(request(credential, headers=KEY))
        assert sent == passage.response
        assert (exchange.REPLAYED, True, None) == (passage.state, passage.replayed, passage.grant)
        shop.ledger.flush()
        events = [event for _, event in shop.ledger.read_events(limit=100)]
        assert ["payment.replayed", "paid_api.request_completed"] == [event.type for event in events][-2:]
        assert 1 == sum(event.type == "payment.delivered" for event in events)
        found = shop.ledger.find(f"api.example.com|{events[-1].challenge_id}")
        assert found is not None
        assert 1 == found.deliveries

    def test_without_a_key_nothing_is_kept(self, shop: Shop) -> None:
        """No copy is made of an answer that nobody can ask for."""
        paid = route(shop)
        (challenge,) = challenges(paid.enter(request()).response)
        passage = paid.enter(request(pay(challenge)))
        assert passage.copy() is None
        answer(paid, passage)
        assert "invalid-challenge" == problem(paid.enter(request(pay(challenge), headers=KEY)).response)

    def test_in_flight(self, shop: Shop) -> None:
        """While the first request is being served, the same one gets 409 and a time to wait."""
        paid = route(shop)
        (challenge,) = challenges(paid.enter(request()).response)
        first = paid.enter(request(pay(challenge), headers=KEY))
        response = paid.enter(request(pay(challenge), headers=KEY)).response
        assert ("in-flight", True) == (problem(response), header(response, "retry-after") is not None)
        response = paid.enter(request(pay(challenge), headers=KEY, path="/other")).response
        assert ("idempotency-key-reused", None) == (problem(response), header(response, "www-authenticate"))
        sent = answer(paid, first)
        assert sent == paid.enter(request(pay(challenge), headers=KEY)).response

    def test_another_body(self, shop: Shop) -> None:
        """Another body under the same credential and key: 422 without a challenge; the right one still works."""
        paid = route(shop)
        one, two = (Body(state=BodyState.READ, sha256=bytes([n]) * 32, size=1) for n in (1, 2))
        credential, sent = bought(paid, http_method="POST", headers=KEY, body=one)
        response = paid.enter(request(credential, http_method="POST", headers=KEY, body=two)).response
        assert response is not None
        assert (422, "idempotency-key-reused") == (response.status, problem(response))
        shop.ledger.flush()
        events = [event for _, event in shop.ledger.read_events(limit=100)]
        told = [one for one in events if one.problem == "idempotency-key-reused"]
        (joined,) = join(events)  # part of what its credential paid for, and no request without a payment
        assert (joined.insight, [one.challenge_id for one in told]) == (CONVERTED, [joined.challenge_id])
        assert joined.request_ids[-1] == told[0].request_id != joined.request_id
        other = paid.enter(request(credential, http_method="POST", headers={"idempotency-key": "other"}, body=two))
        assert "invalid-challenge" == problem(other.response)
        assert sent == paid.enter(request(credential, http_method="POST", headers=KEY, body=one)).response

    def test_forged(self, shop: Shop) -> None:
        """A challenge that we never made learns nothing, with any key."""
        paid = route(shop)
        bought(paid, headers=KEY)
        (challenge,) = challenges(paid.enter(request()).response)
        forged = pay(attrs.evolve(challenge, realm="other.example.com"))
        for path in ("/paid", "/other"):
            assert "invalid-challenge" == problem(paid.enter(request(forged, headers=KEY, path=path)).response)
        assert "invalid-challenge" == problem(
            paid.enter(request(pay(challenge, "never-paid"), headers=KEY, path="/other")).response
        )

    def test_malformed(self, shop: Shop) -> None:
        """A key that nobody can read is refused before anybody pays."""
        response = route(shop).enter(request(headers={"idempotency-key": '"'})).response
        assert response is not None
        assert (400, "idempotency-key-invalid") == (response.status, problem(response))

    def test_switched_off(self, shop: Shop) -> None:
        """A route that keeps nothing ignores the field."""
        paid = route(shop, idempotency_ttl=0)
        credential, _ = bought(paid, headers={"idempotency-key": '"'})
        assert "invalid-challenge" == problem(paid.enter(request(credential, headers=KEY)).response)

    def test_too_long(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """An answer that is not kept is delivered all the same, and the log says so."""
        caplog.set_level(logging.INFO, "flovia")
        paid = route(shop, idempotency_max_bytes=4)
        credential, _ = bought(paid, headers=KEY)
        assert "not kept" in caplog.text
        assert "invalid-challenge" == problem(paid.enter(request(credential, headers=KEY)).response)

    def test_an_adapter_that_gives_no_body(self, shop: Shop) -> None:
        """Of an adapter that knows nothing of copies no answer is kept, rather than one without its body."""
        paid = route(shop)
        (challenge,) = challenges(paid.enter(request()).response)
        passage = paid.enter(request(pay(challenge), headers=KEY))
        passage.start(200, Headers.of(()))
        paid.leave(passage, completed=True)
        assert "invalid-challenge" == problem(paid.enter(request(pay(challenge), headers=KEY)).response)

    def test_a_failure_is_not_kept(self, shop: Shop) -> None:
        """What failed is tried again, not told again; what is delivered then is kept."""
        paid = route(shop)
        (challenge,) = challenges(paid.enter(request(headers=KEY)).response)
        credential = pay(challenge)
        answer(paid, paid.enter(request(credential, headers=KEY)), status=503)
        again = paid.enter(request(credential, headers=KEY))
        assert again.grant is not None
        sent = answer(paid, again, b"second")
        assert sent == paid.enter(request(credential, headers=KEY)).response

    def test_a_failure_that_is_the_delivery(self, shop: Shop) -> None:
        """It is kept like any other answer, the gate's own problem as well as the handler's page."""
        paid = route(shop, on_failure="keep")
        (challenge,) = challenges(paid.enter(request(headers=KEY)).response)
        sent = answer(paid, paid.enter(request(pay(challenge), headers=KEY)), status=503)
        assert sent == paid.enter(request(pay(challenge), headers=KEY)).response
        (challenge,) = challenges(paid.enter(request(headers=KEY)).response)
        passage = paid.enter(request(pay(challenge, "ok2"), headers=KEY))
        told = passage.raised()
        paid.leave(passage, completed=False)
        assert told == paid.enter(request(pay(challenge, "ok2"), headers=KEY)).response
        (challenge,) = challenges(paid.enter(request(headers=KEY)).response)
        passage = paid.enter(request(pay(challenge, "ok3"), headers=KEY))
        replaced = passage.start(402, Headers.of(())).replace
        paid.leave(passage, completed=True)
        assert replaced == paid.enter(request(pay(challenge, "ok3"), headers=KEY)).response

    def test_half_of_a_failure_is_not_kept(self, shop: Shop) -> None:
        """A failed page of which the client took a part, and the app gave no more, is no answer to repeat."""
        paid = route(shop, on_failure="keep")
        (challenge,) = challenges(paid.enter(request(headers=KEY)).response)
        passage = paid.enter(request(pay(challenge), headers=KEY))
        passage.start(503, Headers.of(()))
        copy = passage.copy()
        assert copy is not None
        copy.feed(b"half of")
        paid.leave(passage, completed=False)
        assert "invalid-challenge" == problem(paid.enter(request(pay(challenge), headers=KEY)).response)


class Down(MemoryLedger):
    """A ledger that does not record ends for a while."""

    down = False

    def deliver(self, *arguments: object) -> bool:
        """Deliver, or fail."""
        if self.down:
            raise flovia.LedgerError("test: down")
        return super().deliver(*arguments)  # type: ignore[arg-type]  # handed on


def test_a_store_that_was_down_keeps_the_answer_too() -> None:
    """An end that is recorded later brings its answer: there is no delivery of which it is lost."""
    shop = Shop()
    ledger = Down(clock=shop.clock)
    paid = route(Shop(ledger=ledger, clock=shop.clock))
    ledger.down = True
    credential, sent = bought(paid, headers=KEY)
    assert sent == paid.enter(request(credential, headers=KEY)).response


class TestAdopted:
    """Credentials in a provider's own form."""

    def test_by_handle(self) -> None:
        """The same token on the same request gets the stored answer."""
        door = Door(Native(terms={"handle": "one", "handle_kept_s": 1000.0}))
        door.challenge()
        asked = request("Payment handle.one", headers=KEY)
        sent = answer(door.paid, door.paid.enter(asked))
        assert sent == door.paid.enter(asked).response
        other = request("Payment handle.one", headers={"idempotency-key": "b"})
        assert "invalid-challenge" == problem(door.paid.enter(other).response)

    def test_without_a_challenge(self) -> None:
        """So does one that comes unasked; under another key it is another payment, as it is without any."""
        toy = Native()
        door = Door(toy)
        asked = request("Payment grant.x", headers=KEY)
        sent = answer(door.paid, door.paid.enter(asked))
        assert sent == door.paid.enter(asked).response
        toy.verdict = Paid(reference="toy_2", amount=100, currency="usd")
        again = door.paid.enter(request("Payment grant.x", headers={"idempotency-key": "b"}))
        assert again.grant is not None
        answer(door.paid, again)
        toy.verdict = Paid(reference="toy_3", amount=100, currency="usd")
        assert door.paid.enter(request("Payment grant.x")).grant is not None
