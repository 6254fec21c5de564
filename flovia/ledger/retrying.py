"""Doing a verb again of which certainly nothing was done: after a deadlock, or a connection that broke before COMMIT."""

from collections.abc import Callable
from functools import wraps
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

    _database: Caller


S = TypeVar("S", bound=Calling)


def retried(verb: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A verb whose whole body may be done again if its transaction was undone."""

    @wraps(verb)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.call(lambda: verb(self, *args, **kwargs))  # noqa: SLF001  # the protocol's own member

    return call
