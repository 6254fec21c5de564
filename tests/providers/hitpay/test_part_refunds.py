"""A part that went back in HitPay's dashboard before anybody has presented the payment's credential."""

import pytest

from flovia.core import listening
from flovia.core.challenge import Challenge
from flovia.core.effects import HttpReply
from flovia.core.http import Headers, HttpResponse
from flovia.core.reconciling import reconcile
from flovia.core.refunding import refund
from tests.providers.hitpay.fake import World, charge_id, credential, field, problem, reply, request
from tests.providers.hitpay.test_webhooks import event, sign


def partly_back(world: World) -> tuple[Challenge, str]:
    """A charge that was paid, and of which a part went back; the broker still hands out its receipt."""
    challenge = world.challenge()
    ident = charge_id(challenge)
    world.hitpay.pay(ident)
    assert 200 == world.hitpay.refund_at_core(f"pay_{ident}", "0.40").status
    return challenge, ident


def hear(world: World, ident: str, **members: object) -> HttpResponse:
    """HitPay's webhook about the charge comes, and what follows from it is written."""
    body = written(event(world, ident) | members)
    fields = Headers.of([("hitpay-signature", sign(body))])
    heard = listening.hear(
        world.provider, fields, body, realm="api.example.test", rail="mpp", seldom=listening.Seldom()
    )
    return world.office(heard)


def written(members: dict[str, object]) -> bytes:
    """An event as bytes."""
    return reply(200, members).body


def refused(world: World, challenge: Challenge) -> None:
    """Its credential gets 403 however often it comes, no challenge, and nothing is settled."""
    for _ in range(2):
        response = world.refusal(request(credential(challenge)))
        assert (403, "payment-refunded", None) == (*problem(response), field(response, "www-authenticate"))
    assert "payment.settled" not in world.events()
    assert 1 == len(world.hitpay.charges)


def test_heard_of_without_an_amount() -> None:
    """The webhook could not say how much: 403 from then on, and no refund is on record."""
    world = World()
    challenge, ident = partly_back(world)
    assert 200 == hear(world, ident).status
    refused(world, challenge)
    assert world.hand.ledger.find_paid(f"hitpay|{ident}") is None
    assert "payment.refunded" not in world.events()


def test_heard_of_with_its_amount() -> None:
    """The webhook names the refund: 403, and that part is on record, once."""
    world = World()
    challenge, ident = partly_back(world)
    for _ in range(2):
        assert 200 == hear(world, ident, refund_id=f"ref_pay_{ident}").status
    refused(world, challenge)
    found = world.hand.ledger.find_paid(f"hitpay|{ident}")
    assert found is not None
    assert ("refunded", 40) == (found.refund, found.refunded)
    assert 1 == world.events().count("payment.refunded")


@pytest.mark.parametrize("dry_run", [False, True])
def test_found_by_reconciling(dry_run: bool) -> None:
    """A run finds it and cannot say how much: 403 from then on. A dry run writes nothing, not even that."""
    world = World()
    challenge, _ = partly_back(world)
    run = world.office(reconcile([world.provider], rail="mpp", everything=True, dry_run=dry_run))
    assert ["refunded_in_part"] == [finding.status for finding in run.findings]
    if dry_run:
        world.deliver(world.enter(request(credential(challenge))))
    else:
        refused(world, challenge)


@pytest.mark.parametrize("fallback", [{"core_fallback": True}, {}], ids=str)
def test_the_broker_says_so(fallback: dict[str, object]) -> None:
    """The broker refuses the charge as refunded, or HitPay's API is asked and lists it so: 403."""
    world = World(**fallback)
    challenge, ident = partly_back(world)
    if fallback:
        world.hitpay.states[ident] = "pending"
    else:
        world.hitpay.given["verify"] = [HttpReply(status=410, body=b'{"error":"refunded"}')] * 2
    refused(world, challenge)


def test_nobody_told() -> None:
    """The broker hands out its receipt and is believed, so that it is delivered; asked to refund, HitPay refuses."""
    world = World()
    challenge, ident = partly_back(world)
    world.deliver(world.enter(request(credential(challenge))))
    assert "refused" == world.office(refund(ident, None, [world.provider], "mpp")).status


def test_after_the_delivery() -> None:
    """What was delivered before somebody heard of it stays delivered: its credential is used up like any other."""
    world = World()
    challenge, ident = partly_back(world)
    world.deliver(world.enter(request(credential(challenge))))
    assert 200 == hear(world, ident).status
    assert (402, "invalid-challenge") == problem(world.refusal(request(credential(challenge))))
