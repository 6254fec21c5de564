"""From a ledger's URL to the ledger."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flovia.core.errors import WiringError
from flovia.core.retention import Retention
from flovia.ledger.base import Ledger

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql", "postgres")
# A host and its port, several of them, or none; a database's name. What does not look so may be a part of a password.
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_PLACE: Final = re.compile(rf"(?:{_HOST}(?:,{_HOST})*)?(?:/[A-Za-z0-9._-]*)?", re.ASCII)
_POSTGRES_URL: Final = re.compile(r"(postgres(?:ql)?(?:\+[a-z0-9]{1,20})?://)(.*)", re.ASCII | re.DOTALL)
_FILE_URL: Final = re.compile(r"sqlite:///[^?]*", re.ASCII)
_OTHER_SCHEME: Final = re.compile(r"([a-z]{2,12}(?:\+[a-z0-9]{2,12})?)://", re.ASCII)
_EXTRAS: Final = {"sqlalchemy": ("server", "SQLAlchemy"), "psycopg": ("postgres", "psycopg")}


def open_ledger(
    url: str,
    *,
    clock: Callable[[], float] | None = None,
    create: bool = True,
    patience_s: float | None = None,
    retention: Retention | None = None,
    hide: Callable[[str], str] | None = None,
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
        retention: how long events and finished payments are kept; None for ever. A memory ledger has bounds of its own.
        hide: what is written of a payer and of a workflow in place of their names, in events.

    Raises:
        WiringError: the URL names no ledger, or what it names cannot be one; the message says what to do.
    """
    if url == "memory://":
        from flovia.ledger.memory import MemoryLedger

        return MemoryLedger(clock=time.time if clock is None else clock, hide=hide)
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        if scheme in _POSTGRES and "://" in url:
            from flovia.ledger.postgres import PostgresDatabase
            from flovia.ledger.postgres_url import read_url
            from flovia.ledger.sql import SqlLedger

            where = PostgresDatabase(read_url(url), create=create, patience_s=patience_s)
            return SqlLedger(where, clock=clock, retention=retention, hide=hide)
        if url.startswith(_SQLITE):
            from flovia.ledger.sql import SqlLedger
            from flovia.ledger.sqlite import SqliteDatabase

            file = SqliteDatabase(_file(url.removeprefix(_SQLITE)), create=create, patience_s=patience_s)
            return SqlLedger(file, clock=clock, retention=retention, hide=hide)
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
    other = _OTHER_SCHEME.match(url)
    what = f"{other[1]}: is no kind of ledger" if other else shown(url)
    raise WiringError(
        f"{what}; FLOVIA_LEDGER is sqlite:///flovia.db, sqlite:////absolute/path.db,"
        " postgresql://user:password@host/database or memory://"
    )


def shown(url: str) -> str:
    """A ledger's URL as it may be shown: what is surely no password. Of any other text only its length."""
    if url == "memory://" or (_FILE_URL.fullmatch(url) and url.isprintable()):
        return url
    found = _POSTGRES_URL.fullmatch(url)
    if found is None:
        return f"a text of {len(url)} characters that is no ledger's URL"
    head, _, place = found[2].rpartition("@")
    place = place.partition("?")[0]
    # A ? before the last @ may begin the parameters or be in the password: nobody knows what is the host.
    known = "?" not in head and _PLACE.fullmatch(place) is not None
    return found[1] + (place if known else "…")


def _file(path: str) -> Path:
    if not path or path == ":memory:" or path.startswith("file:") or "?" in path or "\0" in path:
        raise WiringError(
            "the SQLite ledger needs the plain path of a file, sqlite:///flovia.db;"
            " for a ledger that lives in memory use memory://"
        )
    return Path(path)
