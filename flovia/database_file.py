"""The file of a SQLite database: made if need be, and never opened beside SQLite.

POSIX drops all locks that a process holds on a file as soon as the process closes any descriptor of it. A ledger that
opened the file just to see whether it may, would so take the locks from every other connection of the process,
and two writers could write at once. SQLite itself takes care of that: https://www.sqlite.org/howtocorrupt.html,
section 2.2.
"""

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

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


def _in_child() -> None:
    global _making
    _making = threading.Lock()  # the thread that held it is not here any more


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_in_child)
