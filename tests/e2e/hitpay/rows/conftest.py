"""The processes, started once."""

from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

from tests.e2e.hitpay.rows.world import World, world


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    """One app, one sandbox."""
    with world(tmp_path_factory.mktemp("rows")) as found:
        yield found


@pytest.fixture
def here(processes: World, tmp_path: Path) -> World:
    """The same processes, with all knobs as they were, a journal of this test alone, and a new home for agents."""
    processes.clear()
    numbers = [one["number"] for one in processes.journal()]
    since = numbers[-1] if numbers else 0
    assert isinstance(since, int)
    return attrs.evolve(processes, since=since, folder=tmp_path)
