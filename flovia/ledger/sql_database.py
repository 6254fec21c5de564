"""What a SQL ledger needs of the place where its tables are."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

from flovia.ledger.forking import ForkAware

T = TypeVar("T")
Upsert = Callable[[Table], SqliteInsert] | Callable[[Table], PostgresInsert]


class Database(ForkAware, Protocol):
    """Where the tables are. Every failure is a LedgerError, within 2 seconds."""

    @property
    def available(self) -> bool:
        """False while it is known to fail."""
        ...

    @property
    def one_writer(self) -> bool:
        """Whether one transaction writes at a time: then what a statement reads is true until its transaction ends."""
        ...

    @property
    def upsert(self) -> "Upsert":
        """The dialect's INSERT that knows ON CONFLICT."""
        ...

    def clock(self) -> float:
        """Unix seconds by the clock that all who share the database go by."""
        ...

    def call(self, work: Callable[[], T], /) -> T:
        """Do one verb's work, and again while nothing of it was done and there is time."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """One durable transaction; what it reads stays true until it ends."""
        ...

    def query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object], /
    ) -> Sequence[Sequence[str | int | float | None]]:
        """All rows of one SELECT."""
        ...

    def before_events(self, connection: Connection, /) -> None:
        """In a transaction that will write events, before it does."""
        ...

    def horizon(self) -> int:
        """The position up to which no event can appear any more that is not there."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...
