"""Answers that are kept: made once for all who ask, made anew when there is more, and never very often."""

import threading
from collections.abc import Generator

import pytest

from flovia.core.errors import LedgerError
from flovia.dashboard.answers import KEPT, OLD_S, REST, Answers, Question
from flovia.dashboard.keeper import Known
from flovia.insights.asking import LeftOut


class Ledger:
    """Stands for the keeper: says how far the ledger is read."""

    def __init__(self) -> None:
        self.known: Known | None = None
        self.caught_up = 0
        self.at = 0

    def read_on(self) -> Known:
        self.known = Known(position=self.at, behind=False, left_out=LeftOut(), floor=None)
        return self.known

    def catch_up(self) -> Known:
        self.caught_up += 1
        return self.read_on()


class World:
    """Answers, with a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ledger = Ledger()
        self.made: list[str] = []
        self.answers = Answers(self.ledger, monotonic=lambda: self.now, clock=lambda: self.now)  # type: ignore[arg-type] # what it asks of one

    def question(self, name: str = "q", took: float = 0.0, *, heavy: bool = False) -> Question[str]:
        """A question whose answer says how far the ledger was read, and takes a while."""

        def make(known: Known) -> str:
            self.made.append(name)
            self.now += took
            return f"{name} at {known.position}"

        return Question((name,), make, heavy)

    def ask(self, question: Question[str], *, now: bool = False) -> str:
        """The answer."""
        return self.answers.make(question, now=now).result(60).value


@pytest.fixture
def world() -> Generator[World]:
    """One."""
    found = World()
    yield found
    found.answers.close()


def test_an_answer_is_kept_until_there_is_more(world: World) -> None:
    """Nothing came: it is good. Something came: it is old, and still there."""
    question = world.question()
    assert world.answers.kept(question) is None
    assert "q at 0" == world.ask(question)
    kept = world.answers.kept(question)
    assert kept is not None
    assert world.answers.is_fresh(kept)
    world.ledger.at = 5
    world.ledger.read_on()
    assert not world.answers.is_fresh(kept)
    assert "q at 0" == kept.value
    assert "q at 5" == world.ask(question)


def test_time_alone_makes_it_old(world: World) -> None:
    """What is pending expires though nothing comes."""
    question = world.question()
    world.ask(question)
    kept = world.answers.kept(question)
    assert kept is not None
    world.now += OLD_S - 1
    assert world.answers.is_fresh(kept)
    world.now += 2
    assert not world.answers.is_fresh(kept)


def test_what_is_expensive_rests(world: World) -> None:
    """However much comes, an answer that took two seconds is made every ten at most."""
    question = world.question(took=2.0)
    world.ask(question)
    kept = world.answers.kept(question)
    assert kept is not None
    world.ledger.at = 5
    world.ledger.read_on()
    world.now += 2 * REST - 0.5
    assert world.answers.is_fresh(kept)
    world.now += 1
    assert not world.answers.is_fresh(kept)


def test_whoever_asks_meanwhile_waits_for_the_same(world: World) -> None:
    """Ten ask, one is made."""
    began, go = threading.Event(), threading.Event()

    def make(known: Known) -> str:
        began.set()
        go.wait(60)
        world.made.append("slow")
        return "slow"

    question = Question(("slow",), make)
    first = world.answers.make(question)
    began.wait(60)
    others = [world.answers.make(Question(("slow",), make)) for _ in range(9)]
    go.set()
    assert ["slow"] * 10 == [one.result(60).value for one in (first, *others)]
    assert ["slow"] == world.made


def test_now_means_now(world: World) -> None:
    """The ledger is read to its end first; an answer that is already about that is not made again."""
    question = world.question()
    world.ask(question)
    world.ledger.at = 7
    assert "q at 7" == world.ask(question, now=True)
    assert "q at 7" == world.ask(question, now=True)
    assert (2, 2) == (world.ledger.caught_up, len(world.made))


def test_the_one_that_nobody_asks_for_goes(world: World) -> None:
    """So many are kept, and no more."""
    first = world.question("first")
    world.ask(first)
    for number in range(KEPT - 1):
        world.ask(world.question(f"q{number}"))
        assert world.answers.kept(first) is not None
    world.ask(world.question("one more"))
    assert world.answers.kept(first) is not None
    assert world.answers.kept(world.question("q0")) is None


def test_heavy_ones_keep_nobody_waiting(world: World) -> None:
    """While one takes its time, the others are made."""
    go = threading.Event()
    heavy = [world.answers.make(Question((f"h{one}",), lambda _: str(go.wait(60)), heavy=True)) for one in range(3)]
    assert "quick at 0" == world.ask(world.question("quick"))
    assert not any(one.done() for one in heavy)
    go.set()
    assert ["True"] * 3 == [one.result(60).value for one in heavy]


def test_an_error_is_not_kept(world: World) -> None:
    """Whoever asks hears of it, and whoever asks later gets an answer."""
    failing = [LedgerError("the disk is full")]

    def make(known: Known) -> str:
        if failing:
            raise failing.pop()
        return "well"

    question = Question(("q",), make)
    with pytest.raises(LedgerError, match="disk"):
        world.answers.make(question).result(60)
    assert world.answers.kept(question) is None
    assert "well" == world.answers.make(question).result(60).value
