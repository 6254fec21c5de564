"""The contract of a ledger towards exporters, on every implementation we ship."""

from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from flovia.core.errors import CallerError, WiringError
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import SinkLedger, with_sinks
from flovia.testing.ledger_sinks import SinkContract
from tests.postgres.server import Server


class TestMemory(SinkContract):
    """In this process's memory."""

    def open(self, clock: Callable[[], float]) -> SinkLedger:
        """An empty one."""
        return MemoryLedger(clock=clock)


class TestSqlite(SinkContract):
    """In a SQLite file."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.numbers = count()

    def open(self, clock: Callable[[], float]) -> SinkLedger:
        """A new file."""
        return with_sinks(open_ledger(f"sqlite:///{self.folder / f'ledger-{next(self.numbers)}.db'}", clock=clock))


class TestPostgres(SinkContract):
    """In a PostgreSQL database."""

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Server, sink_database: str) -> None:
        self.server = postgres
        self.database = sink_database

    def open(self, clock: Callable[[], float]) -> SinkLedger:
        """Emptied tables."""
        self.server.empty(self.database)
        return with_sinks(open_ledger(self.server.url(self.database), clock=clock))


@pytest.fixture(scope="module")
def sink_database(postgres: Server, ledger_template: str) -> str:
    """One database for all these tests: making one takes longer than emptying it."""
    return postgres.database(ledger_template)


def test_a_ledger_without_the_verbs_is_refused() -> None:
    """A ledger that somebody wrote before there were exporters is told what it lacks."""

    class Old:
        pass

    with pytest.raises(WiringError, match="Old keeps no cursors"):
        with_sinks(cast("Any", Old()))


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 101, "a\n"])
def test_names(name: str) -> None:
    """A sink's name is something that can be typed and shown."""
    with closing(MemoryLedger()) as ledger, pytest.raises(CallerError):
        ledger.lease_sink(name, "one", 60.0)


def test_cursors_outlive_the_process(tmp_path: Path) -> None:
    """What was advanced is there when the file is opened again."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(with_sinks(open_ledger(url))) as ledger:
        fence = ledger.lease_sink("warehouse", "one", 60.0).fence
        assert fence is not None
        assert ledger.advance_sink("warehouse", fence, 41, 60.0)
    with closing(with_sinks(open_ledger(url))) as ledger:
        assert 41 == ledger.lease_sink("warehouse", "one", 60.0).position
