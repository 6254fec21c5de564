"""One ledger for all tests that only read, and a dashboard over it."""

from collections.abc import Generator

import httpx
import pytest

from tests.dashboard.shop import populate, served


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger in which a small world has lived."""
    found = f"sqlite:///{tmp_path_factory.mktemp('dashboard')}/ledger.db"
    populate(found)
    return found


@pytest.fixture(scope="module")
def client(url: str) -> Generator[httpx.Client]:
    """A client of a dashboard over it, on uvicorn: closed with the module, because its reader goes on by itself, and
    other tests turn what all readers call.
    """
    with served(url) as found:
        yield found
