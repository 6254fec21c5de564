"""Doing a verb again that certainly did nothing: after a deadlock, or a connection that broke before its COMMIT."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from flovia.core.errors import LedgerError

P = ParamSpec("P")
T = TypeVar("T")


class UndoneError(LedgerError):
    """A transaction that certainly changed nothing, through no fault of its own. ``reason``: the database's words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Caller(Protocol):
    """A database that knows whether there is time for another try."""

    def call(self, work: Callable[[], T], /) -> T:
        """Do one verb's work, and again after an :class:`UndoneError`, as long as a call may take."""
        ...


class Calling(Protocol):
    """Whoever has such a database."""

    @property
    def _database(self) -> Caller: ...


S = TypeVar("S", bound=Calling)


def retried(verb: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A verb whose whole body may be done again if its transaction was undone."""

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # A member of the protocol above, which pyright takes for another class's own.
        return self._database.call(lambda: verb(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    update_wrapper(call, verb)
    return call
