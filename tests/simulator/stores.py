"""The ledgers under test, where the simulator's storms reach them.

A :class:`Handle` is what one worker holds: the real ``MemoryLedger`` of the whole world as if it were a store on the
network, a real ``SqlLedger`` on SQL tables, or in a world of one process a memory ledger that answers on the spot. It
passes every verb on, tells the model what came of it, and lets the call or its acknowledgement get lost.
"""

import copy
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, StaticPool, Table, create_engine, event
from sqlalchemy.dialects.sqlite import insert

from flovia.core.errors import LedgerError
from flovia.core.events import Event, EventRow
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.outbox import GATHER_S, RETRY_S, Outbox
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_migrating import migrate
from flovia.ledger.sql_schema import META, METADATA

if TYPE_CHECKING:
    from tests.simulator.workers import Worker
    from tests.simulator.world import World

COOL_DOWN_MS: Final = 1000
EVERYTHING: Final = 10_000_000


class QuietOutbox(Outbox):
    """An outbox whose thread is the scheduler."""

    def _launch(self) -> None:
        """No thread: the worker flushes."""


class Tables:
    """A :class:`~flovia.ledger.sql.Database` in memory, one for the whole run of the program. It can fail anywhere."""

    available = True
    one_writer = True

    def __init__(self) -> None:
        engine = create_engine("sqlite://", poolclass=StaticPool)
        self._connection = engine.connect()
        self.left: int | None = None
        """So many statements still work."""
        self.hooks: tuple[Callable[[], None], Callable[[], None]] | None = None
        """Called before a transaction and after its commit: for what no effect asks for."""
        with self._connection.begin():
            migrate(self._connection)
        self._wipe = [table.delete() for table in reversed(METADATA.sorted_tables) if table is not META]
        self._wipe.append(META.delete().where(META.c.name.not_in(("schema", "version"))))
        event.listen(engine, "before_cursor_execute", self._count)

    def upsert(self, table: Table, /) -> Any:
        """The dialect's INSERT."""
        return insert(table)

    def clock(self) -> float:
        """Nobody asks: each worker brings its own."""
        raise LedgerError("test: the workers have clocks of their own")

    def call(self, work: Callable[[], Any], /) -> Any:
        """Once."""
        return work()

    def before_events(self, connection: Connection, /) -> None:
        """One writer at a time."""

    def horizon(self) -> int:
        """Nothing is ever written behind what is there."""
        return EVERYTHING

    def _count(self, *_: object) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise LedgerError("test: the store failed in the middle of a transaction")

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction."""
        if self.hooks is not None:
            self.hooks[0]()
        with self._connection.begin():
            yield self._connection
        if self.hooks is not None:
            self.hooks[1]()

    def query(self, statement: Any, parameters: Mapping[str, object], /) -> Sequence[Any]:
        """All rows."""
        with self._connection.begin():
            return self._connection.execute(statement, parameters).all()

    def wipe(self) -> None:
        """A new world."""
        self.left = self.hooks = None
        with self._connection.begin():
            for statement in self._wipe:
                self._connection.execute(statement)

    def close(self) -> None:
        """Stays open."""

    before_fork = after_fork_in_parent = after_fork_in_child = close


_made: list[tuple[Tables, SqlLedger]] = []


def sql() -> tuple[Tables, SqlLedger]:
    """The tables, and a ledger to copy: making one compiles its statements."""
    if not _made:
        tables = Tables()
        _made.append((tables, SqlLedger(tables)))
    return _made[0]


class Store:
    """What all the handles of one world share."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.kind = world.plan.ledger
        self.memory: MemoryLedger | None = None
        self.tables: Tables | None = None
        if self.kind == "sql":
            self.tables, _ = sql()
            self.tables.wipe()
        else:
            self.memory = MemoryLedger(clock=world.seconds, max_events=EVERYTHING)

    def core(self, worker: "Worker") -> Any:
        """The real ledger that a worker's calls end at."""
        if self.memory is not None:
            return self.memory
        found = copy.copy(sql()[1])
        found._clock = worker.clock
        found._outbox = QuietOutbox(found._write_events)
        return found

    def down(self) -> bool:
        """Whether nobody reaches it now."""
        at = self.world.now - self.world.began
        return any(start <= at < start + length for start, length in self.world.outages)

    def before(self) -> None:
        """A call is on its way.

        Raises:
            LedgerError: it did not arrive.
        """
        world = self.world
        if self.down() or world.rnd() < world.odds.store_fails:
            world.count("store failed")
            raise LedgerError("test: the store does not answer")

    def after(self) -> None:
        """It was done.

        Raises:
            LedgerError: the caller does not hear of it.
        """
        world = self.world
        if world.rnd() < world.odds.ack_lost:
            world.count("acknowledgement lost")
            raise LedgerError("test: the store's acknowledgement was lost")


class Sink:
    """Reads the stream of events as an exporter does: from where it stood, whenever it is not blocked."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.position = 0
        self.events: list[Event] = []
        if not world.plan.sink_blocked:
            for wait in (1_000, 10_000, 60_000):
                world.at(world.now + wait, self.read)

    def read(self) -> None:
        """Take what is new; nothing while the store cannot be reached."""
        store = self.world.store
        if store.down():
            return
        core = store.memory if store.memory is not None else self.world.workers[0].handle.core
        found = core.read_events(self.position, EVERYTHING)
        for position, event_ in found:
            if position <= self.position:
                raise self.world.model.broken(f"event {event_.id} stands before one that was read already")
            self.position = position
            self.events.append(event_)


class Handle:
    """One worker's ledger. See the module's text."""

    def __init__(self, store: Store, worker: "Worker") -> None:
        self._store = store
        self._world = store.world
        self._worker = worker
        self.direct = store.kind == "direct"
        self.shared = not self.direct
        self.core = store.core(worker)
        self.outbox: Outbox = self.core._outbox if store.tables is not None else QuietOutbox(self._append_all)
        self.failed_at = -COOL_DOWN_MS
        self._pumping = False

    @property
    def available(self) -> bool:
        """False for a second after a failure, as the shipped SQL databases are."""
        return self._world.now - self.failed_at >= COOL_DOWN_MS

    # --- verbs ------------------------------------------------------------------------------------------------

    def _do(self, verb: str, args: tuple[Any, ...]) -> Any:
        if self.direct:
            result = getattr(self.core, verb)(*args)
            self._world.model.observe(self._worker, verb, args, result)
            return result
        store, tables = self._store, self._store.tables
        try:
            self._world.model.try_(self._worker, verb, args)
            store.before()
            if tables is not None:
                world = self._world
                tables.left = int(world.rnd() * 5) if world.rnd() < world.odds.store_fails / 2 else None
                try:
                    result = getattr(self.core, verb)(*args)
                finally:
                    tables.left = None
            else:
                result = getattr(self.core, verb)(*args)
            self._world.model.observe(self._worker, verb, args, result)
            store.after()
        except LedgerError:
            self.failed_at = self._world.now
            self._world.model.failed(verb, args)
            raise
        return result

    def claim(self, *args: Any) -> Any:
        return self._do("claim", args)

    def settle(self, *args: Any) -> Any:
        return self._do("settle", args)

    def deliver(self, *args: Any) -> Any:
        return self._do("deliver", args)

    def fail(self, *args: Any) -> Any:
        return self._do("fail", args)

    def release(self, *args: Any) -> Any:
        return self._do("release", args)

    def __getattr__(self, verb: str) -> Any:
        """Any other verb."""
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda *args: self._do(verb, args)

    # --- what does not wait -----------------------------------------------------------------------------------

    def append(self, rows: Iterable[EventRow]) -> None:
        """Events that nobody paid for: buffered in this worker, written by :meth:`pump`."""
        if self.direct:
            self.core.append(rows)
            return
        self.outbox.append(rows)
        self._pump_in(GATHER_S)

    def end_later(self, key: str, fence: int, delivered: bool, events: tuple[EventRow, ...], *more: Any) -> None:
        """The end of a delivery, when the store answers again. ``more``: as the ledger's."""
        if self.direct or self._store.tables is not None:
            self.core.end_later(key, fence, delivered, events, *more)
        else:
            self.outbox.defer(lambda: self._end(key, fence, delivered, events, *more))
        self._world.model.deferred(self._worker, key, fence, delivered, len(events))
        if not self.direct:
            self._pump_in(GATHER_S)

    def _end(
        self,
        key: str,
        fence: int,
        delivered: bool,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: Any = None,
    ) -> None:
        # What SqlLedger does, for a memory ledger that can be out of reach.
        done = self.deliver(key, fence, events, answer) if delivered else self.fail(key, fence, events, refund_due)
        if not done:
            found = self.core.find(key)
            if found is None or found.fence != fence:
                self.outbox.append(events)

    def _append_all(self, rows: Sequence[EventRow]) -> None:
        self._store.before()
        self.core.append(rows)

    # --- the outbox's thread ----------------------------------------------------------------------------------

    def _pump_in(self, seconds: float) -> None:
        if not self._pumping:
            self._pumping = True
            self._world.at(self._world.now + int(seconds * 1000), self.pump)

    def pump(self) -> None:
        """One turn of the thread that writes what waits."""
        self._pumping = False
        worker, world = self._worker, self._world
        if worker.handle is not self:
            return  # the process died, and with it all that waited
        if worker.frozen_until > world.now:
            self._pump_in((worker.frozen_until - world.now) / 1000)
            return
        tables = self._store.tables
        try:
            if tables is not None:
                tables.hooks = (self._store.before, self._store.after)
            try:
                self.outbox.flush()
            finally:
                if tables is not None:
                    tables.hooks = None
                    world.model.look(worker, self.core)
        except LedgerError:
            self.failed_at = world.now
            self._pump_in(RETRY_S)
        else:
            if len(self.outbox):
                self._pump_in(GATHER_S)
