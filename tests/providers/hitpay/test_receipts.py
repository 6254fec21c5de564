"""What the receipt of the broker must say, and what becomes of a payment where it says something else."""

import pytest

from flovia.core.effects import HttpReply
from flovia.core.errors import HttpError
from flovia.core.money import Price
from flovia.core.reconciling import reconcile
from flovia.core.refunding import refund
from tests.providers.hitpay.fake import (
    Signer,
    World,
    charge_id,
    credential,
    field,
    problem,
    reply,
    request,
)


class TestReceipts:
    """The broker's signed word about a payment, and what the core API says beside it."""

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
