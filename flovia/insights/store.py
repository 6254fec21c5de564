"""Attempts as rows of the ledger's database: making the tables, writing rows, reading them back."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeVar, cast

from sqlalchemy import Connection, Select, Table, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.schema import CreateColumn

from flovia.core.errors import LedgerError, WiringError
from flovia.insights.attempt import INSIGHT_OF, Attempt, day_of
from flovia.insights.buckets import bucket
from flovia.insights.lanes import mark_changed
from flovia.insights.schema import ADDED, ADDED_INDEXES, ATTEMPTS, INSIGHTS_VERSION, METADATA, STATE

T = TypeVar("T")
Value = str | int | float | None
Row = Sequence[Value]
Upsert = Callable[[Table], SqliteInsert] | Callable[[Table], PostgresInsert]

MANY: Final = 400
"""Ids in one statement: every SQLite takes so many."""
_OPENING_LOCK: Final = 0x666C6F7669610002
_AMOUNTS: Final = ("price", "amount", "refunded")
_LISTS: Final = ("request_ids", "problems")
_DERIVED: Final = frozenset({"session", "day", "kind", "state", "due", "first_position", "last_position"})
COLUMNS: Final = tuple(
    column.name for column in ATTEMPTS.columns if column.name not in _DERIVED and not column.name.endswith("_bucket")
)
"""The columns that make an attempt."""


class Database(Protocol):
    """What the insights need of a SQL ledger's database: see :class:`flovia.ledger.sql_database.Database`."""

    @property
    def upsert(self) -> Upsert:
        """The dialect's INSERT that knows ON CONFLICT."""
        ...

    def call(self, work: Callable[[], T], /) -> T:
        """Do one piece of work, and again while nothing of it was done and there is time."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """One durable transaction."""
        ...

    def query(
        self, statement: Select[*tuple[object, ...]], parameters: Mapping[str, object], /
    ) -> Sequence[Sequence[Value]]:
        """All rows of one SELECT."""
        ...


def prepare(database: Database) -> None:
    """Make the tables if they are not there, and add what they lack; several processes may come at once.

    Raises:
        WiringError: the database's user may not make tables, or a newer flovia has made them.
        LedgerError: the database does not answer.
    """
    try:
        database.call(lambda: _prepare(database))
    except LedgerError as error:
        if not any(words in str(error) for words in ("permission denied", "must be owner")):
            raise
        raise WiringError(
            f"the tables of reports cannot be made: {error}; run the report once as the owner of the ledger's tables,"
            " or let an administrator grant CREATE on their schema"
        ) from None


def _prepare(database: Database) -> None:
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _OPENING_LOCK})
        METADATA.create_all(connection)
        for index in ADDED_INDEXES:
            index.create(connection, checkfirst=True)
        found = connection.scalar(select(STATE.c.value).where(STATE.c.name == "version"))
        version = INSIGHTS_VERSION if found is None else int(found)
        if version > INSIGHTS_VERSION:
            raise WiringError(
                f"the tables of reports were made by a newer version of flovia (version {version}, this flovia knows"
                f" {INSIGHTS_VERSION}); install that version"
            )
        if found is None:
            connection.execute(insert(STATE), {"name": "version", "value": str(INSIGHTS_VERSION)})
            connection.execute(insert(STATE), {"name": "cursor", "value": "0"})
        for added in range(version + 1, INSIGHTS_VERSION + 1):
            for table, name in ADDED.get(added, ()):
                # SQLAlchemy writes the column as the table's definition has it; the names are our own constants.
                definition = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
        if version < INSIGHTS_VERSION:
            connection.execute(update(STATE).where(STATE.c.name == "version").values(value=str(INSIGHTS_VERSION)))


def read_state(database: Database) -> dict[str, str]:
    """What the state table says, by name."""
    rows = database.query(cast("Select[*tuple[object, ...]]", select(STATE.c.name, STATE.c.value)), {})
    return {str(name): str(value) for name, value in rows}


def note_pruned(database: Database) -> None:
    """Note that events were pruned before they were folded.

    Raises:
        LedgerError: the database does not answer.
    """
    put = database.upsert(STATE).on_conflict_do_nothing()
    with database.write() as connection:
        connection.execute(put, {"name": "pruned", "value": "1"})


def add_to_state(connection: Connection, name: str, more: int) -> None:
    """Count further in a number of the state table, in the transaction at hand; it has the cursor's row."""
    if not more:
        return
    found = connection.scalar(select(STATE.c.value).where(STATE.c.name == name))
    if found is None:
        connection.execute(insert(STATE), {"name": name, "value": str(more)})
    else:
        connection.execute(update(STATE).where(STATE.c.name == name).values(value=str(int(found) + more)))


def values_of(attempt: Attempt, first_position: int, last_position: int) -> dict[str, object]:
    """The columns of an attempt."""
    values: dict[str, object] = {name: getattr(attempt, name) for name in COLUMNS}
    for name in _AMOUNTS:
        amount = values[name]
        values[name] = None if amount is None else str(amount)
    for name in _LISTS:
        values[name] = json.dumps(values[name], separators=(",", ":"))
    for name in ("pay", "latency", "challenge", "verify", "handler"):
        ms: float | None = getattr(attempt, f"{name}_ms")
        values[f"{name}_bucket"] = None if ms is None or ms < 0 else bucket(ms)
    state = attempt.state
    return values | {
        "day": day_of(attempt.at),
        "kind": attempt.kind,
        "state": state,
        "due": int(attempt.due),
        "first_position": first_position,
        "last_position": last_position,
    }


def read_attempt(row: Row) -> Attempt:
    """The attempt of a row with :data:`COLUMNS`."""
    values: dict[str, object] = dict(zip(COLUMNS, row, strict=True))
    for name in _AMOUNTS:
        amount = values[name]
        values[name] = None if amount is None else int(str(amount))
    for name in _LISTS:
        values[name] = tuple(json.loads(str(values[name])))
    values["probe"] = bool(values["probe"])
    values["insight"] = INSIGHT_OF[str(values.pop("outcome"))]
    return Attempt(**cast("dict[str, Any]", values))


def write_rows(connection: Connection, keys: Collection[str], rows: Sequence[dict[str, object]]) -> set[int]:
    """Put rows in the place of those with these keys, in the transaction at hand; the days that changed."""
    mark_changed(connection, keys, rows)
    days = {cast("int", row["day"]) for row in rows}
    for part in parts(keys):
        mine = ATTEMPTS.c.key.in_(part)
        days |= set(connection.scalars(select(ATTEMPTS.c.day).where(mine).distinct()))
        connection.execute(delete(ATTEMPTS).where(mine))
    if rows:
        connection.execute(insert(ATTEMPTS), rows)
    return days


def parts(ids: Iterable[T]) -> Iterable[Sequence[T]]:
    """The same in pieces of :data:`MANY`."""
    wanted = list(ids)
    for start in range(0, len(wanted), MANY):
        yield wanted[start : start + MANY]
