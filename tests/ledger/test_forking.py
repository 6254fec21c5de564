"""A ledger that was opened before a fork, as servers do that load the app first and then fork workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flovia.core.errors import LedgerError
from flovia.ledger import sqlite
from flovia.ledger.opening import open_ledger
from flovia.ledger.sqlite import SqliteDatabase
from flovia.testing.ledger_steps import KEY, ManualClock, claim, settle
from tests.patience import PROGRAM_S

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PREFORK = """
import os, sys, threading
from flovia.ledger import outbox, postgres, sqlite
from flovia.ledger.opening import open_ledger
from flovia.testing.ledger_steps import KEY, ManualClock, claim, event_row, settle

postgres.PATIENCE_S = sqlite.PATIENCE_S = 60.0  # a slow machine is not a wrong answer
outbox.GATHER_S = 3600.0  # what is appended before the fork must still wait then
clock = ManualClock()
ledger = open_ledger(sys.argv[1], clock=clock)
fence = claim(ledger, clock).fence
ledger.append([event_row(request_id="of the parent")])

busy = threading.Event()
def work():
    number = 0
    while not busy.is_set():
        number += 1
        claim(ledger, clock, f"r|thread-{number}")
        ledger.find(KEY)
        busy.wait(0.001)  # a fork waits for a moment in which nothing runs
worker = threading.Thread(target=work)
worker.start()

children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        assert claim(ledger, clock).outcome == "busy"
        assert claim(ledger, clock, f"r|child-{number}").outcome == "claimed"
        ledger.append([event_row(request_id=f"of child {number}")])
        sys.exit()  # which closes the ledger
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
busy.set()
worker.join()
assert statuses == [0] * 4, statuses
assert settle(ledger, clock, fence) == "settled"
assert all(ledger.find(f"r|child-{number}").state == "claimed" for number in range(4))
ledger.flush()
seen = sorted(event.request_id for _, event in ledger.read_events())
assert seen == ["of child 0", "of child 1", "of child 2", "of child 3", "of the parent"], seen
ledger.close()
print("ok")
"""


def test_workers_of_a_preloaded_app(url: str) -> None:
    """Parent and children go on with the same ledger, see each other's claims, and write their own events once."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREFORK, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_a_fork_nobody_announced(tmp_path: Path) -> None:
    """A child that was not told before leaves the parent's connections alone and opens its own."""
    database = SqliteDatabase(tmp_path / "ledger.db")
    with database.write():
        pass
    parents = database._writer, database._readers
    database.after_fork_in_child()
    assert database._writer is None
    assert database._readers is not parents[1]
    with database.write():
        pass
    database.close()
    abandoned = sqlite._abandoned.pop()
    assert isinstance(abandoned, tuple)
    assert parents[0] is abandoned[0]
    assert parents[0] is not None
    parents[0].close()


def test_a_fork_during_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a transaction does not end, the fork goes ahead and nothing of it is closed under its feet."""
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.05)
    database = SqliteDatabase(tmp_path / "ledger.db")
    with database.write() as connection:
        database.before_fork()
        database.after_fork_in_parent()
        assert not connection.closed
    with database.write():
        pass
    database.close()


def test_at_the_end_of_the_interpreter(tmp_path: Path) -> None:
    """A ledger that nobody closed writes what waits when the program ends."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    program = (
        "import sys\n"
        "from flovia.ledger.opening import open_ledger\n"
        "from flovia.testing.ledger_steps import event_row\n"
        "open_ledger(sys.argv[1]).append([event_row()])\n"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=PROGRAM_S)
    ledger = open_ledger(url)
    assert len(ledger.read_events()) == 1
    ledger.close()


def test_killed(tmp_path: Path) -> None:
    """What a verb has answered survives kill -9 in the next moment, its events too."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    program = (
        "import os, signal, sys\n"
        "from flovia.ledger.opening import open_ledger\n"
        "from flovia.testing.ledger_steps import ManualClock, claim, event_row, settle\n"
        "clock = ManualClock()\n"
        "ledger = open_ledger(sys.argv[1], clock=clock)\n"
        "settle(ledger, clock, claim(ledger, clock).fence, events=(event_row(),))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, url], timeout=PROGRAM_S, check=False)
    assert done.returncode == -9
    clock = ManualClock()
    ledger = open_ledger(url, clock=clock)
    assert len(ledger.read_events()) == 1
    assert claim(ledger, clock).outcome == "busy"
    clock.advance(60.0)
    again = claim(ledger, clock)
    assert again.outcome == "redeem"
    assert settle(ledger, clock, again.fence) == "stale"
    assert ledger.deliver(KEY, again.fence, ())
    ledger.close()
    with pytest.raises(LedgerError):
        ledger.find(KEY)
