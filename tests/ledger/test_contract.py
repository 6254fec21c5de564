"""The contract of a ledger, on every implementation we ship."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.testing.ledgers import LedgerContract


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
