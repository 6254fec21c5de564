"""Two years of payments by a virtual clock: the tables stay bounded, and a claim is as fast as on the first day.

::

    python -m tests.campaigns.years --payments 5000000 --ledger sqlite:////dev/shm/years.db
    python -m tests.campaigns.years --payments 200000 --ledger postgresql

Payments are spread evenly over 24 months, and the ledger forgets by its own retention: events after 7 days, payments
after the 7 that they can be redeemed. Proofs are kept for ever: that is policy. With the URL of a ledger the run
can be ended at any time, and goes on where it was when it is started again with the same words.
"""

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from flovia.core.events import PAYMENT_DELIVERED, PAYMENT_SETTLED, EventRow
from flovia.core.retention import DAY_S, Retention
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger
from tests.campaigns.accounts import query
from tests.campaigns.program import conclude
from tests.campaigns.stores import opened
from tests.campaigns.traffic import percentile

DAYS = 730
KEEP_DAYS = 7
SAMPLE = 500
SLOWEST = 1.5
TABLES = ("flovia_payments", "flovia_events", "flovia_texts")


@attrs.define
class Years:
    """One run: ``payments`` in all, ``now`` by the virtual clock, in Unix seconds."""

    payments: int
    now: float = 1_800_000_000.0

    def open(self, url: str) -> Ledger:
        """A ledger that lives by this clock."""
        return open_ledger(url, clock=lambda: self.now, patience_s=60.0, retention=Retention(events_days=KEEP_DAYS))

    def pay(self, ledger: Ledger, number: int) -> float:
        """One payment: claimed, settled, delivered; how long the claim took, in ms."""
        self.now = 1_800_000_000.0 + number * DAYS * DAY_S / self.payments
        key, reference = f"shop|challenge-{number}", f"pay-{number}"
        began = time.perf_counter()
        claimed = ledger.claim(key, "fingerprint", False, 15.0, 60.0, self.now + 360.0, 5)
        took = 1000 * (time.perf_counter() - began)
        settled = ledger.settle(
            key,
            claimed.fence,
            f"mock|{reference}",
            reference,
            100,
            "usd",
            '["2027-01-01T00:00:00Z",null,null,[],{}]',
            60.0,
            self.now + KEEP_DAYS * DAY_S,
            False,
            (self._event(PAYMENT_SETTLED, number, 1), self._event("paid_api.access_granted", number, 2)),
        )
        assert settled == "settled", f"payment {number} was {settled}"
        assert ledger.deliver(key, claimed.fence, (self._event(PAYMENT_DELIVERED, number, 3),)), number
        return took

    def _event(self, kind: str, number: int, seq: int) -> EventRow:
        return (kind, self.now, f"request-{number}", seq, "/paid", "GET", "mock", "mpp", 100, "usd")


def run(payments: int, ledger: str, folder: Path) -> list[str]:
    """Live through it; what to report.

    Raises:
        AssertionError: a table grew beyond its policy, or claims became slower.
    """
    years = Years(payments)
    most = dict.fromkeys(TABLES, 0)
    with opened(ledger, folder) as store:
        with closing(years.open(store.url)) as lived:
            began = _count(store.url, "flovia_proofs")
            if began:
                print(f"goes on after {began} payments", flush=True)
            since, spoken = time.monotonic(), time.monotonic()
            for number in range(began, payments - SAMPLE):
                years.pay(lived, number)
                if number % (payments // 100) == 0:
                    most = {table: max(rows, _count(store.url, table)) for table, rows in most.items()}
                    if time.monotonic() - spoken > 60:
                        spoken = time.monotonic()
                        print(f"{number} payments, rows at most {most}", flush=True)
            after, before = _compare(years, lived, store.another(folder))
            seconds = time.monotonic() - since
        proofs = _count(store.url, "flovia_proofs")
    kept = payments / DAYS * (KEEP_DAYS + 1)
    assert proofs == payments, f"{proofs} proofs of {payments} payments"
    # Pruning comes after so many rows, so a little more may wait for its turn.
    assert most["flovia_payments"] <= kept + 1024, f"{most['flovia_payments']} payments kept, {kept:.0f} are policy"
    assert most["flovia_events"] <= 3 * kept + 1024, f"{most['flovia_events']} events kept, {3 * kept:.0f} are policy"
    assert after <= SLOWEST * before, f"a claim takes {after:.2f} ms, and {before:.2f} ms in an empty ledger"
    return [
        f"{payments} payments in {DAYS} days, the last {payments - began} of them in {seconds:.0f} s;"
        f" rows at most: {most}; proofs {proofs}",
        f"median of {SAMPLE} claims: {after:.2f} ms, and {before:.2f} ms in an empty ledger at the same time,"
        f" ratio {after / before:.2f} (wanted: at most {SLOWEST})",
    ]


def _compare(years: Years, lived: Ledger, empty: str) -> tuple[float, float]:
    """Medians of the last claims and of as many in an empty database, in turns, in ms."""
    took: list[tuple[float, float]] = []
    with closing(years.open(empty)) as new:
        for number in range(years.payments - SAMPLE, years.payments):
            took.append((years.pay(lived, number), years.pay(new, number)))
    return percentile([old for old, _ in took], 0.5), percentile([new for _, new in took], 0.5)


def _count(url: str, table: str) -> int:
    ((rows,),) = query(url, f"SELECT count(*) FROM {table}")  # noqa: S608  # ours
    return int(str(rows))


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    parser = argparse.ArgumentParser(description="two years of payments")
    parser.add_argument("--payments", type=int, default=5_000_000)
    parser.add_argument("--ledger", default="sqlite", help="sqlite, postgresql (one of our own), or a URL")
    parser.add_argument("--folder", help="where the SQLite file is made; default: the system's for temporary files")
    options = parser.parse_args()
    print(f"years: {options.payments} payments")
    with TemporaryDirectory(prefix="flovia-years-", dir=options.folder) as folder:
        return conclude(lambda: run(options.payments, options.ledger, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
