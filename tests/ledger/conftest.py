"""A ledger of each kind that processes can share."""

from pathlib import Path

import pytest

from tests.postgres.server import Server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger, in a file and in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    server: Server = request.getfixturevalue("postgres")
    return server.url(server.database(request.getfixturevalue("ledger_template")))
