"""Trials in processes of their own, so many at a time, each with an end."""

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

import attrs

MEMORY: Final = 6 << 30


@attrs.frozen(kw_only=True)
class Verdict:
    """``outcome``: killed, survived, timeout; uncovered if no test runs it; invalid if it is no Python."""

    outcome: str
    by: str = ""
    tests: int = 0
    seconds: float = 0.0


@attrs.define
class _Child:
    pid: int
    pipe: int
    started: float
    give_up: float
    done: Callable[[Verdict], None]


class Children:
    """At most ``jobs`` of them."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._running: list[_Child] = []

    def start(self, trial: Callable[[], Verdict], seconds: float, done: Callable[[Verdict], None]) -> None:
        """Run ``trial`` as soon as there is room. ``seconds`` is how long it takes if nothing is wrong."""
        while len(self._running) >= self._jobs:
            self._wait()
        reading, writing = os.pipe()
        sys.stdout.flush()
        # Else each of them copies what is here as soon as it collects its own garbage.
        gc.freeze()
        pid = os.fork()
        if pid:
            gc.unfreeze()
        else:
            os.close(reading)
            _be_child(trial, writing, cpu=int(20 + 10 * seconds))
        os.close(writing)
        now = time.monotonic()
        self._running.append(_Child(pid, reading, now, now + 120 + 40 * seconds, done))

    def finish(self) -> None:
        """Wait for all."""
        while self._running:
            self._wait()

    def _wait(self) -> None:
        time.sleep(0.005)
        for child in list(self._running):
            ended, status = os.waitpid(child.pid, os.WNOHANG)
            if not ended and time.monotonic() < child.give_up:
                continue
            if not ended:
                os.killpg(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
            self._running.remove(child)
            with os.fdopen(child.pipe, "rb") as pipe:
                # A grandchild may hold the other end: what was written is there by now.
                os.set_blocking(pipe.fileno(), False)
                told = pipe.read() or b""
            took = round(time.monotonic() - child.started, 2)
            if ended and status == 0 and told:
                child.done(attrs.evolve(Verdict(**json.loads(told)), seconds=took))
            elif not ended or os.WTERMSIG(status) == signal.SIGXCPU:
                child.done(Verdict(outcome="timeout", seconds=took))
            else:
                child.done(Verdict(outcome="killed", by=f"status {status}", seconds=took))


def _be_child(trial: Callable[[], Verdict], pipe: int, cpu: int) -> None:
    """Never returns."""
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2) if "MUTATION_LOUD" not in os.environ else (0,):
            os.dup2(nowhere, number)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        verdict = trial()
        os.write(pipe, json.dumps(attrs.asdict(verdict)).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(70)
