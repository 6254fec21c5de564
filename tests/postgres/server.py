"""A PostgreSQL server of the tests' own.

PostgreSQL does not run as root: for root the server is started as ``nobody``.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import psycopg

from flovia.ledger.sql_schema import META, METADATA
from tests.patience import PATIENT_S, eventually
from tests.ports import chosen_port

OWNER: Final = "flovia_test"
PLAIN_USER: Final = "plain_test"
"""May connect and nothing else, with :data:`PASSWORD`."""
PASSWORD: Final = "test-secret-p@ss/w?rd"
TABLES: Final = [name for name in METADATA.tables if name != META.name]
INITDB: Final = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
UNPRIVILEGED: Final = "nobody"
SETTINGS: Final = {
    "fsync": "off",  # the machine does not lose power during a test; what is killed are processes
    "shared_buffers": "32MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
    "autovacuum": "off",
}


def _open_to_all() -> str | None:
    """A folder for temporary files that the unprivileged user can get at; the usual one if we are not root."""
    usual = Path(tempfile.gettempdir())
    if os.geteuid() != 0:
        return None
    for folder in (usual, Path("/var/tmp"), Path("/tmp")):
        if all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents) if part.exists()) and folder.is_dir():
            return str(folder)
    return None


class Server:
    """One server with its own data, from :meth:`start` to :meth:`close`.

    Args:
        bin_folder: see :func:`tests.postgres.programs.programs`.
        settings: what to set otherwise than :data:`SETTINGS`.
    """

    def __init__(self, bin_folder: Path, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flovia-pg-", dir=_open_to_all()))
        self.port = chosen_port()
        self._bin = bin_folder
        self._settings = SETTINGS | settings
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: dict[str, int] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            self._identity = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._bin = self._readable(bin_folder)

    @property
    def data(self) -> Path:
        """Where the server keeps everything."""
        return self.folder / "data"

    def _readable(self, bin_folder: Path) -> Path:
        """The programs where the unprivileged user can run them: a virtual environment may be root's alone."""
        try:
            self._run([str(bin_folder / "postgres"), "--version"])
        except (OSError, subprocess.CalledProcessError):
            install, package = bin_folder.parent, bin_folder.parent.parent
            copy = self.folder / "programs"
            shutil.copytree(install, copy / package.name / install.name, ignore=shutil.ignore_patterns("include"))
            # Where a wheel keeps the libraries that its programs load, three folders above them.
            libraries = package.with_name(package.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name)
            return copy / package.name / install.name / "bin"
        return bin_folder

    def _run(self, command: Sequence[str], **environment: str) -> None:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C", **environment},
            timeout=PATIENT_S,
            **self._identity,
        )

    def make(self) -> None:
        """Make the data folder and start the server for the first time."""
        self._run([str(self._bin / "initdb"), "-D", str(self.data), "-U", OWNER, *INITDB])
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all {PLAIN_USER} all scram-sha-256\n" + rules.read_text())
        self.start()
        with self.connect() as connection:
            connection.execute(f"CREATE ROLE {PLAIN_USER} LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._identity
            )
        assert eventually(self._answers, bool), (self.folder / "log").read_text()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and wait: SIGINT sends everybody away, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(PATIENT_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and start it again."""
        self.stop(how)
        self.start()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Nothing of it runs, and the kernel goes on taking connections and bytes for it."""
        assert self._process is not None
        pids = [self._process.pid]
        os.kill(self._process.pid, signal.SIGSTOP)  # first: it starts no more of them
        pids += self._children()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        assert self._process is not None
        listing = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in listing.read_text().split()]

    def close(self) -> None:
        """End it and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- for tests ---------------------------------------------------------------------------------------

    def url(self, database: str, *, user: str = OWNER, port: int | None = None, query: str = "") -> str:
        """The ledger's URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}{query}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the test's own, every statement its own transaction."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=10, gssencmode="disable")

    def database(self, template: str = "template1") -> str:
        """A new, empty database; its name."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def backends(self, database: str) -> list[int]:
        """The processes that serve connections to a database, but the one that asks."""
        with self.connect() as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (database,)).fetchall()
        return [int(str(pid)) for (pid,) in rows]

    def wait_for_waiting(self, database: str, count: int) -> None:
        """Wait until so many connections to a database wait for a lock."""
        with self.connect() as connection:

            def waiting() -> object:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'", (database,)
                ).fetchone()
                return found and found[0]

            assert count == eventually(waiting, lambda found: found == count)

    def empty(self, database: str) -> None:
        """Forget every payment and event of a ledger."""
        with self.connect(database) as connection:
            connection.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
            connection.execute("DELETE FROM flovia_meta WHERE name NOT IN ('schema', 'version')")
