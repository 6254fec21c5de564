"""A small run of each campaign on a SQLite file; docs/reliability.md has the whole ones and what they found."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.campaigns import chaos, kills, races, soak, years
from tests.postgres.server import Server

CI = bool(os.environ.get("CI"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these campaigns read /proc and limit processes")


def test_one_credential_many_processes(tmp_path: Path) -> None:
    """However many processes are asked at once, a credential is delivered once and settled once (S42 S43)."""
    small = races.Races(rounds=20 if CI else 2, processes=4, requests=50 if CI else 20)
    found = races.run(small, "sqlite", tmp_path)
    assert small.rounds == found["200"]
    assert small.rounds * (small.requests - 1) == found["invalid-challenge"]


def test_one_credential_many_processes_on_postgres(tmp_path: Path, postgres: Server) -> None:
    """The same on PostgreSQL: gunicorn loads the app, and its ledger, before it forks the workers (S42 S43)."""
    small = races.Races(rounds=2, processes=2, requests=20)
    found = races.run(small, postgres.url(postgres.database()), tmp_path)
    assert small.rounds == found["200"]
    assert small.rounds * (small.requests - 1) == found["invalid-challenge"]


@pytest.mark.skipif(not CI, reason="takes a minute; kills at some of the points are in the next test")
def test_killed_three_times_at_each_point(tmp_path: Path) -> None:
    """A worker that dies where it hurts most costs nobody anything; so do SIGTERM and a full disk."""
    points = (
        *(f"{verb}.{when}" for verb in ("claim", "settle", "deliver") for when in ("before", "commit", "after")),
        *("verify.before", "verify.after", "handler.before", "body.middle", "redeem.commit", "close_refund.before"),
    )
    small = kills.Kills(each=3, points=points, random=10, terms=3, full_disk=2)
    died, found = kills.run(small, "sqlite", tmp_path)
    assert dict.fromkeys(points, 3).items() <= died.items()
    assert found["paid"] > 0


def test_killed_at_some_points(tmp_path: Path) -> None:
    """The same at the points around the money and the last byte."""
    points = ("verify.after", "settle.commit", "body.middle", "deliver.before", "deliver.after")
    died, found = kills.run(kills.Kills(each=1, points=points, processes=2), "sqlite", tmp_path)
    assert dict.fromkeys(points, 1) == died
    # They are counted by their numbers, and one may be given to another process when its first has died.
    assert 0 < found["dead processes"] <= 5


@pytest.mark.skipif(not CI, reason="takes a minute; what each fault does to a ledger is in tests/ledger")
@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"])
def test_a_database_and_a_sink_that_fail(ledger: str, tmp_path: Path) -> None:
    """Faults of a database and a sink that hangs, in turns: each buyer has one delivery, each event comes out."""
    short = chaos.Chaos(seconds=24, rate=10, window=1.0)
    lines = chaos.run(short, ledger, tmp_path)
    assert any(line.startswith("paid, sink blocked") for line in lines)


@contextmanager
def in_memory(otherwise: Path) -> Generator[Path]:
    """A folder in memory where there is a place: commits would wait for a disk that others use, which is not asked."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else otherwise) as folder:
        yield Path(folder)


def test_steady_traffic(tmp_path: Path) -> None:
    """Wrong and used credentials among the right ones: no error, and no process grows."""
    with in_memory(tmp_path) as folder:
        lines = soak.run(soak.Soak(seconds=60 if CI else 8, rate=20, patient=True), "sqlite", folder)
    assert "requests" in lines[0]


def test_two_years(tmp_path: Path) -> None:
    """The tables hold what the policy says and no more, two years of payments later."""
    with in_memory(tmp_path) as folder:
        lines = years.run(5_000 if CI else 500, "sqlite", folder)
    assert "rows at most" in lines[0]
