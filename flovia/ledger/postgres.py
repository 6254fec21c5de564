"""A PostgreSQL database as the place of a ledger.

Every call ends within 2 seconds, whatever the server and the network do: the server itself is told to give up
statements and locks, and for one that hangs each wait of ours has an end (:mod:`flovia.ledger.postgres_dialing`).
Row locks decide between processes. What certainly did nothing (a deadlock, a connection that broke before its
COMMIT) is done again within the same time; what may have been done is a LedgerError.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeVar, cast

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, QueuePool, Select, create_engine, event
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, SQLAlchemyError

from flovia.core.errors import LedgerError, WiringError
from flovia.ledger import postgres_tables as tables
from flovia.ledger.health import Health
from flovia.ledger.postgres_dialing import BoundedConnection, Dialer, NoAnswerError, StorableDumper, is_gone
from flovia.ledger.postgres_url import Target, with_session
from flovia.ledger.retrying import UndoneError

PATIENCE_S: Final = 1.5
"""How long a call may take, from waiting for a connection to its last statement."""
COMMIT_PATIENCE_S: Final = 0.3
"""How much longer its COMMIT may take: one that is cut off has an unknown outcome."""
COOL_DOWN_S: Final = 1.0
"""How long the database counts as unavailable after a failure."""
RESYNC_S: Final = 10.0
"""How often the database is asked for its time. In between, this machine's clock measures what has passed."""
AGAIN_AT_MOST: Final = 5

T = TypeVar("T")
Value = str | int | float | None
_ERRORS: Final = (SQLAlchemyError, psycopg.Error, OSError)
_UNDONE: Final = ("40P01", "40001")
"""Deadlock, serialization failure: the server says that it has undone everything."""
_ELSEWHERE: Final = ("25006", "57P01", "57P02", "57P03")
"""Read-only, or going away: the server that may write is to be looked for."""
SILENCE_S: Final = 0.5
"""Who waited less for one answer had spent its time elsewhere: that the server hangs is not said."""
SERVER_S: Final = 0.2
"""How much sooner than ourselves the server gives a statement up: then the connection can be kept."""

# Connections that crossed a fork nobody announced. Closing them in the child could end the parent's sessions.
_abandoned: list[object] = []


class PostgresDatabase:
    """Connections to one database, with bounded waiting, translated errors, and care around forks.

    A server that cannot be reached does not keep the app from starting: the tables are looked after with the
    first call that reaches it.

    Args:
        target: where it is.
        create: make the tables if they are not there.
        monotonic: seconds that never go back, for patience and availability.
        patience_s: how long a call may take; None for :data:`PATIENCE_S`, which keeps the promise above.

    Raises:
        WiringError: the database cannot hold a ledger; the message says why and what to do.
    """

    def __init__(
        self,
        target: Target,
        *,
        create: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        patience_s: float | None = None,
    ) -> None:
        self.name = target.name
        self.upsert = upsert
        self.one_writer = False
        self._target = target
        self._create = create
        self._monotonic = monotonic
        self._patience_s = patience_s
        self._health = Health(monotonic)
        self._silent_at = float("-inf")
        self._prepared = self._started = self._closed = False
        self._start()
        try:
            self.query(tables.PING, {})  # which makes the tables ready
        except WiringError:
            self.close()
            raise
        except LedgerError as error:
            wiring = tables.wiring_error(error, target)
            if wiring is not None:
                self.close()
                raise wiring from None
            tables.log.warning("%s; it is tried again with every call", error)
        self._started = True

    def _start(self) -> None:
        self._slots = threading.BoundedSemaphore(self._target.pool_size)
        self._preparing = threading.Lock()
        self._turn = threading.local()
        self._seen = (0.0, float("-inf"))
        self._dialer = Dialer(self._dial, self._target.pool_size)
        self._engine = self._make_engine()
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    def _make_engine(self) -> Engine:
        # Parameters hold traces of credentials and must not show up in errors or logs.
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self._take_connection,
            poolclass=QueuePool,
            pool_size=self._target.pool_size,
            max_overflow=0,
            pool_use_lifo=True,
            hide_parameters=True,
            use_native_hstore=False,
        )
        event.listen(engine, "checkout", _check)
        return engine

    # --- for the ledger --------------------------------------------------------------------------------

    @property
    def available(self) -> bool:
        """False from a failure until a write has worked again, for a second at least. Never waits."""
        return self._health.well(COOL_DOWN_S)

    @property
    def patience_s(self) -> float:
        """How long a call may take."""
        return PATIENCE_S if self._patience_s is None else self._patience_s

    def clock(self) -> float:
        """The database's time, Unix seconds, so that processes on many hosts agree on when a lease ends.

        It may lag by as long as the database took to tell it, and is never ahead: a lease ends late rather than early.

        Raises:
            LedgerError: it was never told, and cannot be now.
        """
        if self._seen[1] == float("-inf"):
            self.query(tables.PING, {})
        now, at = self._seen
        return now + (time.monotonic() - at)

    def call(self, work: Callable[[], T]) -> T:
        """Do one verb's work, and again if nothing of it was done and there is time.

        Raises:
            LedgerError: it could not be done, or nobody knows whether it was.
        """
        if self._deadline() is not None:
            return work()
        deadline = self._turn.deadline = self._monotonic() + self.patience_s
        try:
            for attempt in range(1, AGAIN_AT_MOST + 1):
                try:
                    return work()
                except UndoneError as error:
                    if attempt == AGAIN_AT_MOST or self._monotonic() >= deadline:
                        raise self._failure(error.reason) from error
        finally:
            self._turn.deadline = None
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction that may write, durable when the block has ended; an exception undoes it.

        Raises:
            UndoneError: nothing of it was done, and it may be done again.
            LedgerError: it could not be done, or nobody knows whether it was.
        """
        committing, begun_at = False, self._monotonic()
        with self._one_call() as deadline:
            try:
                with self._open(self._engine, deadline) as connection:
                    yield connection
                    committing = True
                    _driver(connection).deadline = max(deadline, self._monotonic()) + COMMIT_PATIENCE_S
                    connection.commit()
                self._health.wrote(begun_at)
            except DataError:
                raise  # no store could take that, and asking again would hold up what comes after it
            except _ERRORS as error:
                raise self._told(error, undone=not committing) from error

    def query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Value]]:
        """All rows of one SELECT.

        Raises:
            LedgerError: the database cannot be read now.
        """
        return self.call(lambda: self._query(statement, parameters))

    def _query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Value]]:
        with self._one_call() as deadline:
            try:
                with self._open(self._reading, deadline) as connection:
                    return cast(Sequence[Sequence[Value]], connection.execute(statement, parameters).all())
            except _ERRORS as error:
                raise self._told(error, undone=True) from error

    def before_events(self, connection: Connection) -> None:
        """Announce, in this transaction, that it will write events: :meth:`horizon` waits for it."""
        connection.execute(tables.ANNOUNCE)

    def horizon(self) -> int:
        """The last position before which nothing can appear any more.

        Positions are handed out in one order and committed in another. A transaction that writes events holds, from
        before its first position until its end is visible, a lock that tells from where on its positions can be. So:
        first the newest position handed out, then the lowest of those locks; what is read after that is complete
        up to the lower of the two.

        Raises:
            LedgerError: the database cannot be read now.
        """
        newest = int(self.query(tables.NEWEST, {})[0][0] or 0)
        running = self.query(tables.RUNNING, {})[0][0]
        return newest if running is None else min(newest, int(running))

    def close(self) -> None:
        """Close every connection. Calls that come later raise LedgerError."""
        self._closed = True
        self._dispose()

    # --- forks -----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let running calls end and close all connections."""
        taken = 0
        give_up = self._monotonic() + self.patience_s
        while taken < self._target.pool_size and self._slots.acquire(timeout=max(0.0, give_up - self._monotonic())):
            taken += 1
        self._held = taken
        self._quiet = taken == self._target.pool_size
        if self._quiet:
            self._dispose()

    def after_fork_in_parent(self) -> None:
        """Let calls go on; connections open again when one is needed."""
        if self._held:
            self._slots.release(self._held)

    def after_fork_in_child(self) -> None:
        """Forget the parent's locks and connections."""
        _abandoned.append((self._dialer, None if self._quiet else self._engine))
        self._start()

    _held = 0
    _quiet = False

    # --- inside ----------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        return cast("float | None", getattr(self._turn, "deadline", None))

    @contextmanager
    def _one_call(self) -> Generator[float]:
        """One of the process's connections is ours, and there is a time by which all must be done."""
        started = self._monotonic()
        outer = self._deadline()
        deadline = started + self.patience_s if outer is None else outer
        if self._silent_at > started - COOL_DOWN_S:
            # A server that hangs takes each call's whole time: whoever comes meanwhile is told at once.
            raise LedgerError(f"the ledger {self.name} did not answer a moment ago")
        slots = self._slots
        if not slots.acquire(timeout=max(0.0, deadline - started)):
            raise self._failure("too many calls wait for a connection (pool_size)")
        self._turn.deadline = deadline
        try:
            if self._closed:
                raise LedgerError(f"the ledger {self.name} was closed")
            if self._silent_at > started:
                raise LedgerError(f"the ledger {self.name} did not answer a moment ago")
            yield deadline
        finally:
            self._turn.deadline = outer
            slots.release()

    @contextmanager
    def _open(self, engine: Engine, deadline: float) -> Generator[Connection]:
        if not self._prepared:
            self._prepare(deadline)
        with engine.connect() as connection:
            raw = _driver(connection)
            raw.deadline = deadline
            try:
                if time.monotonic() - self._seen[1] >= RESYNC_S:
                    self._tell_time(raw)
                yield connection
            except BaseException:
                if raw.closed and not connection.invalidated:
                    # There is nothing to undo on it: the pool would try, and log a traceback.
                    connection.invalidate()
                # Undoing has its own time: within it the connection can be kept.
                raw.deadline = max(deadline, self._monotonic()) + COMMIT_PATIENCE_S
                raise

    def _prepare(self, deadline: float) -> None:
        """Make the tables ready, once."""
        if not self._preparing.acquire(timeout=max(0.0, deadline - self._monotonic())):
            raise NoAnswerError("its tables are still being made ready", 0.0)
        try:
            if self._prepared:
                return
            with self._engine.connect() as connection:
                _driver(connection).deadline = deadline
                tables.prepare(connection, self._target, create=self._create)
                connection.commit()
            self._prepared = True
        except WiringError as error:
            if not self._started:
                raise
            raise self._failure(str(error)) from None
        finally:
            self._preparing.release()

    def _take_connection(self) -> BoundedConnection:
        deadline = self._deadline() or 0.0
        made = self._dialer.get(deadline - self._monotonic())
        made.deadline = deadline
        return made

    def _dial(self) -> BoundedConnection:
        made = BoundedConnection.connect(make_conninfo(**with_session(self._target, self.patience_s - SERVER_S)))
        made.adapters.register_dumper(str, StorableDumper)
        made.monotonic = self._monotonic
        made.deadline = self._monotonic() + self.patience_s
        try:
            made.autocommit = True
            self._tell_time(made)
            made.autocommit = False
        except BaseException:
            made.close()
            raise
        return made

    def _tell_time(self, raw: BoundedConnection) -> None:
        ((now, care),) = raw.execute(tables.TIME_AND_CARE)
        # When its answer is here the database's clock shows this or more.
        self._seen = float(now), time.monotonic()
        if care == "off":
            raw.execute("SET synchronous_commit = on")

    def _failure(self, reason: str) -> LedgerError:
        self._health.failed()
        return LedgerError(f"the ledger {self.name} cannot answer: {reason}")

    def _told(self, error: BaseException, *, undone: bool) -> LedgerError:
        """What to say of a failure; ``undone``: its COMMIT was not sent."""
        original = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(original, "sqlstate", None)
        if isinstance(original, NoAnswerError):
            if original.waited_s >= SILENCE_S:
                self._silent_at = self._monotonic()
                self._dispose()
            return self._failure(str(original))
        reason = _reason(original)
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if state in _ELSEWHERE:
            self._dispose()
        if state in _UNDONE or (lost and undone):
            return UndoneError(f"the ledger {self.name} cannot answer: {reason}", reason)
        return self._failure(reason)

    def _dispose(self) -> None:
        with suppress(SQLAlchemyError, psycopg.Error):
            self._engine.dispose()
        self._dialer.forget()


def _check(connection: BoundedConnection, *_: object) -> None:
    """A connection that the server ended while nobody used it is replaced before anybody does."""
    if is_gone(connection):
        raise DisconnectionError


def _driver(connection: Connection) -> BoundedConnection:
    return cast(BoundedConnection, connection.connection.driver_connection)


def _reason(error: BaseException | None) -> str:
    """The driver's own words: their first line names tables and hosts, never values."""
    return str(error).partition("\n")[0]
