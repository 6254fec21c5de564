"""What an agent is told in every situation: HitPay's states, mapped to statuses and problem codes."""

import json

import attrs
import pytest

from flovia.core.effects import HttpReply
from flovia.core.encoding import encode_param, loads_object
from flovia.core.errors import HttpError
from flovia.core.money import Price
from flovia.core.reconciling import reconcile
from flovia.core.refunding import refund
from flovia.providers.hitpay import store
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import (
    LIFE_S,
    Signer,
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
        receipt = loads_object(_decoded(added["payment-receipt"]))
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

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://evil.test"},
            {"status": "pending"},
            {"iat": 9_999_999_999},
            {"challenge_id": "mpp_ch_other"},
            {"request_hash": "0" * 64},
            {"request_hash": None},
            {"amount": 1.0},
        ],
        ids=str,
    )
    def test_a_receipt_that_proves_nothing(self, claims: dict[str, object]) -> None:
        """The broker says paid and its receipt does not: 503, no challenge, and later the right receipt lets in."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.claims = claims
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        world.hitpay.claims = {}
        assert world.enter(request(credential(challenge))).grant is not None

    @pytest.mark.parametrize("typ", ["mpp-spm+jwt", "application/mpp-spm+jwt"])
    def test_a_grant_as_receipt(self, typ: str) -> None:
        """A token of a grant's type is no receipt, even with a receipt's claims."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        jws = world.hitpay.signer.sign(world.hitpay.receipt(charge_id(challenge)), typ)
        world.hitpay.given["verify"] = [reply(200, {"receipt_jws": jws})]
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))

    def test_a_foreign_key(self) -> None:
        """A receipt of a key that the broker does not publish, or of that name but another key, is not believed."""
        for kid in ("other", "test-1"):
            world = World()
            challenge = world.challenge()
            world.hitpay.pay(charge_id(challenge))
            jws = Signer(kid).sign(world.hitpay.receipt(charge_id(challenge)))
            world.hitpay.given["verify"] = [reply(200, {"receipt_jws": jws})]
            assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))

    def test_key_rotation(self) -> None:
        """A receipt under a new key costs one more fetch of the keys and is good."""
        world = World()
        for _ in range(2):
            challenge = world.challenge()
            world.hitpay.pay(charge_id(challenge))
            world.deliver(world.enter(request(credential(challenge))))
            world.hitpay.signer = Signer("test-2")
            world.hand.clock.advance(5)
        assert 2 == len(world.hitpay.called("jwks"))

    def test_keys_unreachable(self) -> None:
        """503 and the claim is parked; nothing is let in on a receipt that cannot be checked."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.given["jwks"] = [reply(500), HttpError("time-out", sent=True)]
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        world.hand.clock.advance(20)
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        world.hand.clock.advance(20)
        assert world.enter(request(credential(challenge))).grant is not None

    @pytest.mark.parametrize(
        ("amount", "currency", "code"),
        [
            ("0.99", "sgd", "payment-insufficient"),
            ("1.01", "sgd", "verification-failed"),
            ("1.00", "myr", "verification-failed"),
        ],
    )
    def test_another_amount(self, amount: str, currency: str, code: str) -> None:
        """Other money was paid than was asked for: refused, and what HitPay's API shows is on record as due."""
        world = World()
        challenge = world.challenge()
        ident = charge_id(challenge)
        world.hitpay.states[ident] = "paid"
        world.hitpay.pay_at_core(ident, amount=amount, currency=currency)
        world.hitpay.claims = {"amount": amount, "currency": currency}
        assert (402, code) == problem(world.refusal(request(credential(challenge))))
        assert "payment.unmatched" in world.events()
        (due,) = world.hand.ledger.find_due(10)
        assert (ident, Price.parse(f"{amount} {currency}")) == (
            due.payment_id,
            Price(amount=due.amount, currency=due.currency),
        )

    @pytest.mark.parametrize("claims", [{"amount": "9.00"}, {"currency": "thb"}])
    def test_a_receipt_for_money_that_was_never_paid(self, claims: dict[str, object]) -> None:
        """The receipt claims other money than HitPay's API shows: 503, nothing on record, and nobody pays again."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.claims = claims
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        assert ([], False) == (list(world.hand.ledger.find_due(10)), "payment.unmatched" in world.events())
        reconciled = world.office(reconcile([world.provider], rail="mpp"))
        assert ["resolved"] == [finding.status for finding in reconciled.findings]
        assert "payment-receipt" in world.deliver(world.enter(request(credential(challenge))))

    def test_a_wrong_receipt_and_a_true_one(self) -> None:
        """A broker that puts its receipts right lets the same credential in."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.claims = {"amount": "9.00"}
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        world.hitpay.claims = {}
        assert "mpp-receipt" in world.deliver(world.enter(request(credential(challenge))))

    def test_a_wrong_receipt_where_the_api_counts(self) -> None:
        """With core_fallback HitPay's API is believed, and the broker's receipt is not passed on."""
        world = World(core_fallback=True)
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.claims = {"amount": "9.00"}
        assert "mpp-receipt" not in world.deliver(world.enter(request(credential(challenge))))

    def test_neither_receipt_nor_api_says_what_was_asked(self) -> None:
        """Paid less, and the receipt claims more: the refund is due of what was taken."""
        world = World()
        challenge = world.challenge()
        ident = charge_id(challenge)
        world.hitpay.states[ident] = "paid"
        world.hitpay.pay_at_core(ident, amount="0.50")
        world.hitpay.claims = {"amount": "9.00"}
        assert (402, "payment-insufficient") == problem(world.refusal(request(credential(challenge))))
        assert [50] == [due.amount for due in world.hand.ledger.find_due(10)]

    @pytest.mark.parametrize("shown", [reply(404), reply(500), "pending"])
    def test_a_wrong_receipt_and_no_word_of_the_api(self, shown: HttpReply | str) -> None:
        """Where HitPay's API shows no payment, or nothing, nothing is known: 503."""
        world = World()
        challenge = world.challenge()
        world.hitpay.states[charge_id(challenge)] = "paid"
        if isinstance(shown, HttpReply):
            world.hitpay.given["request"] = [shown, shown]
        world.hitpay.claims = {"amount": "9.00"}
        assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))

    def test_a_wrong_receipt_of_what_went_back(self) -> None:
        """Given back, says the API, whatever the receipt claims: 403."""
        world = World()
        challenge = world.challenge()
        world.hitpay.states[charge_id(challenge)] = "paid"
        world.hitpay.pay_at_core(charge_id(challenge), payment="refunded")
        world.hitpay.claims = {"amount": "9.00"}
        assert (403, "payment-refunded") == problem(world.refusal(request(credential(challenge))))

    @pytest.mark.parametrize("amount", ["0.50", "2.00"])
    def test_another_amount_that_went_back(self, amount: str) -> None:
        """Refunded in full, other money gets 403 like any refunded payment, though the broker still says paid."""
        world = World()
        challenge = world.challenge()
        ident = charge_id(challenge)
        world.hitpay.states[ident] = "paid"
        world.hitpay.pay_at_core(ident, amount=amount)
        world.hitpay.claims = {"amount": amount}
        assert 402 == world.refusal(request(credential(challenge))).status
        assert "refunded" == world.office(refund(ident, None, [world.provider], "mpp")).status
        response = world.refusal(request(credential(challenge)))
        assert (403, "payment-refunded") == problem(response)
        assert field(response, "www-authenticate") is None

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


class TestCreating:
    """What keeps a charge from being made ends without a challenge."""

    @pytest.mark.parametrize(
        "given",
        [
            reply(500),
            reply(401, {"error": "bad key test_key"}),
            reply(409, {"error": "nonce_reused"}),
            reply(200, {}),
            reply(200, {"challenge_id": "../x", "checkout_url": "https://x.test/"}),
            reply(200, {"challenge_id": "mpp_ch_1", "checkout_url": "javascript:alert(1)"}),
            reply(200, {"challenge_id": "mpp_ch_1", "checkout_url": "https://u@x.test/"}),
            reply(200, {"challenge_id": "mpp_ch_1", "checkout_url": "https://[x/"}),
            reply(200, {"challenge_id": "mpp_ch_1", "checkout_url": "https://x.test/", "expires_at": "soon"}),
            reply(
                200,
                {"challenge_id": "mpp_ch_1", "checkout_url": "https://x.test/", "expires_at": "2000-01-01T00:00:00Z"},
            ),
            reply(
                200,
                {
                    "challenge_id": "mpp_ch_1",
                    "checkout_url": "https://x.test/",
                    "expires_at": "9999-12-31T23:59:59-23:59",
                },
            ),
            reply(200, {"challenge_id": "mpp_ch_1", "checkout_url": "https://x.test/", "polling_url": 7}),
            HttpReply(status=204),
            HttpError("time-out", sent=True),
        ],
        ids=str,
    )
    def test_no_charge(self, given: HttpReply | Exception) -> None:
        """503 with Retry-After, no challenge, and none of the broker's words."""
        world = World()
        world.hitpay.given["create"] = [given, given]
        response = world.refusal(request())
        assert (503, "provider-unavailable") == problem(response)
        assert field(response, "www-authenticate") is None
        assert int(field(response, "retry-after") or 0) > 0
        assert b"bad key" not in response.body

    def test_members_inside_the_challenge(self) -> None:
        """The names of HitPay's SDK are understood too; without an expiry ours is used."""
        world = World(charge_lifetime_s=120)
        details = {"checkout_url": "https://securecheckout.example.test/x", "polling_url": "https://broker.test/p"}
        world.hitpay.given["create"] = [
            reply(200, {"challenge_id": "mpp_ch_9", "challenge": {"methodDetails": details}})
        ]
        response = world.refusal(request())
        body = loads_object(response.body)
        shown = body["challenge"]
        assert isinstance(shown, dict)
        assert details == {name: shown["methodDetails"][name] for name in details}
        assert world.challenge().id

    def test_not_configured(self) -> None:
        """Without a key: 503 hitpay_mpp_not_configured that names the variables, and nobody is called."""
        world = World(api_key=None)
        for response in (world.refusal(request()), world.refusal(request("mpp_ch_1", query="credential=demo-paid"))):
            assert 503 == response.status
            body = json.loads(response.body)
            assert "hitpay_mpp_not_configured" == body["error"]
            assert "urn:flovia:problem:hitpay_mpp_not_configured" == body["type"]
            assert "HITPAY_API_KEY" in body["detail"]
            assert field(response, "www-authenticate") is None
        assert [] == world.hitpay.calls

    def test_key_taken_away(self) -> None:
        """A credential from before the key went: 503, parked, and good again once the key is back."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        gone = World(api_key=None)
        gone.hand, gone.hitpay = world.hand, world.hitpay
        gone.paid = world.flo.paid_api(provider=gone.provider, price="1.00 SGD")
        assert 503 == gone.refusal(request(credential(challenge))).status
        assert world.enter(request(credential(challenge))).grant is not None


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
        receipt = loads_object(_decoded(added["payment-receipt"]))
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


def _decoded(receipt: str) -> bytes:
    from flovia.core.encoding import b64url_decode

    return b64url_decode(receipt)


class TestWhatIsKept:
    """What an unpaid request leaves in the ledger."""

    def test_no_page_to_pay_on(self) -> None:
        """Ids and the nonce, and the page in the challenge alone; a month later nothing of it is there."""
        world = World()
        challenge = world.challenge()
        ident = charge_id(challenge)
        names = ("hitpay", "issued", "awaited")
        kept = {name: dict(world.hand.ledger.list_texts(name, "", 99)) for name in names}
        assert [f"hitpay|{ident}"] == list(kept["issued"])
        assert [challenge.id] == list(kept["awaited"].values())
        request_id = world.hitpay.charges[ident]["uuid"]
        assert request_id == loads_object(kept["hitpay"][f"charge {ident}"])["request_id"]
        assert not [key for texts in kept.values() for key, text in texts.items() if "/checkout" in text]
        world.hand.clock.advance(30 * 86400.0 + 1)
        assert [[], [], []] == [list(world.hand.ledger.list_texts(name, "", 99)) for name in names]

    @pytest.mark.parametrize(
        "page", ["https://api.example.test/payment-request/@hitpay/{}/checkout", "https://x.test/"]
    )
    def test_charges_of_an_earlier_version(self, page: str) -> None:
        """Their record has the page; the payment request is found in it, if it is there."""
        world = World()
        request_id = "9ef68e2e-3569-4f69-9f68-000000000000"
        text = json.dumps({"nonce": "test-nonce", "checkout_url": page.format(request_id)})
        world.hand.ledger.remember("hitpay", "charge mpp_ch_1", text, 60.0, False)
        found = drive(store.find_charge("mpp_ch_1"), world.hand)
        assert found is not None
        assert ("test-nonce", request_id if "{}" in page else None) == (found.nonce, found.request_id)
