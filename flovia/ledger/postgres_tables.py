"""A PostgreSQL ledger's tables: made ready, checked, and the statements that only PostgreSQL needs."""

import logging
import re
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, literal_column, select, text
from sqlalchemy.exc import DBAPIError

from flovia.core.errors import LedgerError, WiringError
from flovia.ledger.postgres_url import Target
from flovia.ledger.sql_migrating import migrate
from flovia.ledger.sql_schema import EVENTS, META, METADATA

log: Final = logging.getLogger(__name__)
OPENING_LOCK: Final = 0x666C6F7669610001
"""Held by who makes tables: ``flovia`` in hexadecimal, and a number."""
SEQUENCE: Final = f"{EVENTS.name}_position_seq"
RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

Query = Select[*tuple[object, ...]]
_HANDED_OUT: Final = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
# The upper 16 bits tell this ledger's locks from those of others in the same database.
_SPACE: Final = f"(1 + CAST(CAST('{SEQUENCE}' AS regclass) AS oid)::bigint % 32767)"


def _column(expression: str) -> list[ColumnElement[object]]:
    return [literal_column(expression, BigInteger)]


PING: Final[Query] = select(*_column("1"))
TIME_AND_CARE: Final = "SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('synchronous_commit')"
"""The database's time, and whether a commit waits for the disk."""
ANNOUNCE: Final = text(
    f"SELECT pg_advisory_xact_lock_shared(({_SPACE} << 48) | ({_HANDED_OUT})) FROM {SEQUENCE}"  # noqa: S608 - our own names
)
"""Positions that this transaction is given from now on are greater than the number in the lock."""
NEWEST: Final[Query] = select(*_column(_HANDED_OUT)).select_from(text(SEQUENCE))
RUNNING: Final[Query] = (
    select(*_column("min(((classid::bigint & 65535) << 32) | objid::bigint)"))
    .select_from(text("pg_locks"))
    .where(
        text("locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock'"),
        text("database = (SELECT oid FROM pg_database WHERE datname = current_database())"),
        text(f"classid::bigint >> 16 = {_SPACE}"),
    )
)
"""The lowest number in those locks: a 64-bit key is shown in two halves."""

_REFUSED: Final = re.compile(
    r"authentication failed|no pg_hba\.conf entry|(role|database) \"[^\"]*\" does not exist|no password supplied"
    r"|permission denied for database|unsupported startup parameter|unsupported frontend protocol"
    r"|invalid value for parameter|certificate|sslmode|SSL was required|does not support SSL"
)
"""What a server says to settings that will be as wrong in a minute."""


def prepare(connection: Connection, target: Target, *, create: bool) -> None:
    """Make the tables, or bring them forward, in this transaction; and see that they can be used.

    Several processes may come at once: a lock lets one do it, and the others find it done.

    Raises:
        WiringError: that cannot be; the message names what to run.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": OPENING_LOCK})
    user, schema = connection.execute(text("SELECT current_user, current_schema()")).one()
    quote = connection.dialect.identifier_preparer.quote
    if schema is None:
        wanted = quote(target.schema or "flovia")
        raise WiringError(
            f"{target.name} has no schema {wanted} that its user {user} may use; let an administrator run: CREATE"
            f" SCHEMA {wanted} AUTHORIZATION {quote(user)}" + ("" if target.schema else " (and add ?schema=flovia)")
        )
    if not create and not connection.dialect.has_table(connection, META.name):
        raise WiringError(
            f"there is no ledger in {target.name}, schema {schema}; name the one that the app writes"
            " (FLOVIA_LEDGER, or --ledger)"
        )
    owners = connection.execute(_OWNERS, {"names": [table.name for table in METADATA.tables.values()]}).all()
    if owners:
        _check_rights(connection, target, quote(user))
    try:
        migrate(connection)
    except WiringError as error:
        raise WiringError(f"{target.name} {error}") from None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        remedy = f"GRANT {quote(owners[0][0])} TO {quote(user)}" if owners else _make_room(quote(schema), quote(user))
        raise WiringError(
            f"{target.name}: its user {user} may not make the ledger's tables in schema {schema};"
            f" let an administrator run: {remedy}"
        ) from None
    _check_rights(connection, target, quote(user))


_OWNERS: Final = text(
    "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'r' AND relname = ANY(:names)"
    " AND pg_table_is_visible(oid)"
)


_MAY_COUNT: Final = text("SELECT coalesce(has_sequence_privilege(to_regclass(:name), :right), true)")
_MAY: Final = text("SELECT coalesce(has_table_privilege(to_regclass(:name), :right), true)")


def _make_room(schema: str, user: str) -> str:
    return (
        f"GRANT CREATE ON SCHEMA {schema} TO {user} (or CREATE SCHEMA flovia AUTHORIZATION {user}, and add"
        " ?schema=flovia to the URL)"
    )


def _check_rights(connection: Connection, target: Target, user: str) -> None:
    """See that the tables can be used by who did not make them."""
    names = [table.name for table in METADATA.tables.values()]
    missing = [
        name for name in names if not all(connection.scalar(_MAY, {"name": name, "right": right}) for right in RIGHTS)
    ]
    sequence = all(connection.scalar(_MAY_COUNT, {"name": SEQUENCE, "right": right}) for right in ("USAGE", "SELECT"))
    remedies = [f"GRANT {', '.join(RIGHTS)} ON {', '.join(missing)} TO {user}"] if missing else []
    if not sequence:
        remedies.append(f"GRANT USAGE, SELECT ON SEQUENCE {SEQUENCE} TO {user}")
    if remedies:
        raise WiringError(
            f"{target.name}: its user may not use the ledger's tables; let their owner run: {'; '.join(remedies)}"
        )


def wiring_error(error: LedgerError, target: Target) -> WiringError | None:
    """The refusal behind a failure that waiting does not mend, or None."""
    if _REFUSED.search(str(error)) is None:
        return None
    return WiringError(f"{target.name} cannot be used as a ledger: {error}; correct FLOVIA_LEDGER")
