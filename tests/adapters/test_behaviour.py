"""The behaviour table over real servers: the same requests, the same answers, on every adapter."""

import os
from collections.abc import Generator

import attrs
import pytest

from flovia.testing.fixture import serve
from tests.adapters.behaviour import bodies, challenges, credentials, deliveries, failures, hostile
from tests.adapters.behaviour.runner import Run
from tests.adapters.behaviour.table import CASES, Case

MODULES = (challenges, credentials, deliveries, bodies, failures, hostile)
WSGI = ("wsgiref", "waitress", "gunicorn")
ASGI = ("uvicorn-h11", "uvicorn", "hypercorn")
PAIRS = [(adapter, server) for adapter in ("wsgi", "flask") for server in WSGI]
PAIRS += [(adapter, server) for adapter in ("asgi", "fastapi", "hono") for server in ASGI]
QUICK = [
    ("wsgi", "waitress"),
    ("flask", "wsgiref"),
    ("asgi", "uvicorn"),
    ("fastapi", "uvicorn-h11"),
    ("hono", "hypercorn"),
]
"""One server per adapter, each server once or nearly: what runs where nobody asks for everything."""


@attrs.frozen
class Served:
    """A fixture that is being served."""

    adapter: str
    server: str
    url: str


def pairs() -> list[tuple[str, str]]:
    """What this run goes through: everything in CI, else one server per adapter."""
    return PAIRS if os.environ.get("CI") else QUICK


@pytest.fixture(scope="session", params=pairs(), ids="@".join)
def served(request: pytest.FixtureRequest) -> Generator[Served]:
    """One adapter on one server, for all rows of the table."""
    adapter, server = request.param
    with serve(adapter, server=server) as url:
        yield Served(adapter, server, url)


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
def test_row(served: Served, row: Case) -> None:
    """Every adapter on every server answers the row's requests as the table says."""
    for name in (served.adapter, served.server):
        if name in row.without:
            pytest.skip(row.without[name])
    Run(url=served.url, adapter=served.adapter, server=served.server, case=row)()
