"""A file of lines of JSON: what a crash left of its last line is cut off, and nobody else's file is touched."""

import json
import os
from typing import Final

TAIL: Final = 2**16
"""Bytes that are read at a time to find the beginning of a last line."""


class NotOursError(Exception):
    """The file ends with something that no exporter of ours can have begun to write."""


def cut_to_lines(file: int, record: bytes) -> int:
    """Cut off what is no whole line of JSON at the end of a file; returns its size then.

    Args:
        file: its descriptor, open for reading and writing.
        record: what every line of ours begins with.

    Raises:
        NotOursError: it ends with something else; nothing was changed.
        OSError: it cannot be read or written.
    """
    size = os.fstat(file).st_size
    end = size
    while end:
        start = _line_start(file, end)
        line = os.pread(file, end - start, start)
        if line.endswith(b"\n") and _is_json(line):
            break
        # A crash of the machine can leave zeros where the data did not get to the disk.
        begun = line.rstrip(b"\n").rstrip(b"\0")
        if not (begun.startswith(record) or record.startswith(begun)):
            raise NotOursError
        end = start
    if end != size:
        os.ftruncate(file, end)
        os.fsync(file)
    return end


def _line_start(file: int, end: int) -> int:
    """Where the last line before ``end`` begins; the line end at ``end`` belongs to it."""
    upto = end - 1
    while upto > 0:
        start = max(0, upto - TAIL)
        found = os.pread(file, upto - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        upto = start
    return 0


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
