"""A broker whose status is stuck, and the core API that knows more."""

import pytest

from flovia.core.effects import HttpReply
from flovia.core.encoding import b64url_decode, loads_object
from tests.providers.hitpay.fake import (
    World,
    charge_id,
    credential,
    problem,
    reply,
    request,
)


class TestCoreFallback:
    """A broker whose status is stuck, with the core API asked as well."""

    def test_verified_before_and_core_down(self) -> None:
        """A single-use verification whose answer was lost stays unknown while the core API cannot say."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.given["verify"] = [reply(409, {"error": "already_verified"})]
        world.hitpay.given["request"] = [reply(500)]
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        world.hitpay.given["verify"] = [reply(409, {"error": "already_verified"})]
        assert world.enter(request(credential(challenge))).grant is not None

    def test_over_and_perhaps_paid(self) -> None:
        """Before a second payment is asked for the core API is: a broker may be stuck with what was paid in time."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge))
        world.hand.clock.advance(901)
        assert world.enter(request(credential(challenge))).grant is not None

    def test_off(self) -> None:
        """By default only the broker's word counts."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge))
        assert 402 == world.refusal(request(credential(challenge))).status
        assert [] == world.hitpay.called("request")

    @pytest.mark.parametrize(
        ("status", "payment"), [("completed", "succeeded"), ("pending", "succeeded"), ("expired", "succeeded")]
    )
    def test_paid_at_core(self, status: str, payment: str) -> None:
        """Paid is what the request says or any of its payments does: the status above may lag."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), status, payment)
        passage = world.enter(request(credential(challenge)))
        added = world.deliver(passage)
        receipt = loads_object(b64url_decode(added["payment-receipt"]))
        assert {"payment_id": f"pay_{charge_id(challenge)}"} == receipt["extra"]
        assert "mpp-receipt" not in added

    @pytest.mark.parametrize(
        ("status", "payment"),
        [("pending", "pending"), ("pending", "failed"), ("pending", "succeeded_manually"), ("expired", "failed")],
    )
    def test_not_paid_at_core(self, status: str, payment: str) -> None:
        """Anything else is not paid."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), status, payment)
        assert 402 == world.refusal(request(credential(challenge))).status

    def test_manual(self) -> None:
        """A payment marked by hand counts only where that is configured."""
        world = World(core_fallback=True, manual_counts=True)
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), "pending", "succeeded_manually")
        assert world.enter(request(credential(challenge))).grant is not None

    def test_another_payment(self) -> None:
        """Another reference is somebody else's payment; another amount is unmatched; given back is not paid."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        ident = charge_id(challenge)
        world.hitpay.pay_at_core(ident)
        found = world.hitpay.requests[world.hitpay.charges[ident]["uuid"]]
        found["reference_number"] = "mpp_ch_other"
        assert 402 == world.refusal(request(credential(challenge))).status
        found["reference_number"] = ident
        payments = found["payments"]
        assert isinstance(payments, list)
        payments[0]["status"] = "refunded"
        assert (403, "payment-refunded") == problem(world.refusal(request(credential(challenge))))
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), amount=0.5)
        assert (402, "payment-insufficient") == problem(world.refusal(request(credential(challenge))))
        assert "payment.unmatched" in world.events()

    @pytest.mark.parametrize("status", ["completed", "pending", "expired"])
    def test_given_back(self, status: str) -> None:
        """Stuck at the broker and refunded in the dashboard: refused, whatever the request above it says."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), status, "refunded")
        assert (403, "payment-refunded") == problem(world.refusal(request(credential(challenge))))
        assert "payment.refunded" in world.events()
        assert 1 == len(world.hitpay.charges)

    def test_paid_twice_and_one_given_back(self) -> None:
        """What is left of two payments still buys."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), payment="refunded")
        world.hitpay.pay_at_core(charge_id(challenge))
        assert world.enter(request(credential(challenge))).grant is not None

    @pytest.mark.parametrize(
        "given", [reply(500), reply(401, {}), reply(200, {"id": "x", "status": "completed"}), reply(200, {})], ids=str
    )
    def test_core_down(self, given: HttpReply) -> None:
        """The broker says not paid and the core API says nothing: unknown, not a second challenge."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.given["request"] = [given]
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))

    def test_verified_before(self) -> None:
        """A single-use verification whose answer was lost is settled by the core API; nobody pays twice."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.given["verify"] = [reply(409, {"error": "already_verified"})]
        assert world.enter(request(credential(challenge))).grant is not None
