"""What agents see: the worked example, every profile, and what other people's parser makes of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flovia.core.binding import slots
from flovia.core.challenge import format_challenge, parse_challenge
from flovia.core.encoding import canonical, encode_param, loads_object
from flovia.core.money import Price
from flovia.core.offers import Offer, OfferPlan
from flovia.core.provider import Look, NotPaid
from flovia.providers.hitpay import HitPayProvider, wire
from flovia.providers.hitpay.broker import Created
from tests.providers.hitpay.fake import (
    API,
    BROKER,
    SAVED,
    World,
    challenge_of,
    charge_id,
    config,
    credential,
    field,
    problem,
    request,
)

UUID = "9ef68e2e-3569-4f69-9f68-04c7e4bb007c"
CREATED = Created(
    id="mpp_ch_demo0001",
    checkout_url=f"{API}/payment-request/@hitpay/{UUID}/checkout",
    polling_url=f"{BROKER}/v1/charges/mpp_ch_demo0001",
    expires_at=1_893_456_900.0,
)
REQUEST = (
    '{"amount":"100","currency":"sgd","description":"Forecast","externalId":"mpp_ch_demo0001","methodDetails":'
    '{"amount_decimal":"1.00","challenge_id":"mpp_ch_demo0001","checkout_url":"http://127.0.0.1:4011/payment-request/'
    '@hitpay/9ef68e2e-3569-4f69-9f68-04c7e4bb007c/checkout","exponent":"2","polling_url":'
    '"http://127.0.0.1:4010/v1/charges/mpp_ch_demo0001"}}'
)
OPAQUE = {
    "challenge_id": "mpp_ch_demo0001",
    "nonce": "0123456789abcdef0123456789abcdef",
    "rh": "c25ce513becc173f05ace9f4e892f93978224d41b5b295f11a1e57f8cab0f019",
}


class _Anything:
    """A keyring for secrets as short as those of the worked example."""

    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()

    def sign(self, message: bytes) -> str:
        """HMAC-SHA256, base64url."""
        import hmac
        from hashlib import sha256

        from flovia.core.encoding import b64url_encode

        return b64url_encode(hmac.new(self.secret, message, sha256).digest())


def test_the_worked_example() -> None:
    """The request of the worked example, byte for byte, and its id under the example's secret."""
    made = wire.challenge_request(Price.parse("1.00 SGD"), CREATED, description="Forecast")
    assert REQUEST.encode() == canonical(made)
    bound = slots(
        "api.example.test",
        "hitpay",
        "charge",
        encode_param(made),
        "2030-01-01T00:15:00Z",
        None,
        encode_param(OPAQUE),
        None,
    )
    assert "cRupo51H1LpfCJyrcW9RORaKpQ-w9Z9RqNekVNu1Y9c" == _Anything("test-secret").sign(bound)


def test_header_order() -> None:
    """Method and request come first, then the rest, so that a plain search finds HitPay's two."""
    header = field(World().refusal(request()), "www-authenticate") or ""
    names = [part.partition("=")[0] for part in header.removeprefix("Payment ").split(", ")]
    assert ["method", "request", "id", "realm", "intent", "expires", "description", "opaque"] == names
    assert header == format_challenge(parse_challenge(header))
    assert len(header) < 4096


class TestProfiles:
    """The 402 in each profile."""

    def test_dual(self) -> None:
        """By default: a conforming header, and both bodies in one object."""
        response = World().refusal(request())
        body = loads_object(response.body)
        challenge = challenge_of(response)
        assert {"type", "title", "status", "detail", "challengeId", "error", "challenge"} == set(body)
        assert (challenge.id, "payment_required", 402) == (body["challengeId"], body["error"], body["status"])
        shown = body["challenge"]
        assert isinstance(shown, dict)
        assert ("1.00", "sgd", "Forecast") == (shown["amount"], shown["currency"], shown["description"])
        details = shown["methodDetails"]
        assert {"checkout_url", "expires_at", "polling_url"} == set(details)
        assert challenge.expires == details["expires_at"]
        assert "expires_at" not in str(challenge.request_json)
        assert "100" == challenge.request_json["amount"]
        assert "application/json" == field(response, "content-type")
        assert "no-store" == field(response, "cache-control")

    def test_core(self) -> None:
        """Only the protocol's body, as problem details."""
        response = World(profile="core").refusal(request())
        assert {"type", "title", "status", "detail", "challengeId"} == set(loads_object(response.body))
        assert "application/problem+json" == field(response, "content-type")

    def test_hitpay(self) -> None:
        """Only HitPay's body; the header conforms all the same, and says the expiry where HitPay's client looks."""
        response = World(profile="hitpay").refusal(request())
        assert {"error", "challenge"} == set(loads_object(response.body))
        challenge = challenge_of(response)
        details = challenge.request_json["methodDetails"]
        assert isinstance(details, dict)
        assert challenge.expires == details["expires_at"]

    def test_auto(self) -> None:
        """Clients that say what they accept get the protocol's body, others both."""
        world = World(profile="auto")
        assert "challenge" not in loads_object(world.refusal(request(accept_payment="hitpay/charge")).body)
        assert "challenge" in loads_object(world.refusal(request()).body)

    def test_decimals_in_the_header(self) -> None:
        """Where HitPay's client reads the header, it can have decimals; what is compared stays exact."""
        world = World(header_amount="decimal")
        challenge = world.challenge()
        assert "1.00" == challenge.request_json["amount"]
        world.hitpay.pay(charge_id(challenge))
        assert world.enter(request(credential(challenge))).grant is not None
        challenge = world.challenge()
        world.hitpay.states[charge_id(challenge)] = "paid"
        world.hitpay.pay_at_core(charge_id(challenge), amount="0.99")
        world.hitpay.claims = {"amount": "0.99"}
        assert (402, "payment-insufficient") == problem(world.refusal(request(credential(challenge))))

    def test_without_description(self) -> None:
        """No description is none in both."""
        response = World(description=None).refusal(request())
        assert "description" not in str(loads_object(response.body))
        assert challenge_of(response).description is None

    @pytest.mark.parametrize("profile", ["core", "hitpay", "dual", "auto"])
    def test_the_same_challenge_looks_the_same(self, profile: str) -> None:
        """A challenge that is presented again has the look it had."""
        world = World(profile=profile)
        first = world.refusal(request())
        again = world.refusal(request(credential(challenge_of(first))))
        assert field(first, "content-type") == field(again, "content-type")
        before, after = loads_object(first.body), loads_object(again.body)
        assert set(before) == set(after)
        assert before.get("challenge") == after.get("challenge")

    def test_head(self) -> None:
        """HEAD gets the same header fields and no body."""
        response = World().refusal(request(verb="HEAD"))
        assert (402, b"") == (response.status, response.body)
        assert "application/json" == field(response, "content-type")


class TestPympp:
    """The Python SDK of the protocol, unmodified."""

    def test_it_reads_our_402(self) -> None:
        """It parses the header, finds what is asked, and recomputes the id with its own verifier."""
        import mpp

        from tests.providers.hitpay.fake import SECRET

        header = field(World().refusal(request()), "www-authenticate") or ""
        found = mpp.Challenge.from_www_authenticate(header)
        assert found.verify(SECRET, "api.example.test")
        assert not found.verify("test-another-secret-of-32-bytes!!!", "api.example.test")
        assert ("hitpay", "charge") == (found.method, found.intent)

    @settings(max_examples=25)
    @given(st.sampled_from(["sgd", "myr", "php", "thb"]), st.integers(30, 10**10), st.text(max_size=40))
    def test_generated(self, currency: str, amount: int, description: str) -> None:
        """Whatever price and description: it parses and has the same id."""
        import mpp

        from flovia.core.binding import Keyring
        from flovia.core.errors import ParseError
        from tests.providers.hitpay.fake import SECRET

        price = Price(amount=amount, currency=currency)
        provider = HitPayProvider(config())
        plan = OfferPlan(
            Offer(provider=provider, price=price, description="x"), realm="api.example.test", keyring=Keyring([SECRET])
        )
        try:
            made = encode_param(wire.challenge_request(price, CREATED, description=description))
        except ParseError:
            return  # a text that no JSON can carry is refused
        issued = plan.render(made, price, "2030-01-01T00:15:00Z", None, encode_param(OPAQUE), False)
        found = mpp.Challenge.from_www_authenticate(issued.field)
        assert issued.id == found.id
        assert found.verify(SECRET, "api.example.test")


def test_reading_back() -> None:
    """What is no challenge of ours is nothing; a silent one names no charge."""
    assert wire.read_asked({}) is None
    assert wire.read_asked({"amount": "1", "currency": "sgd", "methodDetails": 7}) is None
    assert wire.read_asked({"amount": "1", "currency": "sgd", "methodDetails": {}}) is None
    assert wire.read_asked({"currency": "xx", "methodDetails": {"amount_decimal": "1.00"}}) is None
    silent = wire.read_asked(wire.challenge_request(Price.parse("1.00 SGD"), None, description=None, wallet=""))
    assert silent is not None
    assert ("", "saved-method") == (silent.ident, silent.mode)


def test_a_challenge_that_is_not_ours() -> None:
    """An authentic challenge of another shape, of an older version say, is invalid and costs no call."""
    from flovia.core.provider import Presented
    from flovia.testing.flows import drive

    world = World(saved=SAVED)
    challenge = world.challenge()
    presented = Presented(challenge, {"amount": "100"}, {"challenge_id": "x"}, None, {}, "n", 1, request())
    calls = len(world.hitpay.calls)
    assert NotPaid(problem="invalid-challenge") == drive(world.provider.verify(presented), world.hand)
    assert calls == len(world.hitpay.calls)
    assert Look().body == {}
