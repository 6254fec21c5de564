"""From a ledger's URL to the ledger."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from flovia.core.errors import WiringError
from flovia.ledger.base import Ledger

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql", "postgres")
_EXTRAS: Final = {"sqlalchemy": ("server", "SQLAlchemy"), "psycopg": ("postgres", "psycopg")}


def open_ledger(
    url: str,
    *,
    clock: Callable[[], float] | None = None,
    create: bool = True,
    patience_s: float | None = None,
) -> Ledger:
    """Open the ledger that ``url`` names.

    * ``sqlite:///flovia.db``: a file, relative to the working directory of this moment;
    * ``sqlite:////var/lib/app/flovia.db``: a file by its absolute path;
    * ``postgresql://user:password@host:5432/database``: a PostgreSQL database, with libpq's parameters, ``pool_size``
      and ``schema``; one that cannot be reached now is waited for, call by call;
    * ``memory://``: this process's memory, for tests and for trying things out.

    Args:
        url: see above.
        clock: Unix seconds, for leases and for forgetting; None for the store's own: the machine's, and with
            PostgreSQL the database's.
        create: make a ledger that is not there; False for who only wants to read.
        patience_s: how long a call may wait; None for what requests are promised. More is for tests, where a slow
            disk is not an outage.

    Raises:
        WiringError: the URL names no ledger, or what it names cannot be one; the message says what to do.
    """
    if url == "memory://":
        from flovia.ledger.memory import MemoryLedger

        return MemoryLedger() if clock is None else MemoryLedger(clock=clock)
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        if scheme in _POSTGRES and "://" in url:
            return _open_postgres(url, clock, create, patience_s)
        if url.startswith(_SQLITE):
            return _open_sqlite(url.removeprefix(_SQLITE), clock, create, patience_s)
    except ModuleNotFoundError as error:
        missing = _EXTRAS.get((error.name or "").partition(".")[0])
        if missing is None:
            raise
        extra, package = missing
        extra = "postgres" if scheme in _POSTGRES else extra
        raise WiringError(
            f"a ledger in a database needs {package}: pip install 'flovia[{extra}]'"
            " (or FLOVIA_LEDGER=memory:// to try things out in one process)"
        ) from None
    raise WiringError(
        f"{scheme}: is no kind of ledger; FLOVIA_LEDGER is sqlite:///flovia.db, sqlite:////absolute/path.db,"
        " postgresql://user:password@host/database or memory://"
    )


def shown(url: str) -> str:
    """A ledger's URL as it may be shown: without user, password and parameters."""
    scheme, colon, rest = url.partition("://")
    if scheme.partition("+")[0] not in _POSTGRES:
        return url
    return scheme + colon + rest.partition("?")[0].rpartition("@")[2]


def _open_postgres(url: str, clock: Callable[[], float] | None, create: bool, patience_s: float | None) -> Ledger:
    from flovia.ledger.postgres import PostgresDatabase
    from flovia.ledger.postgres_url import read_url
    from flovia.ledger.sql import SqlLedger

    return SqlLedger(PostgresDatabase(read_url(url), create=create, patience_s=patience_s), clock=clock)


def _open_sqlite(path: str, clock: Callable[[], float] | None, create: bool, patience_s: float | None) -> Ledger:
    if not path or path == ":memory:" or path.startswith("file:") or "?" in path or "\0" in path:
        raise WiringError(
            "the SQLite ledger needs the plain path of a file, sqlite:///flovia.db;"
            " for a ledger that lives in memory use memory://"
        )
    from flovia.ledger.sql import SqlLedger
    from flovia.ledger.sqlite import SqliteDatabase

    return SqlLedger(SqliteDatabase(Path(path), create=create, patience_s=patience_s), clock=clock)
