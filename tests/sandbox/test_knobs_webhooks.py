"""The knob of the webhooks: one event of one paid charge, spoilt in each way."""

import json
from typing import Final

import pytest

from flovia.sandbox import Answered, Post, event_signature
from tests.sandbox.knobs import listed, shows
from tests.sandbox.local import Local

MERCHANT_SALT: Final = "test_salt_of_my_endpoint"
URL: Final = "http://127.0.0.1:9/hook"
EVENT: Final = "payment_request.completed"


def with_endpoint(local: Local, *events: str) -> None:
    """Register an endpoint for some events."""
    local.api(
        "POST /v1/webhook-events",
        {"name": "mine", "url": URL, "event_types": list(events or [EVENT]), "salt": MERCHANT_SALT},
    )


def sent(local: Local, **options: object) -> list[Post]:
    """The events that an endpoint gets for one paid charge; ``options``: the knob."""
    with_endpoint(local)
    local.fault("webhook", target="endpoint", **options)  # type: ignore[arg-type]  # the value is among them
    local.pay(local.charge())
    return local.posts


def well_signed(post: Post) -> bool:
    """Whether the signature is the endpoint's over what was sent."""
    return dict(post.headers)["hitpay-signature"] == event_signature(post.body, MERCHANT_SALT)


@shows("webhook", "normal")
def test_normal(local: Local) -> None:
    """One event, signed, with the headers HitPay sends; the broker's own is untouched by the endpoint's knob."""
    (post,) = sent(local, value="normal")
    assert well_signed(post)
    headers = dict(post.headers)
    assert ("payment_request", "completed") == (headers["hitpay-event-object"], headers["hitpay-event-type"])
    assert ("HitPay v2.0", "application/json") == (headers["user-agent"], headers["content-type"])
    body = json.loads(post.body)
    (charge,) = local.state.charges.values()
    assert (charge.request, charge.id, "completed", 1) == (
        body["id"],
        body["reference_number"],
        body["status"],
        body["amount"],
    )


@shows("webhook", "lost")
def test_lost(local: Local) -> None:
    """It never comes, unless somebody sends it again by hand."""
    assert [] == sent(local, value="lost")
    local.advance(3600)
    assert [] == local.posts
    (found,) = [each for each in listed(local, "webhooks") if each["target"] == "endpoint"]
    assert "lost" == found["status"]
    local.control(f"POST webhooks/{found['id']}/redeliver")
    assert 1 == len(local.posts)


@shows("webhook", "duplicate")
def test_duplicate(local: Local) -> None:
    """The very same event comes several times."""
    posts = sent(local, value="duplicate", times=3)
    assert 3 == len(posts)
    assert 1 == len({post.body for post in posts})
    assert all(well_signed(post) for post in posts)


@shows("webhook", "delayed")
def test_delayed(local: Local) -> None:
    """It comes later."""
    assert [] == sent(local, value="delayed", seconds=30)
    local.advance(29)
    assert [] == local.posts
    local.advance(1)
    assert 1 == len(local.posts)


@shows("webhook", "out_of_order")
def test_out_of_order(local: Local) -> None:
    """A detachment is heard before the attachment it ends; nothing is active afterwards."""
    local.fault("webhook", "out_of_order", route="recurring_billing.method_attached")
    saved_id = str(local.setup().json()["saved_method_id"])
    local.control(f"POST saved-methods/{saved_id}/approve")
    assert "pending" == local.state.saved[saved_id].state
    local.control(f"POST saved-methods/{saved_id}/detach")
    local.advance(1)
    delivered = [str(each["what"]).split()[0] for each in listed(local, "journal") if each["kind"] == "webhook"]
    assert [
        "recurring_billing.method_detached",
        "recurring_billing.method_attached",
    ] == delivered
    assert "detached" == local.state.saved[saved_id].state


@shows("webhook", "bad_signature")
def test_bad_signature(local: Local) -> None:
    """The signature is another one."""
    (post,) = sent(local, value="bad_signature")
    assert not well_signed(post)
    assert 64 == len(dict(post.headers)["hitpay-signature"])


@shows("webhook", "wrong_salt")
def test_wrong_salt(local: Local) -> None:
    """It is signed with the salt of the API key."""
    (post,) = sent(local, value="wrong_salt")
    merchant = next(iter(local.state.merchants.values()))
    assert dict(post.headers)["hitpay-signature"] == event_signature(post.body, merchant.api_salt)


@shows("webhook", "enveloped")
def test_enveloped(local: Local) -> None:
    """A payment request's event, flat by default, in an envelope."""
    (post,) = sent(local, value="enveloped")
    assert well_signed(post)
    body = json.loads(post.body)
    assert {"event", "payment_request"} == set(body)
    assert "completed" == body["payment_request"]["status"]


@shows("webhook", "flat")
def test_flat(local: Local) -> None:
    """A recurring billing's event, enveloped by default, flat; and the broker understands it."""
    with_endpoint(local, "recurring_billing.method_attached")
    local.fault("webhook", "flat")
    saved_id = local.saved()
    (post,) = local.posts
    body = json.loads(post.body)
    assert local.state.saved[saved_id].recurring == body["id"]
    assert "recurring_billing" not in body
    assert "affected_method_id" in body


@shows("webhook", "truncated")
def test_truncated(local: Local) -> None:
    """The end of the body is missing; signed as it was, or as it is."""
    (post,) = sent(local, value="truncated")
    assert not well_signed(post)
    with pytest.raises(ValueError):
        json.loads(post.body)
    local.posts.clear()
    local.fault("webhook", "truncated", target="endpoint", signed=True)
    local.pay(local.charge(nonce="another-nonce-1"))
    assert [True] == [well_signed(post) for post in local.posts]


@shows("webhook", "foreign")
def test_foreign(local: Local) -> None:
    """An event about another merchant's payment comes beside one's own, just as well signed."""
    posts = sent(local, value="foreign")
    assert [True, True] == [well_signed(post) for post in posts]
    theirs, own = (json.loads(post.body) for post in posts)
    (charge,) = local.state.charges.values()
    assert charge.id == own["reference_number"]
    assert charge.id != theirs["reference_number"]
    assert charge.request != theirs["id"]


@shows("webhook", "sha256_prefix")
def test_sha256_prefix(local: Local) -> None:
    """The signature has a prefix some receivers know."""
    (post,) = sent(local, value="sha256_prefix")
    assert f"sha256={event_signature(post.body, MERCHANT_SALT)}" == dict(post.headers)["hitpay-signature"]


@shows("webhook", "upper_hex")
def test_upper_hex(local: Local) -> None:
    """The signature is in capitals."""
    (post,) = sent(local, value="upper_hex")
    assert event_signature(post.body, MERCHANT_SALT).upper() == dict(post.headers)["hitpay-signature"]


def test_what_is_flat_stays_flat() -> None:
    """A shape that an event has already is left as it is."""
    local = Local()
    with_endpoint(local, EVENT, "recurring_billing.method_attached")
    local.fault("webhook", "flat", target="endpoint")
    local.pay(local.charge())
    local.fault("webhook", "enveloped", target="endpoint")
    local.saved(nonce="another-nonce-1")
    flat_one, enveloped_one = (json.loads(post.body) for post in local.posts)
    assert "completed" == flat_one["status"]
    assert {"event", "affected_method_id", "recurring_billing"} == set(enveloped_one)


def test_a_foreign_attachment() -> None:
    """Inside an envelope too, the ids are those of somebody else; and only the next event has company."""
    local = Local()
    with_endpoint(local, "recurring_billing.method_attached", "recurring_billing.method_detached")
    local.fault("webhook", "foreign", target="endpoint", next=1)
    saved_id = local.saved()
    local.control(f"POST saved-methods/{saved_id}/detach")
    theirs, own, gone = (json.loads(post.body)["recurring_billing"]["id"] for post in local.posts)
    assert own == gone == local.state.saved[saved_id].recurring
    assert theirs != own


def test_retries_can_be_scaled() -> None:
    """With a scale of a hundredth, what takes seconds takes hundredths."""
    local = Local()
    with_endpoint(local)
    local.fault("limits", retry_scale=0.01)
    local.pay(local.charge())
    answer(local, 500)
    local.advance(0.009)
    assert [] == local.posts
    local.advance(0.001)
    assert 1 == len(local.posts)


def answer(local: Local, status: int) -> None:
    """The receivers of all webhooks that are out answer with this status."""
    posts, local.posts = local.posts, []
    for post in posts:
        local.step(Answered(delivery=post.delivery, status=status))
