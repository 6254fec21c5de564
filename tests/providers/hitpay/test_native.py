"""Credentials in HitPay's own forms: adopted, and then no weaker than the protocol's."""

import pytest

from flovia.core.encoding import b64url_encode
from flovia.core.money import Price
from flovia.providers.hitpay.native import grant_in, peek, read_native
from tests.providers.hitpay.fake import (
    SAVED,
    World,
    b64,
    challenge_of,
    charge_id,
    config,
    credential,
    problem,
    reply,
    request,
)


@pytest.mark.parametrize("name", ["challenge_id", "challengeId", "charge_id"])
def test_json_that_names_a_charge(name: str) -> None:
    """A paid charge named in base64url JSON lets in, and the receipt is the JWS itself."""
    world = World()
    ident = charge_id(world.challenge())
    world.hitpay.pay(ident)
    added = world.deliver(world.enter(request(b64({name: ident, "nonce": "x"}))))
    assert added["payment-receipt"] == added["mpp-receipt"]
    assert 3 == len(added["mpp-receipt"].split("."))


def test_a_redelivery_keeps_the_form() -> None:
    """What was settled under HitPay's form is delivered again with the JWS as receipt."""
    world = World()
    ident = charge_id(world.challenge())
    world.hitpay.pay(ident)
    world.deliver(world.enter(request(b64({"challenge_id": ident}))), 500)
    passage = world.enter(request(b64({"challenge_id": ident})))
    assert passage.grant is not None
    assert passage.grant.redelivery
    added = world.deliver(passage)
    assert added["payment-receipt"] == added["mpp-receipt"]


def test_both_forms_are_one_credential() -> None:
    """A charge opens once, in whatever form its credential comes."""
    world = World()
    challenge = world.challenge()
    ident = charge_id(challenge)
    world.hitpay.pay(ident)
    world.deliver(world.enter(request(b64({"challenge_id": ident}))))
    assert (402, "invalid-challenge") == problem(world.refusal(request(credential(challenge))))
    assert (402, "invalid-challenge") == problem(world.refusal(request(b64({"challengeId": ident}))))


def test_another_url() -> None:
    """A charge for one URL opens no other, and the broker is not asked."""
    world = World()
    ident = charge_id(world.challenge())
    world.hitpay.pay(ident)
    response = world.refusal(request(b64({"challenge_id": ident}), query="zip=10001"))
    assert (402, "invalid-challenge") == problem(response)
    assert [] == world.hitpay.called("verify")


def test_pending_and_unknown() -> None:
    """A charge that is not paid is presented again; one that was never asked for is unknown."""
    world = World()
    challenge = world.challenge()
    response = world.refusal(request(b64({"challenge_id": charge_id(challenge)})))
    assert challenge.id == challenge_of(response).id
    assert (402, "invalid-challenge") == problem(world.refusal(request(b64({"challenge_id": "mpp_ch_never"}))))


def test_the_id_of_a_charge_is_no_secret() -> None:
    """By default nobody fetches with a charge's id what somebody else has paid for; nor does a setup's id charge."""
    world = World(charge_id_json=False)
    challenge = world.challenge()
    world.hitpay.pay(charge_id(challenge))
    assert (402, "malformed-credential") == problem(world.refusal(request(b64({"challenge_id": charge_id(challenge)}))))
    assert world.enter(request(credential(challenge))).grant is not None
    assert read_native(b64({"challenge_id": "mpp_spm_0123456789"}), config()) is None


def test_a_bare_charge() -> None:
    """``mpp_ch_…`` alone counts only where it is allowed: whoever saw the polling URL has it."""
    for allowed in (False, True):
        world = World(bare_charge_id=allowed)
        ident = charge_id(world.challenge())
        world.hitpay.pay(ident)
        passage = world.enter(request(ident))
        assert allowed == (passage.grant is not None)
        if not allowed:
            assert passage.response is not None
            assert (402, "malformed-credential") == problem(passage.response)


@pytest.mark.parametrize(
    "token",
    [
        b64({"challenge_id": 7}),
        b64({"challenge_id": "../x"}),
        b64({"challenge_id": "a", "charge_id": "b"}),
        b64({"challenge": {}}),
        b64({"saved_method_jws": ""}),
        b64([]),
        "a.b.c",
        "x" * 20000,
        b64url_encode(b"\xff"),
    ],
    ids=lambda token: token[:12],
)
def test_none_of_the_forms(token: str) -> None:
    """Anything else is malformed, and creates one fresh challenge."""
    world = World(saved=SAVED)
    assert (402, "malformed-credential") == problem(world.refusal(request(token)))
    assert 1 == len(world.hitpay.charges)


def test_a_grant_needs_a_route_that_takes_grants() -> None:
    """Where no wallets can be saved, a grant is no credential."""
    world = World()
    assert (402, "malformed-credential") == problem(world.refusal(request(world.hitpay.grant())))
    assert [] == world.hitpay.called("silent")


class TestBareGrant:
    """A grant alone, with no 402 before it."""

    def test_it_pays(self) -> None:
        """One request, one silent charge, the JWS as receipt; the next request is charged again."""
        world = World(saved=SAVED)
        grant = world.hitpay.grant()
        added = world.deliver(world.enter(request(grant)))
        assert added["payment-receipt"] == added["mpp-receipt"]
        world.deliver(world.enter(request(grant)))
        assert 2 == len(world.hitpay.debits)
        assert {} == world.hitpay.charges

    def test_in_json(self) -> None:
        """The same, in base64url JSON."""
        world = World(saved=SAVED)
        assert world.enter(request(b64({"saved_method_jws": world.hitpay.grant()}))).grant is not None

    def test_an_answer_that_got_lost(self) -> None:
        """The charge was made and its answer lost: the same grant on the same request repeats it with its nonce."""
        world = World(saved=SAVED)
        grant = world.hitpay.grant()
        world.hitpay.given["silent"] = [
            lambda call: (world.hitpay._silent(_body(call), "mpp_spm_test01"), reply(502))[1]
        ]
        assert (503, "outcome-unknown") == problem(world.refusal(request(grant)))
        world.deliver(world.enter(request(grant)))
        assert 1 == len(world.hitpay.debits)

    def test_a_delivery_that_failed(self) -> None:
        """Paid and not delivered: the same grant on the same request is delivered, not charged again."""
        world = World(saved=SAVED)
        grant = world.hitpay.grant()
        world.deliver(world.enter(request(grant)), 500)
        passage = world.enter(request(grant))
        assert passage.grant is not None
        assert passage.grant.redelivery
        world.deliver(passage)
        assert 1 == len(world.hitpay.debits)

    def test_another_request_meanwhile(self) -> None:
        """An open payment of one request is none of another's."""
        world = World(saved=SAVED)
        grant = world.hitpay.grant()
        world.deliver(world.enter(request(grant)), 500)
        world.deliver(world.enter(request(grant, query="zip=10001")))
        assert 2 == len(world.hitpay.debits)

    def test_two_at_once(self) -> None:
        """While one is being served, the same grant on the same request waits: 409."""
        world = World(saved=SAVED)
        grant = world.hitpay.grant()
        first = world.enter(request(grant))
        assert (409, "in-flight") == problem(world.refusal(request(grant)))
        world.deliver(first)
        assert 1 == len(world.hitpay.debits)

    def test_another_currency(self) -> None:
        """A grant in another currency than the price is none for this route."""
        world = World(saved=SAVED)
        assert (402, "malformed-credential") == problem(world.refusal(request(world.hitpay.grant(currency="myr"))))


def test_reading() -> None:
    """The small readers never raise, whatever they get."""
    for text in ("", ".", "a.b", "x.%%%.y", f"x.{b64([1])}.y"):
        assert {} == peek(text)
        assert read_native(text, config()) is None
    assert "" == grant_in(request("%%%"), config())
    assert "" == grant_in(request(b64({"a": 1})), config())
    assert "g" == grant_in(request(b64({"payload": {"saved_method_jws": "g"}, "challenge": {}})), config())
    assert Price(amount=1, currency="sgd")


def _body(call: object) -> dict[str, object]:
    from flovia.core.encoding import loads_object

    return dict(loads_object(call.body))  # type: ignore[attr-defined]  # an HttpCall
