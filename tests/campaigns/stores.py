"""The databases of the campaigns: a new SQLite file, one that is there already, or a PostgreSQL of our own."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.postgres.server import Server


class Store(Protocol):
    """A database that a campaign may hurt."""

    url: str

    def restart(self) -> None:
        """End it and start it again."""
        ...

    def another(self, folder: Path) -> str:
        """The URL of a new, empty database of the same kind."""
        ...


class File:
    """A SQLite file, or a database that somebody else minds: nothing to restart."""

    def __init__(self, url: str) -> None:
        self.url = url

    def restart(self) -> None:
        """There is no server."""
        raise AssertionError("this needs --ledger postgresql: a database server of the campaign's own")

    def another(self, folder: Path) -> str:
        """A file in ``folder``."""
        assert self.url.startswith("sqlite:"), "this needs --ledger postgresql, or a SQLite file"
        return f"sqlite:///{folder}/another.db"


class Postgres:
    """A PostgreSQL that belongs to the campaign; every other restart is a crash."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.url = server.url(server.database())
        self._ways = cycle((signal.SIGINT, signal.SIGQUIT))

    def restart(self) -> None:
        """End it and start it again."""
        self.server.restart(next(self._ways))

    def another(self, folder: Path) -> str:
        """A database of the same server."""
        return self.server.url(self.server.database())


@contextmanager
def opened(ledger: str, folder: Path, **settings: str) -> Generator[Store]:
    """``sqlite``: a new file in ``folder``; ``postgresql``: a server of our own, with ``settings``; else a URL."""
    if ledger == "sqlite":
        yield File(f"sqlite:///{folder}/ledger.db")
    elif ledger == "postgresql":
        from tests.postgres.programs import required
        from tests.postgres.server import Server

        server = Server(required(), **{"max_connections": "300", **settings})
        try:
            server.make()
            yield Postgres(server)
        finally:
            server.close()
    else:
        yield File(ledger)
