"""What the durable ledger costs beside the bare driver: claim, settle, deliver, as the same SQL transactions.

``python tests/bench/ledger_bench.py [--payments 400] [--folder .]`` prints medians in microseconds and their ratio.
Both sides write the same rows into the same tables with the same pragmas; samples are taken in turn, on one disk,
so the ratio is the result, not the times.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import ParamSpec

from flovia.core.events import FIELDS, EventRow
from flovia.ledger.opening import open_ledger
from flovia.ledger.sqlite import journal_mode
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, LEASE_S, ManualClock, event_row

NOW = 1_700_000_000.0
RECORD = '{"receipt":"test' + "x" * 400 + '"}'
COLUMNS = ", ".join(FIELDS)
PLACES = ", ".join("?" * len(FIELDS))
# The names are our own, so nothing can be injected.
ADD_EVENT = f"INSERT INTO flovia_events ({COLUMNS}) VALUES ({PLACES}) ON CONFLICT DO NOTHING"  # noqa: S608
P = ParamSpec("P")
VERBS = ("claim", "settle", "deliver")


def payment_events(number: int) -> tuple[tuple[EventRow, ...], tuple[EventRow, ...]]:
    """As many events as the gate writes: four when a payment is settled, two when it is delivered."""
    rows = [event_row(request_id=f"req_{number:022}", seq=seq) for seq in range(1, 7)]
    return tuple(rows[:4]), tuple(rows[4:])


class Bare:
    """The transactions, written by hand."""

    def __init__(self, path: Path) -> None:
        self.raw = sqlite3.connect(path, isolation_level=None)
        self.raw.execute(f"PRAGMA journal_mode={journal_mode()}")
        self.raw.execute("PRAGMA synchronous=FULL")

    def claim(self, key: str) -> None:
        """Insert the payment."""
        run = self.raw.execute
        run("BEGIN IMMEDIATE")
        run(
            "INSERT INTO flovia_payments (key, state, fence, fingerprint, deliveries, lease_until, keep_until,"
            " refund_due, created_at, updated_at) VALUES (?, 'claimed', 1, ?, 0, ?, ?, 0, ?, ?)"
            " ON CONFLICT DO NOTHING RETURNING fence",
            (key, "f" * 43, NOW + LEASE_S, NOW + 360.0, NOW, NOW),
        ).fetchone()
        run("COMMIT")

    def settle(self, key: str, proof: str, events: tuple[EventRow, ...]) -> None:
        """Use the proof, update the payment, write its events."""
        run = self.raw.execute
        run("BEGIN IMMEDIATE")
        run("SELECT key FROM flovia_payments WHERE key = ? AND fence = 1 AND state IN ('claimed')", (key,)).fetchone()
        run(
            "INSERT INTO flovia_proofs (proof, key, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING proof",
            (proof, key, NOW),
        ).fetchone()
        run(
            "UPDATE flovia_payments SET state = 'delivering', payment_id = ?, amount = ?, currency = 'usd', record = ?,"
            " keep_until = ?, refund_due = 0, updated_at = ?, deliveries = 1, lease_until = ?"
            " WHERE key = ? AND fence = 1 AND state IN ('claimed')",
            (proof, "100", RECORD, NOW + 7 * DAY_S, NOW, NOW + DELIVER_S, key),
        )
        self.raw.executemany(ADD_EVENT, events)
        run("COMMIT")

    def deliver(self, key: str, events: tuple[EventRow, ...]) -> None:
        """Update the payment, write its events."""
        run = self.raw.execute
        run("BEGIN IMMEDIATE")
        run(
            "UPDATE flovia_payments SET state = 'delivered', updated_at = ?"
            " WHERE key = ? AND fence = 1 AND state IN ('delivering')",
            (NOW, key),
        )
        self.raw.executemany(ADD_EVENT, events)
        run("COMMIT")


def timed(work: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> float:
    """How long a call takes, microseconds."""
    begun = perf_counter()
    work(*arguments, **named)
    return (perf_counter() - begun) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--payments", type=int, default=400, help="how many, on each side")
    parser.add_argument("--folder", default=None, help="where to put the two files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        ours, theirs = Path(folder, "ours.db"), Path(folder, "bare.db")
        open_ledger(f"sqlite:///{theirs}").close()
        bare = Bare(theirs)
        samples: dict[str, list[float]] = {f"{side} {verb}": [] for side in ("ours", "bare") for verb in VERBS}
        with closing(open_ledger(f"sqlite:///{ours}", clock=ManualClock(NOW))) as ledger, closing(bare.raw):
            for number in range(options.payments + 20):
                key, proof = f"api.example.com|{number:043}", f"mock|pay_{number:020}"
                settled, delivered = payment_events(number)
                claim = key, "f" * 43, False, LEASE_S, DELIVER_S, NOW + 360.0, 5
                terms = proof, proof, 100, "usd", RECORD, DELIVER_S, NOW + 7 * DAY_S, False
                took = {
                    "ours claim": timed(ledger.claim, *claim),
                    "bare claim": timed(bare.claim, key),
                    "ours settle": timed(ledger.settle, key, 1, *terms, settled),
                    "bare settle": timed(bare.settle, key, proof, settled),
                    "ours deliver": timed(ledger.deliver, key, 1, delivered),
                    "bare deliver": timed(bare.deliver, key, delivered),
                }
                if number >= 20:  # the first ones compile statements and fill caches
                    for name, value in took.items():
                        samples[name].append(value)
            assert len(ledger.read_events(limit=10**9)) == 6 * (options.payments + 20)
    print(f"SQLite {sqlite3.sqlite_version}, {journal_mode()}, synchronous=FULL, {options.payments} payments")
    print(f"{'':10}{'ledger µs':>12}{'bare µs':>12}{'ratio':>8}")
    totals = [0.0, 0.0]
    for verb in VERBS:
        pair = median(samples[f"ours {verb}"]), median(samples[f"bare {verb}"])
        totals = [totals[0] + pair[0], totals[1] + pair[1]]
        print(f"{verb:10}{pair[0]:12.0f}{pair[1]:12.0f}{pair[0] / pair[1]:8.2f}")
    print(f"{'all three':10}{totals[0]:12.0f}{totals[1]:12.0f}{totals[0] / totals[1]:8.2f}")


if __name__ == "__main__":
    main()
