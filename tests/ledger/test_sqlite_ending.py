"""A SQLite ledger that is about to be closed while another program holds its file."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from flovia.core.errors import LedgerError
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sqlite import SqliteDatabase
from tests.patience import PROGRAM_S, eventually


def test_who_ends_waits_for_nobody(tmp_path: Path) -> None:
    """A call that waits for a file that somebody else has is told to give up, and later ones do at once."""
    path = tmp_path / "ledger.db"
    with closing(SqliteDatabase(path, patience_s=PROGRAM_S)) as database, closing(SqlLedger(database)) as ledger:
        ledger.find("warm|up")
        assert 0.0 == database.waited_s
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        failed: list[LedgerError] = []

        def call() -> None:
            try:
                ledger.find("r|a")
            except LedgerError as error:
                failed.append(error)

        waiting = threading.Thread(target=call)
        waiting.start()
        assert eventually(lambda: database.waited_s, bool) > 0
        assert [] == failed
        database.stop_waiting()
        waiting.join()
        call()
        assert 2 == len(failed)
        assert 0.0 == database.waited_s
        other.close()
        call()
        assert 2 == len(failed)
