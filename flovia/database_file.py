"""The file of a SQLite database: made if need be, and never opened beside SQLite.

POSIX drops all locks that a process holds on a file as soon as the process closes any descriptor of it. A ledger that
opened the file just to see whether it may, would so take the locks from every other connection of the process,
and two writers could write at once. SQLite itself takes care of that: https://www.sqlite.org/howtocorrupt.html,
section 2.2.
"""

import errno
import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_making = threading.Lock()


def ensure_file(path: Path, *, create: bool) -> None:
    """See that there is a file that this process may read and write; a new one is readable by its owner only.

    A file that is there is not opened. One that is not is opened while nobody else here can have found it.

    Raises:
        FileNotFoundError: there is none, and none is to be made, or its folder is missing.
        OSError: it cannot be made, or not be read and written.
    """
    with _making:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if not create:
                raise
            # A link that leads nowhere yet is followed, as SQLite would.
            with suppress(FileExistsError):  # another process was faster, and has the right to be
                os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _sign(path: Path) -> str:
    return f"{os.path.realpath(path)}-in-use"


class InUse:
    """The sign that a process uses a database: a shared lock on a file beside it, which ends with its last holder.

    Forked children hold it, too. SQLite knows nothing of it, and where files cannot be locked there is none.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        if sys.platform == "win32":
            return
        with suppress(OSError):
            descriptor = os.open(_sign(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def end(self) -> None:
        """This process uses it no more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_in_use(path: Path) -> bool:
    """Whether a process that lives uses the database at ``path``, be its file there or not."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(_sign(path), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _in_child() -> None:
    global _making
    _making = threading.Lock()  # the thread that held it is not here any more


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_in_child)
