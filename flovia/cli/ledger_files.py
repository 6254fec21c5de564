"""The files of a ledger in SQLite, which nobody else may write."""

import os
import stat
from pathlib import Path
from typing import Final

from flovia.core.errors import CallerError
from flovia.ledger.sql_database import Database

_BESIDE: Final = ("", "-journal", "-wal", "-shm")
"""What SQLite names its files, behind the database's own name."""


def refuse_ledger(path: Path, database: Database) -> None:
    """See that what is to be written is not the ledger itself, under whatever name.

    Found by looking at names only: to open and close a database's file would take SQLite's locks away.

    Raises:
        CallerError: it is; nothing was changed.
    """
    ours: object = getattr(database, "path", None)
    if not isinstance(ours, Path):
        return
    for ending in _BESIDE:
        one = ours.with_name(ours.name + ending)
        if path.resolve() == one.resolve() or (_identity(path) or 0) == _identity(one):
            raise CallerError(f"{path} is the ledger's own file; name another one for the events; nothing was changed")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
