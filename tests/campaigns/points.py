"""Named instants at which a process can be made to die: before a step, inside its transaction, after it.

A request says where in its header field ``Campaign-Die: settle.commit#17``; only that request dies there, and its whole
process with it, by SIGKILL, so whoever else is served by the process dies in the middle of whatever it is doing. What
stands behind ``#`` tells one death from another.
"""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from mmap import mmap
from typing import Any, Final

DIE: Final = "campaign-die"
VERBS: Final = (
    "claim",
    "settle",
    "deliver",
    "fail",
    "release",
    "renew",
    "late",
    "open_refund",
    "close_refund",
    "note_refund",
)
"""The verbs of a ledger with three points each: ``.before``, ``.commit`` (written, not committed), ``.after``."""

plan: ContextVar[str] = ContextVar("plan", default="")
"""Where the request at hand is to die, "" for nowhere."""
_verb: ContextVar[str] = ContextVar("verb", default="")


class Books:
    """What processes tell the harness as it happens: one line each, gone out before whatever comes next.

    A pipe, so that a full disk does not silence it and a killed process has told all that it did.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY)
        self.write("born")
        os.register_at_fork(after_in_child=lambda: self.write("born"))

    def write(self, *words: str) -> None:
        """Tell one thing."""
        os.write(self._file, f"{os.getpid()} {' '.join(words)}\n".encode())


class SharedClock:
    """Real time and what the harness adds to it, the same in every process."""

    def __init__(self, path: str, now: Callable[[], float]) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap(file.fileno(), 8)
        self._now = now

    def __call__(self) -> float:
        """Unix seconds."""
        return self._now() + struct.unpack_from("d", self._memory)[0]

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        struct.pack_into("d", self._memory, 0, struct.unpack_from("d", self._memory)[0] + seconds)


class Points:
    """Makes the process die where a request wants it to."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.armed = ""
        """For the thread that writes events: it belongs to no request."""

    def reach(self, point: str) -> None:
        """Die here, if that is the plan."""
        for wanted in (plan.get(), self.armed):
            if wanted.partition("#")[0] == point:
                self._die(wanted)

    def _die(self, wanted: str) -> None:
        self._books.write("died", wanted)
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()

    def watch(self, ledger: Any) -> None:
        """Put points into every verb of a SQL ledger, and tell the books what it has done."""
        for verb in VERBS:
            setattr(ledger, verb, self._watched(verb, getattr(ledger, verb)))
        inner = ledger._database.write

        @contextmanager
        def write() -> Iterator[object]:
            with inner() as connection:
                yield connection
                self.reach(f"{_verb.get()}.commit")

        ledger._database.write = write
        outbox = ledger._outbox
        outbox._write = self._watched("outbox", outbox._write)
        defer = outbox.defer

        def deferred(job: Callable[[], None]) -> None:
            def told() -> None:
                job()
                self._books.write("later-done")

            self._books.write("later")
            defer(told)

        outbox.defer = deferred

    def _watched(self, verb: str, call: Callable[..., object]) -> Callable[..., object]:
        books = self._books

        def watched(*arguments: Any) -> object:
            self.reach(f"{verb}.before")
            mark = _verb.set(verb)
            try:
                result = call(*arguments)
            finally:
                _verb.reset(mark)
            if verb == "settle" and result == "settled":
                books.write("settled", arguments[2])
            elif verb in ("deliver", "late", "close_refund") and result:
                books.write(verb, arguments[0])
            self.reach(f"{verb}.after")
            return result

        return watched
