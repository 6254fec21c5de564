"""A file that is there whole, or not at all."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flovia.core.errors import CallerError


@contextmanager
def whole_file(path: Path) -> "Generator[Path]":
    """A folder of its own beside the file, to write a new one into, under the same name.

    It takes the old one's place, with its mode, when the block ends; if the block raises, nothing has changed. A new
    file can be read by its owner only.

    Raises:
        CallerError: there can be no such file, or it cannot be written.
    """
    if path.is_symlink():
        path = path.resolve()
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise CallerError(f"{path} cannot be a file of joined events: name a file in a folder that exists")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True) as own:
            folder = Path(own)
            new = folder / path.name
            yield new
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
            new.chmod(mode)
            with new.open("rb") as written:
                os.fsync(written.fileno())
            new.replace(path)
            _sync(path.parent)
    except OSError as error:
        raise CallerError(f"{path} cannot be written: {error.strerror or error}; nothing was changed") from None


def _sync(folder: Path) -> None:
    """Have the name on disk, too, where folders can be synchronised."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
