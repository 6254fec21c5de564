"""Files that belong to a ledger, and are no place to write anything else."""

import os
import stat
from pathlib import Path
from typing import Final

from flovia.core.errors import CallerError
from flovia.ledger.sql_database import Database

_BESIDE: Final = ("", "-journal", "-wal", "-shm", "-in-use")
"""How the files of a SQLite ledger end, behind the database's own name."""


def refuse_ledger(path: Path, database: Database, then: str) -> None:
    """See that ``path`` is none of the ledger's own files, nor a link to one.

    Found by looking at names only: to open and close a database's file takes SQLite's locks away.

    Raises:
        CallerError: it is; ``then`` says what was not done.
    """
    ours: object = getattr(database, "path", None)
    if not isinstance(ours, Path):
        return
    for ending in _BESIDE:
        one = ours.with_name(ours.name + ending)
        if path.resolve() == one.resolve() or (_identity(path) or 0) == _identity(one):
            raise CallerError(f"{path} is the ledger's own file; name another one for the events, {then}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
