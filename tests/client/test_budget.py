"""Budgets: never more than the limits, whoever asks, in whatever order, from however many processes."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import flovia.client.budget
from flovia.client import Budget, BudgetExceeded, PolicyViolation
from flovia.core.errors import CallerError, WiringError
from flovia.core.money import Price
from tests.patience import PROGRAM_S


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def sgd(amount: int) -> Price:
    """A price in cents."""
    return Price(amount=amount, currency="sgd")


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the books are."""
    return tmp_path / "state" / "budget.db" if request.param == "file" else None


def test_reserves_until_the_limit(path: Path | None) -> None:
    """The limit itself can be spent, one base unit more cannot."""
    budget = Budget("5.00 SGD", path=path)
    budget.reserve("one", "api.example.com", sgd(499))
    with pytest.raises(BudgetExceeded):
        budget.reserve("two", "api.example.com", sgd(2))
    budget.reserve("three", "api.example.com", sgd(1))
    assert (500, 0) == (budget.spent(), budget.left())


def test_refund_gives_back_and_commit_keeps(path: Path | None) -> None:
    """What was refunded can be spent again; what was committed, or never ended, cannot."""
    budget = Budget("5.00 SGD", path=path)
    for reference in ("open", "paid", "declined"):
        budget.reserve(reference, "api.example.com", sgd(100))
    budget.commit("paid")
    budget.refund("declined")
    budget.refund("paid")
    budget.refund("declined")
    budget.refund("nobody")
    budget.commit("nobody")
    assert (200, 300) == (budget.spent(), budget.left())


def test_per_payment_and_per_host(path: Path | None) -> None:
    """A payment may be within the limit and still be too much at once, or too much for one host."""
    budget = Budget("5.00 SGD", per_payment="2.00 SGD", per_host="3.00 SGD", path=path)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("one", "a.example", sgd(201))
    assert ("per_payment", 200) == (caught.value.limit, caught.value.left)
    budget.reserve("two", "a.example", sgd(200))
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("three", "a.example", sgd(101))
    assert ("per_host", 100) == (caught.value.limit, caught.value.left)
    budget.reserve("four", "b.example", sgd(200))
    assert (200, 200, 400) == (budget.spent("a.example"), budget.spent("b.example"), budget.spent())


def test_the_window_moves_and_the_lifetime_does_not(path: Path | None) -> None:
    """After the window the money is there again, but the lifetime's limit goes on counting."""
    clock = Clock()
    budget = Budget("1.00 SGD", window_s=60, lifetime="2.50 SGD", path=path, clock=clock)
    budget.reserve("one", "a.example", sgd(100))
    clock.now += 59.9
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("two", "a.example", sgd(1))
    assert "limit" == caught.value.limit
    clock.now += 0.1
    budget.reserve("three", "a.example", sgd(100))
    clock.now += 60
    assert (0, 50) == (budget.spent(), budget.left())
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("four", "a.example", sgd(51))
    assert "lifetime" == caught.value.limit


def test_a_clock_set_back_frees_nothing(path: Path | None) -> None:
    """What was spent in what is now the future still counts."""
    clock = Clock()
    budget = Budget("1.00 SGD", window_s=60, path=path, clock=clock)
    budget.reserve("one", "a.example", sgd(100))
    clock.now -= 10_000
    with pytest.raises(BudgetExceeded):
        budget.reserve("two", "a.example", sgd(1))


def test_old_payments_are_forgotten_and_totals_kept(path: Path | None) -> None:
    """After a month (or the window, if longer) single payments go; the lifetime's total stays."""
    clock = Clock()
    budget = Budget("1.00 SGD", window_s=60, lifetime="9.00 SGD", path=path, clock=clock)
    budget.reserve("one", "a.example", sgd(100))
    clock.now += 32 * 86400
    budget.reserve("two", "a.example", sgd(100))
    budget.refund("one")
    clock.now += 60
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve("three", "a.example", sgd(100_000))
    assert "limit" == caught.value.limit
    if path is not None:
        with contextlib.closing(sqlite3.connect(path)) as books:
            assert [("two",)] == books.execute("SELECT reference FROM payment").fetchall()
            assert [(200,)] == books.execute("SELECT amount FROM total WHERE host = ''").fetchall()


def test_a_reference_is_used_once(path: Path | None) -> None:
    """Reserving twice under one reference is a mistake of the program, and changes nothing."""
    budget = Budget("5.00 SGD", path=path)
    budget.reserve("one", "a.example", sgd(100))
    with pytest.raises(CallerError):
        budget.reserve("one", "a.example", sgd(100))
    assert 100 == budget.spent()


@pytest.mark.parametrize("price", ["1.00 USD", "100 JPY", "0.100 KWD"])
def test_other_currencies_are_refused(path: Path | None, price: str) -> None:
    """The decimals trick: 100 base units are 1.00 SGD, 100 yen or 0.100 dinar; none stands for another."""
    budget = Budget("5.00 SGD", path=path)
    with pytest.raises(PolicyViolation) as caught:
        budget.reserve("one", "a.example", Price.parse(price))
    assert ("currency", 0) == (caught.value.rule, budget.spent())


def test_limits_of_two_currencies_are_refused() -> None:
    """A budget has one currency."""
    with pytest.raises(WiringError, match="per_host"):
        Budget("5.00 SGD", per_host="5.00 USD")


@pytest.mark.parametrize("window_s", [0, -1, float("nan")])
def test_a_window_is_a_positive_time(window_s: float) -> None:
    """A window of no length would let everything through."""
    with pytest.raises(WiringError, match="window_s"):
        Budget("5.00 SGD", window_s=window_s)


@pytest.mark.parametrize("limit", ["5", "5,00 SGD", "-5.00 SGD", "5.00 XXX", "5.001 SGD", "0.00 SGD"])
def test_unreadable_limits_are_refused(limit: str) -> None:
    """An amount nobody can be sure of is no limit."""
    with pytest.raises(WiringError):
        Budget(limit)


def test_a_file_is_private_shared_and_lasts(tmp_path: Path) -> None:
    """Two budgets on one file count together, also after a restart; nobody else can read it."""
    path = tmp_path / "state" / "budget.db"
    Budget("5.00 SGD", path=path).reserve("one", "a.example", sgd(300))
    again = Budget("9.00 SGD", path=str(path))
    assert (300, 600) == (again.spent(), again.left())
    assert 0o600 == path.stat().st_mode & 0o777
    assert (True, False) == (again.blocking, Budget("5.00 SGD").blocking)
    assert "<Budget 9.00 SGD, books in " in repr(again)


def test_a_file_of_another_currency_is_refused(tmp_path: Path) -> None:
    """One file, one currency."""
    Budget("5.00 SGD", path=tmp_path / "b.db")
    with pytest.raises(WiringError, match="SGD"):
        Budget("5.00 USD", path=tmp_path / "b.db")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """Books this version cannot read are not written to."""
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as books:
        books.execute("PRAGMA user_version = 99")
    with pytest.raises(WiringError, match="another version"):
        Budget("5.00 SGD", path=tmp_path / "b.db")


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    """A budget does not move into a database that holds something else."""
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as books:
        books.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WiringError, match="another program"):
        Budget("5.00 SGD", path=tmp_path / "b.db")


def test_a_locked_file_reserves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot get at the books in time pays nothing."""
    monkeypatch.setattr(flovia.client.budget, "LOCK_WAIT_S", 0.05)
    budget = Budget("5.00 SGD", path=tmp_path / "b.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WiringError, match="locked"):
            budget.reserve("one", "a.example", sgd(100))
    assert 0 == budget.spent()


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """What is no budget's file, or lies in no folder, is refused at start with its name."""
    (tmp_path / "text").write_text("not a database, and long enough to be looked at" * 100)
    with pytest.raises(WiringError, match="text"):
        Budget("5.00 SGD", path=tmp_path / "text")
    with pytest.raises(WiringError, match="inside"):
        Budget("5.00 SGD", path=tmp_path / "text" / "inside")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_budget_in_memory_does_not_double_by_forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked worker the same limit would count a second time, so it refuses."""
    program = (
        "import os\n"
        "from flovia.client import Budget\n"
        "from flovia.core.errors import WiringError\n"
        "budget = Budget('5.00 SGD')\n"
        "if os.fork():\n"
        "    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "try:\n"
        "    budget.spent()\n"
        "except WiringError:\n"
        "    os._exit(7)\n"
        "os._exit(0)\n"
    )
    assert 7 == subprocess.run([sys.executable, "-c", program], env=_env(), check=False).returncode
    budget = Budget("5.00 SGD")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(WiringError, match="path="):
        budget.spent()


def test_four_processes_never_overspend(tmp_path: Path) -> None:
    """Four processes at one file: exactly as many reservations as the limit allows, the rest refused."""
    path = tmp_path / "budget.db"
    Budget("1.00 SGD", path=path)
    program = (
        "import sys\n"
        "from flovia.client import Budget, BudgetExceeded, budget as module\n"
        "from flovia.core.money import Price\n"
        "module.LOCK_WAIT_S = 120.0  # a slow machine is not a wrong answer\n"
        "budget = Budget('1.00 SGD', per_host='0.60 SGD', path=sys.argv[1])\n"
        "sys.stdin.readline()\n"
        "won = 0\n"
        "for turn in range(30):\n"
        "    try:\n"
        "        budget.reserve(f'{sys.argv[2]}-{turn}', f'host-{turn % 2}', Price(amount=2, currency='sgd'))\n"
        "        won += 1\n"
        "    except BudgetExceeded:\n"
        "        pass\n"
        "print(won)\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_env(),
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    won = [int(worker.communicate(timeout=PROGRAM_S)[0]) for worker in workers]
    budget = Budget("1.00 SGD", path=path)
    assert (50, 100) == (sum(won), budget.spent())
    assert budget.spent("host-0") <= 60
    assert budget.spent("host-1") <= 60


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Spending(RuleBasedStateMachine):
    """Any interleaving of reservations, ends and time over two budgets that share a file, against a plain list."""

    LIMIT, HOST, PAYMENT, LIFETIME, WINDOW = 300, 180, 90, 900, 100.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.entries: dict[str, tuple[str, int, float]] = {}
        self.committed: set[str] = set()
        self.lifetime = 0
        self.references = 0
        self.folder = tempfile.TemporaryDirectory()
        self.budgets: list[Budget] = []

    def teardown(self) -> None:
        """Remove the file."""
        self.folder.cleanup()

    @initialize(on_disk=st.booleans())
    def open(self, on_disk: bool) -> None:
        """Two budgets on one file, or one in memory."""
        path = Path(self.folder.name) / "budget.db" if on_disk else None
        self.budgets = [
            Budget(
                sgd(self.LIMIT),
                per_payment=sgd(self.PAYMENT),
                per_host=sgd(self.HOST),
                lifetime=sgd(self.LIFETIME),
                window_s=self.WINDOW,
                path=path,
                clock=self.clock,
            )
            for _ in range(2 if on_disk else 1)
        ]

    def spent(self, host: str | None = None) -> int:
        """By the list."""
        since = self.clock.now - self.WINDOW
        return sum(amount for at_host, amount, at in self.entries.values() if at > since and host in (None, at_host))

    @rule(which=st.integers(0, 1), host=st.sampled_from(["a", "b"]), amount=st.integers(1, 100))
    def reserve(self, which: int, host: str, amount: int) -> None:
        """Succeeds exactly if every limit allows it."""
        allowed = (
            amount <= self.PAYMENT
            and self.spent() + amount <= self.LIMIT
            and self.spent(host) + amount <= self.HOST
            and self.lifetime + amount <= self.LIFETIME
        )
        self.references += 1
        reference = f"r{self.references}"
        try:
            self.budgets[which % len(self.budgets)].reserve(reference, host, sgd(amount))
        except BudgetExceeded:
            assert not allowed
        else:
            assert allowed
            self.entries[reference] = (host, amount, self.clock.now)
            self.lifetime += amount

    @rule(which=st.integers(0, 1), data=st.data())
    def end(self, which: int, data: st.DataObject) -> None:
        """Commit or refund any reservation; a committed one cannot be refunded."""
        if not self.entries:
            return
        reference = data.draw(st.sampled_from(sorted(self.entries)))
        budget = self.budgets[which % len(self.budgets)]
        if data.draw(st.booleans()):
            budget.commit(reference)
            self.committed.add(reference)
        else:
            budget.refund(reference)
            if reference not in self.committed:
                self.lifetime -= self.entries.pop(reference)[1]

    @rule(seconds=st.floats(0.5, 60))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds

    @invariant()
    def agrees(self) -> None:
        """Every budget sees the same, and it is never more than the limits."""
        for budget in self.budgets:
            assert self.spent() == budget.spent() <= self.LIMIT
            assert self.spent("a") == budget.spent("a") <= self.HOST
            assert min(self.LIMIT - self.spent(), self.LIFETIME - self.lifetime) == budget.left()


TestSpending = Spending.TestCase
TestSpending.settings = settings(stateful_step_count=25)
