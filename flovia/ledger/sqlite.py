"""A SQLite file as the database of a ledger.

One connection of the process writes, behind a lock; a small pool reads. SQLite has one writer at a time
anyway, and threads that queue for a lock wake up at once where SQLite's own waiting polls. Between
processes the file's lock decides, tried again and again until this call's patience ends: a call that
cannot be done fails as :class:`~flovia.core.errors.LedgerError` within 2 seconds.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar, cast

from sqlalchemy import Connection, Engine, NullPool, QueuePool, Select, create_engine, event
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from flovia.core.errors import LedgerError, WiringError
from flovia.database_file import InUse, ensure_file, is_in_use
from flovia.ledger.health import Health
from flovia.ledger.sql_migrating import migrate
from flovia.ledger.sql_schema import META

PATIENCE_S: Final = 1.5
"""How long a call waits for its turn: for other threads and for other processes together."""
COMMIT_PATIENCE_S: Final = 0.3
"""How much longer a commit may wait for readers, where readers block it (no WAL)."""
COOL_DOWN_S: Final = 1.0
"""How long the database counts as unavailable after a failure."""
PAUSE_S: Final = 0.002
"""Between two tries for the file. SQLite's own waiting grows to 100 ms and starves a process among busy ones."""
READERS: Final = 8
LAST_POSITION: Final = 2**63 - 1
READER_CACHE_KIB: Final = 256
"""Pages that a connection for reading keeps, at most. SQLite would keep 2 MiB."""
READER_STATEMENTS: Final = 16
"""Compiled statements that a connection for reading keeps. Python would keep 128; those of reports have tens of KiB."""
STATEMENTS: Final = 128
"""Those that the connection for writing keeps: as many as Python would."""
OLDEST_SQLITE: Final = (3, 35, 0)
"""The first with RETURNING."""

log: Final = logging.getLogger(__name__)
T = TypeVar("T")
Value = str | int | float | None
_IS_LEDGER: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
_ERRORS: Final = (SQLAlchemyError, sqlite3.Error, OSError)

# Connections that crossed a fork nobody announced. Closing them in the child could hurt the parent's file.
_abandoned: list[object] = []


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str:
    """``WAL`` if this SQLite can share a WAL between processes, else ``TRUNCATE``.

    SQLite before 3.51.3 (3.50.7 and 3.44.6 have the correction too) can lose or corrupt data when one
    process resets the WAL while another one writes.
    """
    safe = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return "WAL" if safe else "TRUNCATE"


class LostFileError(LedgerError):
    """The file is gone, is another one than before, or holds no ledger: what was read from it says nothing any more."""


class _Lost(sqlite3.OperationalError):
    """The same, inside."""


class _Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    file: tuple[int, int] = (0, 0)


class SqliteDatabase:
    """Connections to one file, with bounded waiting, translated errors, and care around forks.

    Args:
        path: the file; its directory must exist. A new file is readable by its owner only.
        create: make the file if it is not there.
        monotonic: seconds that never go back, for patience and availability.
        patience_s: how long a call waits for its turn; None for :data:`PATIENCE_S`, which keeps the promise above.

    Raises:
        WiringError: the file cannot be a ledger; the message says why and what to do.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        patience_s: float | None = None,
    ) -> None:
        self.path = path.absolute()
        self.upsert = upsert
        self.one_writer = True
        self._monotonic = monotonic
        self._patience_s = patience_s
        self._journal_mode = journal_mode()
        self._health = Health(monotonic)
        self._closed = False
        self._hurried = False
        self._busy_since: float | None = None
        self._made = False
        self._start()
        self._in_use: InUse | None = None
        if create and self._is_gone():
            # An empty one would accept every used credential again. Calls fail until it is back, as in the others.
            log.error(
                "the ledger file %s is gone, and another process of this app had it: it is not made anew; put it back,"
                " or end every process of the app to begin with an empty one",
                self.path,
            )
        else:
            self._prepare(create)
        self._made = True
        if create:
            self._in_use = InUse(self.path)

    def _is_gone(self) -> bool:
        # Asked twice: another process may be making it just now.
        return not os.path.exists(self.path) and is_in_use(self.path) and not os.path.exists(self.path)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(READERS)
        self._quiet = False
        self._writer: Connection | None = None
        self._deadline = 0.0
        self._identity = (0, 0)
        self._writers = self._engine(NullPool)
        event.listen(self._writers, "begin", self._begin)
        event.listen(self._writers, "commit", self._commit)
        self._readers = self._engine(QueuePool, pool_size=READERS, max_overflow=0)

    def _engine(self, pool: type[NullPool | QueuePool], **options: int) -> Engine:
        # Parameters hold traces of credentials and must not show up in errors or logs.
        return create_engine(
            "sqlite+pysqlite://",
            creator=self._connect_reader if pool is QueuePool else self._connect,
            poolclass=pool,
            hide_parameters=True,
            **options,
        )

    # --- for the ledger --------------------------------------------------------------------------------

    @property
    def available(self) -> bool:
        """False from a failure until a write has worked again, for a second at least. Never waits."""
        return self._health.well(COOL_DOWN_S)

    @property
    def patience_s(self) -> float:
        """How long a call waits for its turn."""
        return PATIENCE_S if self._patience_s is None else self._patience_s

    @property
    def waited_s(self) -> float:
        """How long somebody else has had the file while calls wait for it, seconds; 0 if none waits."""
        since = self._busy_since
        return 0.0 if since is None else self._monotonic() - since

    def stop_waiting(self) -> None:
        """From now on whoever finds the file taken gives up at once: this is about to be closed."""
        self._hurried = True

    def identity(self) -> tuple[int, int] | None:
        """Which file is there; None for none. Another one is there when it was moved away, or replaced."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def clock(self) -> float:
        """This machine's clock: whoever shares a file is on it."""
        return time.time()

    def call(self, work: Callable[[], T]) -> T:
        """Do one verb's work. Who waits for the file has begun nothing, so there is nothing to do again."""
        return work()

    def before_events(self, connection: Connection) -> None:
        """Nothing: there is one writer at a time, so positions are committed in their order."""

    def horizon(self) -> int:
        """Every position: see :meth:`before_events`."""
        return LAST_POSITION

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction that may write, durable when the block has ended; an exception undoes it.

        Raises:
            LedgerError: it could not be done, or nobody knows whether it was.
        """
        started = self._monotonic()
        if not self._lock.acquire(timeout=self.patience_s):
            raise self._failure("too many calls wait for the file")
        try:
            if self._closed:
                raise LedgerError(f"the ledger {self.path.name} was closed")
            if self._health.failed_at > started:
                # Whoever waited behind a failing call does not repeat its waiting.
                raise LedgerError(f"the ledger {self.path.name} failed a moment ago")
            self._deadline = started + self.patience_s
            writer = self._open_writer()
            with writer.begin():
                yield writer
            self._health.wrote(started)
        except _ERRORS as error:
            self._forget_writer()
            self._readers.dispose()
            raise self._failure(_reason(error), error) from error
        finally:
            self._lock.release()

    def query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Value]]:
        """All rows of one SELECT.

        Raises:
            LedgerError: the file cannot be read now.
        """
        deadline = self._monotonic() + self.patience_s
        if not self._slots.acquire(timeout=self.patience_s):
            raise self._failure("too many calls read the file")
        try:
            if self._closed:
                raise LedgerError(f"the ledger {self.path.name} was closed")
            try:
                return self._until(deadline, lambda: self._query(statement, parameters))
            except OperationalError as error:
                # While the file is busy, SQLite takes the word of a connection that was opened before somebody made the
                # table. A new one waits until it can look.
                if "no such table" not in str(error.orig):
                    raise
                self._readers.dispose()
                return self._until(deadline, lambda: self._query(statement, parameters))
        except _ERRORS as error:
            self._readers.dispose()
            raise self._failure(_reason(error), error) from error
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close every connection. Calls that come later raise LedgerError."""
        with self._lock:
            self._closed = True
            self._forget_writer()
            self._readers.dispose()
            if self._in_use is not None:
                self._in_use.end()

    # --- forks -----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let running transactions end and close all connections."""
        taken = 0
        locked = self._lock.acquire(timeout=self.patience_s)
        while taken < READERS and self._slots.acquire(timeout=self.patience_s / READERS):
            taken += 1
        self._held = locked, taken
        self._quiet = locked and taken == READERS
        if self._quiet:
            self._forget_writer()
            self._readers.dispose()

    def after_fork_in_parent(self) -> None:
        """Let calls go on; connections open again when one is needed."""
        locked, taken = self._held
        if taken:
            self._slots.release(taken)
        if locked:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's locks and connections."""
        if not self._quiet:
            _abandoned.append((self._writer, self._writers, self._readers))
        self._start()

    # --- inside ----------------------------------------------------------------------------------------

    def _failure(self, reason: str, error: BaseException | None = None) -> LedgerError:
        self._health.failed()
        kind = LostFileError if error is not None and _is_lost(error) else LedgerError
        return kind(f"the ledger {self.path.name} cannot answer: {reason}")

    def _file(self) -> tuple[int, int]:
        """Which file is there."""
        found = self.identity()
        if found is None:
            raise _Lost("its file is gone; put it back")
        return found

    def _forget_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(SQLAlchemyError, sqlite3.Error):
                writer.close()

    def _open_writer(self) -> Connection:
        identity = self._file()
        if self._writer is None:
            self._writer = self._until(self._deadline, self._writers.connect)
            self._identity = identity
        elif identity != self._identity:
            # SQLite itself would go on writing to a file that nobody can find any more.
            raise _Lost("its file was moved or replaced")
        return self._writer

    def _query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Value]]:
        with self._readers.connect() as connection:
            if cast(_Connection, _driver(connection)).file != self._file():
                # Nor would what a lost file says be true any more.
                raise _Lost("its file was moved or replaced")
            return cast(Sequence[Sequence[Value]], connection.execute(statement, parameters).all())

    def _until(self, deadline: float, attempt: Callable[[], T]) -> T:
        """Try again while another process holds the file."""
        while True:
            try:
                found = attempt()
            except (OperationalError, sqlite3.OperationalError) as error:
                cause = error.orig if isinstance(error, OperationalError) else error
                code: int = getattr(cause, "sqlite_errorcode", 0)
                now = self._monotonic()
                if code & 0xFF != sqlite3.SQLITE_BUSY or now >= deadline or self._hurried:
                    self._busy_since = None
                    raise
                self._busy_since = now if self._busy_since is None else self._busy_since
                time.sleep(PAUSE_S)
            else:
                self._busy_since = None
                return found

    def _connect(self, statements: int = STATEMENTS) -> sqlite3.Connection:
        file = self._file()
        # mode=rw: a file that vanished must not come back empty, with every used credential fresh again.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=0.0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=statements,
            factory=_Connection,
        )
        connection.file = file
        try:
            if self._made and not connection.execute(_IS_LEDGER, (META.name,)).fetchone():
                raise _Lost("its file holds no ledger of flovia's; put the ledger back")
            (mode,) = connection.execute(f"PRAGMA journal_mode={self._journal_mode}").fetchone()
            if mode.upper() != self._journal_mode:
                raise sqlite3.OperationalError(f"its journal mode is {mode}, not {self._journal_mode}")
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect(READER_STATEMENTS)
        try:
            # There are many, each with a cache of its own that never shrinks; the system keeps the pages anyway.
            connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: Connection) -> None:
        # IMMEDIATE: what this transaction reads must still be true when it writes.
        raw = _driver(connection)
        self._until(self._deadline, lambda: raw.execute("BEGIN IMMEDIATE"))

    def _commit(self, connection: Connection) -> None:
        # SQLAlchemy's own commit comes after this one and finds nothing to do.
        raw = _driver(connection)
        deadline = max(self._deadline, self._monotonic()) + COMMIT_PATIENCE_S
        self._until(deadline, lambda: raw.execute("COMMIT"))

    def _prepare(self, create: bool) -> None:
        """Make the file and its tables if they are not there."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise WiringError(
                f"the ledger needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, and this Python comes with"
                f" {sqlite3.sqlite_version}; use a newer Python or operating system"
            )
        try:
            ensure_file(self.path, create=create)
        except OSError as error:
            if not create and isinstance(error, FileNotFoundError):
                raise WiringError(
                    f"there is no ledger at {self.path}; name the one that the app writes (FLOVIA_LEDGER, or --ledger)"
                ) from None
            raise WiringError(
                f"the ledger file {self.path} cannot be opened for writing ({error.strerror});"
                " create its directory, or name a file that this process may write to (FLOVIA_LEDGER)"
            ) from None
        try:
            with self.write() as connection:
                if not create and not connection.dialect.has_table(connection, META.name):
                    raise WiringError(
                        "holds no ledger of flovia's; name the one that the app writes (FLOVIA_LEDGER, or --ledger)"
                    )
                migrate(connection)
        except LedgerError as error:
            self.close()
            raise WiringError(
                f"{self.path} cannot be used as a ledger: {error};"
                " point FLOVIA_LEDGER at a SQLite file of its own, on a local disk, that nothing else locks"
            ) from error
        except WiringError as error:
            self.close()
            raise WiringError(f"{self.path} {error}") from None


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _is_lost(error: BaseException) -> bool:
    """Whether an error says that the file is not the ledger any more."""
    cause: object = getattr(error, "orig", None) or error
    code: int = getattr(cause, "sqlite_errorcode", 0)
    return isinstance(cause, _Lost) or code & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _reason(error: BaseException) -> str:
    """The driver's own words: they name tables and files, never values."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
