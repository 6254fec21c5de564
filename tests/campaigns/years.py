"""Two years of payments by a virtual clock: the tables stay bounded, and a claim is as fast as on the first day.

::

    python -m tests.campaigns.years --payments 5000000
    python -m tests.campaigns.years --payments 200000 --ledger postgresql

Payments are spread evenly over 24 months. Events older than the policy are deleted once a simulated day, as
docs/ledger.md says; payments and short texts the ledger forgets by itself. Proofs are kept for ever: that is policy.
"""

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
from sqlalchemy import create_engine, text

from flovia.core.events import PAYMENT_DELIVERED, PAYMENT_SETTLED, EventRow
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger
from tests.campaigns.accounts import DRIVERS, query
from tests.campaigns.program import conclude
from tests.campaigns.stores import opened
from tests.campaigns.traffic import percentile

DAY_S = 86400.0
DAYS = 730
KEEP_DAYS = 7
"""Delivered payments, by the gate; events, by the operator's policy here."""
SAMPLE = 500
SLOWEST = 1.5


@attrs.define
class Years:
    """One run. ``measured``: milliseconds of the first and the last claims."""

    payments: int
    now: float = 1_800_000_000.0
    first: list[float] = attrs.field(factory=list[float])
    last: list[float] = attrs.field(factory=list[float])

    def pay(self, ledger: Ledger, number: int) -> None:
        """One payment: claimed, settled, delivered."""
        key, reference = f"shop|challenge-{number}", f"pay-{number}"
        began = time.perf_counter()
        claimed = ledger.claim(key, "fingerprint", False, 15.0, 60.0, self.now + 360.0, 5)
        took = 1000 * (time.perf_counter() - began)
        (self.first if number < SAMPLE else self.last if number >= self.payments - SAMPLE else []).append(took)
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

    def _event(self, kind: str, number: int, seq: int) -> EventRow:
        return (kind, self.now, f"request-{number}", seq, "/paid", "GET", "mock", "mpp", 100, "usd")


def run(payments: int, ledger: str, folder: Path) -> list[str]:
    """Live through it; what to report.

    Raises:
        AssertionError: a table grew beyond its policy, or claims became slower.
    """
    years = Years(payments)
    most: dict[str, int] = {}
    with opened(ledger, folder) as store:
        scheme, _, rest = store.url.partition(":")
        engine = create_engine(f"{DRIVERS[scheme]}:{rest}")
        with closing(open_ledger(store.url, clock=lambda: years.now, patience_s=60.0)) as opened_ledger:
            began, day = time.monotonic(), 0
            for number in range(payments):
                years.now += DAYS * DAY_S / payments
                years.pay(opened_ledger, number)
                if (today := int(number * DAYS / payments)) > day:
                    day = today
                    with engine.begin() as connection:
                        connection.execute(
                            text("DELETE FROM flovia_events WHERE at < :old"),
                            {"old": years.now - KEEP_DAYS * DAY_S},
                        )
                    if day % 30 == 0:
                        for table in ("flovia_payments", "flovia_events", "flovia_texts"):
                            ((rows,),) = query(store.url, f"SELECT count(*) FROM {table}")  # noqa: S608  # ours
                            most[table] = max(most.get(table, 0), int(str(rows)))
            seconds = time.monotonic() - began
        engine.dispose()
        ((proofs,),) = query(store.url, "SELECT count(*) FROM flovia_proofs")
    kept = payments / DAYS * (KEEP_DAYS + 2)
    assert proofs == payments, f"{proofs} proofs of {payments} payments"
    # Forgetting takes 512 rows every 256 writes, so a little more may wait for its turn.
    assert most["flovia_payments"] <= kept + 1024, f"{most['flovia_payments']} payments kept, {kept:.0f} are policy"
    assert most["flovia_events"] <= 3 * kept + 1024, f"{most['flovia_events']} events kept, {3 * kept:.0f} are policy"
    before, after = percentile(years.first, 0.5), percentile(years.last, 0.5)
    return [
        f"{payments} payments in {DAYS} days, {seconds:.0f} s; rows at most: {most}; proofs {proofs}",
        f"median claim: the first {SAMPLE} {before:.2f} ms, the last {SAMPLE} {after:.2f} ms,"
        f" ratio {after / before:.2f} (wanted: at most {SLOWEST})",
    ]


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
