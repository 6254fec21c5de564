"""What the durable ledger costs beside the bare driver: claim, settle, deliver, as the same SQL transactions.

::

    python -m tests.bench.ledger_bench --ledger sqlite --folder .
    python -m tests.bench.ledger_bench --ledger postgresql

prints medians in microseconds and their ratio. Both sides write the same rows into the same tables with the same
settings; samples are taken in turn, on one disk, so the ratio is the result, not the times.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, ParamSpec

import attrs

from flovia.core.events import FIELDS, EventRow
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sqlite import journal_mode
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, LEASE_S, ManualClock, event_row

NOW = 1_700_000_000.0
RECORD = '{"receipt":"test' + "x" * 400 + '"}'
COLUMNS = ", ".join(FIELDS)
P = ParamSpec("P")
VERBS = ("claim", "settle", "deliver")
Run = Callable[..., Any]


def payment_events(number: int) -> tuple[tuple[EventRow, ...], tuple[EventRow, ...]]:
    """As many events as the gate writes: four when a payment is settled, two when it is delivered."""
    rows = [event_row(request_id=f"req_{number:022}", seq=seq) for seq in range(1, 7)]
    return tuple(rows[:4]), tuple(rows[4:])


class Bare:
    """The transactions, written by hand. ``mark``: what the driver writes for a value."""

    def __init__(self, run: Run, run_many: Run, *, begin: str, mark: str) -> None:
        self.run = run
        self.run_many = run_many
        self.begin = begin
        # The names are our own, so nothing can be injected.
        self.add_event = (
            f"INSERT INTO flovia_events ({COLUMNS}) VALUES ({', '.join([mark] * len(FIELDS))}) ON CONFLICT DO NOTHING"  # noqa: S608
        )
        self.insert = (
            "INSERT INTO flovia_payments (key, state, fence, fingerprint, deliveries, lease_until, keep_until,"
            " refund_due, created_at, updated_at) VALUES (?, 'claimed', 1, ?, 0, ?, ?, FALSE, ?, ?)"
            " ON CONFLICT DO NOTHING RETURNING fence"
        ).replace("?", mark)
        self.find = "SELECT key FROM flovia_payments WHERE key = ? AND fence = 1 AND state IN ('claimed')".replace(
            "?", mark
        )
        self.use = (
            "INSERT INTO flovia_proofs (proof, key, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING proof"
        ).replace("?", mark)
        self.pay = (
            "UPDATE flovia_payments SET state = 'delivering', payment_id = ?, amount = ?, currency = 'usd', record = ?,"
            " keep_until = ?, refund_due = FALSE, updated_at = ?, deliveries = 1, lease_until = ?"
            " WHERE key = ? AND fence = 1 AND state IN ('claimed')"
        ).replace("?", mark)
        self.end = (
            "UPDATE flovia_payments SET state = 'delivered', updated_at = ?"
            " WHERE key = ? AND fence = 1 AND state IN ('delivering')"
        ).replace("?", mark)

    def claim(self, key: str) -> None:
        """Insert the payment."""
        self.run(self.begin)
        self.run(self.insert, (key, "f" * 43, NOW + LEASE_S, NOW + 360.0, NOW, NOW)).fetchone()
        self.run("COMMIT")

    def settle(self, key: str, proof: str, events: tuple[EventRow, ...]) -> None:
        """Use the proof, update the payment, write its events."""
        self.run(self.begin)
        self.run(self.find, (key,)).fetchone()
        self.run(self.use, (proof, key, NOW)).fetchone()
        self.run(self.pay, (proof, "100", RECORD, NOW + 7 * DAY_S, NOW, NOW + DELIVER_S, key))
        self.run_many(self.add_event, events)
        self.run("COMMIT")

    def deliver(self, key: str, events: tuple[EventRow, ...]) -> None:
        """Update the payment, write its events."""
        self.run(self.begin)
        self.run(self.end, (NOW, key))
        self.run_many(self.add_event, events)
        self.run("COMMIT")


@attrs.frozen
class Side:
    """A ledger, the same transactions by hand on tables of their own (None: there is no driver), and what to print."""

    what: str
    ledger: Ledger
    bare: Bare | None


@contextmanager
def memory() -> Generator[Side]:
    """Nothing to write to."""
    yield Side("memory", MemoryLedger(clock=ManualClock(NOW)), None)


@contextmanager
def sqlite(folder: str) -> Generator[Side]:
    """Two files on one disk."""
    ours, theirs = Path(folder, "ours.db"), Path(folder, "bare.db")
    open_ledger(f"sqlite:///{theirs}").close()
    with (
        closing(open_ledger(f"sqlite:///{ours}", clock=ManualClock(NOW))) as ledger,
        closing(sqlite3.connect(theirs, isolation_level=None)) as raw,
    ):
        raw.execute(f"PRAGMA journal_mode={journal_mode()}")
        raw.execute("PRAGMA synchronous=FULL")
        what = f"SQLite {sqlite3.sqlite_version}, {journal_mode()}, synchronous=FULL"
        yield Side(what, ledger, Bare(raw.execute, raw.executemany, begin="BEGIN IMMEDIATE", mark="?"))


@contextmanager
def postgresql() -> Generator[Side]:
    """Two databases of one server of our own, which waits for its disk."""
    import psycopg

    from tests.postgres.programs import required
    from tests.postgres.server import Server

    server = Server(required(), fsync="on")
    try:
        server.make()
        ours, theirs = server.url(server.database()), server.url(server.database())
        open_ledger(theirs).close()
        with closing(open_ledger(ours)) as ledger, psycopg.connect(theirs, autocommit=True) as raw:
            what = f"PostgreSQL {raw.info.parameter_status('server_version')}, fsync=on, synchronous_commit=on"
            yield Side(what, ledger, Bare(raw.execute, raw.cursor().executemany, begin="BEGIN", mark="%s"))
    finally:
        server.close()


def timed(work: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> float:
    """How long a call takes, microseconds."""
    begun = perf_counter()
    work(*arguments, **named)
    return (perf_counter() - begun) * 1e6


def measured(side: Side, payments: int) -> dict[str, list[float]]:
    """Samples by side and verb, taken in turn."""
    samples: dict[str, list[float]] = {f"{name} {verb}": [] for name in ("ours", "bare") for verb in VERBS}
    ledger, bare = side.ledger, side.bare
    for number in range(payments + 20):
        key, proof = f"api.example.com|{number:043}", f"mock|pay_{number:020}"
        settled, delivered = payment_events(number)
        claim = key, "f" * 43, False, LEASE_S, DELIVER_S, NOW + 360.0, 5
        terms = proof, proof, 100, "usd", RECORD, DELIVER_S, NOW + 7 * DAY_S, False
        took = {"ours claim": timed(ledger.claim, *claim)}
        if bare:
            took["bare claim"] = timed(bare.claim, key)
        took["ours settle"] = timed(ledger.settle, key, 1, *terms, settled)
        if bare:
            took["bare settle"] = timed(bare.settle, key, proof, settled)
        took["ours deliver"] = timed(ledger.deliver, key, 1, delivered)
        if bare:
            took["bare deliver"] = timed(bare.deliver, key, delivered)
        if number >= 20:  # the first ones compile statements and fill caches
            for name, value in took.items():
                samples[name].append(value)
    assert len(ledger.read_events(limit=10**9)) == 6 * (payments + 20)
    return samples


def show(side: Side, samples: dict[str, list[float]]) -> None:
    """Print the medians, and their ratios."""
    print(f"{side.what}, {len(samples['ours claim'])} payments")
    print(f"{'':10}{'ledger µs':>12}{'p99 µs':>12}{'bare µs':>12}{'ratio':>8}")
    totals = [0.0, 0.0]
    for verb in VERBS:
        ours, theirs = samples[f"ours {verb}"], samples[f"bare {verb}"] or [0.0]
        pair = median(ours), median(theirs)
        totals = [totals[0] + pair[0], totals[1] + pair[1]]
        last = quantiles(ours, n=100)[-1]
        print(
            f"{verb:10}{pair[0]:12.0f}{last:12.0f}" + (f"{pair[1]:12.0f}{pair[0] / pair[1]:8.2f}" if side.bare else "")
        )
    print(
        f"{'all three':10}{totals[0]:12.0f}{'':12}"
        + (f"{totals[1]:12.0f}{totals[0] / totals[1]:8.2f}" if side.bare else "")
    )
    print(f"one thread: {1e6 / totals[0]:.0f} payments a second")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--payments", type=int, default=400, help="how many, on each side")
    parser.add_argument("--folder", default=None, help="where to put SQLite's two files")
    parser.add_argument("--ledger", choices=("memory", "sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kinds = {"memory": memory, "sqlite": lambda: sqlite(folder), "postgresql": postgresql}
        with kinds[options.ledger]() as side:
            show(side, measured(side, options.payments))


if __name__ == "__main__":
    main()
