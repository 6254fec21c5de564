"""Webhooks: who signed them, and what of them is true."""

import hmac
import json
from hashlib import sha256
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.challenge import Challenge
from flovia.core.effects import HttpReply
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.webhook import Heard, LatePayment, RefundedPayment, WaitingPayment, WebhookProvider
from flovia.providers.hitpay import HitPayProvider, store
from flovia.providers.hitpay.signatures import check_v1, check_v2, read_form
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import (
    LIFE_S,
    SALT,
    SAVED,
    World,
    charge_id,
    config,
    credential,
    problem,
    reply,
    request,
)

OTHER = "test_other_salt"


def sign(body: bytes, salt: str = SALT) -> str:
    """HitPay's signature of a body."""
    return hmac.new(salt.encode(), body, sha256).hexdigest()


def hear(world: World, event: object, *, salt: str = SALT, signature: str | None = None) -> Heard:
    """What becomes of an event."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    pairs = (
        ("content-type", "application/json"),
        ("hitpay-event-object", "payment_request"),
        ("hitpay-event-type", "completed"),
        ("hitpay-signature", sign(body, salt) if signature is None else signature),
    )
    return drive(world.provider.webhook(Headers.of(pairs), body), world.hand)


def event(world: World, ident: str, status: str | None = None) -> dict[str, object]:
    """The flat event of a payment request; by default one that tells the truth."""
    charge = world.hitpay.charges[ident]
    status = status or ("completed" if world.hitpay.requests[charge["uuid"]]["payments"] else "failed")
    return {
        "id": charge["uuid"],
        "amount": charge["amount"],
        "currency": charge["currency"],
        "status": status,
        "reference_number": ident,
        "payments": [],
    }


def asked(world: World) -> tuple[Challenge, str]:
    """A challenge and its charge."""
    challenge = world.challenge()
    return challenge, charge_id(challenge)


class TestSignatures:
    """Both forms, over the raw bytes."""

    BODY = b'{"id":"9ef68e2e-3569-4f69-9f68-04c7e4bb007c","status":"completed","reference_number":"mpp_ch_demo0001"}'

    def test_vectors(self) -> None:
        """The published vectors of both forms."""
        good = "8439fbf7e838c5ab1d57d1cdb7198ff1fa045b03fce206d54c0fe53064cc9a31"
        assert check_v2(self.BODY, good, ["test_salt"])
        assert check_v2(self.BODY, f"sha256={good.upper()}", ["test_new", "test_salt"])
        form = (
            "amount=1.00&currency=SGD&payment_id=p1&payment_request_id=r1&phone=&reference_number=mpp_ch_demo0001"
            "&status=completed&hmac=28add019c8ceea530395ea23c31a459500d75cc1470a60b3bfb3f1084bb72239"
        )
        members = read_form(form.encode())
        assert members is not None
        assert check_v1(members, ["test_salt"])
        assert not check_v1({**members, "phone": "1"}, ["test_salt"])

    @given(st.binary(max_size=40), st.text(max_size=70))
    def test_nothing_else(self, body: bytes, signature: str) -> None:
        """Any other text is no signature, whatever its characters, and never an exception."""
        assert not check_v2(body, signature, ["test_salt"]) or signature.lower().endswith(sign(body, "test_salt"))

    @pytest.mark.parametrize("form", [b"a", b"a=1&a=2", b"\xff=1", b"a=%FF", b"&".join([b"a=1"] * 100), b""])
    def test_no_form(self, form: bytes) -> None:
        """A form with a name twice, without values, or in no text is none."""
        assert read_form(form) is None

    @pytest.mark.parametrize("signature", ["", "0" * 64, "é" * 64, "sha256=", sign(b"other")])
    def test_bad_signature(self, signature: str) -> None:
        """401, nothing is asked and nothing changes."""
        world = World()
        _, ident = asked(world)
        calls = len(world.hitpay.calls)
        heard = hear(world, event(world, ident), signature=signature)
        assert (401, "bad-signature", ()) == (heard.status, heard.code, heard.notices)
        assert calls == len(world.hitpay.calls)

    def test_an_altered_body(self) -> None:
        """One more space is another body."""
        world = World()
        _, ident = asked(world)
        body = json.dumps(event(world, ident)).encode()
        assert 401 == hear(world, body + b" ", signature=sign(body)).status

    def test_two_salts_while_rotating(self) -> None:
        """The new and the old salt of the endpoint are good; the salt of the API key is not for this form."""
        world = World(webhook_salts=("test_new", SALT), api_salts=(OTHER,))
        _, ident = asked(world)
        assert 200 == hear(world, event(world, ident)).status
        assert 200 == hear(world, event(world, ident, "x"), salt="test_new").status
        assert 401 == hear(world, event(world, ident, "y"), salt=OTHER).status

    def test_the_older_form(self) -> None:
        """A form under the salt of the API key is understood; under the endpoint's it is not."""
        world = World(api_salts=(OTHER,))
        _, ident = asked(world)
        members = {
            "payment_id": "p1",
            "payment_request_id": world.hitpay.charges[ident]["uuid"],
            "phone": "",
            "amount": "1.00",
            "currency": "SGD",
            "status": "failed",
            "reference_number": ident,
        }
        message = "".join(f"{name}{value}" for name, value in sorted(members.items())).encode()
        for salt, status in ((OTHER, 200), (SALT, 401)):
            body = urlencode({**members, "hmac": sign(message, salt)}).encode()
            heard = drive(world.provider.webhook(Headers.of(()), body), world.hand)
            assert status == heard.status

    def test_two_signatures(self) -> None:
        """Two signature fields are none."""
        world = World()
        body = b"{}"
        pairs = (("hitpay-signature", sign(body)), ("hitpay-signature", sign(body)))
        assert 401 == drive(world.provider.webhook(Headers.of(pairs), body), world.hand).status

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":"' + b"x" * 300_000])
    def test_malformed(self, body: bytes) -> None:
        """Well signed and no event: 400."""
        assert (400, "malformed") == (hear(World(), body).status, hear(World(), body).code)

    def test_not_configured(self) -> None:
        """Without salts or a key nothing can be checked: 503, so that it is sent again."""
        for settings in ({"webhook_salts": ()}, {"api_key": None}):
            heard = hear(World(**settings), {})
            assert (503, "not-configured") == (heard.status, heard.code)

    def test_protocol(self) -> None:
        """The provider is one that takes webhooks."""
        assert isinstance(HitPayProvider(config()), WebhookProvider)


def waiting(challenge: Challenge, ident: str) -> WaitingPayment:
    """The notice of a payment whose credential would be taken."""
    return WaitingPayment(challenge_id=challenge.id, method="hitpay", payment_id=ident, amount=100, currency="sgd")


class TestCharges:
    """Payments, late ones, second ones, refunds."""

    def test_paid_in_time(self) -> None:
        """A payment in time waits for its credential, which will say so. And the webhook alone unlocks nothing."""
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay_at_core(ident)
        heard = hear(world, event(world, ident))
        assert (200, "accepted", (waiting(challenge, ident),)) == (heard.status, heard.code, heard.notices)
        assert (402, "verification-failed") == problem(world.refusal(request(credential(challenge))))
        world.hitpay.states[ident] = "paid"
        assert world.enter(request(credential(challenge))).grant is not None

    def test_paid_late(self) -> None:
        """Money for a charge that the broker has closed is reported under the challenge it was for.

        Each time the event comes: whether it is on record already, only the ledger knows.
        """
        world = World()
        challenge, ident = asked(world)
        world.hand.clock.advance(LIFE_S)
        world.hitpay.states[ident] = "expired"
        world.hitpay.pay_at_core(ident)
        late = LatePayment(challenge_id=challenge.id, method="hitpay", payment_id=ident, amount=100, currency="sgd")
        for _ in range(2):
            assert (late,) == hear(world, event(world, ident)).notices

    @pytest.mark.parametrize("over", [False, True])
    def test_another_sum(self, over: bool) -> None:
        """Money that is not what was asked for can buy nothing, whether the charge is open or not.

        Each time the event comes, until a credential has brought it.
        """
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay_at_core(ident, amount="0.50")
        world.hitpay.states[ident] = "expired" if over else "paid"
        expected = LatePayment(
            challenge_id=challenge.id,
            method="hitpay",
            payment_id=ident,
            amount=50,
            currency="sgd",
            reason="unmatched",
        )
        for _ in range(2):
            assert (expected,) == hear(world, event(world, ident)).notices
        drive(store.keep_paid(ident, store.PaidRecord(payment_id=f"pay_{ident}", request_id="r")), world.hand)
        assert () == hear(world, event(world, ident)).notices

    def test_a_duplicate(self) -> None:
        """An event that brought nothing about is not looked into again."""
        world = World()
        _, ident = asked(world)
        told = {**event(world, ident), "more": 1}
        assert ["accepted", "duplicate"] == [hear(world, told).code for _ in range(2)]
        assert 1 == len(world.hitpay.called("request"))

    def test_late_and_in_between(self) -> None:
        """Past its expiry but paid in time, says the broker: not late, it can still be redeemed."""
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay(ident)
        world.hand.clock.advance(LIFE_S)
        assert (waiting(challenge, ident),) == hear(world, event(world, ident)).notices
        world.deliver(world.enter(request(credential(challenge))))
        assert () == hear(world, {**event(world, ident), "more": 1}).notices

    def test_paid_twice(self) -> None:
        """A QR code that was paid twice: the second payment is reported under its own name."""
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay(ident)
        world.deliver(world.enter(request(credential(challenge))))
        world.hitpay.pay_at_core(ident)
        (late,) = hear(world, event(world, ident)).notices
        expected = LatePayment(
            challenge_id=challenge.id,
            method="hitpay",
            payment_id=f"pay_{ident}_1",
            amount=100,
            currency="sgd",
            reason="duplicate",
        )
        assert expected == late

    def test_refunded(self) -> None:
        """A refund in full, from the dashboard say, is reported with the whole amount."""
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay(ident)
        world.deliver(world.enter(request(credential(challenge))))
        (payment,) = self.payments(world, ident)
        payment["status"] = "refunded"
        told = {"id": "11111111-2222-3333-4444-555555555555", "payment_request_id": world.hitpay.charges[ident]["uuid"]}
        notices = hear(world, {"event": "charge.updated", "charge": told}).notices
        assert (self.refunded(challenge.id, ident, 100),) == notices

    def test_refunded_in_part(self) -> None:
        """A part is reported with what HitPay's own record of the refund says; without it nothing is."""
        world = World()
        challenge, ident = asked(world)
        world.hitpay.pay(ident)
        world.deliver(world.enter(request(credential(challenge))))
        (payment,) = self.payments(world, ident)
        payment["status"] = "partially_refunded"
        world.hitpay.refunds["ref_1"] = {
            "id": "ref_1",
            "payment_id": payment["id"],
            "amount_refunded": 0.4,
            "currency": "sgd",
            "status": None,
        }
        plain = event(world, ident)
        assert () == hear(world, plain).notices
        for more in ({"refunds": [{"id": "ref_1"}, 7]}, {"refund_id": "ref_1"}):
            (notice,) = hear(world, {**plain, **more}).notices
            assert self.refunded(challenge.id, ident, 40) == notice
        assert () == hear(world, {**plain, "refund_id": "ref_2"}).notices

    @pytest.mark.parametrize("amount", [0.4, 1.0])
    def test_a_saved_wallet_refunded(self, amount: float) -> None:
        """A silent charge has no payment request to look at: the refund that the event names is looked at."""
        world = World(saved=SAVED)
        world.deliver(world.enter(request(world.hitpay.grant())))
        uuid = "11111111-2222-3333-4444-555555555555"
        record = store.PaidRecord(payment_id=uuid, request_id="")
        drive(store.keep_paid("ch_000000", record), world.hand)
        told = {"id": uuid, "channel": "recurrent", "status": "partially_refunded", "refunds": [{"id": "ref_1"}]}
        assert () == hear(world, told).notices
        refund = {"id": "ref_1", "payment_id": uuid, "amount_refunded": amount, "currency": "sgd", "status": None}
        world.hitpay.refunds["ref_1"] = {**refund, "payment_id": "pay_of_another"}
        assert () == hear(world, {**told, "try": 1}).notices
        world.hitpay.refunds["ref_1"] = refund
        notice = RefundedPayment(method="hitpay", payment_id="ch_000000", amount=round(amount * 100), currency="sgd")
        assert (notice,) == hear(world, {**told, "try": 2}).notices
        assert () == hear(world, {**told, "id": "99999999-2222-3333-4444-555555555555"}).notices

    def refunded(self, challenge_id: str, ident: str, amount: int) -> RefundedPayment:
        """The notice of a refund."""
        return RefundedPayment(
            method="hitpay", payment_id=ident, amount=amount, currency="sgd", challenge_id=challenge_id
        )

    def payments(self, world: World, ident: str) -> list[dict[str, object]]:
        """The core API's payments of a charge."""
        found = world.hitpay.requests[world.hitpay.charges[ident]["uuid"]]["payments"]
        assert isinstance(found, list)
        return found

    def test_lies(self) -> None:
        """Whatever the event says, HitPay's own answer counts: nothing was paid, and perhaps it is sent again."""
        world = World()
        challenge, ident = asked(world)
        world.hand.clock.advance(LIFE_S)
        world.hitpay.states[ident] = "expired"
        lie = {**event(world, ident, "completed"), "payments": [{"id": "x", "status": "succeeded", "amount": "1.00"}]}
        for told, status in ((lie, 503), ({**lie, "status": "failed"}, 200)):
            heard = hear(world, told)
            assert (status, ()) == (heard.status, heard.notices)
        assert world.enter(request(credential(challenge))).grant is None

    def test_envelope(self) -> None:
        """The thing may be in an envelope, under several names."""
        for name in ("payment_request", "data"):
            world = World()
            _, ident = asked(world)
            assert "accepted" == hear(world, {"event": "payment_request.completed", name: event(world, ident)}).code
        world = World()
        _, ident = asked(world)
        inner = {"id": "ch", "payment_request": {"id": world.hitpay.charges[ident]["uuid"]}}
        assert "accepted" == hear(world, {"charge": inner}).code

    @pytest.mark.parametrize(
        "told",
        [
            {},
            {"event": "order.created", "data": {"id": "o1"}},
            {"id": "9ef68e2e-3569-4f69-9f68-000000000099", "reference_number": "mpp_ch_x", "status": "completed"},
            {"id": 7, "status": []},
            {"payment_request": {"id": "../../x"}},
            {"recurring_billing": {"id": "rb", "reference": "something"}},
            {"id": "9ef68e2e-3569-4f69-9f68-000000000099", "channel": "recurrent"},
        ],
    )
    def test_unknown_but_valid(self, told: dict[str, object]) -> None:
        """Events that mean nothing here are answered 200."""
        heard = hear(World(), told)
        assert (200, "ignored") == (heard.status, heard.code)

    def test_somebody_elses_payment(self) -> None:
        """A payment request that was not asked for here is ignored."""
        world = World()
        world.hitpay.requests["9ef68e2e-3569-4f69-9f68-000000000099"] = {
            "id": "9ef68e2e-3569-4f69-9f68-000000000099",
            "status": "completed",
            "amount": "1,000.00",
            "currency": "SGD",
            "reference_number": "order 7",
        }
        told = {"id": "9ef68e2e-3569-4f69-9f68-000000000099", "reference_number": "order 7"}
        assert "ignored" == hear(world, told).code

    @pytest.mark.parametrize("given", [reply(500), reply(401, {}), reply(200, {}), HttpError("x", sent=True)], ids=str)
    def test_the_truth_cannot_be_asked_for(self, given: HttpReply | Exception) -> None:
        """503, and the same event is heard when it is sent again."""
        world = World()
        _, ident = asked(world)
        world.hitpay.given["request"] = [given]
        assert (503, "try-again") == (hear(world, event(world, ident)).status, "try-again")
        assert "accepted" == hear(world, event(world, ident)).code

    def test_order_does_not_matter(self) -> None:
        """Expired before completed, completed before expired: the same notices come of it."""
        found = []
        for statuses in (("expired", "completed"), ("completed", "expired")):
            world = World()
            challenge, ident = asked(world)
            world.hand.clock.advance(LIFE_S)
            world.hitpay.states[ident] = "expired"
            world.hitpay.pay_at_core(ident)
            notices = [n for status in statuses for n in hear(world, event(world, ident, status)).notices]
            found.append({(type(n), n.payment_id) for n in notices})
            assert challenge.id
        assert {(LatePayment, ident)} == found[0] == found[1]


class TestSavedMethods:
    """A wallet that is gone."""

    def test_detached(self) -> None:
        """After the event, if the broker says so too, the grant is refused here."""
        world = World(saved=SAVED)
        world.hitpay.saved["mpp_spm_test01"] = {"status": "active", "jws": world.hitpay.grant()}
        told = {
            "event": "recurring_billing.method_detached",
            "recurring_billing": {"id": "rb", "reference": "mpp_spm_test01"},
        }
        assert "accepted" == hear(world, told).code
        grant = world.hitpay.grant()
        world.deliver(world.enter(request(grant)))
        world.hitpay.saved["mpp_spm_test01"]["status"] = "detached"
        assert "accepted" == hear(world, {**told, "again": 1}).code
        assert (402, "payment-expired") == problem(world.refusal(request(grant)))
        assert 1 == len(world.hitpay.called("silent"))

    def test_unknown(self) -> None:
        """A saved method that the broker does not know is ignored."""
        assert (
            "ignored" == hear(World(), {"affected_method_id": "mpp_spm_none", "recurring_billing": {"id": "rb"}}).code
        )
