"""Opening a ledger by its URL, and what is said when that cannot work."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from flovia.core.errors import WiringError
from flovia.ledger import sqlite
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger, shown
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_schema import SCHEMA_VERSION
from flovia.ledger.sqlite import journal_mode
from flovia.testing.ledger_steps import ManualClock, claim
from tests.patience import PROGRAM_S


def refusal(url: str) -> str:
    """What the WiringError says; of a file that another holds, at once."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(WiringError) as caught:
        patch.setattr(sqlite, "PATIENCE_S", 0.05)
        open_ledger(url)
    return str(caught.value)


def test_memory() -> None:
    """``memory://`` is this process's memory."""
    assert isinstance(open_ledger("memory://"), MemoryLedger)


def test_absolute_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes and a name: in the working directory of that moment. Four: anywhere. Odd names work."""
    monkeypatch.chdir(tmp_path)
    relative = open_ledger("sqlite:///a b%20#ü.db")
    monkeypatch.chdir("/")
    clock = ManualClock()
    assert claim(relative, clock).outcome == "claimed"
    absolute = open_ledger(f"sqlite:///{tmp_path}/a b%20#ü.db")
    assert claim(absolute, clock).outcome == "busy"
    assert (absolute.direct, absolute.shared) == (False, True)
    relative.close()
    absolute.close()


def test_a_new_file_is_private(tmp_path: Path) -> None:
    """The ledger holds receipts: only its owner may read a file that we make. One that is there stays as it is."""
    open_ledger(f"sqlite:///{tmp_path}/new.db").close()
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600
    (tmp_path / "mine.db").touch(0o644)
    open_ledger(f"sqlite:///{tmp_path}/mine.db").close()
    assert stat.S_IMODE((tmp_path / "mine.db").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://user:test-secret@db/app", "sqlite:///flovia.db"),
        ("flovia.db", "sqlite:///flovia.db"),
        ("", "sqlite:///flovia.db"),
        ("sqlite://", "sqlite:///flovia.db"),
        ("sqlite+aiosqlite:///flovia.db", "sqlite:///flovia.db"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///file:x?mode=memory", "memory://"),
        ("sqlite:///x.db?cache=shared", "plain path"),
        ("sqlite:///x\0.db", "plain path"),
    ],
)
def test_urls_that_name_no_ledger(url: str, remedy: str) -> None:
    """Each is refused with what to write instead, and without the password in it (S37)."""
    message = refusal(url)
    assert remedy in message
    assert "test-secret" not in message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", "memory://"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
        ("sqlite:///a\nb.db", "a text of 16 characters that is no ledger's URL"),
        ("test-secret", "a text of 11 characters that is no ledger's URL"),
        ("postgresql://user:test-secret@db.example:5432/shop", "postgresql://db.example:5432/shop"),
        ("postgres://user:test@secret@db.example/shop?sslmode=require", "postgres://db.example/shop"),
        ("postgresql://db.example/shop", "postgresql://db.example/shop"),
        ("postgresql://user:test-secret?@db.example/shop", "postgresql://…"),
        ("postgresql://user:test-secret", "postgresql://…"),
    ],
    ids=count(1),  # so that the name of a test that needs no server has none in it
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    """S37: of what is a ledger's URL the place, of any other text its length."""
    assert expected == shown(url)


def test_patience(tmp_path: Path) -> None:
    """How long a call waits is what was asked for, or what requests are promised."""
    for asked, expected in ((7.5, 7.5), (None, sqlite.PATIENCE_S)):
        ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db", patience_s=asked)
        assert isinstance(ledger, SqlLedger)
        assert expected == ledger.database.patience_s
        ledger.close()


def test_a_missing_directory(tmp_path: Path) -> None:
    """The message names the file and says to create the directory; nothing is created."""
    message = refusal(f"sqlite:///{tmp_path}/no/such/ledger.db")
    assert "create its directory" in message
    assert not (tmp_path / "no").exists()


def test_only_to_read(tmp_path: Path) -> None:
    """Who only wants to read does not leave a new, empty ledger behind after a misspelled name."""
    with pytest.raises(WiringError, match="there is no ledger at"):
        open_ledger(f"sqlite:///{tmp_path}/misspelt.db", create=False)
    assert list(tmp_path.iterdir()) == []
    open_ledger(f"sqlite:///{tmp_path}/ledger.db").close()
    open_ledger(f"sqlite:///{tmp_path}/ledger.db", create=False).close()


def test_a_directory(tmp_path: Path) -> None:
    """A directory is no file."""
    assert "cannot be opened for writing" in refusal(f"sqlite:///{tmp_path}")


def test_not_a_database(tmp_path: Path) -> None:
    """A file of another kind is refused and left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("milk, eggs, flour\n" * 100)
    assert "not a database" in refusal(f"sqlite:///{path}")
    assert "milk, eggs, flour\n" * 100 == path.read_text()


def test_another_version(tmp_path: Path) -> None:
    """Tables of a version this flovia does not know are not touched."""
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE flovia_meta SET value = '999'")
    raw.close()
    message = refusal(f"sqlite:///{path}")
    assert "version 999" in message
    assert f"knows {SCHEMA_VERSION}" in message


def test_beside_other_tables(tmp_path: Path) -> None:
    """The ledger may live in the application's own database: it keeps to its own names."""
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE events (id INTEGER)")
    raw.close()
    open_ledger(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as raw:
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    raw.close()
    assert {name for name in names if not name.startswith(("flovia_", "sqlite_"))} == {"events"}


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("BEGIN EXCLUSIVE", "locked"),
        ("UPDATE flovia_meta SET value = '999'", "version 999"),
    ],
)
def test_a_refusal_leaves_no_file_open(tmp_path: Path, before: str, why: str) -> None:
    """Whoever tries again until it goes does not run out of files."""
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    open_files = len(os.listdir("/dev/fd"))
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute(before)
    refused: list[WiringError] = []
    for _ in range(3):
        with pytest.raises(WiringError, match=why) as caught:
            open_ledger(f"sqlite:///{path}", patience_s=0.05)
        refused.append(caught.value)
    raw.close()
    assert (3, open_files) == (len(refused), len(os.listdir("/dev/fd")))


def test_a_database_that_stays_locked(tmp_path: Path) -> None:
    """Whoever else holds the file for good makes it useless as a ledger, and start says so."""
    path = tmp_path / "ledger.db"
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN EXCLUSIVE")
    assert "locked" in refusal(f"sqlite:///{path}")
    raw.close()


def as_nobody(work: Callable[[], None]) -> None:
    """Run ``work`` without the superuser's rights, under which no file is read-only."""
    if os.geteuid() != 0:
        work()
        return
    os.seteuid(65534)
    try:
        work()
    finally:
        os.seteuid(0)


def test_a_read_only_file(tmp_path: Path) -> None:
    """A file that cannot be written is refused at start, not at the first payment."""
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    path.chmod(0o444)
    for folder in (tmp_path, *tmp_path.parents[:4]):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "popen", tmp_path.name)):
            folder.chmod(0o755)
    messages: list[str] = []
    as_nobody(lambda: messages.append(refusal(f"sqlite:///{path}")))
    assert "cannot be opened for writing" in messages[0]


def test_an_old_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite too old for our statements is named at start."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert "3.35" in refusal(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 35, 0), "TRUNCATE"),
        ((3, 40, 1), "TRUNCATE"),
        ((3, 44, 5), "TRUNCATE"),
        ((3, 44, 6), "WAL"),
        ((3, 45, 0), "TRUNCATE"),
        ((3, 50, 6), "TRUNCATE"),
        ((3, 50, 7), "WAL"),
        ((3, 51, 0), "TRUNCATE"),
        ((3, 51, 2), "TRUNCATE"),
        ((3, 51, 3), "WAL"),
        ((3, 52, 0), "WAL"),
        ((4, 0, 0), "WAL"),
    ],
)
def test_wal_only_where_it_is_safe(version: tuple[int, int, int], expected: str) -> None:
    """A WAL shared by processes needs a SQLite that has the correction of its reset."""
    assert expected == journal_mode(version)


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_what_is_committed_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Every connection syncs fully, in the mode that this SQLite can be trusted with."""

    def chosen() -> str:
        return mode

    monkeypatch.setattr(sqlite, "journal_mode", chosen)
    database = sqlite.SqliteDatabase(tmp_path / "ledger.db")
    for engine in (database._readers, database._writers):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert mode.lower() == connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    database.close()


def test_a_wal_held_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a WAL is not safe, a file that another process keeps in WAL mode is refused."""
    path = tmp_path / "ledger.db"
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("CREATE TABLE held (id INTEGER)")

    def truncate() -> str:
        return "TRUNCATE"

    monkeypatch.setattr(sqlite, "journal_mode", truncate)
    assert "cannot be used as a ledger" in refusal(f"sqlite:///{path}")
    raw.close()


def test_a_mode_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system on which SQLite does not grant the mode we rely on is refused."""

    def unknown() -> str:
        return "MIRACULOUS"

    monkeypatch.setattr(sqlite, "journal_mode", unknown)
    assert "its journal mode is delete, not MIRACULOUS" in refusal(f"sqlite:///{tmp_path}/ledger.db")


def test_a_broken_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If something else than SQLAlchemy is missing, that is what is said."""
    monkeypatch.setitem(sys.modules, "flovia.ledger.sql", None)
    with pytest.raises(ModuleNotFoundError, match=r"flovia\.ledger\.sql"):
        open_ledger(f"sqlite:///{tmp_path}/ledger.db")


@pytest.mark.parametrize(
    ("url", "module", "missing", "remedy"),
    [
        ("sqlite:///flovia.db", "flovia.ledger.sql", "sqlalchemy", "SQLAlchemy: pip install 'flovia[server]'"),
        ("postgresql://db/shop", "flovia.ledger.postgres", "sqlalchemy", "SQLAlchemy: pip install 'flovia[postgres]'"),
        ("postgres://db/shop", "flovia.ledger.postgres", "psycopg", "psycopg: pip install 'flovia[postgres]'"),
    ],
    ids=count(1),
)
def test_what_is_not_installed(
    url: str, module: str, missing: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said to be installed is all that this ledger needs: who takes the advice is not told of the next one."""
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(WiringError) as caught:
        open_ledger(url)
    assert remedy in str(caught.value)


def test_without_sqlalchemy() -> None:
    """The base install says which extra to install; ``memory://`` works without it."""
    program = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from flovia.ledger.opening import open_ledger\n"
        "open_ledger('memory://')\n"
        "try: open_ledger('sqlite:///flovia.db')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PROGRAM_S
    )
    assert done.stdout.startswith("WiringError")
    assert "pip install 'flovia[server]'" in done.stdout
