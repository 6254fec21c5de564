"""An exporter in a process of its own, and the endpoint that it feeds, which can be made to hang.

``python -m tests.campaigns.exporting LEDGER ENDPOINT`` is what :func:`exporting` starts.
"""

import asyncio
import base64
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from flovia.export.exporter import Exporter
from flovia.export.webhook import WebhookSink
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import with_sinks
from tests.patience import PROGRAM_S

TEST_SECRET: Final = "whsec_" + base64.b64encode(b"a-test-secret-of-the-campaigns-1").decode()
DEADLINE_S: Final = 2.0


class Endpoint:
    """Takes batches of events. ``hangs``: it reads what comes and answers nothing."""

    def __init__(self) -> None:
        self.hangs = False
        self.hung = 0
        self.taken: Counter[str] = Counter()
        """How often each event came, by its id."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                if self.hangs:
                    self.hung += 1
                    await reader.read()  # until the exporter has had enough
                    return
                self.taken.update(event["id"] for event in json.loads(body))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


@asynccontextmanager
async def exporting(ledger: str, environment: dict[str, str]) -> AsyncGenerator[Endpoint]:
    """An exporter at work; its endpoint, on loopback."""
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "tests.campaigns.exporting", ledger, f"http://127.0.0.1:{port}/events"]
    process = await asyncio.to_thread(_start, command, environment)
    assert process.stdout is not None
    try:
        # A ledger that cannot be opened keeps a program from starting, so nothing fails before this one has.
        assert await asyncio.to_thread(process.stdout.readline) == b"ready\n", "the exporter did not start"
        yield endpoint
        assert process.poll() is None, f"the exporter ended with {process.returncode}"
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, PROGRAM_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        server.close()


def main() -> int:
    """Export until SIGTERM."""
    ledger, url = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    opened = open_ledger(ledger)
    print("ready", flush=True)
    sink = WebhookSink(url, TEST_SECRET, deadline_s=DEADLINE_S)
    Exporter(with_sinks(opened), sink, "campaign", poll_s=0.25, wait=stop.wait).run()
    sink.close()  # its thread would keep the process
    opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
