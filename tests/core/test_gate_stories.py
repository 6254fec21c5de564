"""Whole stories at the gate: what each answer says, field by field, and each event, with every value it has.

Every story is told twice: on a ledger that answers on the spot, and on one that only the driver may ask.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

import flovia
from flovia.core.challenge import Challenge, parse_challenge
from flovia.core.credential import parse_credential
from flovia.core.delivery import Delivery
from flovia.core.effects import Flow
from flovia.core.errors import ParseError
from flovia.core.events import Event
from flovia.core.http import Body, BodyState, Headers, HttpResponse
from flovia.core.provider import NotPaid, Paid, PaidBack, Presented, Refusal, Unknown, Verdict
from flovia.core.receipt import parse_receipt
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.core.world import REALM, START, Clock, Shop, Tokens, challenges, pay, request

AT_ONCE = {"direct", "shared", "available", "append", "end_later", "dropped_events"}
"""What the gate may do with any ledger without leaving the thread."""
ABOUT = {"headers": {"flovia-workflow": "nightly"}}
KEYED = {"headers": {"idempotency-key": '"key-1"'}}


class ByDriver:
    """A ledger as the gate sees one that takes its time: asked directly, it fails."""

    direct = False

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> object:
        assert name in AT_ONCE, f"{name} was asked without the driver"
        return getattr(self._ledger, name)


class Failing(MemoryLedger):
    """Down, for the verbs that the story names."""

    failing: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> object:
        if name in object.__getattribute__(self, "failing"):

            def fail(*_: object) -> object:
                raise flovia.LedgerError("down")

            return fail
        return object.__getattribute__(self, name)


@attrs.frozen(kw_only=True)
class Scripted(MockProvider):
    """Says what the story tells it to, as a payment of its own, and notes what it was asked."""

    asked: list[str] = attrs.field(factory=list)

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """What the script says of the proof; as the mock if it says nothing."""
        request = presented.request
        assert presented.nonce.isdecimal()  # as the stories' tokens are
        self.asked.append(
            f"{presented.challenge.id} {presented.charge} {presented.payload} {presented.source}"
            f" {dict(presented.opaque)} {presented.attempt} {request.http_method} {request.path}"
        )
        proof = presented.payload.get("proof")
        if not isinstance(proof, str) or proof not in SCRIPT:
            return (yield from super().verify(presented))
        verdict = SCRIPT[proof]
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


SCRIPT: dict[str, Verdict | Exception] = {
    "rich": Paid(
        reference="rich-1",
        amount=100,
        currency="USD",
        recipient="acct-1",
        payer="did:bank:7",
        receipt_headers=(("x-bank", "yes"),),
        receipt_extra={"bank": "7"},
    ),
    "other recipient": Paid(reference="rich-2", amount=100, currency="usd", recipient="acct-2"),
    "nothing": Paid(reference="rich-3", amount=0, currency="usd", recipient="acct-1"),
    "no receipt": Paid(
        reference="rich-4", amount=100, currency="usd", recipient="acct-1", receipt_extra={"status": "x"}
    ),
    "back": PaidBack(reference="rich-5", amount=100, currency="usd"),
    "no problem": NotPaid(problem="refund-due"),
    "later": Unknown(retry_after_s=7),
    "refusal": Refusal("method-unsupported", retry_after_s=9, body={"try": "other"}, open_outcome=False),
    "open refusal": Refusal("provider-unavailable", open_outcome=True),
    "bad refusal": Refusal("payment-required"),
    "bug": RuntimeError("bank"),
}


class Story:
    """A shop, its ledger and clocks, and what has been told so far."""

    def __init__(self, by_driver: bool) -> None:
        clock = Clock()
        self.ledger = Failing(clock=clock)
        self.shop = Shop(ledger=self.ledger, clock=clock)
        self.stopwatch = Clock(5.0)
        self.tokens = Tokens()
        self.by_driver = by_driver
        self.provider = Scripted(recipient="acct-1")
        self.lines: list[str] = []
        self._told = 0
        self._names: dict[str, str] = {}
        self.paid = self.route()

    def route(self, *, limit: str | None = None, **settings: object) -> flovia.PaidApi:
        """A route on the same ledger; the stories' own until another is opened."""
        flo = self.shop.open(monotonic=self.stopwatch, tokens=self.tokens, limit=limit)
        if "offers" not in settings:
            settings = {"provider": self.provider, "price": "1.00 USD"} | settings
        paid = flo.paid_api(**{"name": "reports"} | settings)
        if self.by_driver:
            paid.guard._ledger = ByDriver(self.ledger)  # type: ignore[assignment]
        self.paid = paid
        return paid

    def ask(self, credential: str | None = None, **about: object) -> flovia.Passage:
        """Enter, and tell what came of it."""
        asked = request(credential, **about)  # type: ignore[arg-type]
        passage = self.paid.enter(asked)
        assert asked is passage.request
        if passage.response is not None:
            self._tell_answer(f"{passage.state}{' again' if passage.replayed else ''}", passage.response)
        else:
            self.lines.append(f"= admitted: {self._named(repr(passage.grant))}")
        self._tell_events()
        with suppress(ParseError):
            self._tell_payment(f"{REALM}|{parse_credential(credential or '').challenge.id}")
        return passage

    def _ask_quietly(self) -> Challenge:
        """The challenge of a request that is told nothing of."""
        before = len(self.lines)
        (challenge,) = challenges(self.ask().response)
        del self.lines[before:]
        return challenge

    def challenge(self, **about: object) -> str:
        """Ask without paying, and return what pays, as of somebody."""
        (challenge,) = challenges(self.ask(**about).response)
        return pay(challenge, "ok1", "did:x:1")

    def with_proof(self, proof: str, **more: str) -> str:
        """What answers a fresh challenge with a proof."""
        return pay(self._ask_quietly(), proof, **more)

    def answer(self, passage: flovia.Passage, status: int = 200, completed: bool = True, raised: bool = False) -> None:
        """Let the handler take two seconds and answer, or raise."""
        self.stopwatch.advance(2.0)
        fields = (("content-type", "text/plain"), ("payment-receipt", "forged"))
        if raised:
            self._tell_answer("raised", passage.raised())
            start = passage.start(500, Headers.of(fields))
        else:
            start = passage.start(status, Headers.of(fields))
        if (copy := passage.copy()) is not None:
            copy.feed(b"report")
        if start.replace is not None:
            self._tell_answer("replaced", start.replace)
        else:
            self._tell_answer("answered", HttpResponse(status, tuple(start.apply(list(fields))), b"report"))
        self.paid.leave(passage, completed=completed)
        self._tell_events()
        self._tell_payment(passage.key)

    def _tell_payment(self, key: str) -> None:
        if (view := self.ledger.find(key)) is not None:
            due = ", refund due" if view.refund_due else ""
            times = f"until +{view.keep_until - START:g}, lease +{(view.lease_until or 0.0) - START:g}"
            self.lines.append(f"  now {view.state}, {view.deliveries} deliveries, {times}{due}: {view.record}")

    def give_back(self, passage: flovia.Passage) -> None:
        """Refund what was paid."""
        assert passage.grant is not None
        assert "refunded" == self.shop.flovia.refund(passage.grant.payment_id, provider="mock").status
        self._tell_events()

    def _tell_answer(self, what: str, response: HttpResponse) -> None:
        told: list[str] = []
        for name, value in response.headers:
            if name == "content-length":
                assert value == str(len(response.body)) or response.body == b""
            elif name == "www-authenticate" and value.startswith("Payment"):
                challenge = parse_challenge(value)
                self._names.setdefault(challenge.id, f"challenge {len(self._names) + 1}")
                told.append(f"{name}: {challenge.id} {challenge.request_json} until {challenge.expires}")
            elif name == "payment-receipt":
                told.append(f"{name}: {parse_receipt(value)}")
            else:
                told.append(f"{name}: {value}")
        self.lines.append(f"= {what} {response.status}; {self._named('; '.join(told))}")
        if "application/problem+json" in dict(response.headers).values() and response.body:
            members = json.loads(response.body)
            assert "type" not in members or members.pop("detail")
            self.lines.append(f"  {self._named(json.dumps(members))}")

    def _tell_events(self) -> None:
        self.ledger.failing = frozenset()
        self.lines += [f"  asked {self._named(one)}" for one in self.provider.asked]
        self.provider.asked.clear()
        for number, event in self.ledger.read_events(self._told):
            self._told = number
            self.lines.append(f"  {self._named(_shown(event))}")

    def _named(self, text: str) -> str:
        for known, name in self._names.items():
            text = text.replace(known, name)
        return text


def _shown(event: Event) -> str:
    """All of an event but its time and request, with a dash for what it does not say."""
    values = (
        *(event.type, event.endpoint, event.http_method, event.provider, event.rail, event.amount, event.currency),
        *(event.challenge_id, event.payment_id, event.payer, event.recipient, event.status, event.latency_ms),
        *(event.workflow, event.problem, event.reason),
    )
    return " ".join("-" if value is None else repr(value) if value == "" else str(value) for value in values)


STUMBLES = (TypeError, AttributeError, NameError, AssertionError, LookupError)
Tell = Callable[[Story], None]


def told(tell: Tell, by_driver: bool) -> str:
    """The story as text."""
    story = Story(by_driver)
    tell(story)
    return "\n".join(story.lines)


def expected(file: str) -> dict[str, str]:
    """The stories of a file, by name."""
    parts = Path(file).with_suffix(".txt").read_text(encoding="utf-8").split("# ")[1:]
    return {name: text.strip("\n") for name, _, text in (part.partition("\n") for part in parts)}


def write(file: str, stories: Sequence[Tell]) -> None:
    """Write them; whoever does reads what has changed."""
    text = "\n\n".join(f"# {tell.__name__}\n{told(tell, False)}" for tell in stories)
    Path(file).with_suffix(".txt").write_text(text + "\n", encoding="utf-8")


def stumbles(caplog: pytest.LogCaptureFixture) -> list[object]:
    """What the gate logged that is a mistake of its own: the stories' providers and prices raise errors of flovia's."""
    raised = [record.exc_info[0] for record in caplog.records if record.exc_info and record.exc_info[0]]
    return [kind for kind in raised if issubclass(kind, STUMBLES)]


def bought(story: Story) -> None:
    """Paid, delivered, and presented once more."""
    credential = story.challenge(**ABOUT)
    story.answer(story.ask(credential, **ABOUT))
    story.ask(credential)


def bought_from_a_bank(story: Story) -> None:
    """The provider names payer and recipient, and adds fields of its own."""
    story.answer(story.ask(story.with_proof("rich")))


def not_paid(story: Story) -> None:
    """Declined, pending, of the wrong shape, not for this challenge, unknown for a while."""
    for proof in (
        "declined",
        "pending",
        "later",
        "no problem",
        "back",
        "refusal",
        "open refusal",
        "bad refusal",
        "bug",
    ):
        credential = story.with_proof(proof)
        story.ask(credential)
        story.ask(credential)


def no_receipt(story: Story) -> None:
    """A payment that makes none is not settled: it may have been made."""
    credential = story.with_proof("no receipt")
    story.ask(credential)
    story.ask(credential)


def wrong_money(story: Story) -> None:
    """Too little, too much, of another currency, to somebody else, nothing at all."""
    story.ask(story.with_proof("ok1", paid_amount="99"))
    story.ask(story.with_proof("ok2", paid_amount="101"))
    story.ask(story.with_proof("ok3", paid_currency="SGD"))
    story.ask(story.with_proof("other recipient"))
    story.ask(story.with_proof("ok4", paid_amount="1"))
    story.ask(story.with_proof("nothing"))
    story.lines += [f"  due {due.payment_id} {due.amount} {due.currency}" for due in story.shop.flovia.refunds_due()]


def failed(story: Story) -> None:
    """Failed, broken off, raised, a 402 and a 412 of the handler's; then no more."""
    credential = story.challenge()
    story.answer(story.ask(credential), 503)
    story.answer(story.ask(credential), 200, completed=False)
    story.answer(story.ask(credential), raised=True)
    story.answer(story.ask(credential), 402)
    story.answer(story.ask(credential), 412)
    story.ask(credential)


def refunded_when_failed(story: Story) -> None:
    """On a route that gives the money back, and on one that keeps it."""
    for policy in ("refund", "keep"):
        story.route(delivery=Delivery(on_failure=policy))  # type: ignore[arg-type]
        credential = story.with_proof(f"ok-{policy}")
        story.answer(story.ask(credential), 500)
        story.ask(credential)


def held_up(story: Story) -> None:
    """While it is delivered; and when that took too long."""
    credential = story.challenge()
    first = story.ask(credential)
    story.ask(credential)
    story.shop.clock.advance(61.0)
    second = story.ask(credential)
    story.paid.leave(first, completed=True)
    story.answer(second)


def too_late(story: Story) -> None:
    """Expired, a second before, and at it."""
    before, at = story.with_proof("ok1"), story.with_proof("ok2")
    story.shop.clock.advance(299.0)
    story.ask(before)
    story.shop.clock.advance(1.0)
    story.ask(at)


def used_twice(story: Story) -> None:
    """One proof for two challenges, before and after its payment was given back."""
    first, second, third = (story.with_proof("ok1") for _ in range(3))
    passage = story.ask(first)
    story.answer(passage)
    story.ask(second)
    story.give_back(passage)
    story.ask(third)


def given_back(story: Story) -> None:
    """What was given back buys nothing, and nobody is asked to pay again."""
    credential = story.challenge()
    passage = story.ask(credential)
    story.answer(passage)
    story.give_back(passage)
    story.ask(credential)


def malformed(story: Story) -> None:
    """Credentials that are none, two at once, of nobody's method, and altered ones."""
    story.ask("Payment !")
    story.ask("Payment e30")
    credential = story.challenge()
    story.ask(f"{credential}, {credential}")
    challenge = story._ask_quietly()
    story.ask(pay(attrs.evolve(challenge, method="other")))
    story.ask(pay(attrs.evolve(challenge, id="made-up")))
    story.ask(pay(attrs.evolve(challenge, realm="other.example")))
    story.ask(credential, path="/other")
    story.ask(credential, http_method="HEAD")


def blocked(story: Story) -> None:
    """Bodies that were not read, strangers, a preflight, a key that is none."""
    story.ask(http_method="POST", body=Body(state=BodyState.TOO_LARGE))
    story.ask(http_method="POST", body=Body(state=BodyState.UNTERMINATED))
    story.ask(headers={"host": "shop.example"})
    story.ask(multiprocess=True)
    story.ask(http_method="OPTIONS")
    story.ask(headers={"idempotency-key": '"'})
    story.ask(http_method="HEAD")


def repeated(story: Story) -> None:
    """Under an Idempotency-Key: replayed, reused for something else, and a 404 and a failure that were kept."""
    credential = story.challenge(**KEYED)
    story.answer(story.ask(credential, **KEYED))
    story.ask(credential, **KEYED)
    story.ask(credential, path="/other", **KEYED)
    story.ask(credential, headers={"idempotency-key": '"key-2"'})
    story.route(delivery=Delivery(on_failure="keep"))
    for status in (404, 500):
        credential = story.with_proof(f"ok-{status}")
        story.answer(story.ask(credential, **KEYED), status)
        story.ask(credential, **KEYED)


def dearer(story: Story) -> None:
    """The price since the challenge: higher, not to be computed any more, in another currency, lower; and never."""
    prices: list[object] = []
    story.route(price=lambda _: prices.pop(0))
    for number, later in enumerate(["1.01 USD", None, "1.00 SGD", "0.99 USD"]):
        prices[:] = ["1.00 USD", later, later]
        story.ask(story.with_proof(f"ok{number}"))
    prices[:] = [None, None]
    story.ask()
    story.ask(http_method="HEAD")


def ledger_down(story: Story) -> None:
    """The store fails at one verb after the other, and later at the end of a delivery."""
    for verb in ("claim", "settle", "release"):
        credential = story.with_proof("declined" if verb == "release" else f"ok-{verb}")
        story.ledger.failing = frozenset({verb})
        story.ask(credential)
    for verb, status in (("deliver", 200), ("fail", 500)):
        passage = story.ask(story.with_proof(f"ok-{verb}"))
        story.ledger.failing = frozenset({verb})
        story.answer(passage, status)


STORIES: list[Tell] = [
    *(bought, bought_from_a_bank, not_paid, no_receipt, wrong_money, failed, refunded_when_failed, held_up, too_late),
    *(used_twice, given_back, malformed, blocked, repeated, dearer, ledger_down),
]


@pytest.mark.parametrize("by_driver", [False, True], ids=["at once", "by the driver"])
@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_a_story(tell: Tell, by_driver: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Answers and events are those of the file, the same on both kinds of ledger, and the gate stumbles over nothing.

    ``python -m tests.core.test_gate_stories`` writes the file.
    """
    assert expected(__file__)[tell.__name__] == told(tell, by_driver)
    assert [] == stumbles(caplog)


def test_the_file_has_these_stories() -> None:
    """Each is told once, and no other."""
    assert [tell.__name__ for tell in STORIES] == list(expected(__file__))


if __name__ == "__main__":
    write(__file__, STORIES)
