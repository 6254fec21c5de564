"""The file that ``flovia ledger prune --export`` appends events to before they are deleted."""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from flovia.cli.ledger_files import refuse_ledger
from flovia.core.errors import CallerError
from flovia.core.events import Event
from flovia.export.whole_lines import NotOursError, cut_to_lines
from flovia.ledger.sql_database import Database

RECORD: Final = b'{"position": '
"""What every line of it begins with."""


class PruneFile:
    """Appends to a file, whole lines or nothing; a new one can be read by its owner only.

    Args:
        path: the file; what is no file of lines of JSON is refused and stays as it is.
        database: whose events they are.

    Raises:
        CallerError: it is the ledger itself, or cannot be such a file; nothing was changed.
    """

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        refuse_ledger(path, database, "nothing was pruned")
        try:
            if not path.parent.is_dir() or (path.exists() and not path.is_file()):
                raise CallerError(f"{path} cannot be a file of events: name a file in a folder that exists")
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._refused(error) from None
        try:
            self._size = cut_to_lines(self._file, RECORD)
        except NotOursError:
            self.close()
            raise CallerError(
                f"the end of {path} is not a line of events, so nothing was changed in it, and nothing was pruned: name"
                " another file"
            ) from None
        except OSError as error:
            self.close()
            raise self._refused(error) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, rows: Iterable[tuple[int, Event]]) -> None:
        """Have events, with their positions, on disk.

        Raises:
            CallerError: they cannot be written; the file is as it was.
        """
        rest = memoryview(b"".join(_line(position, event) for position, event in rows))
        whole = self._size + len(rest)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next run cuts it off
                os.ftruncate(self._file, self._size)
            raise self._refused(error) from None
        self._size = whole

    def _refused(self, error: OSError) -> CallerError:
        return CallerError(
            f"{self._path} cannot be written: {error.strerror or error}; no event was pruned that is not in it"
        )


def _line(position: int, event: Event) -> bytes:
    amount = None if event.amount is None else str(event.amount)
    return (json.dumps({"position": position, **attrs.asdict(event), "amount": amount}) + "\n").encode()
