"""Credentials that come unasked and charge when they are presented, several at once in every order of their steps.

Of those that come while one is under way, one is charged. Under one Idempotency-Key that holds for ever.
"""

from collections import defaultdict
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flovia import runtime
from flovia.core import adopting
from flovia.core.candidate import Candidate
from flovia.core.challenge import parse_challenge
from flovia.core.effects import Deadline, Flow, now, remember
from flovia.core.http import Headers
from flovia.core.issued import Made
from flovia.core.passage import Passage
from flovia.core.provider import (
    Adopted,
    NotPaid,
    Paid,
    Presented,
    Quote,
    Refusal,
    Terms,
    Unknown,
    Verdict,
    charge_request,
)
from flovia.core.redeeming import Redeemer
from flovia.ledger.memory import MemoryLedger
from tests.core.world import Clock, Shop, Tokens, problem, request

KEYS = ("", "one", "two")
ANSWERS = ("paid", "paid", "paid", "lost", "declined", "no keys")


class Waiting(MemoryLedger):
    """Asked by effects, so that others get in between."""

    direct = False


@attrs.define(kw_only=True)
class Wallet:
    """Charges when it is presented, once per nonce. ``answers``: what comes of its calls, in order; then it works."""

    name: str = "wallet"
    method: str = "wallet"
    intent: str = "charge"
    rail: str = "mpp"
    live: bool = False
    fixed_terms: bool = False
    deadline_s: float = 1e6
    receipt_header: str = "payment-receipt"
    answers: Iterator[str]
    charges: dict[str, str] = attrs.field(factory=dict[str, str])
    open: dict[str, str] = attrs.field(factory=dict[str, str])
    by_key: defaultdict[str, set[str]] = attrs.field(factory=lambda: defaultdict(set))
    overlaps: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])

    def quote(self, quote: Quote) -> Flow[Terms]:
        """The price."""
        yield from now()
        return Terms(request=charge_request(quote.price))

    def adopt(self, token: str, quote: Quote) -> Flow[Adopted | None]:
        """Every token is a grant."""
        yield from now()
        return Adopted(payload={"grant": token}, terms=Terms(request=charge_request(quote.price)))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """A charge; what is charged anew while another is not delivered is noted."""
        answer = next(self.answers, "paid")
        yield from now()
        if presented.nonce not in self.charges and answer == "no keys":
            raise Refusal("provider-unavailable", open_outcome=False)
        if presented.nonce not in self.charges and answer == "declined":
            return NotPaid()
        if presented.nonce not in self.charges:
            assert presented.request is not None
            key = presented.request.headers.get("idempotency-key") or ""
            self.overlaps += [(other, key) for other in self.open.values()]
            reference = self.charges[presented.nonce] = f"charge_{len(self.charges)}"
            self.open[reference] = key
            self.by_key[key].add(reference)
        yield from now()
        return (
            Unknown() if answer == "lost" else Paid(reference=self.charges[presented.nonce], amount=100, currency="usd")
        )


@attrs.define(kw_only=True)
class Visitor:
    """One presentation: to be let in, served and seen off. ``serves``: whether the handler works."""

    flow: Flow[object]
    key: str
    serves: bool
    effect: object = None
    answer: object = None
    passage: Passage | None = None
    frames: list[Flow[object]] = attrs.field(factory=list[Flow[object]])
    over: bool = False


class Street:
    """One route, and whoever comes to it, one step at a time."""

    def __init__(self, answers: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.ledger = Waiting(clock=self.clock)
        self.shop = Shop(ledger=self.ledger, clock=self.clock)
        self.wallet = Wallet(answers=iter(answers))
        self.gate = self.shop.flovia.paid_api(provider=self.wallet, price="1.00 USD").guard
        self.world = runtime.World(ledger=self.ledger, clock=self.clock, tokens=Tokens())
        self.visitors: list[Visitor] = []
        self.refusals: list[tuple[str, str]] = []

    def come(self, key: str, serves: bool = True) -> Visitor:
        """Somebody presents the grant."""
        headers = {"idempotency-key": key} if key else {}
        visitor = Visitor(flow=self.gate.enter(request("Payment grant", headers=headers)), key=key, serves=serves)
        self.visitors.append(visitor)
        return visitor

    def step(self, visitor: Visitor) -> None:
        """Up to the next effect, and its performance."""
        try:
            effect = visitor.flow.send(visitor.answer)
        except Refusal as refusal:
            self._raise(visitor, refusal)
            return
        except StopIteration as stop:
            self._returned(visitor, stop.value)
            return
        self._perform(visitor, effect)

    def _perform(self, visitor: Visitor, effect: object) -> None:
        if isinstance(effect, Deadline):
            visitor.frames.append(visitor.flow)
            visitor.flow = effect.flow
            effect = effect.effect
        match type(effect).__name__:
            case "Now":
                visitor.answer = self.clock()
            case "Token":
                visitor.answer = self.world.tokens()
            case kind:
                visitor.answer = self.world.ledger_call(effect)  # type: ignore[arg-type]  # a ledger's
                if kind == "Deliver" and visitor.answer and visitor.passage is not None:
                    self.wallet.open.pop(str(visitor.passage.trace.payment_id), None)

    def _raise(self, visitor: Visitor, refusal: Refusal) -> None:
        visitor.flow = visitor.frames.pop()
        try:
            effect = visitor.flow.throw(refusal)
        except StopIteration as stop:
            self._returned(visitor, stop.value)
        else:
            self._perform(visitor, effect)

    def _returned(self, visitor: Visitor, value: object) -> None:
        visitor.answer = value
        if visitor.frames:
            visitor.flow = visitor.frames.pop()
        elif visitor.passage is not None:
            visitor.over = True
        elif isinstance(value, Passage) and value.grant is not None:
            visitor.passage = value
            copy = value.copy()
            value.start(200 if visitor.serves else 500, Headers.of(()))
            if copy is not None:
                copy.drop()  # too long to be kept: a repeat is told so, and not charged
            visitor.flow, visitor.answer = self.gate.leave(value, completed=True), None
        else:
            assert isinstance(value, Passage)
            visitor.over = True
            if value.response is not None:
                assert value.response.status < 500 or problem(value.response) != "internal-payment-error"
                self.refusals.append((visitor.key, problem(value.response)))

    def finish(self) -> None:
        """Everybody to the end."""
        for visitor in self.visitors:
            while not visitor.over:
                self.step(visitor)


LIFE_S = 300.0
"""How long a challenge lives where nobody says otherwise."""
visits = st.tuples(st.sampled_from(KEYS), st.booleans())
moves = st.one_of(st.integers(0, 5), st.sampled_from([-1, -1, -2]))


def play(
    answers: tuple[str, ...], people: list[tuple[str, bool]], order: list[int], street: Street | None = None
) -> Street:
    """People come, and take their steps in this order; -1 and -2: time passes, a lease's or a challenge's life."""
    street = street or Street(answers)
    for key, serves in people:
        street.come(key, serves)
    for move in order:
        if move < 0:
            street.clock.advance(80.0 if move == -1 else 400.0)
        else:
            visitor = street.visitors[move % len(street.visitors)]
            if not visitor.over:
                street.step(visitor)
    street.finish()
    return street


@settings(max_examples=400)
# Refused, replaced by another key's, and claimed all the same by somebody who had come to it before.
@example(answers=("declined",), people=[("", False), ("one", True), ("", False), ("", False)], order=[0, 0, 0, 2, 2])
@given(
    answers=st.lists(st.sampled_from(ANSWERS), max_size=4).map(tuple),
    people=st.lists(visits, min_size=2, max_size=6),
    order=st.lists(moves, max_size=90),
)
def test_one_is_charged(answers: tuple[str, ...], people: list[tuple[str, bool]], order: list[int]) -> None:
    """Nobody is charged while a charge of the same key, or of none, is not delivered; under a key once for ever."""
    street = play(answers, people, order)
    wallet = street.wallet
    same = [pair for pair in wallet.overlaps if pair[0] == pair[1]]
    assert [] == same
    stood_still = 80 * order.count(-1) + 400 * order.count(-2) >= LIFE_S
    if not {"declined", "no keys"} & set(answers) and not stood_still:
        # Who was refused under a key may try again under it, whatever others do meanwhile; and who stood still for as
        # long as a challenge lives may pay for it under its key although another has paid under its own since.
        assert [] == wallet.overlaps
    assert all(1 == len(charges) for key, charges in wallet.by_key.items() if key)


def test_who_replaces_what_is_claimed_stands_back() -> None:
    """A refused purchase is claimed again while another key replaces it: that key waits, what is claimed is paid."""
    order = [2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 1, 2, 1, 2]
    street = play(("declined",), [("", True), ("one", True), ("", True)], order)
    assert ("one", "in-flight") in street.refusals
    assert ([], {""}) == (street.wallet.overlaps, {key for key, charges in street.wallet.by_key.items() if charges})


@settings(max_examples=100)
@given(count=st.integers(2, 6), key=st.sampled_from(KEYS), order=st.lists(st.integers(0, 5), max_size=120))
def test_all_at_once(count: int, key: str, order: list[int]) -> None:
    """Whoever is not served is told to wait, or that it was used; under a key nobody is charged twice."""
    street = play((), [(key, True)] * count, order)
    served = count - len(street.refusals)
    assert served == len(street.wallet.charges)
    assert served == 1 or not key
    assert {code for _, code in street.refusals} <= {"in-flight", "invalid-challenge"}


def test_what_was_wrong_before_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it not the ledger that says which challenge stands, two would be charged, and this would be seen."""

    def standing(_: Redeemer, __: Candidate) -> Flow[bool]:
        yield from now()
        return True

    def unchecked(name: str, owner: str, field: str, ttl_s: float, instead_of: Made | None) -> Flow[Made]:
        text = yield from remember("adopted", name, f"{owner} {field}", ttl_s=ttl_s)
        return Made(owner=owner, field=field, challenge=parse_challenge(field), text=text)

    monkeypatch.setattr(adopting, "keep_made", unchecked)
    monkeypatch.setattr(Redeemer, "_stands", standing)  # what looks again
    street = play((), [("", True), ("", True)], [0, 1] * 12)
    assert [("", "")] == street.wallet.overlaps
