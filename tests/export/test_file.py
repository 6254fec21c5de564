"""A file of events: whole lines, on disk before they count, set aside by size and day, and nobody else's."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flovia.core.errors import WiringError
from flovia.export.base import Entry, SinkError
from flovia.export.envelope import entry
from flovia.export.file import RECORD, FileSink
from flovia.export.whole_lines import TAIL
from flovia.testing.ledger_steps import ManualClock
from tests.export.world import event, exporter, filled, ids, parsed
from tests.patience import PROGRAM_S


def entries(count: int, start: int = 0) -> list[Entry]:
    """Entries that differ."""
    return [entry(seq + 1, event(seq=seq)) for seq in range(start, start + count)]


def found_in(*paths: Path) -> list[str]:
    """The ids in files, in order; every line must be JSON."""
    return [parsed(line)["id"] for path in paths for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "events.ndjson"


def test_lines(path: Path) -> None:
    """One event a line; going on appends; the file is its owner's alone."""
    for start in (0, 3):
        sink = FileSink(path)
        sink.deliver(entries(2, start))
        sink.deliver(entries(1, start + 2))
        sink.close()
        sink.close()
    assert [one.id for one in entries(6)] == found_in(path)
    assert path.read_bytes().endswith(b"}\n")
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "torn",
    [
        b"{",
        b'{"specversion":"1.0","id":"ev',
        RECORD + b"x" * (TAIL * 2 + 17),
        b"\0" * 5000,
        b'{"spec\0\0\0',
        b'{"a":1}\n' + RECORD + b"\n",
        b"\n",
    ],
)
def test_a_torn_end_is_cut_off(path: Path, torn: bytes) -> None:
    """What a crash left of a last line goes, however long; whole lines stay."""
    first = FileSink(path)
    first.deliver(entries(3))
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    second = FileSink(path)
    second.deliver(entries(2, 3))
    second.close()
    lines = path.read_bytes()
    assert lines.startswith(whole)
    assert [one.id for one in entries(5)] == [
        line["id"] for line in map(parsed, lines.split(b"\n")[:-1]) if "id" in line
    ]


def test_a_file_of_nothing_but_a_torn_line(path: Path) -> None:
    """Begins anew."""
    path.write_bytes(RECORD + b"x" * 70_000)
    sink = FileSink(path)
    sink.deliver(entries(1))
    sink.close()
    assert 1 == len(found_in(path))


@pytest.mark.parametrize(
    "theirs",
    [b'{"my":"config"}', b"milk, eggs\n", b"milk, eggs", b'{"a":1}\n{"a":\n', b'{"id": "evt_1"', b"x" * (TAIL + 9)],
)
def test_a_file_of_somebody_else(path: Path, theirs: bytes) -> None:
    """What no exporter can have written is not cut off: nothing changes, and it is said what to do."""
    path.write_bytes(theirs)
    sink = FileSink(path)
    for _ in range(2):
        with pytest.raises(SinkError, match="move that file away, or name another one"):
            sink.deliver(entries(1))
    assert theirs == path.read_bytes()
    path.rename(path.with_name("theirs"))
    sink.deliver(entries(1))
    sink.close()
    assert 1 == len(found_in(path))


def test_set_aside_by_size(path: Path) -> None:
    """Before the file grows beyond the limit; no line is lost or torn, no name is taken twice."""
    clock = ManualClock(datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC).timestamp())
    one = len(entries(1)[0].body) + 1
    sink = FileSink(path, max_bytes=one * 3, clock=clock)
    for seq in range(10):
        sink.deliver(entries(1, seq))
    sink.close()
    aside = [path.with_name(f"{path.name}.20261128T235959Z{number}") for number in ("", ".1", ".2")]
    assert [one.id for one in entries(10)] == found_in(*aside, path)
    assert [3, 3, 3, 1] == [len(found_in(file)) for file in [*aside, path]]


def test_a_batch_above_the_limit_is_written_whole(path: Path) -> None:
    """A file holds at least one batch."""
    sink = FileSink(path, max_bytes=1)
    sink.deliver(entries(5))
    sink.close()
    assert 5 == len(found_in(path))


def test_set_aside_by_day(path: Path) -> None:
    """When a day has ended, in UTC, also if the exporter was not running then; an empty file stays."""
    clock = ManualClock(datetime.now(UTC).replace(hour=12).timestamp())
    sink = FileSink(path, daily=True, max_bytes=None, clock=clock)
    sink.deliver(entries(1))
    sink.deliver(entries(1, 1))
    clock.advance(86_400.0)
    sink.deliver(entries(1, 2))
    sink.close()
    os.utime(path, (clock() - 3 * 86_400, clock() - 3 * 86_400))
    sink = FileSink(path, daily=True, clock=clock)
    sink.deliver(entries(1, 3))
    sink.close()
    aside = sorted(path.parent.glob("events.ndjson.2*"))
    assert [one.id for one in entries(4)] == found_in(*aside, path)
    assert [2, 1, 1] == [len(found_in(file)) for file in [*aside, path]]


def test_moved_away(path: Path) -> None:
    """Another program may rotate it: then a new file is begun."""
    sink = FileSink(path)
    sink.deliver(entries(1))
    moved = path.rename(path.with_name("moved"))
    sink.deliver(entries(1, 1))
    sink.close()
    assert [one.id for one in entries(2)] == found_in(moved, path)


def test_a_full_disk_makes_events_wait(path: Path) -> None:
    """Nothing is lost, no line is torn; when there is room again it goes on. (The limit is the process's own.)"""
    ledger = filled(50)
    sink = FileSink(path)
    work = exporter(ledger, sink, batch=10)  # type: ignore[arg-type]  # any sink
    work.step()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        step = work.step()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert "failed" == step.state
    assert "events.ndjson cannot be written: File too large" in str(step.error)
    assert ids(ledger)[:10] == found_in(path)
    work.drain()
    sink.close()
    assert ids(ledger) == found_in(path)


def test_a_disk_that_does_not_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be on disk does not count, and is not there twice either."""
    sink = FileSink(path)
    sink.deliver(entries(1))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "test")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(SinkError, match=r"events\.ndjson cannot be written"):
            sink.deliver(entries(1, 1))
    sink.deliver(entries(1, 1))
    sink.close()
    assert [one.id for one in entries(2)] == found_in(path)


def test_one_writer(path: Path) -> None:
    """While one sink has the file another one is kept out, also in this process; when it is closed, no more."""
    first, second = FileSink(path), FileSink(path)
    first.deliver(entries(1))
    with pytest.raises(SinkError, match="another exporter writes it"):
        second.deliver(entries(1, 1))
    first.close()
    second.deliver(entries(1, 1))
    second.close()
    assert [one.id for one in entries(2)] == found_in(path)


def test_a_writer_that_was_killed_keeps_nobody_out(path: Path) -> None:
    """The lock goes with its process."""
    code = f"""
import os, signal
from tests.export.test_file import entries
from flovia.export import FileSink
FileSink({str(path)!r}).deliver(entries(1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=PROGRAM_S)
    assert -9 == done.returncode
    sink = FileSink(path)
    sink.deliver(entries(1, 1))
    sink.close()
    assert [one.id for one in entries(2)] == found_in(path)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """Who may write to the directory cannot point the exporter at another file."""
    (tmp_path / "other").write_bytes(b"")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(SinkError):
        FileSink(path).deliver(entries(1))
    assert b"" == (tmp_path / "other").read_bytes()
    path.unlink()
    lock = path.with_name(f"{path.name}.lock")
    lock.unlink(missing_ok=True)
    lock.symlink_to(tmp_path / "made")
    with pytest.raises(SinkError, match=r"its \.lock is a link, which is not followed: remove it"):
        FileSink(path).deliver(entries(1))
    assert (False, False) == ((tmp_path / "made").exists(), path.exists())
    lock.unlink()
    lock.mkdir()
    with pytest.raises(SinkError, match="cannot be written"):
        FileSink(path).deliver(entries(1))


@pytest.mark.parametrize(("name", "options"), [("no/such/directory", {}), (".", {}), ("events", {"max_bytes": 0})])
def test_what_can_be_no_file(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """Is refused when it is made."""
    with pytest.raises(WiringError):
        FileSink(tmp_path / name, **options)
    assert "<FileSink events>" == repr(FileSink(tmp_path / "events"))
