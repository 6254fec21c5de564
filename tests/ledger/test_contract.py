"""The contract of a ledger, on every implementation we ship."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.testing.ledgers import LedgerContract
from tests.postgres.server import Server


class TestMemory(LedgerContract):
    """In this process's memory."""

    def open(self, clock: Callable[[], float]) -> Ledger:
        """An empty one."""
        return MemoryLedger(clock=clock)


class TestSqlite(LedgerContract):
    """In a SQLite file."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.numbers = count()

    def open(self, clock: Callable[[], float]) -> Ledger:
        """A new file."""
        return open_ledger(f"sqlite:///{self.folder / f'ledger-{next(self.numbers)}.db'}", clock=clock)


class TestPostgres(LedgerContract):
    """In a PostgreSQL database."""

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Server, contract_database: str) -> None:
        self.server = postgres
        self.database = contract_database

    def open(self, clock: Callable[[], float]) -> Ledger:
        """Emptied tables."""
        self.server.empty(self.database)
        return open_ledger(self.server.url(self.database), clock=clock)


@pytest.fixture(scope="module")
def contract_database(postgres: Server, ledger_template: str) -> str:
    """One database for all these tests: making one takes longer than emptying it."""
    return postgres.database(ledger_template)
