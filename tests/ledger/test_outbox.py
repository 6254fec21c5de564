"""The buffer of unpaid events: never in the way, bounded, and honest about what it loses."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from flovia.core.errors import LedgerError
from flovia.core.events import EventRow
from flovia.ledger import outbox
from flovia.ledger.outbox import BATCH, Outbox
from flovia.testing.ledger_steps import event_row
from tests.patience import PATIENT_S


class Store:
    """Takes batches, unless told otherwise."""

    def __init__(self) -> None:
        self.batches: list[Sequence[EventRow]] = []
        self.error: Exception | None = None
        self.tried = threading.Event()
        self.wrote = threading.Event()

    def __call__(self, rows: Sequence[EventRow]) -> None:
        """Store the rows, or raise what was set."""
        error = self.error  # once: a test may take it away meanwhile
        self.tried.set()
        if error is not None:
            raise error
        self.batches.append(rows)
        self.wrote.set()

    @property
    def seqs(self) -> list[object]:
        """The numbers of the rows stored, in order."""
        return [row[3] for batch in self.batches for row in batch]


def rows(start: int, stop: int) -> list[EventRow]:
    """Numbered events."""
    return [event_row(seq=number) for number in range(start, stop)]


class Meeting(deque[EventRow]):
    """Rows of an outbox into which a request puts another one the very moment somebody begins to read them."""

    def __init__(self, box: Outbox) -> None:
        super().__init__()
        self._box = box

    def __iter__(self) -> Iterator[EventRow]:
        found = super().__iter__()
        if self._box._lock.acquire(blocking=False):  # else the request waits
            self._box._lock.release()
            self.append(event_row(seq=99))
        return found


def test_a_row_that_comes_while_others_are_read() -> None:
    """A request that comes while rows are taken out waits a moment; the thread that writes them does not die of it."""
    store = Store()
    box = Outbox(store)
    box._rows = Meeting(box)
    box.append(rows(0, 3))
    box.flush()
    assert [0, 1, 2] == store.seqs
    box.close()


def test_written_in_the_background() -> None:
    """Nobody has to flush: rows that wait are written by themselves, in order."""
    store = Store()
    box = Outbox(store)
    box.append(rows(0, 3))
    assert store.wrote.wait(PATIENT_S)
    store.wrote.clear()
    box.append(rows(3, 5))
    assert store.wrote.wait(PATIENT_S)
    box.close()
    assert list(range(5)) == store.seqs


def test_a_full_batch_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a batch is full it is written at once, however long rows may gather."""
    monkeypatch.setattr(outbox, "GATHER_S", 3600.0)
    store = Store()
    box = Outbox(store)
    box.append(rows(0, 1))
    box.append(rows(1, BATCH + 10))
    assert store.wrote.wait(PATIENT_S)
    box.close()
    assert list(range(BATCH + 10)) == store.seqs
    assert [BATCH, 10] == [len(batch) for batch in store.batches]


def test_a_full_buffer_drops_and_counts() -> None:
    """What finds no room is counted as lost; what was there first stays."""
    store = Store()
    store.error = LedgerError("down, for this test")
    box = Outbox(store, capacity=5)
    box.append(rows(0, 4))
    box.append(rows(4, 8))
    assert (box.dropped, len(box)) == (3, 5)
    store.error = None
    box.close()
    assert list(range(5)) == store.seqs


def test_a_failing_store_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that could not be written wait, keep their order, and are written once."""
    monkeypatch.setattr(outbox, "GATHER_S", 0.001)
    monkeypatch.setattr(outbox, "RETRY_S", 0.001)
    store = Store()
    store.error = LedgerError("down, for this test")
    box = Outbox(store)
    box.append(rows(0, 3))
    assert store.tried.wait(PATIENT_S)
    with pytest.raises(LedgerError):
        box.flush()
    box.append(rows(3, 6))
    store.error = None
    assert store.wrote.wait(PATIENT_S)
    box.close()
    assert list(range(6)) == store.seqs
    assert box.dropped == 0


def test_what_can_never_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """Rows that no store takes are counted, logged without their content, and hold up nobody."""
    store = Store()
    store.error = TypeError("not a value, for this test")
    box = Outbox(store)
    with caplog.at_level(logging.ERROR):
        box.append(rows(0, 2))
        box.flush()
    assert box.dropped == 2
    assert 2 == caplog.text.count("an event could not be written and is lost")
    store.error = None
    box.append(rows(2, 3))
    box.close()
    assert [2] == store.seqs


def test_one_that_can_never_be_written_among_others() -> None:
    """A row that no store takes is lost alone: its neighbours are written, and so is what comes after."""

    class Picky(Store):
        def __call__(self, rows: Sequence[EventRow]) -> None:
            if any(row[3] == 1 for row in rows):
                raise TypeError("not a value, for this test")
            super().__call__(rows)

    store = Picky()
    box = Outbox(store)
    box.append(rows(0, 4))
    box.flush()
    box.append(rows(4, 5))
    box.close()
    assert [0, 2, 3, 4] == store.seqs
    assert 1 == box.dropped


def test_closing_while_the_store_is_busy(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Several workers that end at once take turns: what did not find its turn is tried again, and is not lost."""
    monkeypatch.setattr(outbox, "CLOSING_S", PATIENT_S)
    monkeypatch.setattr(outbox, "CLOSING_PAUSE_S", 0.001)
    monkeypatch.setattr(Outbox, "_launch", lambda box: None)  # close() is alone
    tries: list[str] = []

    def end() -> None:
        tries.append("try")
        if len(tries) < 3:
            raise LedgerError("busy, for this test")

    store = Store()
    box = Outbox(store)
    box.defer(end)
    box.append(rows(0, 2))
    box.close()
    assert 3 == len(tries)
    assert [0, 1] == store.seqs
    assert (box.dropped, len(box)) == (0, 0)
    assert "lost" not in caplog.text


def test_closing_with_the_store_down(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written at the end is counted and said."""
    monkeypatch.setattr(outbox, "CLOSING_S", 0.02)
    monkeypatch.setattr(outbox, "CLOSING_PAUSE_S", 0.001)
    store = Store()
    store.error = LedgerError("down, for this test")
    box = Outbox(store, capacity=4)
    box.append(rows(0, 6))
    assert (box.dropped, len(box)) == (2, 4)
    with caplog.at_level(logging.ERROR):
        box.close()
    assert (box.dropped, len(box)) == (6, 0)
    assert "4 events and 0 ends of deliveries are lost" in caplog.text
    box.append(rows(4, 5))
    assert box.dropped == 7


def test_closing_while_the_thread_writes(caplog: pytest.LogCaptureFixture) -> None:
    """A store that comes back just then: what the thread writes is not counted as lost, nor written off under it."""
    store = Store()
    store.error = LedgerError("down, for this test")
    box = Outbox(lambda rows: store(rows) if store.error else slowly(rows))
    writing = threading.Event()

    def slowly(rows: Sequence[EventRow]) -> None:
        writing.set()
        time.sleep(0.05)
        store(rows)

    class Handing:
        """A lock that close() gives away, when its own try has failed, to a thread that waited for it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.other: threading.Thread | None = None

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *error: object) -> None:
            self.lock.release()
            if self.other is None:
                store.error = None
                self.other = threading.Thread(target=box.flush)
                self.other.start()
                assert writing.wait(PATIENT_S)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbox, "_launch", lambda box: None)  # the thread is the test's own
        box.append(rows(0, 2))
    handing = Handing()
    box._writing = handing  # type: ignore[assignment]  # enough of a lock
    box.close()
    assert handing.other is not None
    handing.other.join()
    assert [0, 1] == store.seqs
    assert 0 == box.dropped
    assert "lost" not in caplog.text


def test_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the interpreter gives no thread any more, rows wait for the end."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store = Store()
    box = Outbox(store)
    box.append(rows(0, 2))
    assert store.batches == []
    box.close()
    assert [0, 1] == store.seqs


def test_nothing_to_do() -> None:
    """Appending nothing starts nothing."""
    store = Store()
    box = Outbox(store)
    box.append([])
    box.flush()
    box.close()
    assert store.batches == []


def test_many_writers() -> None:
    """Rows of many threads all arrive, each thread's in its order."""
    store = Store()
    box = Outbox(store)

    def work(number: int) -> None:
        for i in range(200):
            box.append([event_row(request_id=f"req-{number}", seq=i)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.close()
    written = [row for batch in store.batches for row in batch]
    for number in range(8):
        assert list(range(200)) == [row[3] for row in written if row[2] == f"req-{number}"]


def test_an_end_is_tried_until_the_store_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A deferred job is done again while the store is down, once when it is back; a broken one holds nobody up."""
    tries: list[str] = []

    def job() -> None:
        tries.append("try")
        if len(tries) < 3:
            raise LedgerError("down, for this test")

    def broken() -> None:
        raise ValueError("a bug, for this test")

    box = Outbox(lambda rows: None)
    box.defer(broken)
    box.defer(job)
    for _ in range(5):
        with contextlib.suppress(LedgerError):
            box.flush()
    assert tries == ["try"] * 3
    assert "could not be recorded" in caplog.text
    box.close()
    box.defer(job)
    assert "could not be kept" in caplog.text
    assert tries == ["try"] * 3


def test_ends_that_wait_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """As many as rows may wait are kept, in their order; the next is given up, and said so."""
    done: list[int] = []
    box = Outbox(lambda rows: None, capacity=2)
    with box._writing:  # the thread stands still
        for number in range(3):
            assert ("could not be kept" in caplog.text) == (number > 2)
            box.defer(partial(done.append, number))
        assert "could not be kept" in caplog.text
    box.flush()
    assert [0, 1] == done
    box.close()
