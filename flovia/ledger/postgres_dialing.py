"""Connections to PostgreSQL whose every wait ends in time.

Nothing that libpq offers bounds a synchronous call: ``statement_timeout`` needs a server that runs,
``tcp_user_timeout`` a network that does not acknowledge for it, ``connect_timeout`` cannot be less than 2 seconds
and begins after the name was looked up, which takes as long as it takes. So a connection looks at its own deadline
whenever it waits, and connections are made in threads that nobody has to wait for to the end.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from select import select
from typing import Any, Final, TypeVar

from psycopg import Connection, OperationalError
from psycopg.abc import Buffer, PQGen
from psycopg.pq import ConnStatus
from psycopg.rows import TupleRow
from psycopg.types.string import StrDumperUnknown

from flovia.ledger.texts import storable

T = TypeVar("T")
LOOK_S: Final = 0.1
"""How often a wait looks up, at least: psycopg's own interval."""
SHORTEST_S: Final = 0.001
FOREVER: Final = float("inf")


class NoAnswerError(OperationalError):
    """The server did not answer in time. ``waited_s``: for this one answer."""

    def __init__(self, message: str, waited_s: float) -> None:
        super().__init__(message)
        self.waited_s = waited_s


class StorableDumper(StrDumperUnknown):
    """Sends text as :func:`~flovia.ledger.texts.storable` leaves it."""

    def dump(self, obj: str) -> Buffer | None:
        """The bytes of a parameter."""
        return super().dump(storable(obj))


class BoundedConnection(Connection[TupleRow]):
    """A connection on which no wait goes on past ``deadline``; then it is closed.

    ``deadline`` and ``monotonic``: seconds that never go back.
    """

    deadline: float = FOREVER
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def wait(self, gen: PQGen[T], interval: float = LOOK_S, *_: Any, **__: Any) -> T:
        """Go through ``gen``, which talks to the server.

        Raises:
            NoAnswerError: the deadline has passed.
        """
        left = max(SHORTEST_S, min(interval, self.deadline - self.monotonic()))
        return super().wait(self._watched(gen), left)

    def _watched(self, gen: PQGen[T]) -> PQGen[T]:
        """``gen``, ended when it is still waiting at the deadline."""
        began = self.monotonic()
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and (now := self.monotonic()) >= self.deadline:
                    self.close()
                    raise NoAnswerError("it does not answer in time", now - began)
                state = gen.send(ready)
        except StopIteration as stop:
            value: T = stop.value
            return value


def is_gone(connection: Connection[TupleRow]) -> bool:
    """Whether the server has ended a connection that nobody uses. Asks the socket, not the server."""
    try:
        for _ in range(4):
            if connection.closed:
                return True
            if not select([connection.fileno()], [], [], 0.0)[0]:
                return False
            connection.pgconn.consume_input()  # its last words first, then the end
    except (OperationalError, OSError, ValueError):
        return True
    return connection.pgconn.status != ConnStatus.OK


class Dialer:
    """Makes connections in threads of its own. What is made too late for one call is there for the next.

    Args:
        dial: makes one connection; may take as long as it takes.
        at_once: threads at the same time, and connections that may lie ready.
    """

    def __init__(self, dial: Callable[[], BoundedConnection], at_once: int) -> None:
        self._dial = dial
        self._at_once = at_once
        self._changed = threading.Condition()
        self._made: deque[BoundedConnection | BaseException] = deque()
        self._waiting = 0
        self._dialing = 0
        self._round = 0

    def get(self, timeout_s: float) -> BoundedConnection:
        """A new connection.

        Raises:
            psycopg.Error: none can be had.
            NoAnswerError: not in time.
        """
        give_up = time.monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            try:
                while not self._made:
                    left = give_up - time.monotonic()
                    if left <= 0:
                        raise NoAnswerError("it takes no connection in time", timeout_s)
                    if self._dialing < min(self._waiting, self._at_once):
                        self._launch()
                        continue
                    self._changed.wait(left)
                made = self._made.popleft()
            finally:
                self._waiting -= 1
        if isinstance(made, BaseException):
            raise made
        return made

    def forget(self) -> None:
        """Close what lies ready; what is being made will be closed."""
        with self._changed:
            self._round += 1
            made, self._made = self._made, deque()
        _close(made)

    def _launch(self) -> None:
        self._dialing += 1
        thread = threading.Thread(target=self._run, args=(self._round,), name="flovia-dial", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the interpreter is ending
            self._run(self._round)

    def _run(self, begun: int) -> None:
        made: BoundedConnection | BaseException
        try:
            made = self._dial()
        except BaseException as error:
            # Its frames hold the password, and whoever reports errors may show what frames hold.
            made = error.with_traceback(None)
        late: list[BoundedConnection | BaseException] = []
        with self._changed:
            self._dialing -= 1
            wanted = self._waiting > len(self._made)
            if begun != self._round or not (wanted or self._keeps(made)):
                late.append(made)
            else:
                self._made.append(made)
            self._changed.notify_all()
        _close(late)

    def _keeps(self, made: BoundedConnection | BaseException) -> bool:
        return isinstance(made, BoundedConnection) and len(self._made) < self._at_once


def _close(made: "list[BoundedConnection | BaseException] | deque[BoundedConnection | BaseException]") -> None:
    for one in made:
        if isinstance(one, BoundedConnection):
            one.close()
