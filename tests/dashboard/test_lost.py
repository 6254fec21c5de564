"""A ledger whose file is deleted, or in whose place another one is: said so, and then the numbers of that one."""

import shutil
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from flovia.core.errors import LedgerError
from flovia.ledger.opening import open_ledger
from tests.dashboard.shop import fresh, served, story, write
from tests.patience import eventually

READS = ("/", "/endpoints", "/retention", "/events", "/integrity", "/attempts/x", "/integrity/x")
DATA = ("/api/overview", "/api/funnel", "/api/events", "/api/attempts/x", "/events/new?after=0")


def path_of(url: str) -> Path:
    """Its file."""
    return Path(url.removeprefix("sqlite:///"))


def gone(path: Path) -> None:
    """Deleted, with what lies beside it."""
    for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        one.unlink(missing_ok=True)


def garbage(path: Path) -> None:
    """Something else, moved over it."""
    other = path.with_suffix(".other")
    other.write_bytes(b"no database at all " * 1000)
    gone(path)
    other.replace(path)


def empty(path: Path) -> None:
    """Nothing, moved over it."""
    other = path.with_suffix(".other")
    other.touch()
    gone(path)
    other.replace(path)


def foreign(path: Path) -> None:
    """Somebody else's database, moved over it."""
    other = path.with_suffix(".other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE cakes (name TEXT)")
        connection.commit()
    gone(path)
    other.replace(path)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger of two attempts, and a backup of it from when it had one."""
    found = fresh(tmp_path)
    write(found, story(1, "settle", "deliver"))
    with closing(sqlite3.connect(path_of(found))) as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    write(found, story(2, "settle", "deliver"))
    return found


@pytest.fixture
def client(url: str) -> Generator[httpx.Client]:
    """A dashboard that has read it."""
    with served(url) as found:
        eventually(lambda: found.get("/"), lambda one: "flovia-waiting" not in one.headers)
        assert 2 == found.get("/api/overview").json()["attempts"]
        yield found


@pytest.mark.parametrize("becomes", [gone, garbage, empty, foreign])
def test_a_file_that_is_no_ledger_any_more(url: str, client: httpx.Client, becomes: Callable[[Path], None]) -> None:
    """No page and no answer has numbers of it; every one says what is the matter; a backup put there is read."""
    path = path_of(url)
    becomes(path)
    for address in (*READS, *DATA):
        answer = eventually(
            lambda address=address: client.get(address), lambda one: "flovia-waiting" not in one.headers
        )
        assert (503, "1") == (answer.status_code, answer.headers.get("retry-after")), address
        assert "ledger" in answer.text
    said = client.get("/api/funnel").json()["detail"]
    assert any(words in said for words in ("file is gone; put it back", "holds no ledger of flovia", "not a database"))
    if becomes is foreign:
        with closing(sqlite3.connect(path)) as connection:
            assert [("cakes",)] == connection.execute("SELECT name FROM sqlite_master").fetchall()
    if becomes is gone:
        assert not path.exists()
    shutil.copy(path.with_name("backup.db"), path.with_suffix(".new"))
    gone(path)
    path.with_suffix(".new").replace(path)
    found = eventually(lambda: client.get("/api/overview"), lambda one: one.status_code == 200)
    assert 1 == found.json()["attempts"]
    assert 200 == client.get("/events/new?after=0").status_code


def test_a_backup_that_is_moved_over_it(url: str, client: httpx.Client) -> None:
    """Its numbers, its own position, and what comes into it from then on."""
    path = path_of(url)
    Path(f"{path}-wal").unlink(missing_ok=True)
    path.with_name("backup.db").replace(path)
    found = eventually(lambda: client.get("/api/overview"), lambda one: one.status_code == 200)
    assert 1 == found.json()["attempts"]
    page = eventually(
        lambda: client.get("/"), lambda one: one.status_code == 200 and "flovia-waiting" not in one.headers
    )
    assert ">1</a></dd>" in page.text
    write(url, story(3), story(4))
    assert 3 == client.get("/api/overview").json()["attempts"]
    assert 1 == len(client.get("/api/events?step=delivered").json()["events"])


def test_readers_of_a_ledger_notice(url: str, tmp_path: Path) -> None:
    """Also those that only read: what a lost file says is true no more."""
    with closing(open_ledger(url)) as ledger:
        assert len(ledger.read_events()) > 0
        path_of(url).rename(tmp_path / "away.db")
        with pytest.raises(LedgerError, match="its file is gone"):
            ledger.read_events()
        (tmp_path / "backup.db").rename(path_of(url))
        with closing(sqlite3.connect(path_of(url))) as connection:
            (count,) = connection.execute("SELECT count(*) FROM flovia_events").fetchone()
        eventually(lambda: read(ledger.read_events), lambda found: found == count)


def read(events: Callable[[], Sequence[object]]) -> int:
    """How many there are, -1 if nobody can say."""
    try:
        return len(events())
    except LedgerError:
        return -1
