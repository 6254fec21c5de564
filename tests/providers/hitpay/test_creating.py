"""What a request for a challenge makes at HitPay and leaves in the ledger, and what keeps it from being made."""

import json

import pytest

from flovia.core.effects import HttpReply
from flovia.core.encoding import loads_object
from flovia.core.errors import HttpError
from flovia.providers.hitpay import store
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import (
    World,
    charge_id,
    credential,
    field,
    problem,
    reply,
    request,
)


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
