"""Nobody floods HitPay through us: permits, the breaker, and who may share a charge."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from flovia import runtime
from flovia.core.effects import Flow, Now, Token
from flovia.core.errors import HttpError
from flovia.core.limiter import Rate
from flovia.ledger.memory import MemoryLedger
from flovia.providers.hitpay.limits import take_creation
from flovia.testing.flows import ByHand, drive
from flovia.testing.ledger_steps import ManualClock
from tests.providers.hitpay.fake import (
    World,
    challenge_of,
    charge_id,
    config,
    credential,
    field,
    problem,
    reply,
    request,
)


def test_a_flood_stops_before_the_broker() -> None:
    """One client gets ten charges a minute, then 429 with Retry-After; the broker is not called for the rest."""
    world = World(creations_per_client=Rate(count=10, seconds=60.0), creations=Rate(count=60, seconds=60.0))
    answers = [world.refusal(request()) for _ in range(50)]
    assert [402] * 10 + [429] * 40 == [answer.status for answer in answers]
    assert 10 == len(world.hitpay.called("create"))
    assert (429, "rate-limited") == problem(answers[-1])
    assert 0 < int(field(answers[-1], "retry-after") or 0) <= 60
    world.hand.clock.advance(61)
    assert 402 == world.refusal(request()).status


def test_clients_as_the_app_counts_them() -> None:
    """Each client has permits of its own, whoever the app says it is, and all together have one lot."""
    world = World(
        creations_per_client=Rate(count=2, seconds=60.0),
        creations=Rate(count=5, seconds=60.0),
        client_of=lambda asked: asked.headers.get("x-client") or "",
    )
    answers = [world.refusal(request(x_client=client)).status for client in "aaabbbccc"]
    assert [402, 402, 429, 402, 402, 429, 402, 429, 429] == answers


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3)), max_size=120), st.integers(1, 8), st.integers(1, 12))
def test_permits(steps: list[tuple[float, int]], own: int, total: int) -> None:
    """No window of a minute holds more permits than configured, for one client and in all."""
    clock = ManualClock()
    world = ByHand(lambda call: reply(500), clock)
    limits = config(creations_per_client=Rate(count=own, seconds=60.0), creations=Rate(count=total, seconds=60.0))
    taken: list[tuple[float, int]] = []
    for pause, client in steps:
        clock.advance(pause)
        wait = drive(take_creation(limits, f"c{client}"), world)
        assert 0 <= wait <= 61
        if not wait:
            taken.append((clock(), client))
    for start, client in taken:
        window = [who for at, who in taken if start <= at < start + 60]
        assert len(window) <= total
        assert window.count(client) <= own


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 2)), max_size=60),
    st.tuples(st.integers(1, 5), st.integers(1, 60)),
    st.tuples(st.integers(1, 8), st.integers(1, 60)),
)
def test_the_wait_is_the_true_one(steps: list[tuple[float, int]], own: tuple[int, int], total: tuple[int, int]) -> None:
    """Every refusal names the wait after which there is a permit, and a second before there is none.

    Not only the first one of a burst, and whichever of both limits it is.
    """
    clock = ManualClock()
    world = ByHand(lambda call: reply(500), clock)
    limits = config(
        creations_per_client=Rate(count=own[0], seconds=float(own[1])),
        creations=Rate(count=total[0], seconds=float(total[1])),
    )
    for pause, client in steps:
        clock.advance(pause)
        wait = drive(take_creation(limits, f"c{client}"), world)
        if not wait:
            continue
        for ahead, let_in in ((wait, True), (wait - 1.001, False)):
            if ahead > 0:
                assert let_in == (not drive(take_creation(limits, f"c{client}"), _ahead(world, ahead)))


def _ahead(world: ByHand, seconds: float) -> ByHand:
    """A copy of the world some seconds on, in which nobody else has asked meanwhile."""
    clock = ManualClock(world.clock() + seconds)
    copy = ByHand(lambda call: reply(500), clock)
    copy.ledger = MemoryLedger(clock=clock)
    copy.ledger._texts = dict(world.ledger._texts)
    return copy


def test_a_burst_is_told_one_wait() -> None:
    """Twelve calls in one second, ten permits a minute: both refusals say when the first permit frees itself."""
    world = World(creations_per_client=Rate(count=10, seconds=60.0))
    for _ in range(5):
        world.refusal(request())
        world.hand.clock.advance(10)
    answers = [world.refusal(request()) for _ in range(9)]
    assert [402] * 5 + [429] * 4 == [answer.status for answer in answers]
    assert ["10"] * 4 == [field(answer, "retry-after") for answer in answers[5:]]
    world.hand.clock.advance(10)
    assert 402 == world.refusal(request()).status


def test_shared_by_processes() -> None:
    """Two processes on one ledger share the permits, also when they ask at the same moment."""
    clock = ManualClock()
    ledger = MemoryLedger(clock=clock)
    worlds = [ByHand(lambda call: reply(500), clock) for _ in range(2)]
    for world in worlds:
        world.ledger = ledger
    limits = config(creations=Rate(count=7, seconds=60.0))
    # Step by step in turn, so that each sees the other's half-done work.
    flows: list[tuple[Flow[int], ByHand]] = [(take_creation(limits, f"c{n}"), worlds[n % 2]) for n in range(20)]
    waiting = [(flow, world, flow.send(None)) for flow, world in flows]
    granted = 0
    while waiting:
        again = []
        for flow, world, effect in waiting:
            try:
                again.append((flow, world, flow.send(world(effect))))
            except StopIteration as stop:
                granted += stop.value == 0
        waiting = again
    assert 1 <= granted <= 7


class TestBreaker:
    """HitPay down."""

    def test_it_opens(self) -> None:
        """After failures in a row nobody calls for a while: 503, no challenge."""
        world = World()
        world.hitpay.given["create"] = [reply(500)] * 100
        for _ in range(10):
            assert (503, "provider-unavailable") == problem(world.refusal(request()))
        assert len(world.hitpay.calls) <= 6

    def test_it_closes(self) -> None:
        """After the pause one caller looks; when that works, all go on."""
        world = World()
        world.hitpay.given["create"] = [HttpError("down", sent=False)] * 6
        for _ in range(4):
            world.refusal(request())
        world.hand.clock.advance(11)
        calls = len(world.hitpay.calls)
        assert 503 == world.refusal(request()).status
        assert calls + 1 == len(world.hitpay.calls)
        world.hand.clock.advance(11)
        assert [402, 402] == [world.refusal(request()).status for _ in range(2)]

    def test_one_looks_at_a_time(self) -> None:
        """While one caller looks whether HitPay is back, the others are refused at once."""
        world = World()
        world.hitpay.given["create"] = [reply(500)] * 6
        for _ in range(4):
            world.refusal(request())
        world.hand.clock.advance(11)
        answers: list[int] = []

        def look(call: object) -> object:
            answers.append(world.refusal(request()).status)
            return reply(500)

        world.hitpay.given["create"] = [look]  # type: ignore[list-item]  # answers as a reply would
        assert 503 == world.refusal(request()).status
        assert [503] == answers[:1]

    def test_it_fails_closed(self) -> None:
        """A credential is not let in while HitPay is left alone: unknown, and good afterwards."""
        world = World()
        challenge = world.challenge()
        world.hitpay.pay(charge_id(challenge))
        world.hitpay.given["verify"] = [reply(500)] * 5
        for _ in range(8):
            assert (503, "outcome-unknown") == problem(world.refusal(request(credential(challenge))))
        assert 5 == len(world.hitpay.called("verify"))
        world.hand.clock.advance(11)
        assert world.enter(request(credential(challenge))).grant is not None


class TestSharing:
    """One open charge for one authenticated caller."""

    def world(self) -> World:
        """The app has authenticated its callers by a field."""
        return World(caller_of=lambda request: request.headers.get("x-login"))

    def test_the_same_caller(self) -> None:
        """Asking again shows the same charge under a fresh challenge, for the same request only."""
        world = self.world()
        one, two = (world.challenge(request(x_login="ann")) for _ in range(2))
        assert one.id != two.id
        assert charge_id(one) == charge_id(two)
        assert charge_id(one) != charge_id(world.challenge(request(x_login="ann", query="zip=10001")))
        world.hitpay.pay(charge_id(one))
        world.deliver(world.enter(request(credential(two), x_login="ann")))
        assert world.enter(request(credential(one), x_login="ann")).grant is None

    def test_others(self) -> None:
        """Another caller and anonymous ones never get somebody's charge."""
        world = self.world()
        idents = [
            charge_id(world.challenge(asked))
            for asked in (request(x_login="ann"), request(x_login="bob"), request(), request())
        ]
        assert 4 == len(set(idents))

    def test_not_at_the_end_of_its_life(self) -> None:
        """A charge that is about to expire is not handed out again."""
        world = self.world()
        one = charge_id(world.challenge(request(x_login="ann")))
        world.hand.clock.advance(850)
        assert one != charge_id(world.challenge(request(x_login="ann")))

    def test_at_once(self) -> None:
        """A caller that asks while its charge is being created waits for that one, or is told to come back."""
        world = self.world()
        inner: list[int] = []

        def meanwhile(call: object) -> object:
            inner.append(world.refusal(request(x_login="ann")).status)
            return reply(500)

        world.hitpay.given["create"] = [meanwhile]  # type: ignore[list-item]  # answers as a reply would
        world.refusal(request(x_login="ann"))
        assert [503] == inner
        assert 402 == world.refusal(request(x_login="ann")).status


class TestWaiting:
    """Calls of one caller that come at once."""

    def test_the_second_gets_the_firsts_charge(self) -> None:
        """It waits until the charge is there, and is shown that one."""
        world = World(caller_of=lambda request: request.headers.get("x-login"))
        first = world.paid.guard.enter(request(x_login="ann"))
        second = world.paid.guard.enter(request(x_login="ann"))
        found: list[object] = []
        running = [[first, first.send(None)], [second, second.send(None)]]
        while running:
            for pair in list(running):
                flow, effect = pair
                try:
                    pair[1] = flow.send(world.hand(effect))  # type: ignore[attr-defined]  # a flow and its effect
                except StopIteration as stop:
                    found.append(stop.value.response)
                    running.remove(pair)
        idents = {charge_id(challenge_of(response)) for response in found}  # type: ignore[arg-type]  # as above
        assert 1 == len(idents)
        assert 1 == len(world.hitpay.called("create"))

    def test_a_record_that_cannot_be_read(self) -> None:
        """A kept charge that is damaged counts as none."""
        world = World(caller_of=lambda request: "ann")
        world.challenge()
        for (namespace, key), (until, _) in list(world.hand.ledger._texts.items()):
            if namespace == "hitpay" and key.startswith("open "):
                world.hand.ledger._texts[namespace, key] = (until, "{")
        world.challenge()
        assert 2 == len(world.hitpay.called("create"))


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 40))
def test_permits_under_races(seed: int, count: int, callers: int) -> None:
    """However those that come at once overtake each other: as many get a permit as there are, and no one too few."""
    chance, clock, ledger = random.Random(seed), ManualClock(), MemoryLedger()
    limits = config(creations_per_client=Rate(count=1000, seconds=60.0), creations=Rate(count=count, seconds=60.0))
    world = runtime.World(ledger=ledger, clock=clock)
    waiting: list[tuple[Flow[int], object]] = []
    waits: list[int] = []
    for number in range(callers):
        flow = take_creation(limits, f"c{number}")
        waiting.append((flow, flow.send(None)))
    while waiting:
        flow, effect = waiting.pop(chance.randrange(len(waiting)))
        try:
            waiting.append((flow, flow.send(_perform(effect, world))))
        except StopIteration as stop:
            waits.append(stop.value)
    assert min(count, callers) == waits.count(0)


def _perform(effect: object, world: runtime.World) -> object:
    match effect:
        case Now():
            return world.clock()
        case Token():
            return world.tokens()
        case _:
            return world.ledger_call(effect)  # type: ignore[arg-type]  # remember and recall
