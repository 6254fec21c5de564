"""The file of a database: made once, private, and never opened beside SQLite."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from flovia.client import Budget
from flovia.core.errors import WiringError
from flovia.database_file import ensure_file
from flovia.ledger.opening import open_ledger
from tests.patience import PROGRAM_S

# Another process tries to write, and prints what SQLite says.
WRITE = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    file.execute("BEGIN IMMEDIATE")
    print("written")
except sqlite3.OperationalError as error:
    print(error)
"""


def another_process_writes(path: Path) -> str:
    """What becomes of it."""
    program = [sys.executable, "-c", WRITE, str(path)]
    return subprocess.run(program, capture_output=True, text=True, check=True, timeout=PROGRAM_S).stdout.strip()


def open_a_ledger(path: Path) -> None:
    """A second ledger of the process; it finds the file busy."""
    with suppress(WiringError):
        open_ledger(f"sqlite:///{path}", patience_s=0.01).close()


def open_a_budget(path: Path) -> None:
    """A budget that is given a file that is no budget's."""
    with suppress(WiringError):
        Budget("5.00 SGD", path=path)


@pytest.mark.parametrize("open_again", [open_a_ledger, open_a_budget])
def test_opening_again_takes_no_lock_away(open_again: Callable[[Path], None], tmp_path: Path) -> None:
    """Who holds the file in this process still holds it when it was opened here once more: nobody else may write."""
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE" if open_again is open_a_ledger else "BEGIN IMMEDIATE")
        assert "database is locked" == another_process_writes(path)
        open_again(path)
        assert "database is locked" == another_process_writes(path)
        holder.execute("ROLLBACK")
    assert "written" == another_process_writes(path)


def test_a_new_file(tmp_path: Path) -> None:
    """It is empty and its owner's only; one that is there stays as it is."""
    path = tmp_path / "new.db"
    with pytest.raises(FileNotFoundError):
        ensure_file(path, create=False)
    ensure_file(path, create=True)
    assert (b"", 0o600) == (path.read_bytes(), path.stat().st_mode & 0o777)
    path.write_bytes(b"full")
    ensure_file(path, create=True)
    assert b"full" == path.read_bytes()


def test_what_can_be_no_file(tmp_path: Path) -> None:
    """A folder, and a folder that is missing, are told apart; a link is followed to where its file is made."""
    with pytest.raises(IsADirectoryError):
        ensure_file(tmp_path, create=True)
    with pytest.raises(FileNotFoundError):
        ensure_file(tmp_path / "missing" / "new.db", create=True)
    (tmp_path / "link.db").symlink_to(tmp_path / "target.db")
    ensure_file(tmp_path / "link.db", create=True)
    assert (tmp_path / "target.db").is_file()


def test_made_by_many_at_once(tmp_path: Path) -> None:
    """Threads that want the same new file find it, all of them."""
    path = tmp_path / "new.db"
    barrier = threading.Barrier(8)
    failed: list[OSError] = []

    def make() -> None:
        barrier.wait()
        try:
            ensure_file(path, create=True)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failed
    assert path.is_file()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_made_after_a_fork_in_the_middle(tmp_path: Path) -> None:
    """A child that was forked while a thread of its parent made a file can make its own."""
    program = (
        "import os, sys, pathlib, flovia.database_file as it\n"
        "with it._making:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        it.ensure_file(pathlib.Path(sys.argv[1]), create=True)\n"
        "        os._exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "new.db")], check=False, timeout=PROGRAM_S)
    assert 7 == done.returncode
