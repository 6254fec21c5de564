"""The behaviour table over real servers: the same requests, the same answers, on every adapter."""

import os
from collections.abc import Generator

import attrs
import pytest

from flovia.testing.fixture import serve
from tests.adapters.behaviour.rows import ROWS
from tests.adapters.behaviour.runner import Run
from tests.adapters.behaviour.table import CASES, Case

WSGI = ("wsgiref", "waitress", "gunicorn")
ASGI = ("uvicorn-h11", "uvicorn", "hypercorn")

Combination = tuple[str, str, str]
"""Adapter, server, kind of ledger."""

COMBINATIONS: list[Combination] = [
    *((adapter, server, "memory") for adapter in ("wsgi", "flask") for server in WSGI),
    *((adapter, server, "memory") for adapter in ("asgi", "fastapi", "hono") for server in ASGI),
    ("asgi", "hypercorn-trio", "memory"),
    ("hono", "hypercorn-trio", "sqlite"),
    ("flask", "waitress", "sqlite"),
    ("asgi", "uvicorn", "sqlite"),
]
QUICK: list[Combination] = [
    ("wsgi", "waitress", "memory"),
    ("flask", "wsgiref", "memory"),
    ("asgi", "uvicorn", "sqlite"),
    ("fastapi", "uvicorn-h11", "memory"),
    ("hono", "hypercorn", "memory"),
]
"""One combination per adapter, with almost every server: what runs where nobody asks for everything."""


@attrs.frozen
class Served:
    """A fixture that is being served."""

    adapter: str
    server: str
    url: str


@pytest.fixture(scope="session", params=COMBINATIONS if os.environ.get("CI") else QUICK, ids="@".join)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """One adapter on one server and ledger, for all rows of the table."""
    adapter, server, kind = request.param
    ledger = "memory://" if kind == "memory" else f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'table.db'}"
    with serve(adapter, server=server, ledger=ledger) as url:
        yield Served(adapter, server, url)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(served: Served, row: Case) -> None:
    """Every adapter on every server answers the row's requests as the table says."""
    for name in (served.adapter, served.server):
        if name in row.without:
            pytest.skip(row.without[name])
    Run(url=served.url, adapter=served.adapter, server=served.server, case=row)()


def test_every_server_requirement_has_a_row() -> None:
    """The table covers all that is asked of a server."""
    ranges = (
        range(1, 9),
        (10, 12),
        range(14, 18),
        range(20, 29),
        range(30, 35),
        range(36, 42),
        range(42, 45),
        (47, 48),
    )
    wanted = {f"S{number:02}" for numbers in ranges for number in numbers} | {f"H{number:02}" for number in range(1, 6)}
    assert set() == wanted - {requirement for row in ROWS for requirement in row.requirements}


def test_no_row_is_left_out() -> None:
    """What a module of the table adds is run."""
    assert {row.name for row in CASES} == {row.name for row in ROWS}
