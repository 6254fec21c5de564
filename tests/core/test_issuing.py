"""How challenges are assembled: the prepared pieces say exactly what the one formatter would."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import flovia
from flovia.core.binding import Keyring, authenticate
from flovia.core.challenge import format_challenge, parse_challenge
from flovia.core.effects import Flow
from flovia.core.errors import LedgerError, ParseError
from flovia.core.gate import Gate
from flovia.core.guard import Services
from flovia.core.offers import Offer, OfferPlan
from flovia.core.provider import Quote, Terms, charge_request
from flovia.core.scope import Scopes, opaque_param, read_opaque, scope_hash
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, Clock, Shop, challenges, request

KEYRING = Keyring([SECRET])
PRICE = flovia.Price.parse("1.00 USD")
DIGEST = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


@given(
    description=st.none() | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=60),
    digest=st.sampled_from([None, DIGEST]),
    header=st.booleans(),
    opaque=st.dictionaries(st.sampled_from(["a", "z"]), st.text("xyz%é", max_size=5)),
    amount=st.integers(1, 10**14),
)
def test_prepared_pieces_equal_the_formatter(description, digest, header, opaque, amount) -> None:
    """Every assembled field parses, authenticates, and is what format_challenge writes of it."""
    price = flovia.Price(amount=amount, currency="usd")
    plan = OfferPlan(
        Offer(provider=MockProvider(), price=price, description=description), realm="api.example.com", keyring=KEYRING
    )
    issued = plan.render(
        plan.encoded(price), price, "2030-01-01T00:00:00Z", digest, opaque_param("n" * 22, "s" * 43, opaque), header
    )
    challenge = parse_challenge(issued.field)
    assert authenticate(KEYRING, challenge)
    assert issued.field == format_challenge(challenge)
    assert (issued.id, digest) == (challenge.id, challenge.digest)


@given(
    st.text("0123456789abcdefghijkl_-", min_size=1, max_size=30),
    st.text("0123456789abcdefghijkl_-", min_size=1, max_size=50),
    st.dictionaries(st.text("abxyz", min_size=2, max_size=4), st.text(max_size=8), max_size=3),
)
@example("n" * 22, "s" * 43, {})
def test_opaque_round_trip(nonce: str, scope: str, extra: dict[str, str]) -> None:
    """Nonce, scope and a provider's own members come back, or are not sent at all; with and without the fast path."""
    try:
        wire = opaque_param(nonce, scope, extra)
    except ParseError:
        return
    found = read_opaque(wire)
    assert (nonce, scope, extra) == (found.nonce, found.scope, dict(found.extra))


def test_foreign_opaque_is_refused() -> None:
    """A map without our members is none of ours."""
    from flovia.core.encoding import encode_param

    for members in ({}, {"n": "1"}, {"n": "1", "s": 2}):
        with pytest.raises(ParseError):
            read_opaque(encode_param(members))


@given(st.lists(st.tuples(*[st.text("a1:/", max_size=4)] * 4), min_size=2, max_size=2, unique=True))
def test_no_two_requests_share_a_scope(parts) -> None:
    """Method, route, path and query cannot be shifted into one another, and surrogates do no harm."""
    first, second = (flovia.HttpRequest(m, p, q, flovia.Headers.of([]), r) for m, r, p, q in parts)
    assert scope_hash(first) != scope_hash(second)
    assert scope_hash(flovia.HttpRequest("GET", "\udc80", "", flovia.Headers.of([])))


def test_caches_are_bounded() -> None:
    """Many paths and many prices do not grow memory, and stay right."""
    scopes = Scopes()
    for number in range(1100):
        asked = request(path=f"/{number}")
        assert scope_hash(asked) == scopes.of(asked)
    shop = Shop()
    gate = shop.flovia.paid_api(provider="mock", price=lambda r: f"{r.query}.00 USD")
    for number in range(1, 300):
        (challenge,) = challenges(gate.enter(request(query=str(number))).response)
        assert str(number * 100) == challenge.request_json["amount"]


def test_a_price_function_may_return_a_price() -> None:
    """A Price is as good as a text."""
    gate = Shop().flovia.paid_api(provider="mock", price=lambda _: PRICE)
    assert 402 == gate.enter(request()).response.status


def test_charge_request_has_every_member() -> None:
    """The charge intent's optional members appear when given."""
    assert {
        "amount": "100",
        "currency": "usd",
        "recipient": "acme",
        "description": "d",
        "externalId": "e",
        "methodDetails": {"a": "b"},
    } == charge_request(PRICE, recipient="acme", description="d", external_id="e", method_details={"a": "b"})


def test_a_ledger_that_fails_while_terms_are_made() -> None:
    """A provider that needs the ledger for its terms and does not get it ends in 503 without a challenge."""

    class Remembering(MockProvider):
        def quote(self, quote: Quote) -> Flow[Terms]:
            yield from ()
            raise LedgerError("down")

    gate = Shop().flovia.paid_api(provider=Remembering(fixed_terms=False), price="1.00 USD")
    response = gate.enter(request()).response
    assert (503, []) == (response.status, challenges(response))


def test_a_description_that_cannot_be_sent_is_refused_at_start() -> None:
    """A NUL in the description is a WiringError when the route is set up, not an error of some request."""
    with pytest.raises(flovia.WiringError, match="description"):
        Shop().flovia.paid_api(provider="mock", price="1.00 USD", description="\0")


def test_a_gate_needs_a_secret() -> None:
    """Even built by hand, a gate without a keyring is refused."""
    clock = Clock()
    services = Services(
        ledger=MemoryLedger(clock=clock), clock=clock, monotonic=clock, tokens=lambda: "t" * 22, realm="r"
    )
    with pytest.raises(flovia.WiringError, match="FLOVIA_SECRET"):
        Gate(services, offers=[Offer(provider=MockProvider(), price=PRICE)])
