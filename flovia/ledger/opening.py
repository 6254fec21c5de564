"""From a ledger's URL to the ledger."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flovia.core.errors import WiringError
from flovia.ledger.base import Ledger

_SQLITE: Final = "sqlite:///"


def open_ledger(
    url: str, *, clock: Callable[[], float] = time.time, create: bool = True, patience_s: float | None = None
) -> Ledger:
    """Open the ledger that ``url`` names.

    * ``sqlite:///flovia.db``: a file, relative to the working directory of this moment;
    * ``sqlite:////var/lib/app/flovia.db``: a file by its absolute path;
    * ``memory://``: this process's memory, for tests and for trying things out.

    Args:
        url: see above.
        clock: Unix seconds, for leases and for forgetting.
        create: make a file that is not there; False for who only wants to read.
        patience_s: how long a call may wait for other users of a file; None for what requests are promised. More is
            for tests, where a slow disk is not an outage.

    Raises:
        WiringError: the URL names no ledger, or the file cannot be one; the message says what to do.
    """
    if url == "memory://":
        from flovia.ledger.memory import MemoryLedger

        return MemoryLedger(clock=clock)
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme in ("postgresql", "postgres"):
        raise WiringError(
            "a ledger in PostgreSQL comes with a later version of flovia;"
            " until then use a file: FLOVIA_LEDGER=sqlite:////var/lib/app/flovia.db"
        )
    if not url.startswith(_SQLITE):
        raise WiringError(
            f"{scheme}: is no kind of ledger; FLOVIA_LEDGER is sqlite:///flovia.db,"
            " sqlite:////absolute/path.db or memory://"
        )
    path = url.removeprefix(_SQLITE)
    if not path or path == ":memory:" or path.startswith("file:") or "?" in path or "\0" in path:
        raise WiringError(
            "the SQLite ledger needs the plain path of a file, sqlite:///flovia.db;"
            " for a ledger that lives in memory use memory://"
        )
    try:
        from flovia.ledger.sql import SqlLedger
        from flovia.ledger.sqlite import SqliteDatabase
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "sqlalchemy":
            raise
        raise WiringError(
            "a SQLite ledger needs SQLAlchemy: pip install 'flovia[server]'"
            " (or FLOVIA_LEDGER=memory:// to try things out in one process)"
        ) from None
    return SqlLedger(SqliteDatabase(Path(path), create=create, patience_s=patience_s), clock=clock)
