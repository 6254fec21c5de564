"""A server with worker processes for a campaign, and what it tells while it runs.

gunicorn loads the app once and forks its workers (``--preload``), so that one that was killed is replaced in a moment;
uvicorn starts each worker anew.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tests.campaigns.points import SharedClock
from tests.patience import PROGRAM_S

_PIPE: Final = 1 << 20


class Told:
    """What the processes told, by kind: ``paid``, ``settled``, ``last-byte``, ``deliver``, ``died`` …

    ``by_kind``: (pid, rest of the line), in the order in which the pipe took them.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._file = os.open(path, os.O_RDWR)
        with suppress(ImportError, OSError, AttributeError):
            import fcntl

            fcntl.fcntl(self._file, fcntl.F_SETPIPE_SZ, _PIPE)
        self.counts: Counter[str] = Counter()
        self.by_kind: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.by_pid: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.lives: Callable[[int], bool] = lambda pid: False
        """Whether a process is one of the server's, and has not ended."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name="campaign-books")
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while not self._ending.is_set():
            if not select.select([self._file], [], [], 0.1)[0]:
                continue
            *lines, rest = (rest + os.read(self._file, _PIPE)).split(b"\n")
            for line in lines:
                pid, kind, *words = line.decode().split(" ", 2)
                text = words[0] if words else ""
                if kind == "born":  # its number may have been another's, which died with open ends
                    for told in list(self.by_pid.values()):
                        told.pop(int(pid), None)
                self.counts[kind] += 1
                self.by_pid[kind][int(pid)] += 1
                self.by_kind[kind].append((int(pid), text))

    def unfinished(self) -> set[int]:
        """Processes that live and have a request to end, or a delivery's end to record: their store may not answer.

        An answer may have come while the process that sent it waits for a processor, and has told nobody.
        """
        open_ends: Counter[int] = Counter()
        for kind, sign in (("in", 1), ("later", 1), ("out", -1), ("later-done", -1)):
            for pid, number in list(self.by_pid[kind].items()):
                open_ends[pid] += sign * number
        return {pid for pid, number in open_ends.items() if number > 0 and self.lives(pid)}

    def catch_up(self) -> None:
        """Wait until what was told before this call has been read."""
        mark = f"mark-{time.monotonic_ns()}"
        os.write(self._file, f"0 {mark}\n".encode())
        give_up = time.monotonic() + PROGRAM_S
        while mark not in self.counts:
            # A thread that waits for ever keeps the whole process from ending, whatever ends its test.
            assert time.monotonic() < give_up, "what the processes tell is not read any more"
            time.sleep(0.001)

    def rest(self) -> None:
        """Wait until no delivery's end is on its way to the record any more, so that time may pass.

        In real time that is over long before a lease ends.
        """
        quiet, give_up = 0, time.monotonic() + PROGRAM_S
        while quiet < 2:
            self.catch_up()
            unfinished = self.unfinished()
            quiet = 0 if unfinished else quiet + 1
            assert time.monotonic() < give_up, f"these processes do not end their requests: {unfinished}"
            time.sleep(0.02)

    def close(self) -> None:
        """Stop reading."""
        self._ending.set()
        self._thread.join()
        os.close(self._file)


class Server:
    """A server on loopback with ``workers`` processes, on one ledger. Use :func:`serving`."""

    def __init__(
        self,
        folder: Path,
        ledger: str,
        *,
        workers: int,
        kind: str = "gunicorn",
        threads: int = 8,
        address: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        told: Told | None = None,
        port: int = 0,
        app: str = "asgi",
    ) -> None:
        self.app = app
        """Which of the shop's ASGI apps uvicorn serves."""
        self.folder = folder
        self.kind = kind
        self.workers = workers
        self.threads = threads
        self.prefix = prefix
        self.address = address
        if told is None:
            (folder / "clock").write_bytes(bytes(8))
            told = Told(folder / "books")
        self.told = told
        told.lives = self.lives
        self.clock = SharedClock(str(folder / "clock"), time.time)
        self.log = folder / f"server-{kind}-{address}.log"
        self.environment = {
            **os.environ,
            "CAMPAIGN_FOLDER": str(folder),
            "CAMPAIGN_LEDGER": ledger,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
            **(environment or {}),
        }
        # The socket is ours, so clients of a server that is being restarted wait instead of being refused.
        self._listener = socket.create_server((address, port), backlog=1024) if not prefix else None
        self.port = port if self._listener is None else self._listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        if self._listener is not None:
            bind = f"fd://{self._listener.fileno()}"
            files = [self._listener.fileno()]
        else:
            bind, files = f"{self.address}:{self.port}", []
        if self.kind == "gunicorn":
            command = [sys.executable, "-m", "gunicorn", "tests.campaigns.shop:wsgi()", "--preload", "--bind", bind]
            command += ["--workers", str(self.workers), "--worker-class", "gthread", "--threads", str(self.threads)]
            command += ["--timeout", "0", "--graceful-timeout", "10", "--keep-alive", "60", "--log-level", "warning"]
        else:
            command = [sys.executable, "-m", "uvicorn", f"tests.campaigns.shop:{self.app}", "--factory"]
            command += ["--fd", str(files[0])] if files else ["--host", self.address, "--port", str(self.port)]
            command += ["--workers", str(self.workers), "--ws", "none", "--timeout-keep-alive", "60"]
            command += ["--log-level", "warning", "--timeout-worker-healthcheck", "60"]
        self._process = subprocess.Popen(
            [*self.prefix, *command],
            pass_fds=files,
            stdin=subprocess.DEVNULL,
            # Not a file of theirs: a campaign may forbid their files to grow, and logging is not what it asks about.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )
        self._keeper = threading.Thread(target=_keep, args=(self._process.stdout, self.log.open("ab", 0)), daemon=True)
        self._keeper.start()
        give_up = time.monotonic() + PROGRAM_S
        while len(self.pids()) < self.workers:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    @property
    def master(self) -> int:
        """The pid of the process that minds the workers."""
        assert self._process is not None
        return self._process.pid

    def pids(self) -> list[int]:
        """The workers that live now."""
        return (
            [pid for pid in children(self.master) if not is_helper(pid) and not is_dead(pid)] if self._process else []
        )

    def lives(self, pid: int) -> bool:
        """Whether a process is a worker that has not ended: the kernel's list of children may leave some out."""
        try:
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            return False
        return self._process is not None and state != "Z" and int(parent) == self.master

    def terminate(self) -> None:
        """SIGTERM: a deploy. Returns when all of it has ended."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PROGRAM_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._keeper.join(PROGRAM_S)
        self._process = None

    def kill(self) -> None:
        """SIGKILL for the server and its workers at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.join(PROGRAM_S)
        self._process = None

    def errors(self) -> list[str]:
        """Tracebacks in the log: nothing that a campaign does may be a surprise."""
        lines = self.log.read_text(errors="replace").splitlines()
        return ["\n".join(lines[at : at + 40]) for at, line in enumerate(lines) if line.startswith("Traceback")]

    def close(self) -> None:
        """End it."""
        self.terminate()
        if self._listener is not None:
            self._listener.close()


def _keep(words: IO[bytes], log: IO[bytes]) -> None:
    with words, log:
        while some := os.read(words.fileno(), _PIPE):
            log.write(some)


def children(pid: int) -> list[int]:
    """The child processes of one that we started."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in found.split()]


def is_helper(pid: int) -> bool:
    """Whether a child is not a worker: multiprocessing's resource tracker."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def is_dead(pid: int) -> bool:
    """Whether a process has ended, or waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def serving(ledger: str | None, folder: Path | None = None, **settings: object) -> Generator[Server]:
    """A running server; ``ledger`` None: a new SQLite file, beside the rest in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="flovia-campaign-") as made:
        place = folder or Path(made)
        server = Server(place, ledger or f"sqlite:///{place}/ledger.db", **settings)  # type: ignore[arg-type]
        try:
            server.start()
            yield server
        finally:
            server.close()
            server.told.close()
