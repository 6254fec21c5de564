"""A payment at the gate, from the settlement to the last byte."""

import json

import pytest

import flovia
from flovia.core import exchange
from flovia.core.receipt import parse_receipt
from tests.core.world import Shop, buy, challenges, decode, deliver, encode, header, pay, problem, request


def test_pay_once(paid: flovia.PaidApi, shop: Shop) -> None:
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


def test_events_of_a_purchase(paid: flovia.PaidApi, shop: Shop) -> None:
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


def test_long_sources_are_cut(shop: Shop, paid: flovia.PaidApi) -> None:
    """A client's word about itself takes at most 255 characters of an event."""
    (challenge,) = challenges(paid.enter(request()).response)
    paid.enter(request(pay(challenge, "ok1", "x" * 5000)))
    assert 255 == max(len(event.payer or "") for _, event in shop.ledger.read_events())


@pytest.mark.parametrize(
    ("status", "cache_control", "receipt", "expected"),
    [
        (200, None, True, "private"),
        (201, "no-store", True, "no-store"),
        (200, "public, max-age=60, s-maxage=9", True, "private, max-age=60"),
        (200, "max-age=5, Private", True, "private, max-age=5"),
        (200, "PUBLIC , S-MaxAge = 9,, no-transform", True, "private, no-transform"),
        (200, "public, No-Store, max-age=5", True, "No-Store, max-age=5"),
        (302, None, False, "private"),
        (403, "public", False, "private"),
        (500, None, False, "private"),
    ],
)
def test_s23_receipt_only_on_2xx(
    paid: flovia.PaidApi, status: int, cache_control: str | None, receipt: bool, expected: str
) -> None:
    """The receipt is on a 2xx alone, and no answer to a credential may be shared by caches (S23 to S28)."""
    passage = buy(paid)[1]
    fields = [] if cache_control is None else [("cache-control", cache_control)]
    changed = dict(passage.start(status, flovia.Headers.of(fields)).apply(fields))
    assert (receipt, expected) == ("payment-receipt" in changed, changed["cache-control"])


def test_a_402_of_the_view_is_replaced(paid: flovia.PaidApi) -> None:
    """A handler that answers 402 to a payer does not send a 402 without a challenge (S02); it can be redeemed."""
    credential, passage = buy(paid)
    start = deliver(paid, passage, 402)
    assert (500, "delivery-failed") == (start.replace.status, problem(start.replace))
    assert paid.enter(request(credential)).grant.redelivery


@pytest.mark.parametrize("cache", ["cdn", "akamai", "cloudflare-cdn", "fastly-cdn", "netlify-cdn", "vercel-cdn"])
def test_no_cache_is_told_otherwise(paid: flovia.PaidApi, cache: str) -> None:
    """What a handler says to one kind of shared cache alone does not go out with a paid answer (RFC 9213)."""
    fields = [(f"{cache.title()}-Cache-Control", "public, max-age=600"), ("Content-Type", "text/plain")]
    changed = buy(paid)[1].start(200, flovia.Headers.of(fields)).apply(fields)
    assert ["Content-Type", "payment-receipt", "cache-control"] == [name for name, _ in changed]


def test_other_caches_and_challenges_of_the_handler(paid: flovia.PaidApi) -> None:
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


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_a_failed_answer_can_be_redeemed(paid: flovia.PaidApi, status: int) -> None:
    """After an error of the handler the same credential gets in again, at no further cost (S07)."""
    credential, passage = buy(paid)
    deliver(paid, passage, status)
    second = paid.enter(request(credential))
    assert second.grant.redelivery
    assert passage.grant.payment_id == second.grant.payment_id
    assert "payment-receipt" in dict(deliver(paid, second).add)
    assert 402 == paid.enter(request(credential)).response.status


def test_raised_and_broken_answers_can_be_redeemed(paid: flovia.PaidApi, shop: Shop) -> None:
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


def test_deliveries_are_counted(shop: Shop) -> None:
    """After max_deliveries failures the answer is 500 without a challenge: more money would not help."""
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", max_deliveries=2)
    credential, passage = buy(gate)
    deliver(gate, passage, 500)
    deliver(gate, gate.enter(request(credential)), 500)
    response = gate.enter(request(credential)).response
    assert (500, []) == (response.status, challenges(response))


def test_s42_one_use_at_a_time(paid: flovia.PaidApi) -> None:
    """While one request delivers, another with the same credential gets 409 with Retry-After (S42)."""
    credential, passage = buy(paid)
    busy = paid.enter(request(credential)).response
    assert (409, "in-flight", []) == (busy.status, problem(busy), challenges(busy))
    assert header(busy, "retry-after")
    deliver(paid, passage)


def test_a_killed_delivery_redeems_after_its_lease(paid: flovia.PaidApi, shop: Shop) -> None:
    """A delivery nobody ended counts as failed once deliver_within has passed."""
    credential, _ = buy(paid)
    shop.clock.advance(59)
    assert 409 == paid.enter(request(credential)).response.status
    shop.clock.advance(2)
    assert paid.enter(request(credential)).grant.redelivery


def test_a_streaming_delivery_keeps_its_lease(paid: flovia.PaidApi, shop: Shop) -> None:
    """Renewed in time, a delivery may take as long as it streams."""
    credential, passage = buy(paid)
    for _ in range(5):
        assert not passage.renewal_due()
        shop.clock.advance(40)
        assert passage.renewal_due()
        paid.renew(passage)
    assert 409 == paid.enter(request(credential)).response.status
    deliver(paid, passage)


def test_a_stale_delivery_writes_nothing(paid: flovia.PaidApi, shop: Shop) -> None:
    """Whoever lost the lease cannot end the delivery of its successor; what happened stays in the stream."""
    credential, slow = buy(paid)
    shop.clock.advance(61)
    second = paid.enter(request(credential))
    deliver(paid, slow)
    assert exchange.DELIVERING == shop.ledger.find(second.key).state
    deliver(paid, second)
    assert 402 == paid.enter(request(credential)).response.status


def test_s44_a_proof_works_once(paid: flovia.PaidApi) -> None:
    """The same payment under another challenge is refused with a fresh one (S44)."""
    deliver(paid, buy(paid, "ok-same")[1])
    _, second = buy(paid, "ok-same")
    assert (402, "verification-failed") == (second.response.status, problem(second.response))


def test_another_proof_does_not_take_over(paid: flovia.PaidApi) -> None:
    """A settled challenge is redeemed by the credential that paid, not by another proof for it."""
    credential, passage = buy(paid, "ok-mine")
    deliver(paid, passage, 500)
    thief = pay(challenges(paid.enter(request()).response)[0], "ok-theirs")
    mine = json.loads(decode(credential))
    theirs = json.loads(decode(thief))
    theirs["challenge"] = mine["challenge"]
    assert 402 == paid.enter(request(encode(theirs))).response.status
    assert paid.enter(request(credential)).grant.redelivery


def test_spelling_does_not_matter(paid: flovia.PaidApi) -> None:
    """The same credential with other member order and spacing redeems the same payment."""
    credential, passage = buy(paid)
    deliver(paid, passage, 500)
    members = json.loads(decode(credential))
    respelled = {"payload": members["payload"], "challenge": dict(reversed(members["challenge"].items()))}
    assert paid.enter(request(encode(respelled, spaces=True))).grant.redelivery


def test_enter_and_leave_are_called_in_order(paid: flovia.PaidApi) -> None:
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
