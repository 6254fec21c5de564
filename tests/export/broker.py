"""A real nats-server with JetStream, on loopback, in a folder of its own; it can be killed and started again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import nats
from nats.js import JetStreamContext

from tests.patience import PATIENT_S, eventually
from tests.ports import chosen_port
from tests.require import nats_server

T = TypeVar("T")


class Broker:
    """One server: the same port and folder for all of its lives."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = chosen_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.lives = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["-a", "127.0.0.1", "-p", str(self._port), "-sd", str(self._folder / "store")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-js", *where], stdout=log, stderr=log)
        self.lives += 1

        async def answers(stream: JetStreamContext) -> bool:
            await stream.account_info()
            return True

        def look() -> bool:
            try:
                return self.ask(answers)
            except Exception:
                return False

        assert eventually(look, bool, every_s=0.05), (self._folder / "server.log").read_text()

    def kill(self) -> None:
        """End it without a warning."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENT_S)
            self._process = None

    def ask(self, question: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Ask something of JetStream, over a connection of its own."""

        async def go() -> T:
            client = await nats.connect(
                self.url, max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=5, error_cb=_quiet
            )
            try:
                return await question(client.jetstream(timeout=30.0))
            finally:
                await client.close()

        return asyncio.run(go())

    def add_stream(self, subject: str = "flovia", **options: object) -> None:
        """A stream, on disk, for everything below the subject."""

        async def add(stream: JetStreamContext) -> None:
            await stream.add_stream(name=subject.upper(), subjects=[f"{subject}.>"], **options)

        self.ask(add)

    def stored(self, subject: str = "flovia") -> list[tuple[str, str, bytes]]:
        """Subject, message id and body of all that the stream holds, in order."""

        async def read(stream: JetStreamContext) -> list[tuple[str, str, bytes]]:
            state = (await stream.stream_info(subject.upper())).state
            found: list[tuple[str, str, bytes]] = []
            for seq in range(state.first_seq, state.last_seq + 1):
                one = await stream.get_msg(subject.upper(), seq)
                found.append((one.subject or "", (one.headers or {})["Nats-Msg-Id"], one.data or b""))
            return found

        return self.ask(read)


async def _quiet(_: Exception) -> None:
    """A server that is not up yet is nothing to log."""


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Up while the block runs. Skips where there is no nats-server."""
    found = Broker(nats_server(), folder)
    found.start()
    try:
        yield found
    finally:
        found.kill()
