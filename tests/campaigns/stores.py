"""The databases of the campaigns: a new SQLite file, one that is there already, or a PostgreSQL of our own."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A database that a campaign may hurt."""

    url: str

    def restart(self) -> None:
        """Stop it hard and start it again."""
        ...


class File:
    """A SQLite file, or a database that somebody else minds: nothing to restart."""

    def __init__(self, url: str) -> None:
        self.url = url

    def restart(self) -> None:
        """There is no server."""
        raise AssertionError("--restart-store needs --ledger postgresql: a database server of the campaign's own")


@contextmanager
def opened(ledger: str, folder: Path) -> Generator[Store]:
    """``sqlite``: a new file in ``folder``; ``postgresql``: a server of our own; else a URL."""
    if ledger == "sqlite":
        yield File(f"sqlite:///{folder}/ledger.db")
    else:
        yield File(ledger)
