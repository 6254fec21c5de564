"""Credentials that the gate must not let in, and what a challenge is good for."""

import json
from hashlib import sha256

import pytest

import flovia
from flovia.core.binding import Keyring, issue
from flovia.core.encoding import encode_param
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, Shop, buy, challenges, decode, deliver, encode, pay, problem, request


def body_of(data: bytes, limit: int = 1 << 20) -> flovia.Body:
    """What an adapter reports of a body."""
    meter = flovia.BodyMeter(limit)
    meter.feed(data)
    return meter.body


@pytest.mark.parametrize("token", ["Payment !!!", "Payment", "Payment YWJj", "Payment " + "A" * 20_000, "Payment e30"])
def test_s03_malformed(paid: flovia.PaidApi, token: str) -> None:
    """What cannot be read is 402 malformed-credential with a fresh challenge (S03)."""
    response = paid.enter(request(token)).response
    assert (402, "malformed-credential", 1) == (response.status, problem(response), len(challenges(response)))


def test_s48_two_credentials(paid: flovia.PaidApi) -> None:
    """More than one Payment credential, in two fields or joined by a comma, is 400 (S48)."""
    (challenge,) = challenges(paid.enter(request()).response)
    credential = pay(challenge)
    assert 400 == paid.enter(request([credential, credential])).response.status
    assert 400 == paid.enter(request(f"{credential}, {credential}")).response.status
    assert paid.enter(request(f"Bearer x, {credential}")).grant is not None


@pytest.mark.parametrize(
    "member", ["id", "realm", "method", "intent", "request", "expires", "opaque", "digest", "header"]
)
def test_s10_every_member_is_bound(paid: flovia.PaidApi, member: str) -> None:
    """A challenge with any member changed, added, emptied or dropped is refused (S04, S10)."""
    (challenge,) = challenges(paid.enter(request()).response)
    members = json.loads(decode(pay(challenge)))
    for value in ("x", "", None):
        echo = dict(members["challenge"])
        if value is None:
            echo.pop(member, None)
        else:
            echo[member] = value
        if echo == members["challenge"]:
            continue
        response = paid.enter(request(encode({**members, "challenge": echo}))).response
        assert response.status in (400, 402), (member, value)
        assert problem(response) in ("invalid-challenge", "malformed-credential", "method-unsupported")


def test_s05_expiry_is_exact(paid: flovia.PaidApi, shop: Shop) -> None:
    """One moment before its expiry a challenge is good, at the very instant it is not (S05)."""
    (challenge,) = challenges(paid.enter(request()).response)
    (late,) = challenges(paid.enter(request()).response)
    shop.clock.advance(299.999)
    assert paid.enter(request(pay(challenge, "ok1"))).grant is not None
    shop.clock.advance(0.001)
    response = paid.enter(request(pay(late, "ok2"))).response
    assert (402, "payment-expired", 1) == (response.status, problem(response), len(challenges(response)))


def test_expiry_does_not_bar_who_has_paid(paid: flovia.PaidApi, shop: Shop) -> None:
    """A settled payment is redeemed long after its challenge expired, until redeem_for is over."""
    credential, passage = buy(paid)
    deliver(paid, passage, 500)
    shop.clock.advance(6 * 86400)
    deliver(paid, paid.enter(request(credential)), 500)
    shop.clock.advance(86400)
    assert "payment-expired" == problem(paid.enter(request(credential)).response)


@pytest.mark.parametrize("other", [{"path": "/other"}, {"query": "q=2"}, {"http_method": "DELETE"}, {"path": "/paid/"}])
def test_scope(paid: flovia.PaidApi, other: dict[str, str]) -> None:
    """A challenge is good for its own method, path and query alone."""
    (challenge,) = challenges(paid.enter(request()).response)
    assert "invalid-challenge" == problem(paid.enter(request(pay(challenge), **other)).response)


def test_another_route_of_the_app(shop: Shop, paid: flovia.PaidApi) -> None:
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


def test_names_tell_gates_apart(shop: Shop) -> None:
    """Two gates on the same method and path, each with a name, do not take each other's challenges."""
    cheap = shop.flovia.paid_api(provider="mock", price="1.00 USD", name="cheap")
    dear = shop.flovia.paid_api(provider="mock", price="50.00 USD", name="dear")
    (challenge,) = challenges(cheap.enter(request()).response)
    assert "invalid-challenge" == problem(dear.enter(request(pay(challenge))).response)


def test_s15_body_digest(paid: flovia.PaidApi) -> None:
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


def test_bodies_that_cannot_be_bound(paid: flovia.PaidApi) -> None:
    """Too large is 413, without an end 411; neither is asked for money."""
    for body, status in ((flovia.BODY_TOO_LARGE, 413), (flovia.BODY_UNTERMINATED, 411)):
        response = paid.enter(request(http_method="POST", body=body)).response
        assert (status, []) == (response.status, challenges(response))


def test_a_route_may_ignore_bodies(shop: Shop) -> None:
    """With digest=False nobody reads the body and any body will do."""
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", digest=False)
    assert not gate.reads_body
    (challenge,) = challenges(gate.enter(request(http_method="POST", body=flovia.UNREAD_BODY)).response)
    assert gate.enter(request(pay(challenge), http_method="POST", body=flovia.UNREAD_BODY)).grant is not None


def test_s21_selected_field(shop: Shop) -> None:
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


def test_s39_rotation(shop: Shop, paid: flovia.PaidApi) -> None:
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
    members = json.loads(decode(older))
    for change in ({"request": "e30"}, {"expires": "2099-01-01T00:00:00Z"}):
        forged = {**members, "challenge": {**members["challenge"], **change}}
        assert 402 == only.enter(request(encode(forged))).response.status
    assert only.enter(request(older)).grant.redelivery


def test_s39_a_secret_that_was_removed(shop: Shop) -> None:
    """What was refunded or delivered under it gets a 402 then, and no answer again; as long as it verifies, both do."""
    key = {"idempotency-key": '"key-1"'}
    fresh = "test-another-secret-of-32-bytes-----"
    paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    delivered, passage = buy(paid, "ok1", headers=key)
    passage.start(200, flovia.Headers.of(()))
    copy = passage.copy()
    assert copy is not None
    copy.feed(b"goods")
    paid.leave(passage, completed=True)
    refunded, passage = buy(paid, "ok2")
    deliver(paid, passage)
    assert passage.grant is not None
    assert "refunded" == shop.flovia.refund(passage.grant.payment_id, provider="mock").status
    both = shop.open(secret=[fresh, SECRET]).paid_api(provider="mock", price="1.00 USD")
    assert b"goods" == both.enter(request(delivered, headers=key)).response.body
    assert (403, "payment-refunded") == (
        (response := both.enter(request(refunded)).response).status,
        problem(response),
    )
    only = shop.open(secret=fresh).paid_api(provider="mock", price="1.00 USD")
    for credential, headers in ((delivered, key), (refunded, {})):
        response = only.enter(request(credential, headers=headers)).response
        assert (402, "invalid-challenge") == (response.status, problem(response))


def test_s39_a_secret_that_only_some_processes_have(shop: Shop, paid: flovia.PaidApi) -> None:
    """While processes are replaced: the others refuse what a new secret signs, so it comes second at first."""
    fresh = "test-another-secret-of-32-bytes-----"
    for secrets, status in (([fresh, SECRET], 402), ([SECRET, fresh], None)):
        new = shop.open(secret=secrets).paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges(new.enter(request()).response)
        response = paid.enter(request(pay(challenge, f"ok-{status}"))).response
        assert status == (None if response is None else response.status)


def test_a_challenge_without_money_is_none(paid: flovia.PaidApi) -> None:
    """Signed with our secret, as another app may that shares it, and without an amount or a currency: no candidate."""
    (challenge,) = challenges(paid.enter(request()).response)
    bound = {name: getattr(challenge, name) for name in ("realm", "method", "intent", "expires", "opaque")}
    for asked in ({"amount": "100"}, {"amount": "100", "currency": 7}, {"currency": "usd"}):
        signed = issue(Keyring([SECRET]), request=encode_param(asked), **bound)
        assert "invalid-challenge" == problem(paid.enter(request(pay(signed))).response)
    whole = issue(Keyring([SECRET]), request=encode_param({"amount": "100", "currency": "usd"}), **bound)
    assert paid.enter(request(pay(whole))).grant is not None
