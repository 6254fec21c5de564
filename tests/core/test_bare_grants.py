"""Credentials that come unasked: what is kept about them, and what becomes of it when it is lost, wrong or changed."""

from collections.abc import Callable

import pytest

import flovia
from flovia.core.effects import Flow, now
from flovia.core.http import Body, BodyState
from flovia.core.provider import Adopted, NotPaid, Paid, Quote
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.core.test_answers import answer
from tests.core.test_provider_hooks import Door, Native
from tests.core.world import Clock, Shop, problem, request

KEY = {"idempotency-key": '"key-1"'}
GRANT = "Payment grant.x"
ADOPTED = "adopted"


def notes(door: Door) -> dict[str, str]:
    """What is kept: by the purchase's name, and by that of its key, where the text begins with the same name."""
    return dict(door.shop.ledger.list_texts(ADOPTED, "", 100))


def name_of(door: Door, *, key: bool) -> str:
    """The name of the key's note, or of the purchase's."""
    (found,) = (name for name, text in notes(door).items() if text.startswith(name) is key)
    return found


def next_payment(toy: Native, number: int) -> None:
    """The provider takes another payment."""
    toy.verdict = Paid(reference=f"toy_{number}", amount=100, currency="usd")


def test_a_key_is_for_one_purchase() -> None:
    """Another body under the same key and grant: 422 without a challenge, and nothing is charged."""
    door = Door(Native())
    one, two = (Body(state=BodyState.READ, sha256=bytes([n]) * 32, size=1) for n in (1, 2))
    sent = answer(door.paid, door.paid.enter(request(GRANT, http_method="POST", headers=KEY, body=one)))
    refused = door.paid.enter(request(GRANT, http_method="POST", headers=KEY, body=two)).response
    assert refused is not None
    assert (422, "idempotency-key-reused") == (refused.status, problem(refused))
    assert "www-authenticate" not in dict(refused.headers)
    assert sent == door.paid.enter(request(GRANT, http_method="POST", headers=KEY, body=one)).response


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        (True, "payment-authorization"),
        (lambda _: True, "payment-authorization"),
        (False, "authorization"),
        (lambda _: False, "authorization"),
    ],
)
def test_the_field_of_the_route(choice: object, field: str) -> None:
    """It is taken in the field in which the route has its credentials."""
    door = Door(Native(), use_payment_authorization=choice)
    assert door.paid.enter(request(GRANT, field=field)).grant is not None


class Choosy(Native):
    """It knows no token."""

    def adopt(self, token: str, quote: Quote) -> Flow[Adopted | None]:
        """Not mine."""
        yield from now()
        return None


@pytest.mark.parametrize("first", [MockProvider(), Choosy(method="choosy")])
def test_beside_an_offer_that_takes_none(first: flovia.Provider) -> None:
    """An offer whose provider adopts nothing, or not this, does not keep the next one's from being asked."""
    shop = Shop()
    offers = [flovia.Offer(provider=first, price="1.00 USD"), flovia.Offer(provider=Native(), price="1.00 USD")]
    assert shop.flovia.paid_api(offers=offers).enter(request(GRANT)).grant is not None


def test_the_note_of_a_key_is_lost() -> None:
    """What it bought is found by its request, and answered from store: not paid again."""
    door = Door(Native())
    asked = request(GRANT, headers=KEY)
    sent = answer(door.paid, door.paid.enter(asked))
    door.shop.ledger.remember(ADOPTED, name_of(door, key=True), "", 0.001, False)
    door.shop.clock.advance(1.0)
    next_payment(door.toy, 2)  # type: ignore[arg-type]  # a Native
    assert sent == door.paid.enter(asked).response


def test_a_note_of_another_request() -> None:
    """A challenge opens what it was made for, wherever it stands."""
    door = Door(Native())
    answer(door.paid, door.paid.enter(request(GRANT)))
    name = name_of(door, key=False)
    door.toy.verdict = NotPaid()
    door.paid.enter(request(GRANT, query="other"))
    (other,) = (text for found, text in notes(door).items() if found != name)
    door.shop.ledger.remember(ADOPTED, name, other, 100.0, False)
    next_payment(door.toy, 2)  # type: ignore[arg-type]  # a Native
    assert "invalid-challenge" == problem(door.paid.enter(request(GRANT)).response)


def test_a_note_that_cannot_be_read() -> None:
    """It stands for no challenge: the grant is taken as one that came for the first time."""
    door = Door(Native())
    answer(door.paid, door.paid.enter(request(GRANT)))
    name = name_of(door, key=False)
    door.shop.ledger.remember(ADOPTED, name, "- no challenge", 100.0, False)
    next_payment(door.toy, 2)  # type: ignore[arg-type]  # a Native
    again = door.paid.enter(request(GRANT))
    assert again.grant is not None
    assert ("toy_2", False) == (again.grant.payment_id, again.grant.redelivery)


class Overtaken(MemoryLedger):
    """A ledger in which another purchase is noted under a key just before ours."""

    other = ""

    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """Keep a text; the first that is a key's comes second."""
        if self.other and namespace == ADOPTED and value.startswith(key):
            other, self.other = self.other, ""
            super().remember(namespace, key, f"{key} {other}", ttl_s, False)
        return super().remember(namespace, key, value, ttl_s, if_absent, instead_of)


class Beside(MemoryLedger):
    """A ledger on which something else happens just before the first purchase is noted."""

    meanwhile: Callable[[], object] | None = None

    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """Keep a text."""
        if self.meanwhile is not None and namespace == ADOPTED:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().remember(namespace, key, value, ttl_s, if_absent, instead_of)


def test_two_at_once_of_which_the_first_is_refused() -> None:
    """The second finds the challenge that was made for the first, and pays under that."""
    clock = Clock()
    ledger = Beside(clock=clock)
    door = Door(Native(verdict=NotPaid()), shop=Shop(ledger=ledger, clock=clock))
    refused: list[str] = []

    def first() -> None:
        passage = door.paid.enter(request(GRANT))
        assert passage.response is not None
        refused.extend(event.challenge_id or "" for _, event in ledger.read_events() if "context" in event.type)
        next_payment(door.toy, 2)  # type: ignore[arg-type]  # a Native

    ledger.meanwhile = first
    passage = door.paid.enter(request(GRANT))
    assert passage.grant is not None
    assert refused == [passage.grant.challenge_id]
    assert 1 == len(notes(door))


@pytest.mark.parametrize("buys", [True, False], ids=["which buys", "which is refused"])
def test_overtaken_under_one_key(buys: bool) -> None:
    """While a key takes up what is open without one, another request comes under it: 422, and the open one stays."""
    clock = Clock()
    ledger = Overtaken(clock=clock)
    door = Door(Native(), shop=Shop(ledger=ledger, clock=clock))
    answer(door.paid, door.paid.enter(request(GRANT)), status=500)
    open_ = notes(door)
    next_payment(door.toy, 2)  # type: ignore[arg-type]  # a Native
    if buys:
        answer(door.paid, door.paid.enter(request(GRANT, query="other")))
    else:
        door.toy.verdict = NotPaid()
        assert door.paid.enter(request(GRANT, query="other")).response is not None
    (other,) = (text for name, text in notes(door).items() if name not in open_)
    ledger.other = other.partition(" ")[2]
    refused = door.paid.enter(request(GRANT, headers=KEY)).response
    assert refused is not None
    assert "idempotency-key-reused" == problem(refused)
    assert open_.items() <= notes(door).items()
    again = door.paid.enter(request(GRANT))
    assert again.grant is not None
    assert again.grant.redelivery
