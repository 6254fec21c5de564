"""Events in a file: one JSON object a line (NDJSON), on disk before the cursor moves, rotated by size and by day."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from flovia.core.errors import WiringError
from flovia.export.base import Entry, SinkError
from flovia.export.whole_lines import NotOursError, cut_to_lines

MAX_BYTES: Final = 100 * 2**20
RECORD: Final = b'{"specversion":"1.0","id":"evt_'
"""What every line of ours begins with."""


class FileSink:
    """Appends to a file that only its owner can read; whole lines or nothing.

    What a crash left of a last line is cut off when the file is opened: its event was not recorded as delivered and
    comes again. A file whose last line is neither whole nor the beginning of an event is somebody else's: nothing is
    written to it, and the events wait. A full disk, a file that cannot be written, another process that writes
    it: the events wait, too.

    A full file, and at the end of a day (UTC) yesterday's, is set aside as ``NAME.20261128T235959Z``, with ``.1``
    and so on behind it if there is one already. Nothing that was set aside is touched again.

    Args:
        path: the file; its directory must exist.
        max_bytes: set the file aside before it grows beyond this; None: never for its size.
        daily: set the file aside when a day has ended.
        clock: Unix seconds, for names and days.

    Raises:
        WiringError: the path can be none.
    """

    label = "file"

    def __init__(
        self,
        path: Path | str,
        *,
        max_bytes: int | None = MAX_BYTES,
        daily: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path).absolute()
        if not self.path.parent.is_dir() or self.path.is_dir():
            raise WiringError(f"{self.path} cannot be a file of events: name a file in a directory that exists")
        if max_bytes is not None and max_bytes < 1:
            raise WiringError("a file of events is rotated by a size above 0 bytes, or not by size")
        self._max_bytes = max_bytes
        self._daily = daily
        self._clock = clock
        self._file: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._day = date.min

    def __repr__(self) -> str:
        return f"<FileSink {self.path.name}>"

    def deliver(self, batch: Sequence[Entry]) -> None:
        """See :meth:`flovia.export.base.Sink.deliver`."""
        lines = b"".join(one.body + b"\n" for one in batch)
        try:
            self._write(lines)
        except OSError as error:
            self._put_down()
            # The system's words and ours; its own text would name the whole path.
            raise SinkError(f"the file {self.path.name} cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        """See :meth:`flovia.export.base.Sink.close`."""
        self._put_down()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- inside -----------------------------------------------------------------------------------------

    def _write(self, lines: bytes) -> None:
        file = self._opened()
        if self._is_due(len(lines)):
            self._set_aside()
            file = self._opened()
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError:
            # Whatever part of it is there goes, so that the file ends with a line; should even that fail, the next
            # opening does it.
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size += len(lines)
        self._day = self._today()

    def _is_due(self, more: int) -> bool:
        if not self._size:
            return False
        too_large = self._max_bytes is not None and self._size + more > self._max_bytes
        return too_large or (self._daily and self._day < self._today())

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _opened(self) -> int:
        """The file, opened and whole; anew if somebody has moved it away."""
        if self._file is not None and not self._is_still_there(self._file):
            self._put_down()
        if self._file is None:
            self._take_lock()
            fresh = not self.path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(self.path, flags, 0o600)
            if fresh:
                self._sync_directory()
            try:
                self._size = cut_to_lines(self._file, RECORD)
            except NotOursError:
                self._put_down()
                raise SinkError(
                    f"the end of {self.path.name} is not a line of events, so nothing was changed in it: move that"
                    " file away, or name another one"
                ) from None
            self._day = datetime.fromtimestamp(os.fstat(self._file).st_mtime, UTC).date()
        return self._file

    def _is_still_there(self, file: int) -> bool:
        try:
            found, ours = os.stat(self.path), os.fstat(file)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _take_lock(self) -> None:
        """Keep every other exporter out of the file: two that cut and append would tear each other's lines."""
        if self._lock is not None:
            return
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows: the lease alone has to do
            return
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            lock = os.open(self.path.with_name(self.path.name + ".lock"), flags, 0o600)
        except OSError as error:
            text = (
                "its .lock is a link, which is not followed: remove it"
                if error.errno == errno.ELOOP
                else error.strerror
            )
            raise OSError(error.errno, text) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise OSError(error.errno, "another exporter writes it") from None
        self._lock = lock

    def _set_aside(self) -> None:
        stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = self.path.with_name(f"{self.path.name}.{stamp}")
        number = 0
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.name}.{stamp}.{number}")
        self.path.rename(aside)
        self._sync_directory()
        self._put_down()

    def _sync_directory(self) -> None:
        """A name is on disk once its directory is."""
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _put_down(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)
