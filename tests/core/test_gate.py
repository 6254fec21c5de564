"""The gate by itself, driven by hand on a memory ledger."""

import json
import logging
from hashlib import sha256

import pytest

import flovia
from flovia.core import exchange
from flovia.core.challenge import parse_expires
from flovia.core.effects import Flow
from flovia.core.provider import NotPaid, Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from flovia.core.receipt import parse_receipt
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.core.world import (
    SECRET,
    Clock,
    Shop,
    buy,
    challenges,
    deliver,
    header,
    pay,
    problem,
    request,
)


@pytest.fixture
def shop() -> Shop:
    """A shop of its own for every test."""
    return Shop()


@pytest.fixture
def paid(shop: Shop) -> flovia.PaidApi:
    """One route for a dollar."""
    return shop.flovia.paid_api(provider="mock", price="1.00 USD")


class Scripted(MockProvider):
    """Answers what the test put in, or raises it."""

    verdict: object = None

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """The scripted verdict."""
        yield from ()
        if isinstance(Scripted.verdict, BaseException):
            raise Scripted.verdict
        return Scripted.verdict  # type: ignore[return-value]  # wrong values are what is tested


def body_of(data: bytes, limit: int = 1 << 20) -> flovia.Body:
    """What an adapter reports of a body."""
    meter = flovia.BodyMeter(limit)
    meter.feed(data)
    return meter.body


class TestUnpaid:
    """Requests without a credential."""

    def test_s01_every_402_has_a_fresh_challenge(self, paid: flovia.PaidApi) -> None:
        """Two unpaid requests get 402 with two different challenge ids and no-store (S01, S26)."""
        first, second = paid.enter(request()).response, paid.enter(request()).response
        assert {402} == {first.status, second.status}
        assert challenges(first)[0].id != challenges(second)[0].id
        assert "no-store" == header(first, "cache-control")
        assert "payment-required" == problem(first)

    def test_challenge_says_what_to_pay(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """The challenge carries realm, method, intent, base units, and an expiry 300 s away."""
        (challenge,) = challenges(paid.enter(request()).response)
        assert ("api.example.com", "mock", "charge") == (challenge.realm, challenge.method, challenge.intent)
        assert {"amount": "100", "currency": "usd"} == challenge.request_json
        assert shop.clock.now + 300 == parse_expires(challenge.expires or "")

    def test_other_schemes_are_not_credentials(self, paid: flovia.PaidApi) -> None:
        """A Bearer token in Authorization leaves the request unpaid."""
        assert "payment-required" == problem(paid.enter(request("Bearer abc")).response)

    def test_head_gets_what_get_would(self, paid: flovia.PaidApi) -> None:
        """HEAD gets the 402 without a body, and its challenge pays a GET; a credential on HEAD is not redeemed."""
        response = paid.enter(request(http_method="HEAD")).response
        assert (402, b"") == (response.status, response.body)
        credential = pay(challenges(response)[0])
        assert 402 == paid.enter(request(credential, http_method="HEAD")).response.status
        assert paid.enter(request(credential)).grant is not None

    def test_options_passes_with_204(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """OPTIONS is answered 204, without a challenge and without an event."""
        passage = paid.enter(request(http_method="OPTIONS"))
        assert (204, exchange.PASSED) == (passage.response.status, passage.state)
        assert [] == shop.events()

    def test_s40_unpaid_requests_leave_no_payment(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """A thousand unpaid requests store no payment (S40)."""
        for _ in range(1000):
            paid.enter(request())
        assert 0 == len(shop.ledger)

    @pytest.mark.parametrize(
        ("about", "why"),
        [
            ({"headers": {"host": "api.example.com"}}, "Host"),
            ({"headers": {"host": "localhost.evil.example"}}, "Host"),
            ({"headers": {"x-forwarded-host": "localhost"}}, "proxy"),
            ({"headers": {"forwarded": "for=1.2.3.4"}}, "proxy"),
            ({"client": "10.0.0.7"}, "peer"),
            ({"server": "192.0.2.1"}, "bind"),
        ],
    )
    def test_s36_strangers_get_no_challenge(self, paid: flovia.PaidApi, about: dict[str, object], why: str) -> None:
        """Without a public origin whoever is not on this machine gets 400 and no challenge (S36)."""
        response = paid.enter(request(**about)).response
        assert (400, []) == (response.status, challenges(response)), why

    def test_public_origin_serves_everybody(self, shop: Shop) -> None:
        """With an https origin any Host is served, and the realm is not taken from it (S12)."""
        gate = shop.open(public_origin="https://shop.example").paid_api(provider="mock", price="1.00 USD")
        response = gate.enter(request(headers={"host": "evil.example"}, client="203.0.113.9")).response
        assert "api.example.com" == challenges(response)[0].realm

    def test_a_failing_price_function_is_not_free(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """A price function that raises or returns None ends in 500 without a challenge, and is logged."""

        def raises(_: flovia.HttpRequest) -> str:
            raise RuntimeError("database")

        for price in (raises, lambda _: None, lambda _: "free", lambda _: 7):
            response = shop.open().paid_api(provider="mock", price=price).enter(request()).response
            assert (500, []) == (response.status, challenges(response))
        assert "internal-payment-error" == problem(response)
        assert any(record.levelno == logging.ERROR for record in caplog.records)

    def test_too_long_a_challenge_is_refused(self, shop: Shop) -> None:
        """A challenge over 4 KB is not sent (S34)."""
        gate = shop.flovia.paid_api(provider=MockProvider(recipient="x" * 4000), price="1.00 USD")
        assert 500 == gate.enter(request()).response.status

    def test_limits_answer_429(self, shop: Shop) -> None:
        """Over the limit a client waits; another one does not (S47)."""
        gate = shop.open(limit=flovia.Limit(challenges="2/min")).paid_api(provider="mock", price="1.00 USD")
        statuses = [gate.enter(request()).response.status for _ in range(3)]
        assert [402, 402, 429] == statuses
        assert 402 == gate.enter(request(client="127.0.0.2")).response.status

    def test_limits_verifications_too(self, shop: Shop) -> None:
        """Presenting credentials is limited before anything is parsed (S47)."""
        gate = shop.open(limit=flovia.Limit(verifications="1/min")).paid_api(provider="mock", price="1.00 USD")
        assert 402 == gate.enter(request("Payment abcd")).response.status
        response = gate.enter(request("Payment abcd")).response
        assert (429, "60") == (response.status, header(response, "retry-after"))

    def test_no_challenge_while_the_ledger_is_down(self, shop: Shop) -> None:
        """Whoever paid now could not be let in, so nobody is asked to (S02)."""

        class Down(MemoryLedger):
            available = False

        gate = Shop(ledger=Down()).flovia.paid_api(provider="mock", price="1.00 USD")
        response = gate.enter(request()).response
        assert (503, [], "1") == (response.status, challenges(response), header(response, "retry-after"))

    def test_memory_ledger_refuses_several_processes(self, paid: flovia.PaidApi) -> None:
        """A server that says it runs several processes gets 500 on a memory ledger, never a wrong answer."""
        assert 500 == paid.enter(request(multiprocess=True)).response.status


class TestPaid:
    """The way of a payment that is made."""

    def test_pay_once(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """A paid request is admitted with a grant, its 200 has a receipt and is private; then it is used up (S04)."""
        credential, passage = buy(paid)
        assert (100, "usd", "mock", False) == (
            passage.grant.amount,
            passage.grant.currency,
            passage.grant.method,
            passage.grant.redelivery,
        )
        start = deliver(paid, passage)
        fields = dict(start.apply([("Cache-Control", "public, s-maxage=60"), ("Payment-Receipt", "forged")]))
        assert passage.grant.payment_id == parse_receipt(fields["payment-receipt"]).reference
        assert {"payment-receipt", "cache-control"} == set(fields)
        again = paid.enter(request(credential)).response
        assert (402, "invalid-challenge") == (again.status, problem(again))
        assert 1 == len(challenges(again))

    def test_events_of_a_purchase(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """The stream tells the whole story in order, and the challenge id ties both requests together."""
        deliver(paid, buy(paid)[1])
        assert [
            "paid_api.request_started",
            "paid_api.challenge_issued",
            "paid_api.request_completed",
            "paid_api.request_started",
            "paid_api.payment_context_attached",
            "payment.settled",
            "paid_api.access_granted",
            "payment.delivered",
            "paid_api.request_completed",
        ] == shop.events()
        events = [event for _, event in shop.ledger.read_events()]
        assert events[1].challenge_id == events[5].challenge_id
        assert len({event.id for event in events}) == len(events)

    @pytest.mark.parametrize(
        ("status", "cache_control", "receipt", "expected"),
        [
            (200, None, True, "private"),
            (201, "no-store", True, "no-store"),
            (200, "public, max-age=60, s-maxage=9", True, "private, max-age=60"),
            (302, None, False, "private"),
            (403, "public", False, "private"),
            (500, None, False, "private"),
        ],
    )
    def test_s23_receipt_only_on_2xx(
        self, paid: flovia.PaidApi, status: int, cache_control: str | None, receipt: bool, expected: str
    ) -> None:
        """The receipt is on a 2xx alone, and no answer to a credential may be shared by caches (S23 to S28)."""
        passage = buy(paid)[1]
        fields = [] if cache_control is None else [("cache-control", cache_control)]
        changed = dict(passage.start(status, flovia.Headers.of(fields)).apply(fields))
        assert (receipt, expected) == ("payment-receipt" in changed, changed["cache-control"])

    def test_a_402_of_the_view_is_replaced(self, paid: flovia.PaidApi) -> None:
        """A handler that answers 402 to a payer does not send a 402 without a challenge (S02); it can be redeemed."""
        credential, passage = buy(paid)
        start = deliver(paid, passage, 402)
        assert (500, "delivery-failed") == (start.replace.status, problem(start.replace))
        assert paid.enter(request(credential)).grant.redelivery

    @pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
    def test_a_failed_answer_can_be_redeemed(self, paid: flovia.PaidApi, status: int) -> None:
        """After an error of the handler the same credential gets in again, at no further cost (S07)."""
        credential, passage = buy(paid)
        deliver(paid, passage, status)
        second = paid.enter(request(credential))
        assert second.grant.redelivery
        assert passage.grant.payment_id == second.grant.payment_id
        assert "payment-receipt" in dict(deliver(paid, second).add)
        assert 402 == paid.enter(request(credential)).response.status

    def test_raised_and_broken_answers_can_be_redeemed(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """A handler that raised, even behind a page that says 200, and a stream that broke are no deliveries."""
        credential, passage = buy(paid)
        assert (500, "delivery-failed") == (passage.raised().status, problem(passage.raised()))
        passage.start(200, flovia.Headers.of(()))
        paid.leave(passage, completed=True)
        second = paid.enter(request(credential))
        deliver(paid, second, 200, completed=False)
        third = paid.enter(request(credential))
        deliver(paid, third, 302)
        assert 2 == shop.events().count("payment.delivery_failed")
        assert 1 == shop.events().count("payment.redelivered")
        assert 1 == shop.events().count("payment.settled")

    def test_deliveries_are_counted(self, shop: Shop) -> None:
        """After max_deliveries failures the answer is 500 without a challenge: more money would not help."""
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", max_deliveries=2)
        credential, passage = buy(gate)
        deliver(gate, passage, 500)
        deliver(gate, gate.enter(request(credential)), 500)
        response = gate.enter(request(credential)).response
        assert (500, []) == (response.status, challenges(response))

    def test_s42_one_use_at_a_time(self, paid: flovia.PaidApi) -> None:
        """While one request delivers, another with the same credential gets 409 with Retry-After (S42)."""
        credential, passage = buy(paid)
        busy = paid.enter(request(credential)).response
        assert (409, "in-flight", []) == (busy.status, problem(busy), challenges(busy))
        assert header(busy, "retry-after")
        deliver(paid, passage)

    def test_a_killed_delivery_redeems_after_its_lease(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """A delivery nobody ended counts as failed once deliver_within has passed."""
        credential, _ = buy(paid)
        shop.clock.advance(59)
        assert 409 == paid.enter(request(credential)).response.status
        shop.clock.advance(2)
        assert paid.enter(request(credential)).grant.redelivery

    def test_a_streaming_delivery_keeps_its_lease(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """Renewed in time, a delivery may take as long as it streams."""
        credential, passage = buy(paid)
        for _ in range(5):
            assert not passage.renewal_due()
            shop.clock.advance(40)
            assert passage.renewal_due()
            paid.renew(passage)
        assert 409 == paid.enter(request(credential)).response.status
        deliver(paid, passage)

    def test_a_stale_delivery_writes_nothing(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """Whoever lost the lease cannot end the delivery of its successor; what happened stays in the stream."""
        credential, slow = buy(paid)
        shop.clock.advance(61)
        second = paid.enter(request(credential))
        deliver(paid, slow)
        assert exchange.DELIVERING == shop.ledger.find(second.key).state
        deliver(paid, second)
        assert 402 == paid.enter(request(credential)).response.status

    def test_s44_a_proof_works_once(self, paid: flovia.PaidApi) -> None:
        """The same payment under another challenge is refused with a fresh one (S44)."""
        deliver(paid, buy(paid, "ok-same")[1])
        _, second = buy(paid, "ok-same")
        assert (402, "verification-failed") == (second.response.status, problem(second.response))

    def test_another_proof_does_not_take_over(self, paid: flovia.PaidApi) -> None:
        """A settled challenge is redeemed by the credential that paid, not by another proof for it."""
        credential, passage = buy(paid, "ok-mine")
        deliver(paid, passage, 500)
        thief = pay(challenges(paid.enter(request()).response)[0], "ok-theirs")
        mine = json.loads(_decode(credential))
        theirs = json.loads(_decode(thief))
        theirs["challenge"] = mine["challenge"]
        assert 402 == paid.enter(request(_encode(theirs))).response.status
        assert paid.enter(request(credential)).grant.redelivery

    def test_spelling_does_not_matter(self, paid: flovia.PaidApi) -> None:
        """The same credential with other member order and spacing redeems the same payment."""
        credential, passage = buy(paid)
        deliver(paid, passage, 500)
        members = json.loads(_decode(credential))
        respelled = {"payload": members["payload"], "challenge": dict(reversed(members["challenge"].items()))}
        assert paid.enter(request(_encode(respelled, spaces=True))).grant.redelivery

    def test_enter_and_leave_are_called_in_order(self, paid: flovia.PaidApi) -> None:
        """Misuse by an adapter is an error of its own, not a silent double delivery."""
        refused = paid.enter(request())
        with pytest.raises(flovia.CallerError):
            refused.start(200, flovia.Headers.of(()))
        with pytest.raises(flovia.CallerError):
            paid.leave(refused, completed=True)
        _, passage = buy(paid)
        deliver(paid, passage)
        with pytest.raises(flovia.CallerError):
            passage.start(200, flovia.Headers.of(()))
        with pytest.raises(flovia.CallerError):
            paid.leave(passage, completed=True)


def _decode(credential: str) -> bytes:
    from flovia.core.encoding import b64url_decode

    return b64url_decode(credential.removeprefix("Payment "))


def _encode(members: object, spaces: bool = False) -> str:
    from flovia.core.encoding import b64url_encode

    separators = (", ", ": ") if spaces else (",", ":")
    return "Payment " + b64url_encode(json.dumps(members, separators=separators).encode())


class TestRefused:
    """Credentials that must not get in."""

    @pytest.mark.parametrize(
        "token", ["Payment !!!", "Payment", "Payment YWJj", "Payment " + "A" * 20_000, "Payment e30"]
    )
    def test_s03_malformed(self, paid: flovia.PaidApi, token: str) -> None:
        """What cannot be read is 402 malformed-credential with a fresh challenge (S03)."""
        response = paid.enter(request(token)).response
        assert (402, "malformed-credential", 1) == (response.status, problem(response), len(challenges(response)))

    def test_s48_two_credentials(self, paid: flovia.PaidApi) -> None:
        """More than one Payment credential, in two fields or joined by a comma, is 400 (S48)."""
        (challenge,) = challenges(paid.enter(request()).response)
        credential = pay(challenge)
        assert 400 == paid.enter(request([credential, credential])).response.status
        assert 400 == paid.enter(request(f"{credential}, {credential}")).response.status
        assert paid.enter(request(f"Bearer x, {credential}")).grant is not None

    @pytest.mark.parametrize(
        "member", ["id", "realm", "method", "intent", "request", "expires", "opaque", "digest", "header"]
    )
    def test_s10_every_member_is_bound(self, paid: flovia.PaidApi, member: str) -> None:
        """A challenge with any member changed, added, emptied or dropped is refused (S04, S10)."""
        (challenge,) = challenges(paid.enter(request()).response)
        members = json.loads(_decode(pay(challenge)))
        for value in ("x", "", None):
            echo = dict(members["challenge"])
            if value is None:
                echo.pop(member, None)
            else:
                echo[member] = value
            if echo == members["challenge"]:
                continue
            response = paid.enter(request(_encode({**members, "challenge": echo}))).response
            assert response.status in (400, 402), (member, value)
            assert problem(response) in ("invalid-challenge", "malformed-credential", "method-unsupported")

    def test_s05_expiry_is_exact(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """One moment before its expiry a challenge is good, at the very instant it is not (S05)."""
        (challenge,) = challenges(paid.enter(request()).response)
        (late,) = challenges(paid.enter(request()).response)
        shop.clock.advance(299.999)
        assert paid.enter(request(pay(challenge, "ok1"))).grant is not None
        shop.clock.advance(0.001)
        response = paid.enter(request(pay(late, "ok2"))).response
        assert (402, "payment-expired", 1) == (response.status, problem(response), len(challenges(response)))

    def test_expiry_does_not_bar_who_has_paid(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """A settled payment is redeemed long after its challenge expired, until redeem_for is over."""
        credential, passage = buy(paid)
        deliver(paid, passage, 500)
        shop.clock.advance(6 * 86400)
        deliver(paid, paid.enter(request(credential)), 500)
        shop.clock.advance(86400)
        assert "payment-expired" == problem(paid.enter(request(credential)).response)

    @pytest.mark.parametrize(
        "other", [{"path": "/other"}, {"query": "q=2"}, {"http_method": "DELETE"}, {"path": "/paid/"}]
    )
    def test_scope(self, paid: flovia.PaidApi, other: dict[str, str]) -> None:
        """A challenge is good for its own method, path and query alone."""
        (challenge,) = challenges(paid.enter(request()).response)
        assert "invalid-challenge" == problem(paid.enter(request(pay(challenge), **other)).response)

    def test_another_route_of_the_app(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """A cheap route's challenge does not open a dear one, and an unknown method is 400 (S30)."""
        premium = shop.flovia.paid_api(provider="mock", price="50.00 USD")
        (challenge,) = challenges(paid.enter(request()).response)
        assert 402 == premium.enter(request(pay(challenge), path="/premium")).response.status
        alt = shop.flovia.paid_api(provider=MockProvider(method="alt"), price="1.00 USD")
        (other,) = challenges(alt.enter(request()).response)
        assert (402, "invalid-challenge") == (
            (known := paid.enter(request(pay(other))).response).status,
            problem(known),
        )
        stranger = Shop().flovia.paid_api(provider=MockProvider(method="foreign"), price="1.00 USD")
        (foreign,) = challenges(stranger.enter(request()).response)
        unknown = paid.enter(request(pay(foreign))).response
        assert (400, "method-unsupported") == (unknown.status, problem(unknown))

    def test_s15_body_digest(self, paid: flovia.PaidApi) -> None:
        """A body is bound: changed, dropped or added, the challenge is not good for it (S15 to S17)."""
        body = body_of(b'{"q":1}')
        (challenge,) = challenges(paid.enter(request(http_method="POST", body=body)).response)
        assert challenge.digest is not None
        for other in (body_of(b'{"q":2}'), flovia.NO_BODY):
            refused = paid.enter(request(pay(challenge), http_method="POST", body=other)).response
            assert "invalid-challenge" == problem(refused)
        (empty,) = challenges(paid.enter(request(http_method="POST")).response)
        assert empty.digest is None
        assert 402 == paid.enter(request(pay(empty), http_method="POST", body=body)).response.status
        assert paid.enter(request(pay(challenge), http_method="POST", body=body)).grant is not None
        assert sha256(b'{"q":1}').digest() == body.sha256

    def test_bodies_that_cannot_be_bound(self, paid: flovia.PaidApi) -> None:
        """Too large is 413, without an end 411; neither is asked for money."""
        for body, status in ((flovia.BODY_TOO_LARGE, 413), (flovia.BODY_UNTERMINATED, 411)):
            response = paid.enter(request(http_method="POST", body=body)).response
            assert (status, []) == (response.status, challenges(response))

    def test_a_route_may_ignore_bodies(self, shop: Shop) -> None:
        """With digest=False nobody reads the body and any body will do."""
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", digest=False)
        assert not gate.reads_body
        (challenge,) = challenges(gate.enter(request(http_method="POST", body=flovia.UNREAD_BODY)).response)
        assert gate.enter(request(pay(challenge), http_method="POST", body=flovia.UNREAD_BODY)).grant is not None

    def test_s21_selected_field(self, shop: Shop) -> None:
        """The credential counts only in the field that the challenge selects (S21, S22)."""
        gate = shop.flovia.paid_api(
            provider="mock",
            price="1.00 USD",
            use_payment_authorization=lambda r: r.headers.get("authorization") is not None,
        )
        login = {"authorization": "Bearer good"}
        (challenge,) = challenges(gate.enter(request(headers=login)).response)
        assert "Payment-Authorization" == challenge.header
        assert gate.enter(request(pay(challenge), headers=login, field="payment-authorization")).grant is not None
        (plain,) = challenges(gate.enter(request()).response)
        assert plain.header is None
        for credential, about in (
            (pay(plain), {"headers": login, "field": "payment-authorization"}),
            (pay(challenges(gate.enter(request(headers=login)).response)[0]), {}),
            (pay(plain), {"field": "proxy-authorization"}),
        ):
            assert 402 == gate.enter(request(credential, **about)).response.status

    def test_s39_rotation(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """An older secret keeps verifying; without it only what is settled can be redeemed, by the same credential."""
        older, passage = buy(paid, "ok-old")
        deliver(paid, passage, 500)
        (challenge,) = challenges(paid.enter(request()).response)
        fresh = "test-another-secret-of-32-bytes-----"
        both = shop.open(secret=[fresh, SECRET]).paid_api(provider="mock", price="1.00 USD")
        assert both.enter(request(pay(challenge, "ok-new"))).grant is not None
        only = shop.open(secret=fresh).paid_api(provider="mock", price="1.00 USD")
        (unsettled,) = challenges(paid.enter(request()).response)
        assert 402 == only.enter(request(pay(unsettled, "ok-x"))).response.status
        assert 402 == only.enter(request(older, path="/premium")).response.status
        members = json.loads(_decode(older))
        for change in ({"request": "e30"}, {"expires": "2099-01-01T00:00:00Z"}):
            forged = {**members, "challenge": {**members["challenge"], **change}}
            assert 402 == only.enter(request(_encode(forged))).response.status
        assert only.enter(request(older)).grant.redelivery


class TestVerdicts:
    """What the provider says, and what becomes of it."""

    def test_pending_keeps_the_challenge(self, paid: flovia.PaidApi) -> None:
        """Not paid yet: the same challenge again with Retry-After, and it still pays (S31)."""
        (challenge,) = challenges(paid.enter(request()).response)
        response = paid.enter(request(pay(challenge, "pending"))).response
        assert (402, "verification-failed", "2") == (
            response.status,
            problem(response),
            header(response, "retry-after"),
        )
        assert [challenge] == challenges(response)
        assert paid.enter(request(pay(challenge, "ok1"))).grant is not None

    def test_s06_declined_gets_a_fresh_challenge(self, paid: flovia.PaidApi) -> None:
        """A failed proof is verification-failed with a fresh challenge (S06)."""
        (challenge,) = challenges(paid.enter(request()).response)
        response = paid.enter(request(pay(challenge, "declined"))).response
        assert "verification-failed" == problem(response)
        assert challenge.id != challenges(response)[0].id

    @pytest.mark.parametrize("payload", [{"proof": 7}, {}, {"proof": "ok", "paid_amount": "1e2"}])
    def test_invalid_payload(self, paid: flovia.PaidApi, payload: dict[str, object]) -> None:
        """A payload of the wrong shape is invalid-payload."""
        (challenge,) = challenges(paid.enter(request()).response)
        members = json.loads(_decode(pay(challenge)))
        assert "invalid-payload" == problem(paid.enter(request(_encode({**members, "payload": payload}))).response)

    def test_unknown_parks_the_claim(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """Unknown is 503 without a challenge; the same credential re-enters, another proof has to wait."""
        (challenge,) = challenges(paid.enter(request()).response)
        credential = pay(challenge, "unknown")
        for _ in range(2):
            response = paid.enter(request(credential)).response
            assert (503, [], "2") == (response.status, challenges(response), header(response, "retry-after"))
        shop.clock.advance(3600)
        assert 503 == paid.enter(request(credential)).response.status
        assert 409 == paid.enter(request(pay(challenge, "ok-other"))).response.status

    @pytest.mark.parametrize(
        ("claimed", "expected"),
        [
            ({"paid_amount": "99"}, "payment-insufficient"),
            ({"paid_amount": "0"}, "payment-insufficient"),
            ({"paid_amount": "101"}, "verification-failed"),
            ({"paid_currency": "sgd"}, "verification-failed"),
        ],
    )
    def test_h03_wrong_money(self, paid: flovia.PaidApi, shop: Shop, claimed: dict[str, str], expected: str) -> None:
        """Less, more, or another currency than asked is refused and recorded as unmatched (H03 to H05)."""
        (challenge,) = challenges(paid.enter(request()).response)
        response = paid.enter(request(pay(challenge, "ok1", **claimed))).response
        assert (402, expected) == (response.status, problem(response))
        assert "payment.unmatched" in shop.events()
        assert "payment.settled" not in shop.events()

    @pytest.mark.parametrize("back", ["1.00 USD", "0.40 USD"])
    @pytest.mark.parametrize("claimed", ["150", "100"])
    def test_wrong_money_that_went_back(self, paid: flovia.PaidApi, shop: Shop, claimed: str, back: str) -> None:
        """Once a wrong payment has gone back, or a part of it, its credential gets 403 like any other; no challenge."""
        (challenge,) = challenges(paid.enter(request()).response)
        wrong = {"paid_amount": claimed} if claimed != "100" else {"paid_currency": "eur"}
        back = back if claimed != "100" else back.replace("USD", "EUR")
        credential = pay(challenge, "ok1", **wrong)
        assert 402 == paid.enter(request(credential)).response.status
        (due,) = shop.flovia.refunds_due()
        assert "refunded" == shop.flovia.refund(due.payment_id, back).status
        for _ in range(2):
            response = paid.enter(request(credential)).response
            assert (403, "payment-refunded", []) == (response.status, problem(response), challenges(response))
        assert 1 == shop.events().count("payment.unmatched")
        assert 402 == paid.enter(request()).response.status

    def test_wrong_money_on_its_way_back(self, paid: flovia.PaidApi, shop: Shop) -> None:
        """While somebody gives a wrong payment back nobody is asked to pay once more: 500 refund-due."""
        (challenge,) = challenges(paid.enter(request()).response)
        credential = pay(challenge, "ok1", paid_amount="99")
        assert 402 == paid.enter(request(credential)).response.status
        (due,) = shop.flovia.refunds_due()
        shop.ledger.open_refund(f"{due.method}|{due.payment_id}", None, None, "test-nonce", 60.0)
        response = paid.enter(request(credential)).response
        assert (500, "refund-due", []) == (response.status, problem(response), challenges(response))

    def test_recipient_is_compared(self, shop: Shop) -> None:
        """A payment to somebody else is not a payment (H04)."""

        class Elsewhere(MockProvider):
            def verify(self, presented: Presented) -> Flow[Verdict]:
                yield from ()
                return Paid(reference="r1", amount=100, currency="usd", recipient="mallory")

        gate = shop.flovia.paid_api(provider=Elsewhere(recipient="acme"), price="1.00 USD")
        assert "verification-failed" == problem(buy(gate)[1].response)

    @pytest.mark.parametrize(
        ("verdict", "status"),
        [
            (Unknown(retry_after_s=9), 503),
            (NotPaid(problem="payment-insufficient"), 402),
            (RuntimeError("boom"), 503),
            (None, 503),
            ("paid", 503),
            (Paid(reference="", amount=100, currency="usd"), 500),
            (Paid(reference="r", amount=100, currency="usd", receipt_extra={"status": "failed"}), 500),
        ],
    )
    def test_a_broken_provider_opens_nothing(self, shop: Shop, verdict: object, status: int) -> None:
        """Whatever a provider returns or raises, nobody gets in without a sound Paid."""
        Scripted.verdict = verdict
        gate = shop.flovia.paid_api(provider=Scripted(), price="1.00 USD")
        response = buy(gate)[1].response
        assert status == response.status
        assert (status == 402) == bool(challenges(response))

    def test_price_rises(self, shop: Shop) -> None:
        """A computed price that rose since the challenge is refused and a refund is due; one that fell is honoured."""
        price = {"now": "1.00 USD"}
        gate = shop.flovia.paid_api(provider="mock", price=lambda _: price["now"])
        (cheap,) = challenges(gate.enter(request()).response)
        (second,) = challenges(gate.enter(request()).response)
        price["now"] = "2.00 USD"
        credential = pay(cheap, "ok-cheap")
        response = gate.enter(request(credential)).response
        assert (402, "payment-insufficient") == (response.status, problem(response))
        assert "200" == challenges(response)[0].request_json["amount"]
        assert shop.ledger.find(f"api.example.com|{cheap.id}").refund_due
        (late,) = (event for _, event in shop.ledger.read_events() if event.type == "payment.late")
        assert ("price_risen", "/paid", 100) == (late.reason, late.endpoint, late.amount)
        price["now"] = "0.50 USD"
        assert "payment-insufficient" == problem(gate.enter(request(credential)).response)
        assert gate.enter(request(pay(second, "ok-second"))).grant is not None

    def test_a_fixed_price_of_yesterday_is_honoured(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """A challenge issued before a deploy with another fixed price keeps its price."""
        (challenge,) = challenges(paid.enter(request()).response)
        dearer = shop.open().paid_api(provider="mock", price="3.00 USD")
        assert 100 == dearer.enter(request(pay(challenge))).grant.amount

    def test_price_function_fails_later(self, shop: Shop) -> None:
        """A price function that fails when the payer comes back is 500, and the payer can come again."""
        broken = {"now": False}

        def price(_: flovia.HttpRequest) -> str:
            if broken["now"]:
                raise RuntimeError
            return "1.00 USD"

        gate = shop.flovia.paid_api(provider="mock", price=price)
        (challenge,) = challenges(gate.enter(request()).response)
        broken["now"] = True
        assert 500 == gate.enter(request(pay(challenge))).response.status
        broken["now"] = False
        assert gate.enter(request(pay(challenge))).grant is not None


class TestOffers:
    """Routes with several ways to pay."""

    @pytest.fixture
    def two(self, shop: Shop) -> flovia.PaidApi:
        """The mock under two methods, and in two currencies under the first."""
        return shop.flovia.paid_api(
            offers=[
                flovia.Offer(provider="mock", price="1.00 USD"),
                flovia.Offer(provider="mock", price="1.30 SGD"),
                flovia.Offer(provider=MockProvider(method="alt"), price="1.00 USD"),
            ]
        )

    def test_every_offer_is_a_challenge(self, two: flovia.PaidApi) -> None:
        """Without Accept-Payment all offers are shown, in the route's order, each payable."""
        found = challenges(two.enter(request()).response)
        assert ["mock", "mock", "alt"] == [challenge.method for challenge in found]
        assert ["usd", "sgd", "usd"] == [challenge.request_json["currency"] for challenge in found]
        for number, challenge in enumerate(found):
            assert deliver(two, two.enter(request(pay(challenge, f"ok{number}")))).add

    def test_s32_accept_payment(self, two: flovia.PaidApi) -> None:
        """Accept-Payment filters and orders; one that matches nothing shows everything (S32, S33)."""
        asked = {"accept-payment": "alt/charge, mock/charge;q=0.5"}
        assert "alt" == challenges(two.enter(request(headers=asked)).response)[0].method
        none = {"accept-payment": "card/charge"}
        assert 3 == len(challenges(two.enter(request(headers=none)).response))

    def test_terms_of_a_live_quote(self, shop: Shop) -> None:
        """A provider that makes terms per request can shorten the expiry, add opaque members, headers and body."""

        class Quoting(MockProvider):
            def quote(self, quote: Quote) -> Flow[Terms]:
                yield from ()
                return Terms(
                    request=charge_request(quote.price),
                    opaque={"charge": "c1"},
                    expires_at=quote.expires_at - 100,
                    headers=(("x-checkout", "c1"),),
                    body={"checkout": "c1", "title": "mine"},
                )

            def verify(self, presented: Presented) -> Flow[Verdict]:
                yield from ()
                assert {"charge": "c1"} == dict(presented.opaque)
                return Paid(
                    reference="r-" + presented.nonce,
                    amount=100,
                    currency="usd",
                    payer="p",
                    receipt_extra={"jws": "test"},
                    receipt_headers=(("mpp-receipt", "test"),),
                )

        gate = shop.flovia.paid_api(provider=Quoting(fixed_terms=False), price="1.00 USD")
        response = gate.enter(request()).response
        (challenge,) = challenges(response)
        assert shop.clock.now + 200 == parse_expires(challenge.expires or "")
        assert "c1" == header(response, "x-checkout")
        assert ("c1", "Payment required") == (
            json.loads(response.body)["checkout"],
            json.loads(response.body)["title"].replace("Required", "required"),
        )
        credential = pay(challenge)
        passage = gate.enter(request(credential))
        deliver(gate, passage, 500)
        again = gate.enter(request(credential))
        assert ("mpp-receipt", "test") in deliver(gate, again).add
        assert "p" == again.grant.payer

    def test_terms_cannot_lengthen_the_life(self, shop: Shop) -> None:
        """A provider that wants a later expiry gets the gate's own."""

        class Long(MockProvider):
            def quote(self, quote: Quote) -> Flow[Terms]:
                yield from ()
                return Terms(request=charge_request(quote.price), expires_at=quote.expires_at + 1000)

        gate = shop.flovia.paid_api(provider=Long(fixed_terms=False), price="1.00 USD")
        (challenge,) = challenges(gate.enter(request()).response)
        assert shop.clock.now + 300 == parse_expires(challenge.expires or "")

    def test_a_provider_that_lies_about_fixed_terms(self, shop: Shop) -> None:
        """fixed_terms with an effect in quote() is refused at start."""

        class Lying(MockProvider):
            def quote(self, quote: Quote) -> Flow[Terms]:
                from flovia.core.effects import token

                yield from token()
                return Terms(request=charge_request(quote.price))

        with pytest.raises(flovia.WiringError, match="fixed_terms"):
            shop.flovia.paid_api(provider=Lying(), price="1.00 USD")

    def test_a_provider_that_is_down_when_asked_for_terms(self, shop: Shop) -> None:
        """No terms, no challenge: 503, never a 402 (S02)."""

        class Down(MockProvider):
            def quote(self, quote: Quote) -> Flow[Terms]:
                yield from ()
                raise flovia.HttpError("refused", sent=False)

        gate = shop.flovia.paid_api(provider=Down(fixed_terms=False), price="1.00 USD")
        response = gate.enter(request()).response
        assert (503, "provider-unavailable", []) == (response.status, problem(response), challenges(response))


class TestLedgerFailures:
    """A ledger that fails at each of its verbs."""

    class Failing(MemoryLedger):
        """Raises on the verb the test names."""

        failing = ""

        def __getattribute__(self, name: str) -> object:
            if name == object.__getattribute__(self, "failing"):

                def fail(*_: object) -> object:
                    raise flovia.LedgerError("down")

                return fail
            return object.__getattribute__(self, name)

    @pytest.mark.parametrize("verb", ["claim", "settle", "find", "release"])
    def test_before_delivery_it_is_503(self, verb: str) -> None:
        """Claim, settle and find failing is 503 without a challenge; a failing release leaves a lease."""
        ledger = self.Failing(clock=Clock())
        shop = Shop(ledger=ledger)
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges(gate.enter(request()).response)
        credential = pay(challenge, "declined" if verb == "release" else "ok1")
        if verb == "find":
            gate = shop.open(secret="test-another-secret-of-32-bytes-----").paid_api(provider="mock", price="1.00 USD")
        ledger.failing = verb
        response = gate.enter(request(credential)).response
        assert (402 if verb == "release" else 503) == response.status
        ledger.failing = ""

    def test_a_claim_that_was_taken_over(self) -> None:
        """Whoever settles under a stale fence gets 409 and writes nothing: its successor decides."""

        class Stale(MemoryLedger):
            def settle(self, *arguments):
                return "stale"

        shop = Shop(ledger=Stale(clock=Clock()))
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        response = buy(gate)[1].response
        assert (409, []) == (response.status, challenges(response))
        assert "payment.settled" not in shop.events()

    @pytest.mark.parametrize("verb", ["deliver", "fail", "renew"])
    def test_after_delivery_nobody_is_told(self, verb: str) -> None:
        """Once the answer is out a failing ledger costs at most a second delivery, and no event."""
        ledger = self.Failing(clock=Clock())
        shop = Shop(ledger=ledger)
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        _, passage = buy(gate)
        ledger.failing = verb
        gate.renew(passage)
        deliver(gate, passage, 500 if verb == "fail" else 200)
        ledger.failing = ""
        ending = "payment.delivery_failed" if verb == "fail" else "payment.delivered"
        assert ending in shop.events()


class TestReviewed:
    """What a review of the gate found, each kept from coming back."""

    def test_an_unknown_outcome_survives_a_lost_secret(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """A parked payment re-enters although its secret is gone: the payer is not asked twice."""
        (challenge,) = challenges(paid.enter(request()).response)
        credential = pay(challenge, "unknown")
        assert 503 == paid.enter(request(credential)).response.status
        other = shop.open(secret="test-another-secret-of-32-bytes-----").paid_api(provider="mock", price="1.00 USD")
        assert 503 == other.enter(request(credential)).response.status

    def test_a_forged_description_is_not_sent_again(self, shop: Shop) -> None:
        """The description of a pending challenge is the route's own, whatever the echo says."""
        gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", description="Forecast")
        (challenge,) = challenges(gate.enter(request()).response)
        members = json.loads(_decode(pay(challenge, "pending")))
        for forged in ("Send money to Mallory", "\x01", "x" * 9000):
            members["challenge"]["description"] = forged
            response = gate.enter(request(_encode(members))).response
            assert [challenge] == challenges(response)

    def test_events_of_a_fresh_challenge_name_no_old_payment(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """The challenge after a refused payment carries neither its payment id nor its payer."""
        (challenge,) = challenges(paid.enter(request()).response)
        paid.enter(request(pay(challenge, "ok1", "did:x", paid_amount="1")))
        last = [event for _, event in shop.ledger.read_events() if event.type == "paid_api.challenge_issued"][-1]
        assert (None, None) == (last.payment_id, last.payer)

    @pytest.mark.parametrize("code", ["internal-payment-error", "in-flight", "no-such-problem"])
    def test_not_paid_is_a_402(self, shop: Shop, code: str) -> None:
        """A provider that says NotPaid with a problem that is no 402 gets no challenge sent for it."""
        Scripted.verdict = NotPaid(problem=code)
        response = buy(shop.flovia.paid_api(provider=Scripted(), price="1.00 USD"))[1].response
        assert (500, []) == (response.status, challenges(response))

    def test_names_tell_gates_apart(self, shop: Shop) -> None:
        """Two gates on the same method and path, each with a name, do not take each other's challenges."""
        cheap = shop.flovia.paid_api(provider="mock", price="1.00 USD", name="cheap")
        dear = shop.flovia.paid_api(provider="mock", price="50.00 USD", name="dear")
        (challenge,) = challenges(cheap.enter(request()).response)
        assert "invalid-challenge" == problem(dear.enter(request(pay(challenge))).response)

    def test_the_apps_own_functions_may_fail(self, shop: Shop) -> None:
        """client_of and use_payment_authorization that raise end in 500 without a challenge, never in an exception."""

        def raises(_: flovia.HttpRequest) -> bool:
            raise LookupError

        limited = shop.open(limit="challenges=9/s", client_of=raises).paid_api(provider="mock", price="1.00 USD")
        selecting = shop.flovia.paid_api(provider="mock", price="1.00 USD", use_payment_authorization=raises)
        for gate in (limited, selecting):
            response = gate.enter(request()).response
            assert (500, []) == (response.status, challenges(response))

    def test_other_caches_and_challenges_of_the_handler(self, paid: flovia.PaidApi) -> None:
        """Targeted cache fields go, and a payment challenge of the handler's; a login challenge stays."""
        passage = buy(paid)[1]
        fields = [
            ("CDN-Cache-Control", "public, max-age=600"),
            ("Surrogate-Control", "max-age=600"),
            ("Cache-Control", 'private="set-cookie, x", max-age=5'),
            ("WWW-Authenticate", 'Payment id="x", realm="r", method="mock", intent="charge", request="e30"'),
            ("WWW-Authenticate", "Bearer"),
        ]
        changed = passage.start(200, flovia.Headers.of(fields)).apply(fields)
        assert {"payment-receipt", "cache-control", "www-authenticate"} == {name for name, _ in changed}
        assert ["Bearer"] == [value for name, value in changed if name == "www-authenticate"]
        assert "private" == dict(changed)["cache-control"]

    def test_a_memory_ledger_in_a_forked_child(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """A child redeems nothing that its parent may deliver too."""
        credential, passage = buy(paid)
        deliver(paid, passage, 500)
        shop.ledger.before_fork()
        shop.ledger.after_fork_in_child()
        assert 503 == paid.enter(request(credential)).response.status

    def test_long_sources_are_cut(self, shop: Shop, paid: flovia.PaidApi) -> None:
        """A client's word about itself takes at most 255 characters of an event."""
        (challenge,) = challenges(paid.enter(request()).response)
        paid.enter(request(pay(challenge, "ok1", "x" * 5000)))
        assert 255 == max(len(event.payer or "") for _, event in shop.ledger.read_events())
