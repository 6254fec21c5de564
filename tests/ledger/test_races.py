"""Many processes with many threads on one SQLite file, or one PostgreSQL: one winner, and nobody is sent away."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.patience import PROGRAM_S
from tests.postgres.server import Server

PROCESSES = 4
THREADS = {"sqlite": 50, "postgresql": 5}
ROUNDS = 3

CONTESTANT = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from flovia.ledger import postgres, sqlite
from flovia.ledger.opening import open_ledger
from flovia.testing.ledger_steps import ManualClock, claim, settle

postgres.PATIENCE_S = sqlite.PATIENCE_S = 300.0  # a slow machine is not a wrong answer
url, me, threads, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
clock = ManualClock()  # stands still: no lease ends during a race
ledger = open_ledger(url, clock=clock)
barrier = threading.Barrier(threads)

def compete(number):
    results = []
    for round in range(rounds):
        barrier.wait()
        key = f"r|shared-{round}"
        taken = claim(ledger, clock, key)
        results.append(f"claim {round} {taken.outcome}")
        if taken.outcome == "claimed":
            results.append(f"settle {round} {settle(ledger, clock, taken.fence, key, proof=key)}")
            results.append(f"deliver {round} {ledger.deliver(key, taken.fence, ())}")
        barrier.wait()
        own = f"r|own-{me}-{number}-{round}"
        fence = claim(ledger, clock, own).fence
        results.append(f"proof {round} {settle(ledger, clock, fence, own, proof=f'mock|{round}')}")
    return results

with ThreadPoolExecutor(threads) as pool:
    print("ready", flush=True)
    sys.stdin.readline()
    done = [result for results in pool.map(compete, range(threads)) for result in results]
ledger.close()
print(json.dumps(done))
"""


@pytest.fixture(params=THREADS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Server = request.getfixturevalue("postgres")
    return server.url(server.database(request.getfixturevalue("ledger_template")))


def test_one_winner(url: str) -> None:
    """Of all threads in 4 processes one claims each key and delivers it, one settles each proof (S42, S43, S44)."""
    threads = THREADS[url.partition(":")[0]]
    contestants = [
        subprocess.Popen(
            [sys.executable, "-c", CONTESTANT, url, str(me), str(threads), str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(PROCESSES)
    ]
    results: Counter[str] = Counter()
    try:
        for contestant in contestants:
            assert contestant.stdout is not None
            assert contestant.stdout.readline() == "ready\n"
        for contestant in contestants:
            assert contestant.stdin is not None
            contestant.stdin.write("go\n")
            contestant.stdin.flush()
        for contestant in contestants:
            output, errors = contestant.communicate(timeout=PROGRAM_S)
            assert errors == ""
            results.update(json.loads(output))
    finally:
        for contestant in contestants:
            if contestant.poll() is None:
                contestant.kill()
                contestant.communicate()
    everybody = PROCESSES * threads
    for number in range(ROUNDS):
        outcomes = {key.split()[2]: n for key, n in results.items() if key.startswith(f"claim {number} ")}
        assert outcomes["claimed"] == 1
        assert everybody - 1 == outcomes.get("busy", 0) + outcomes.get("delivered", 0)
        assert results[f"settle {number} settled"] == 1
        assert results[f"deliver {number} True"] == 1
        assert results[f"proof {number} settled"] == 1
        assert everybody - 1 == results[f"proof {number} proof_used"]
