"""What the verbs of a ledger answer, and what they leave behind: one long use of it, step by step.

The answers are the same in memory and in SQL. Of a file each row that a step changed is shown: other processes and
later versions read them.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flovia.core.answers import StoredAnswer
from flovia.core.events import Event, EventRow
from flovia.core.retention import Retention
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import DeadLetter, SinkLedger, with_sinks
from flovia.ledger.sql import SqlLedger
from flovia.testing.ledger_steps import ManualClock, event_row

BOOKS = Path(__file__).with_suffix(".txt")
DAY_S = 86400.0
START = ManualClock()()


class Bookkeeper:
    """A ledger that is used, and the book of it: an answer a line, and under it the rows that changed."""

    def __init__(self, ledger: SinkLedger, clock: ManualClock, file: Path | None) -> None:
        self._ledger = ledger
        self._file = file
        self._rows: dict[str, list[str]] = {}
        self._seq = 0
        self.clock = clock
        self.answers: list[str] = []
        self.lines: list[str] = []
        list(self._changed())  # what a new ledger holds is its own business

    def do(self, verb: str, *arguments: object) -> object:
        """Use a verb, and note what it answered."""
        found = getattr(self._ledger, verb)(*arguments)
        shown = _shown(arguments)
        self.answers.append(f"{verb}({shown}) = {_shown([found])}")
        self.lines += [self.answers[-1], *self._changed()]
        return found

    def event(self, request_id: str, **more: object) -> tuple[EventRow, ...]:
        """An event of a request."""
        self._seq += 1
        some = {"type": "payment.settled", "at": self.clock(), "endpoint": "/a", "http_method": "GET"}
        return (Event(**some, request_id=request_id, seq=self._seq, **more).to_row(),)  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.answers.append(f"... {seconds} s later")
        self.lines.append(self.answers[-1])

    def _changed(self) -> Iterator[str]:
        if self._file is None:
            return
        self._ledger.flush()
        with closing(sqlite3.connect(self._file)) as raw:
            names = [
                name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            ]
            for name in names:
                if not name.startswith("flovia_"):
                    continue
                cursor = raw.execute(f"SELECT * FROM {name}")  # noqa: S608 - a name of the file's own
                columns = [column for column, *_ in cursor.description]
                rows = sorted(_row(columns, row) for row in cursor)
                before, self._rows[name] = self._rows.get(name, []), rows
                yield from (f"  - {name.removeprefix('flovia_')} {row}" for row in before if row not in rows)
                yield from (f"  + {name.removeprefix('flovia_')} {row}" for row in rows if row not in before)


def _row(columns: list[str], row: tuple[object, ...]) -> str:
    """What is not null of a row, times counted from the start."""
    return " ".join(f"{name}={_value(value)}" for name, value in zip(columns, row, strict=True) if value is not None)


def _value(value: object) -> str:
    if isinstance(value, float) and value > START - 1000 * DAY_S:
        return f"T{value - START:+.10g}"
    return repr(value)


def _shown(values: object) -> str:
    """Values on one line, times counted from the start."""
    if isinstance(values, tuple) and len(values) >= len(event_row()):
        return f"event {values[2]}.{values[3]}"
    if isinstance(values, list | tuple):
        return ", ".join(f"[{_shown(one)}]" if isinstance(one, list | tuple) else _shown(one) for one in values)
    if isinstance(values, float):
        return _value(values)
    if hasattr(type(values), "__attrs_attrs__"):
        told = ((name, getattr(values, name)) for name in (field.name for field in type(values).__attrs_attrs__))
        return f"{type(values).__name__}({', '.join(f'{name}={_shown(value)}' for name, value in told)})"
    return repr(values)


def claims(book: Bookkeeper) -> None:
    """First claims, taken over, released, parked, expired."""
    claim = ("r|a", "f1", False, 15.0, 60.0, START + 360.0, 2)
    book.do("claim", *claim)
    book.do("claim", *claim)
    book.wait(14.0)
    book.do("claim", *claim)
    book.wait(1.0)
    book.do("claim", "r|a", "f2", *claim[2:])
    book.do("claim", *claim)
    book.do("claim", *claim)
    book.do("renew", "r|a", 2, 60.0)
    book.do("release", "r|a", 1, False, book.event("q1"))
    book.do("release", "r|a", 2, False, book.event("q1"))
    book.do("claim", "r|a", "f2", *claim[2:])
    book.do("release", "r|a", 3, True, book.event("q2"))
    book.do("claim", *claim)
    book.do("claim", "r|a", "f2", *claim[2:])
    book.do("find", "r|a")
    book.do("claim", "r|b", "f1", True, *claim[3:])
    book.do("find", "r|b")
    book.do("find_unresolved", "", 10)
    book.wait(15.0)
    book.do("find_unresolved", "", 10)
    book.do("find_unresolved", "r|a", 10)


def settled(book: Bookkeeper, key: str, reference: str, refund_due: bool = False) -> int:
    """A payment that was claimed and settled; its fence."""
    found = book._ledger.claim(key, "f1", False, 15.0, 60.0, book.clock() + 360.0, 2)
    money = (f"mock|{reference}", reference, 100, "usd", f"record of {reference}")
    until = book.clock() + 7 * DAY_S
    events = book.event(f"q-{reference}", challenge_id=key.partition("|")[2], payment_id=reference, amount=100)
    book.do("settle", key, found.fence, *money, 60.0, until, refund_due, events)
    return found.fence


def deliveries(book: Bookkeeper) -> None:
    """Settled, failed, delivered with an answer, held up, exhausted, and with a proof that was used."""
    fence = settled(book, "r|a", "p1")
    book.do("settle", "r|a", fence, "mock|p9", "p9", 100, "usd", "{}", 60.0, START + DAY_S, False, ())
    book.do("fail", "r|a", fence, book.event("q1"))
    book.do("find_undelivered", 10)
    again = ("r|a", "f1", True, 15.0, 60.0, START + 360.0, 2)
    book.do("claim", "r|a", "f2", *again[2:])
    book.do("claim", *again)
    book.do("renew", "r|a", fence, 60.0)
    book.wait(30.0)
    book.do("renew", "r|a", fence + 1, 60.0)
    book.wait(59.0)
    book.do("find_undelivered", 10)
    book.do("claim", *again)
    book.wait(1.0)
    book.do("find_undelivered", 10)
    book.do("claim", *again)
    book.do("find_answer", "r|a")
    answer = StoredAnswer(
        caller="c1", status=203, headers=(("x-a", "1"), ("x-a", "2")), body=b"b\0dy", until=START + 300.0
    )
    book.do("deliver", "r|a", fence, book.event("q2"), answer)
    book.do("deliver", "r|a", fence + 1, book.event("q2"), answer)
    book.do("find_answer", "r|a")
    book.do("find", "r|a")
    book.do("claim", *again)
    settled(book, "r|b", "p1")
    fence = settled(book, "r|c", "p2")
    book.do("fail", "r|c", fence, book.event("q3"), True)
    book.do("claim", "r|c", *again[1:])
    settled(book, "r|d", "p3", refund_due=True)
    book.do("claim", "r|d", *again[1:])
    book.do("find_due", 10)
    book.do("find_due", 1)
    fence = settled(book, "r|e", "p4")
    book.do("end_later", "r|e", fence, False, book.event("q4"))
    book.do("end_later", "r|e", fence, True, book.event("q5"))
    fence = settled(book, "r|f", "p5")
    book.do("end_later", "r|f", fence, True, book.event("q6"), False, answer)
    book.wait(211.0)
    book.do("find_answer", "r|a")
    book.do("find_answer", "r|f")


def refunds(book: Bookkeeper) -> None:
    """Ordered, taken up, refused, unknown, done; late money; and what was given back elsewhere."""
    fence = settled(book, "r|a", "p1")
    book.do("open_refund", "mock|p1", None, None, "n1", 15.0)
    book.do("deliver", "r|a", fence, ())
    book.do("find_paid", "mock|p1")
    book.do("open_refund", "mock|none", None, None, "n1", 15.0)
    book.do("open_refund", "mock|p1", 101, "usd", "n1", 15.0)
    book.do("open_refund", "mock|p1", 40, "sgd", "n1", 15.0)
    book.do("open_refund", "mock|p1", 40, "usd", "n1", 15.0)
    book.do("open_refund", "mock|p1", 40, None, "n2", 15.0)
    book.do("close_refund", "mock|p1", 1, "unknown", 0, "", "timeout", book.event("q1"))
    book.do("open_refund", "mock|p1", 41, None, "n3", 15.0)
    book.do("open_refund", "mock|p1", 40, None, "n3", 15.0)
    book.do("close_refund", "mock|p1", 1, "refused", 0, "", "stale", book.event("q2"))
    book.do("close_refund", "mock|p1", 2, "refused", 0, "", "no money", book.event("q2"))
    book.do("open_refund", "mock|p1", 30, None, "n4", 15.0)
    book.do("close_refund", "mock|p1", 3, "refunded", 29, "refund-1", "", book.event("q3"))
    book.do("close_refund", "mock|p1", 3, "refunded", 29, "refund-1", "", book.event("q3"))
    book.do("open_refund", "mock|p1", 30, None, "n5", 15.0)
    book.do("find_paid", "mock|p1")
    book.do("find", "r|a")
    book.do("claim", "r|a", "f1", True, 15.0, 60.0, START + 360.0, 2)
    book.do("late", "r|z|mock|p2", "mock|p2", "p2", 70, "eur", START + DAY_S, book.event("q4"))
    book.do("late", "r|z|mock|p2", "mock|p2", "p2", 70, "eur", START + DAY_S, book.event("q4"))
    book.do("late", "r|z|mock|p1", "mock|p1", "p1", 70, "eur", START + DAY_S, book.event("q4"))
    book.do("find_due", 10)
    book.do("open_refund", "mock|p2", None, None, "n6", 15.0)
    book.do("find_due", 10)
    book.do("close_refund", "mock|p2", 1, "refused", 0, "", "no", book.event("q5"))
    book.do("find_paid", "mock|p2")
    book.do("note_refund", "r|z|mock|p2", "mock|p2", 20, "eur", book.event("q6"))
    book.do("note_refund", "r|z|mock|p2", "mock|p2", 20, "eur", book.event("q6"))
    book.do("note_refund", "", "mock|p3", 5, "usd", book.event("q7"))
    book.do("find_paid", "mock|p3")
    settled(book, "r|b", "p3")
    settled(book, "r|c", "p4")
    book.do("note_refund", "", "mock|p4", 5, "usd", book.event("q8"))
    book.do("note_refund", "r|c", "mock|p4", 100, "usd", book.event("q8"))
    settled(book, "r|d", "p5", refund_due=True)
    book.do("open_refund", "mock|p5", None, None, "n7", 15.0)
    book.do("claim", "r|d", "f1", True, 15.0, 60.0, START + 360.0, 2)
    book.do("close_refund", "mock|p5", 1, "refused", 0, "", "no", book.event("q9"))
    book.do("find_due", 10)


def found_elsewhere(book: Bookkeeper) -> None:
    """Parked, and settled by what its provider says later; then its credential comes after all."""
    claim = ("r|a", "f1", False, 15.0, 60.0, START + 360.0, 2)
    money = ("mock|p1", "p1", 100, "usd", "record", START + 7 * DAY_S)
    book.do("claim", *claim)
    book.do("release", "r|a", 1, True, ())
    book.do("settle_found", "r|a", 1, *money, book.event("q1"))
    book.do("claim", *claim)
    book.do("settle_found", "r|a", 1, *money, book.event("q1"))
    book.do("settle_found", "r|a", 2, *money, book.event("q1"))
    book.do("settle_found", "r|a", 2, *money, book.event("q1"))
    book.do("find", "r|a")
    book.do("find_undelivered", 10)
    book.do("claim", "r|a", "f1", True, *claim[3:])
    book.do("claim", "r|b", *claim[1:])
    book.do("settle_found", "r|b", 1, *money, book.event("q2"))
    book.do("find", "r|b")


def texts(book: Bookkeeper) -> None:
    """Kept, replaced, offered, exchanged, run out, listed."""
    book.do("remember", "n", "a", "one", 30.0, False)
    book.do("remember", "n", "a", "two", 40.0, True)
    book.do("remember", "n", "a", "three", 50.0, False, "two")
    book.do("remember", "n", "a", "four", 60.0, False, "one")
    book.do("remember", "n", "b", "five", 20.0, True)
    book.do("remember", "m", "a", "six", 20.0, False, "none")
    book.do("list_texts", "n", "", 10)
    book.do("list_texts", "n", "a", 10)
    book.do("list_texts", "n", "", 1)
    book.wait(20.0)
    book.do("recall", "n", "b")
    book.do("recall", "n", "a")
    book.do("recall", "m", "a")
    book.do("list_texts", "n", "", 10)
    book.do("remember", "n", "b", "seven", 20.0, True)
    book.do("remember", "m", "a", "eight", 20.0, False, "other")


def sinks(book: Bookkeeper) -> None:
    """Events, cursors, their leases, and what was refused for good."""
    book.do("append", [*book.event("q1", status=200), *book.event("q2", reason="why", latency_ms=1.5)])
    book.do("flush")
    book.do("append", book.event("q3"))
    book.do("flush")
    book.do("read_events", 0, 2)
    book.do("read_events", 2)
    book.do("count_events", 0, 10)
    book.do("count_events", 1, 1)
    book.do("lease_sink", "s", "one", 60.0)
    book.do("lease_sink", "s", "two", 60.0)
    book.wait(30.0)
    dead = [DeadLetter(position=2, event_id="q2.2", body="{}", reason="x" * 600, tries=3, at=START)]
    dead += [DeadLetter(position=3, event_id="q3.3", body="[]", reason="no", tries=1, at=START + 1.0)]
    book.do("advance_sink", "s", 2, 3, 60.0, "slow", dead)
    book.do("advance_sink", "s", 1, 3, 60.0, "slow", dead)
    book.do("advance_sink", "s", 1, 2, 60.0)
    book.do("advance_sink", "s", 1, 3, 60.0, "slow", dead)
    book.do("find_sinks")
    book.do("find_dead", "s")
    book.do("find_dead", "s", 1, 10)
    book.do("find_dead", "s", 0, 1)
    book.do("revive_dead", "s", [1, 9])
    book.do("revive_dead", "s", [1])
    book.do("find_dead", "s")
    book.do("end_dead", "s", 2, 1, "again no")
    book.do("end_dead", "s", 1, 1, "again no")
    book.do("revive_dead", "s")
    book.do("end_dead", "s", 1, 2, None)
    book.do("find_dead", "s")
    book.do("forget_sink", "s")
    book.do("release_sink", "s", 2)
    book.do("release_sink", "s", 1)
    book.do("find_sinks")
    book.do("lease_sink", "s", "two", 60.0)
    book.wait(60.0)
    book.do("lease_sink", "s", "three", 60.0)
    book.do("lease_sink", "t", "one", 60.0)
    book.do("release_sink", "t", 1)
    book.do("forget_sink", "t")
    book.do("forget_sink", "t")
    book.do("find_sinks")


def pruned(book: Bookkeeper) -> None:
    """Every kind of row, and what goes of it day by day: what is owed, unknown or used up stays."""
    claim = ("f1", False, 15.0, 60.0, START + 360.0, 2)
    book.do("claim", "r|claimed", *claim)
    book.do("claim", "r|parked", *claim)
    book.do("release", "r|parked", 1, True, ())
    book.do("claim", "r|unpaid", *claim)
    book.do("release", "r|unpaid", 1, False, ())
    settled(book, "r|running", "p1")
    answer = StoredAnswer(caller="c1", status=200, headers=(), body=b"", until=START + DAY_S)
    for key, reference in (("r|delivered", "p2"), ("r|refunded", "p3"), ("r|failed", "p4")):
        fence = settled(book, key, reference)
        if key == "r|failed":
            book.do("fail", key, fence, book.event("q1"))
        else:
            book.do("deliver", key, fence, book.event("q1"), answer)
    book.do("note_refund", "r|refunded", "mock|p3", 100, "usd", book.event("q2"))
    book.do("late", "r|z|mock|p5", "mock|p5", "p5", 70, "eur", START + DAY_S, book.event("q3"))
    book.do("remember", "n", "a", "one", DAY_S, False)
    book.do("append", [*book.event("unpaid"), *book.event("asked", challenge_id="delivered")])
    for days in (0.5, 0.5, 2.0, 4.0, 1.0, 3.0, 20.0):
        book.wait(days * DAY_S)
        book.do("append", book.event(f"after {book.clock() - START:.10g}"))
        book.do("count_forgettable")
        book.do("prune")
        book.do("prune")
    book.do("claim", "r|delivered", "f1", False, 15.0, 60.0, book.clock() + 360.0, 2)
    book.do("find_paid", "mock|p2")
    book.do("find_paid", "mock|p3")
    book.do("find_paid", "mock|p5")


KEPT = Retention(events_days=9, unpaid_events_days=2, delivered_days=8)
USES: list[Callable[[Bookkeeper], None]] = [claims, deliveries, refunds, found_elsewhere, texts, sinks]


def in_memory(use: Callable[[Bookkeeper], None]) -> Bookkeeper:
    """The book of a memory ledger."""
    clock = ManualClock()
    with closing(MemoryLedger(clock=clock)) as ledger:
        book = Bookkeeper(ledger, clock, None)
        use(book)
    return book


def in_a_file(use: Callable[[Bookkeeper], None], path: Path) -> Bookkeeper:
    """The book of a SQLite ledger."""
    clock = ManualClock()
    retention = KEPT if use is pruned else None
    with closing(with_sinks(open_ledger(f"sqlite:///{path}", clock=clock, retention=retention))) as ledger:
        assert isinstance(ledger, SqlLedger)
        book = Bookkeeper(ledger, clock, path)
        use(book)
    return book


def expected() -> dict[str, list[str]]:
    """The books of the file, by name."""
    parts = BOOKS.read_text(encoding="utf-8").split("# ")[1:]
    return {name: text.strip("\n").split("\n") for name, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_in_memory(use: Callable[[Bookkeeper], None]) -> None:
    """The answers are those of the book, but that memory says how long it keeps what a database keeps anyway."""
    answers = [line for line in expected()[use.__name__] if not line.startswith("  ")]
    assert list(map(_without_end, answers)) == list(map(_without_end, in_memory(use).answers))


def _without_end(line: str) -> str:
    return re.sub(r"(state='parked'.*|state='claimed'.*)keep_until=[^,]+", r"\1keep_until=…", line)


@pytest.mark.parametrize("use", [*USES, pruned], ids=lambda use: use.__name__)
def test_in_a_file(use: Callable[[Bookkeeper], None], tmp_path: Path) -> None:
    """The answers and the rows are those of the book; ``python -m tests.ledger.test_books FOLDER`` writes it."""
    assert expected()[use.__name__] == in_a_file(use, tmp_path / "shop.db").lines


if __name__ == "__main__":
    import sys

    books: list[str] = []
    for use in [*USES, pruned]:
        lines = in_a_file(use, Path(sys.argv[1], f"{use.__name__}.db")).lines
        books.append(f"# {use.__name__}\n" + "\n".join(lines))
    BOOKS.write_text("\n\n".join(books) + "\n", encoding="utf-8")
