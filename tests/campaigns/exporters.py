"""Exporters that are killed over and over, at any instant: no event is left out, and the first copies are in order.

    python -m tests.campaigns.exporters --kills 200                 a file, a webhook and NATS in turn
    python -m tests.campaigns.exporters --kills 200 --sink file     one of them

New events come in all the time. Some exporters are paused until another one has taken over, and go on then.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import attrs

from flovia.export import Exporter, SinkError, open_sink
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import SinkLedger, with_sinks
from tests.export.broker import Broker, broker
from tests.export.endpoint import endpoint
from tests.export.world import WEBHOOK_SECRET, ids, rows
from tests.patience import PATIENT_S, eventually
from tests.tree import ROOT

LEASE_S: Final = 0.2
BATCH: Final = 5
A_TURN: Final = 40
"""Events that come in for every exporter that is killed."""
SINKS: Final = ("file", "webhook", "nats")


@attrs.frozen(kw_only=True)
class Told:
    """What came of one campaign: how often was killed and paused, how many events there were, how many came again."""

    sink: str
    kills: int
    pauses: int
    restarts: int
    events: int
    again: int


def work(ledger: str, to: str) -> None:
    """One exporter, until somebody kills it."""
    with closing(with_sinks(open_ledger(ledger, patience_s=PATIENT_S))) as opened:
        sink = open_sink(to, secret=WEBHOOK_SECRET)
        Exporter(opened, sink, "campaign", batch=BATCH, lease_s=LEASE_S, poll_s=0.01).run()


def nursery(ledger: str, to: str) -> None:
    """Has everything loaded, and forks an exporter for every line it reads; says its process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                work(ledger, to)
            finally:
                os._exit(1)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


@contextmanager
def exporters(ledger: str, to: str) -> Generator[Callable[[], int]]:
    """Starts one exporter a call; returns its process id. All that are left end with the block."""
    started: list[int] = []
    program = [sys.executable, "-m", "tests.campaigns.exporters", "--nursery", ledger, to]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def start() -> int:
            orders.write("go\n")
            orders.flush()
            started.append(int(answers.readline()))
            return started[-1]

        try:
            yield start
        finally:
            for pid in started:
                end(pid)
            process.kill()


def end(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    assert eventually(lambda: alive(pid), lambda found: not found) is False, pid


def alive(pid: int) -> bool:
    """Whether the process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def campaign(kind: str, kills: int, seed: int, folder: Path) -> Told:
    """Kill exporters of one kind of sink, then let one finish; raises if an event is missing or out of order."""
    chance = random.Random(seed)
    url = f"sqlite:///{folder / 'ledger.db'}"
    pauses = restarts = 0
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(with_sinks(open_ledger(url, patience_s=PATIENT_S))))
        server: Broker | None = None
        delivered: Callable[[], list[str]]
        if kind == "file":
            path = folder / "events.ndjson"
            to = f"file://{path}?rotate_bytes=50000"
            delivered = lambda: lines(path)  # noqa: E731  # one of three
        elif kind == "webhook":
            hook = stack.enter_context(endpoint())
            to, delivered = hook.url, lambda: hook.ids
        else:
            server = stack.enter_context(broker(folder))
            server.add_stream()
            to, held = server.url, server.stored
            delivered = lambda: [ident for _, ident, _ in held()]  # noqa: E731  # one of three
        start = stack.enter_context(exporters(url, to))
        for turn in range(kills):
            ledger.append(rows(A_TURN, turn * A_TURN))
            ledger.flush()
            before = reached(ledger)
            pid = start()
            if chance.random() < 0.8:  # in the middle of its work: it has recorded a batch, and has more
                eventually(lambda: reached(ledger), lambda now, then=before: now > then, every_s=0.001)
                time.sleep(chance.uniform(0.0, 0.02))
            else:  # at any instant, from its first on
                time.sleep(chance.uniform(0.0, 0.25))
            if server is not None and turn % 5 == 4:
                server.kill()
                server.start()
                restarts += 1
            if chance.random() < 0.2:
                pauses += 1
                os.kill(pid, signal.SIGSTOP)
                other = start()
                time.sleep(LEASE_S + chance.uniform(0.0, 0.2))
                os.kill(pid, signal.SIGCONT)
                time.sleep(chance.uniform(0.0, 0.05))
                end(other)
            end(pid)
        with closing(open_sink(to, secret=WEBHOOK_SECRET)) as sink:
            finish(Exporter(ledger, sink, "campaign", lease_s=LEASE_S))
        wanted, found = ids(ledger), delivered()
        first = list(dict.fromkeys(found))
        assert wanted == first, f"seed {seed}: {len(set(wanted) - set(first))} of {len(wanted)} events are missing"
        assert len(wanted) == kills * A_TURN
        assert kind != "nats" or len(found) == len(wanted), "JetStream kept an event twice"
    again = len(found) - len(wanted)
    return Told(sink=kind, kills=kills + pauses, pauses=pauses, restarts=restarts, events=len(wanted), again=again)


def reached(ledger: SinkLedger) -> int:
    """How far the sink is."""
    return next((view.position for view in ledger.find_sinks()), 0)


def finish(exporter: Exporter) -> None:
    """Deliver what is left, once the last one's lease is over."""

    def attempt() -> bool:
        try:
            exporter.drain()
        except SinkError:
            return False
        return True

    assert eventually(attempt, bool)


def lines(path: Path) -> list[str]:
    """The ids in a file and in those that were set aside, in order. Every line must be whole."""
    aside = sorted(path.parent.glob(path.name + ".2*"), key=lambda one: _sequence(one.read_bytes().splitlines()[0]))
    texts = itertools.chain.from_iterable(one.read_bytes().splitlines() for one in [*aside, path])
    return [json.loads(line)["id"] for line in texts]


def _sequence(line: bytes) -> int:
    return int(json.loads(line)["sequence"])


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.exporters")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sink", choices=SINKS)
    parser.add_argument("--nursery", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.nursery:
        nursery(*given.nursery)
        return 0
    for kind in [given.sink] if given.sink else SINKS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            told = campaign(kind, given.kills, given.seed, Path(folder))
        sys.stdout.write(
            f"{told.sink}: {told.events} events, {told.kills} exporters killed, {told.pauses} paused until another"
            f" one had taken over, {told.restarts} servers killed; none missing, {told.again} came again;"
            f" {time.monotonic() - began:.0f} s, seed {given.seed}\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
