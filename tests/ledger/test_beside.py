"""Two versions at work on one database, as during a rolling upgrade: each believes what the other has written.

``version3.zip`` holds the ledger's modules as they were with schema version 3, the one before, and the other side of
these tests is a process that runs them.
"""

import json
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from flovia.core import events as ev
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_schema import OLDEST_READER, SCHEMA_VERSION
from flovia.testing.ledger_steps import DELIVER_S, ManualClock, claim, event_row, settle
from tests.patience import PROGRAM_S
from tests.postgres.server import Server

BEFORE: Final = Path(__file__).with_name("version3.zip")
PROGRAM: Final = """
import json, sys
sys.path.insert(0, sys.argv[1])
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import flovia
assert flovia.__path__[0].startswith(sys.argv[1]), flovia.__path__
from flovia.ledger import postgres, sqlite
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql_schema import SCHEMA_VERSION
from flovia.testing.ledger_steps import ManualClock, claim, event_row, settle

postgres.PATIENCE_S = sqlite.PATIENCE_S = 60.0  # a slow machine is not a wrong answer
clock = ManualClock()
ledger = open_ledger(sys.argv[2], clock=clock)
verbs = {
    "claim": lambda key: [(found := claim(ledger, clock, key)).outcome, found.fence],
    "settle": lambda key, fence, proof: settle(
        ledger, clock, fence, key, proof=proof, events=(event_row(request_id=key),)
    ),
    "deliver": lambda key, fence: ledger.deliver(key, fence, ()),
    "fail": lambda key, fence: ledger.fail(key, fence, ()),
    "release": lambda key, fence: ledger.release(key, fence, False, ()),
    "advance": clock.advance,
    "events": lambda: [event.request_id for _, event in ledger.read_events()],
    "prune": ledger.prune,
    "version": lambda: SCHEMA_VERSION,
}
for line in sys.stdin:
    verb, *arguments = json.loads(line)
    print(json.dumps(verbs[verb](*arguments)), flush=True)
ledger.close()
"""


class Before:
    """A process of the version before, asked line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, verb: str, *arguments: object) -> object:
        """What one verb of its ledger answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def before(url: str) -> Generator[Before]:
    """One such process, from start to end."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(BEFORE), url]
    # Nothing of the tree: PYTHONPATH would bring this version in.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}) as process:
        try:
            yield Before(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PROGRAM_S) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    server: Server = request.getfixturevalue("postgres")
    return server.url(server.database())


def test_side_by_side(url: str) -> None:
    """The old process makes the tables, this one brings them forward, and both go on with the same payments."""
    clock = ManualClock()
    with before(url) as old:
        assert old("version") == SCHEMA_VERSION - 1
        assert old("claim", "r|a") == ["claimed", 1]
        assert old("settle", "r|a", 1, "mock|a") == "settled"
        with closing(open_ledger(url, clock=clock)) as new:
            assert isinstance(new, SqlLedger)
            # What the old one began goes on, in either of them.
            assert claim(new, clock, "r|a").outcome == "busy"
            assert old("deliver", "r|a", 1) is True
            assert claim(new, clock, "r|a").outcome == "delivered"
            # What this one begins, the other sees, and a proof is used for both.
            fence = claim(new, clock, "r|b").fence
            assert old("claim", "r|b") == ["busy", 0]
            row = event_row(ev.PAYMENT_SETTLED, "r|b")
            assert settle(new, clock, fence, "r|b", proof="mock|b", events=(row,)) == "settled"
            assert old("claim", "r|c") == ["claimed", 1]
            assert old("settle", "r|c", 1, "mock|b") == "proof_used"
            assert old("release", "r|c", 1) is True
            taken = claim(new, clock, "r|c")
            assert (taken.outcome, taken.fence, taken.attempt) == ("claimed", 2, 2)
            assert settle(new, clock, taken.fence, "r|c", proof="mock|a") == "proof_used"
            # A delivery that failed here is made there, under a fence that is current here too.
            assert new.fail("r|b", fence, ())
            outcome, redeemed = old("claim", "r|b")  # type: ignore[misc]  # a pair
            assert (outcome, redeemed) == ("redeem", fence + 1)
            assert not new.deliver("r|b", fence, ())
            assert old("deliver", "r|b", redeemed) is True
            # A refund that is ordered here holds the other one back.
            assert old("claim", "r|d") == ["claimed", 1]
            assert old("settle", "r|d", 1, "mock|d") == "settled"
            assert old("fail", "r|d", 1) is True
            opening = new.open_refund("mock|d", None, None, "nonce-1", DELIVER_S)
            assert opening.outcome == "open"
            assert old("claim", "r|d")[0] == "busy"  # type: ignore[index]  # a pair
            assert new.close_refund("mock|d", opening.fence, "refunded", 100, "refund-1", "", ())
            assert old("claim", "r|d")[0] == "refunded"  # type: ignore[index]  # a pair
            # Both read all events.
            assert old("events") == [event.request_id for _, event in new.read_events()] == ["r|a", "r|b", "r|d"]


def test_a_race(url: str) -> None:
    """Of two versions that claim the same credentials at once one gets each."""
    clock = ManualClock()
    keys = [f"r|{number}" for number in range(40)]
    with before(url) as old, closing(open_ledger(url, clock=clock)) as new, ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(lambda: [old("claim", key)[0] for key in keys])  # type: ignore[index]  # a pair
        ours = pool.submit(lambda: [claim(new, clock, key).outcome for key in reversed(keys)])
        for pair in zip(theirs.result(), reversed(ours.result()), strict=True):
            assert sorted(pair) == ["busy", "claimed"]


def test_a_step_back(url: str) -> None:
    """The version before starts on tables that this one has made, and forgets what may be forgotten."""
    clock = ManualClock()
    with closing(open_ledger(url, clock=clock)) as new:
        assert isinstance(new, SqlLedger)
        fence = claim(new, clock, "r|a").fence
        assert settle(new, clock, fence, "r|a", proof="mock|a") == "settled"
        new.release("r|b", claim(new, clock, "r|b").fence, False, ())
    with before(url) as old:
        assert OLDEST_READER < SCHEMA_VERSION - 1 == old("version")
        assert old("deliver", "r|a", fence) is True
        assert old("claim", "r|a") == ["delivered", 0]
        assert old("advance", 8 * 86400.0) is None
        old("prune")
    with closing(open_ledger(url, clock=clock)) as new:
        assert [new.find(key) for key in ("r|a", "r|b")] == [None, None]
