"""Bringing a ledger's tables to what this flovia knows, in the transaction that opens it."""

import logging
from typing import Final

from sqlalchemy import Connection, Index, Table, insert, literal, select, text, update
from sqlalchemy.schema import CreateColumn, CreateIndex

from flovia.core.errors import WiringError
from flovia.ledger.sql_schema import ADDED, LOOK_UPS, META, METADATA, OLDEST_READER, SCHEMA_VERSION

MOST_INDEXED: Final = 200_000
"""Rows of a table up to which an index that is new is made while the ledger opens: a fraction of a second."""
_log: Final = logging.getLogger(__name__)


def migrate(connection: Connection) -> None:
    """Make the tables if they are not there, and add what they lack. What is there is not touched.

    Several processes may come at once: the transaction lets one do it, and the others find it done. The work
    does not grow with the number of rows, but for indexes up to :data:`MOST_INDEXED`.

    Raises:
        WiringError: the tables are of a version that this flovia does not know; nothing was changed.
    """
    if connection.dialect.has_table(connection, META.name):
        _check(_meta(connection, "schema"))
    METADATA.create_all(connection)
    found = _meta(connection, "version") or _meta(connection, "schema")
    if found is None:
        connection.execute(insert(META).values(name="schema", value=str(OLDEST_READER)))
        connection.execute(insert(META).values(name="version", value=str(SCHEMA_VERSION)))
        return
    if int(found) < SCHEMA_VERSION:
        for version in range(int(found) + 1, SCHEMA_VERSION + 1):
            for table, column in ADDED.get(version, ()):
                _add(connection, table, column)
        for index in LOOK_UPS:
            _index(connection, index)
        if _meta(connection, "version") is None:
            connection.execute(insert(META).values(name="version", value=str(SCHEMA_VERSION)))
        else:
            connection.execute(update(META).where(META.c.name == "version").values(value=str(SCHEMA_VERSION)))


def _index(connection: Connection, index: Index) -> None:
    """Make an index of a table that was there, unless that takes long: everybody who writes would wait for it."""
    table = index.table
    assert table is not None  # noqa: S101 - ours all have one
    if connection.execute(select(literal(1)).select_from(table).offset(MOST_INDEXED).limit(1)).first() is None:
        connection.execute(CreateIndex(index, if_not_exists=True))
        return
    statement = str(CreateIndex(index).compile(dialect=connection.dialect)).strip()
    if connection.dialect.name == "postgresql":
        statement = statement.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY")
    _log.warning(
        "%s has more than %s rows: looking up a payment reads all of them until somebody runs: %s",
        table.name,
        MOST_INDEXED,
        statement,
    )


def _check(found: str | None) -> None:
    if found is not None and not (found.isdecimal() and 1 <= int(found) <= SCHEMA_VERSION):
        raise WiringError(
            f"was written by a newer version of flovia (its tables have version {found}, this flovia knows"
            f" {SCHEMA_VERSION}); install that version, or use another file"
        )


def _meta(connection: Connection, name: str) -> str | None:
    return connection.scalar(select(META.c.value).where(META.c.name == name))


def _add(connection: Connection, table: Table, column: str) -> None:
    # SQLAlchemy writes the column as the table's definition has it; the names are our own constants.
    definition = CreateColumn(table.c[column]).compile(dialect=connection.dialect)
    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
