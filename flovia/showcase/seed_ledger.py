"""A ledger to live through weeks in seconds: the SQL ledger as it is, with many of its transactions in one.

What makes a paid request wait is the disk, once for each of its steps. A made-up past need not survive a power cut
halfway, so here the disk is asked for once for some hundred steps, and everything else stays the same: the same verbs,
the same statements, the same tables.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar, cast

from sqlalchemy import Connection, Select

from flovia.ledger.sql_database import Database, Upsert
from flovia.ledger.sqlite import SqliteDatabase

PATIENCE_S: Final = 60.0
"""How long a transaction waits for those of others: nobody waits for this one."""
T = TypeVar("T")
Value = str | int | float | None


class _RolledBackError(Exception):
    """Ends a transaction without its commit; seen by nobody."""


class Batched(Database):
    """A SQLite file whose transactions are kept open until :meth:`commit`.

    One thread may write at a time; what it reads it reads in its own transaction. Others see what is committed.

    Args:
        path: the file; it is made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteDatabase(path, patience_s=PATIENCE_S)
        self._turn = threading.RLock()
        self._open: ExitStack | None = None
        self._connection: Connection | None = None
        self._since = 0.0

    @property
    def open_s(self) -> float:
        """Seconds for which others have been waiting to write; 0 if nobody has to."""
        return 0.0 if self._open is None else time.monotonic() - self._since

    def commit(self) -> None:
        """Make what was written durable, and let others write.

        Raises:
            LedgerError: it could not be written; nothing of the batch was.
        """
        with self._turn:
            batch, self._open, self._connection = self._open, None, None
            if batch is not None:
                batch.close()

    def roll_back(self) -> None:
        """Forget what was written since the last commit."""
        with self._turn:
            batch, self._open, self._connection = self._open, None, None
            if batch is not None:
                error = _RolledBackError()
                batch.__exit__(type(error), error, None)

    # --- as the ledger sees it ---------------------------------------------------------------------------------

    @property
    def available(self) -> bool:
        """As the file says."""
        return self._file.available

    @property
    def one_writer(self) -> bool:
        """True, as in any SQLite file."""
        return self._file.one_writer

    @property
    def upsert(self) -> Upsert:
        """SQLite's."""
        return self._file.upsert

    def clock(self) -> float:
        """This machine's."""
        return self._file.clock()

    def call(self, work: Callable[[], T], /) -> T:
        """Do it."""
        return self._file.call(work)

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A part of the open transaction; if it fails, the whole batch is undone.

        Raises:
            LedgerError: the file cannot be written.
        """
        with self._turn:
            if self._connection is None:
                self._open = ExitStack()
                self._connection = self._open.enter_context(self._file.write())
                self._since = time.monotonic()
            try:
                yield self._connection
            except BaseException:
                self.roll_back()
                raise

    def query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object], /
    ) -> Sequence[Sequence[Value]]:
        """All rows of one SELECT, with what this thread has written."""
        with self._turn:
            if self._connection is None:
                return self._file.query(statement, parameters)
            return cast("Sequence[Sequence[Value]]", self._connection.execute(statement, parameters).all())

    def before_events(self, connection: Connection, /) -> None:
        """Nothing."""

    def horizon(self) -> int:
        """Every position."""
        return self._file.horizon()

    def close(self) -> None:
        """Commit, and let go of the file."""
        try:
            self.commit()
        finally:
            self._file.close()

    def before_fork(self) -> None:
        """Commit, and close what a child must not inherit."""
        self.commit()
        self._file.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._file.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Forget the parent's."""
        self._turn, self._open, self._connection = threading.RLock(), None, None
        self._file.after_fork_in_child()
