"""What an agent is told in every situation: HitPay's states, mapped to statuses and problem codes."""

import attrs
import pytest

from flovia.core.effects import HttpReply
from flovia.core.encoding import b64url_decode, encode_param, loads_object
from flovia.core.errors import HttpError
from tests.providers.hitpay.fake import (
    LIFE_S,
    World,
    challenge_of,
    charge_id,
    credential,
    field,
    problem,
    reply,
    request,
)


class TestOneTime:
    """Pay once per request."""

    def test_no_credential(self) -> None:
        """402 payment-required, and a charge is created for this request."""
        world = World()
        response = world.refusal(request())
        assert (402, "payment-required") == problem(response)
        (call,) = world.hitpay.called("create")
        sent = loads_object(call.body)
        assert ("1.00", "sgd", "Forecast") == (sent["amount"], sent["currency"], sent["description"])
        assert "test_salt" == sent["webhook_salt"]

    def test_paid(self) -> None:
        """Paying and repeating the request lets in once, with both receipts; a second time it is used up."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        passage = world.enter(request(credential(challenge)))
        assert passage.grant is not None
        assert (charge_id(challenge), 100, "sgd") == (
            passage.grant.payment_id,
            passage.grant.amount,
            passage.grant.currency,
        )
        added = world.deliver(passage)
        assert 3 == len(added["mpp-receipt"].split("."))
        receipt = loads_object(b64url_decode(added["payment-receipt"]))
        assert "hitpay" == receipt["method"]
        assert charge_id(challenge) == receipt["reference"] == receipt["externalId"]
        assert {"receipt_jws": added["mpp-receipt"], "payment_id": f"pay_{charge_id(challenge)}"} == receipt["extra"]
        assert (402, "invalid-challenge") == problem(world.refusal(request(credential(challenge))))
        assert 2 == len(world.hitpay.charges)

    def test_a_redelivery_says_the_same(self) -> None:
        """A payment whose delivery failed is delivered again with the very same receipts, and nobody is asked."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        first = world.deliver(world.enter(request(credential(challenge))), 500)
        asked = len(world.hitpay.calls)
        second = world.enter(request(credential(challenge)))
        assert second.grant is not None
        assert second.grant.redelivery
        again = world.deliver(second)
        assert "payment-receipt" not in first
        assert again["mpp-receipt"]
        assert asked == len(world.hitpay.calls)

    def test_undecodable(self) -> None:
        """402 malformed-credential with a fresh challenge."""
        world = World()
        response = world.refusal(request("%%%"))
        assert (402, "malformed-credential") == problem(response)
        assert challenge_of(response).id

    def test_another_url(self) -> None:
        """A credential for one URL is refused on another before the broker is called."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        response = world.refusal(request(credential(challenge), query="zip=10001"))
        assert (402, "invalid-challenge") == problem(response)
        assert [] == world.hitpay.called("verify")

    def test_the_hash_of_the_request_differs(self) -> None:
        """402 verification-failed: the hash is recomputed from the request, whatever the gate says."""
        hashes = iter(("a" * 64, "b" * 64, "c" * 64))
        world = World(request_hash=lambda request, ignores: next(hashes))
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        response = world.refusal(request(credential(challenge)))
        assert (402, "verification-failed") == problem(response)
        assert [] == world.hitpay.called("verify")
        assert challenge.id != challenge_of(response).id

    def test_the_broker_says_another_hash(self) -> None:
        """The broker's 422 is a 402 verification-failed with a fresh challenge."""
        world = World()
        challenge = world.challenge()
        world.hitpay.given["verify"] = [reply(422, {"error": "request_hash_mismatch"})]
        assert (402, "verification-failed") == problem(world.refusal(request(credential(challenge))))

    def test_pending(self) -> None:
        """402 with the same challenge and body, and Retry-After; no second charge is created."""
        world = World()
        first = world.refusal(request())
        challenge = challenge_of(first)
        for _ in range(3):
            response = world.refusal(request(credential(challenge)))
            assert (402, "verification-failed") == problem(response)
            assert "2" == field(response, "retry-after")
            assert field(first, "www-authenticate") == field(response, "www-authenticate")
            members, before = loads_object(response.body), loads_object(first.body)
            assert before["challenge"] == members["challenge"]
            assert field(first, "content-type") == field(response, "content-type") == "application/json"
        assert 1 == len(world.hitpay.charges)

    def test_expired(self) -> None:
        """An unpaid charge whose time is up: 402 payment-expired with a fresh challenge."""
        world = World()
        challenge = world.challenge()
        world.hand.clock.advance(LIFE_S)
        world.hitpay.states[charge_id(challenge)] = "expired"
        response = world.refusal(request(credential(challenge)))
        assert (402, "payment-expired") == problem(response)
        assert challenge.id != challenge_of(response).id

    def test_expired_while_pending(self) -> None:
        """The broker still says pending after the challenge's time: payment-expired, not the dead challenge again."""
        world = World()
        challenge = world.challenge()
        world.hand.clock.advance(LIFE_S)
        response = world.refusal(request(credential(challenge)))
        assert (402, "payment-expired") == problem(response)
        assert challenge.id != challenge_of(response).id

    def test_expired_but_paid_in_time(self) -> None:
        """A charge paid in time and presented late lets in: nobody is asked to pay twice."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hand.clock.advance(3600)
        assert world.enter(request(credential(challenge))).grant is not None

    def test_a_day_is_enough(self) -> None:
        """After redeem_late_s a fresh claim is no longer possible."""
        world = World(redeem_late_s=60)
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hand.clock.advance(LIFE_S + 60)
        assert (402, "payment-expired") == problem(world.refusal(request(credential(challenge))))

    def test_refunded(self) -> None:
        """The broker says that it was given back: refused without a new charge, on record with what HitPay says."""
        world = World()
        challenge = world.challenge()
        ident = charge_id(challenge)
        world.hitpay.pay_at_core(ident, payment="refunded")
        world.hitpay.given["verify"] = [reply(410, {"error": "refunded"}) for _ in range(2)]
        for _ in range(2):
            response = world.refusal(request(credential(challenge)))
            assert (403, "payment-refunded", None) == (*problem(response), field(response, "www-authenticate"))
        assert 1 == len(world.hitpay.charges)
        found = world.hand.ledger.find_paid(f"hitpay|{ident}")
        assert found is not None
        assert ("refunded", 100) == (found.refund, found.refunded)
        assert 1 == world.events().count("payment.refunded")

    @pytest.mark.parametrize("payment", ["partially_refunded", "succeeded", "failed"])
    def test_refunded_and_nobody_says_how_much(self, payment: str) -> None:
        """The broker says so, and the core API not how much: refused, not recorded."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay_at_core(charge_id(challenge), payment=payment)
        world.hitpay.given["verify"] = [reply(410, {"error": "refunded"})]
        assert (403, "payment-refunded") == problem(world.refusal(request(credential(challenge))))
        assert "payment.refunded" not in world.events()

    def test_refunded_and_the_core_api_is_down(self) -> None:
        """503 with no challenge: it is looked at again."""
        world = World()
        challenge = world.challenge()
        world.hitpay.given["verify"] = [reply(410, {"error": "refunded"})]
        world.hitpay.given["request"] = [reply(500)]
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))

    def test_unknown_to_the_broker(self) -> None:
        """404 of the broker: 402 invalid-challenge with a fresh challenge."""
        world = World()
        challenge = world.challenge()
        world.hitpay.given["verify"] = [reply(404, {"error": "not_found"})]
        assert (402, "invalid-challenge") == problem(world.refusal(request(credential(challenge))))

    @pytest.mark.parametrize(
        "given",
        [
            reply(500),
            reply(503, {"error": "x"}, retry_after="7"),
            reply(429, {"error": "x"}, retry_after="7"),
            reply(302, {}),
            reply(401, {"error": "bad_key"}),
            reply(400, {}),
            reply(422, {"error": "nonce_mismatch"}),
            reply(200, {}),
            reply(200, {"receipt_jws": 1}),
            reply(200, [1]),
            HttpReply(status=200, body=b"<html>"),
            HttpReply(status=200, body=b"[" * 5000),
            HttpError("time-out", sent=True),
            HttpError("refused", sent=False),
        ],
        ids=str,
    )
    def test_unknown(self, given: HttpReply | Exception) -> None:
        """503 with Retry-After and no challenge; the same credential comes in once HitPay answers, with one charge."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.given["verify"] = [given]
        response = world.refusal(request(credential(challenge)))
        assert (503, "outcome-unknown") == problem(response)
        assert field(response, "www-authenticate") is None
        assert field(response, "retry-after") in ("2", "5", "7")
        assert b"bad_key" not in response.body
        assert world.enter(request(credential(challenge))).grant is not None
        assert 1 == len(world.hitpay.charges)
        assert "payment.unknown" in world.events()

    def test_a_longer_wait_is_passed_on(self) -> None:
        """Retry-After of the broker reaches the agent, within a minute."""
        world = World()
        challenge = world.challenge()
        for said, told in (("7", "7"), ("100000", "60"), ("soon", "2"), ("0", "1")):
            world.hitpay.given["verify"] = [reply(429, {}, retry_after=said)]
            assert told == field(world.refusal(request(credential(challenge))), "retry-after")

    def test_the_payload_names_another_charge(self) -> None:
        """A paid charge opens nothing under the challenge of another one."""
        world = World()
        first, second = world.challenge(), world.challenge()
        world.hitpay.pay(charge_id(first))
        response = world.refusal(request(credential(second, {"challenge_id": charge_id(first)})))
        assert (402, "verification-failed") == problem(response)
        assert [] == world.hitpay.called("verify")
        assert (402, "invalid-payload") == problem(world.refusal(request(credential(second, {"x": "y"}))))

    def test_a_price_for_saved_methods_only(self) -> None:
        """A grant where no wallets are saved is an invalid payload."""
        world = World()
        challenge = world.challenge()
        response = world.refusal(request(credential(challenge, {"saved_method_jws": world.hitpay.grant()})))
        assert (402, "invalid-payload") == problem(response)

    def test_the_nonce_stays(self) -> None:
        """Creation, its retry and the verification use one nonce, and no agent ever sees it."""
        world = World()
        world.hitpay.given["create"] = [HttpError("reset", sent=True)]
        response = world.refusal(request())
        challenge = challenge_of(response)
        world.hitpay.pay(charge_id(challenge))
        world.deliver(world.enter(request(credential(challenge))))
        bodies = [loads_object(call.body) for route in ("create", "verify") for call in world.hitpay.called(route)]
        assert 3 == len(bodies)
        (nonce,) = {str(body["nonce"]) for body in bodies}
        assert len(nonce) >= 22
        assert nonce not in str(challenge.opaque_json)
        assert 1 == len(world.hitpay.charges)

    def test_the_store_lost_the_nonce(self) -> None:
        """Without the nonce the broker decides by hash and key alone."""
        world = World(nonce_kept_s=1)
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hand.clock.advance(2)
        assert world.enter(request(credential(challenge))).grant is not None
        assert "nonce" not in loads_object(world.hitpay.called("verify")[0].body)


def test_a_made_up_challenge() -> None:
    """An echo that is not ours is invalid whatever it says, and no exception: its words are anybody's."""
    world = World()
    challenge = world.challenge()
    for members in (
        {"amount": "100", "currency": "xxx", "methodDetails": {"amount_decimal": "1.00"}},
        {"amount": "100", "currency": "sgd", "methodDetails": {"amount_decimal": 1}},
        {"amount": "100", "currency": "sgd"},
        {"currency": 7},
    ):
        forged = attrs.evolve(challenge, request=encode_param(members))
        token = credential(forged, {"challenge_id": "mpp_ch_1"})
        assert (402, "invalid-challenge") == problem(world.refusal(request(token)))
    assert [] == world.hitpay.called("verify")
