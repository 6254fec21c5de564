"""Answers that are kept: made once for all who ask, made anew when there is more, and never very often."""

import threading
from collections.abc import Generator

import pytest

from flovia.core.errors import LedgerError
from flovia.dashboard.answers import KEPT, KEPT_ROWS, OLD_S, REST, WAITING, Answers, Question
from flovia.dashboard.keeper import Known
from flovia.dashboard.pool import BusyError, ClosedError
from flovia.insights.asking import LeftOut


class Ledger:
    """Stands for the keeper: says how far the ledger is read."""

    def __init__(self) -> None:
        self.known: Known | None = None
        self.epoch = 0
        self.caught_up = 0
        self.at = 0
        self.open = threading.Event()
        """Not set while there is so much that is new that reading it takes its time."""
        self.open.set()

    def read_on(self) -> Known:
        self.known = Known(position=self.at, behind=False, epoch=self.epoch, left_out=LeftOut(), floor=None)
        return self.known

    def first(self) -> Known:
        return self.known or self.read_on()

    def catch_up(self) -> Known:
        self.caught_up += 1
        if not self.open.is_set():
            self.open.wait(60)
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


def test_of_a_lost_ledger_nothing_is_kept(world: World) -> None:
    """Not even at the same position."""
    question = world.question()
    world.ask(question)
    world.ledger.epoch, world.ledger.known = 1, None
    assert world.answers.kept(question) is None
    assert "q at 0" == world.ask(question)
    assert ["q", "q"] == world.made
    assert world.answers.kept(question) is not None


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


def test_who_wants_the_newest_keeps_nobody_waiting(world: World) -> None:
    """While the ledger is read to its end, which may take minutes, those content with what is known are answered."""
    world.ledger.open.clear()
    newest = [world.answers.make(world.question(f"n{one}"), now=True) for one in range(5)]
    heavy = world.answers.make(world.question("heavy", heavy=True), now=True)
    assert "quick at 0" == world.ask(world.question("quick"))
    assert "slow at 0" == world.ask(world.question("slow", heavy=True))
    assert not any(one.done() for one in newest)
    world.ledger.at = 9
    world.ledger.open.set()
    assert [f"n{one} at 9" for one in range(5)] == [one.result(60).value for one in newest]
    assert "heavy at 9" == heavy.result(60).value
    assert world.ledger.caught_up <= 2


def test_so_much_is_asked_for_and_no_more(world: World) -> None:
    """Whoever comes beyond that is told so at once, may ask for what is being made, and is answered later. Those who
    want the newest are counted for themselves.
    """
    go = threading.Event()
    asked = [Question((f"q{one}",), lambda _: str(go.wait(60))) for one in range(WAITING)]
    made = [world.answers.make(one) for one in asked]
    with pytest.raises(BusyError, match="ask again"):
        world.answers.make(world.question("beyond"))
    assert made[3] is world.answers.make(asked[3])
    later = world.answers.make(world.question("newest"), now=True)
    heavy = world.answers.make(world.question("heavy", heavy=True))
    go.set()
    assert ["True"] * WAITING == [one.result(60).value for one in made]
    assert "beyond at 0" == world.ask(world.question("beyond"))
    assert ["newest at 0", "heavy at 0"] == [later.result(60).value, heavy.result(60).value]


def test_large_answers_are_kept_as_long_as_there_is_room(world: World) -> None:
    """It is their rows that count; the newest is kept, however many it has."""

    def sized(name: str, rows: int) -> Question[str]:
        return Question((name,), lambda _: name, False, lambda _: rows)

    third = KEPT_ROWS // 3
    questions = [sized(f"q{one}", third) for one in range(3)]
    for one in (*questions, questions[0]):
        world.ask(one)
    assert all(world.answers.kept(one) for one in questions)
    world.ask(sized("small", 10))
    assert [False, True, True] == [world.answers.kept(one) is not None for one in questions]
    huge = sized("huge", 10 * KEPT_ROWS)
    world.ask(huge)
    assert world.answers.kept(huge) is not None
    assert not any(world.answers.kept(one) for one in questions)
    world.ask(sized("small", 10))
    assert world.answers.kept(huge) is None


def test_who_waits_when_it_is_closed_is_told_so(world: World) -> None:
    """What is being made is made; what was not begun, and what is asked for later, fails with words."""
    began, go = threading.Event(), threading.Event()

    def slow(known: Known) -> str:
        began.set()
        return str(go.wait(60))

    running = world.answers.make(Question(("slow",), slow, heavy=True))
    began.wait(60)
    waiting = [world.answers.make(world.question("behind", heavy=True))]
    world.ledger.open.clear()
    waiting += [world.answers.make(world.question(f"n{one}"), now=True) for one in range(2)]
    closing = threading.Thread(target=world.answers.close)
    closing.start()
    with pytest.raises(ClosedError, match="has been closed"):
        waiting[0].result(60)
    go.set()
    world.ledger.open.set()
    closing.join(60)
    assert "True" == running.result(0).value
    for one in (
        *waiting,
        world.answers.make(world.question("later")),
        world.answers.make(world.question("now"), now=True),
    ):
        with pytest.raises(ClosedError):
            one.result(60)
