"""T15: what reports cost over many attempts, on SQLite and PostgreSQL.

::

    python -m tests.bench.insights_bench --attempts 1000000 --ledger sqlite --folder .
    python -m tests.bench.insights_bench --attempts 1000000 --ledger postgresql

makes a year of attempts (20 routes, 3 prices each, 5,000 payers), half of them and then the rest, counts its days, and
runs each report as a program of its own: seconds (also of the processor) and the most memory it had. The events of
``--fold`` attempts are folded first, as an app writes them. Twice the attempts should take about twice the time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Final

import attrs
from sqlalchemy import insert, select

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.insights.attempt import DAY_S, attempts, day_of
from flovia.insights.fold import fold_batch
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.lanes import ALWAYS, mark
from flovia.insights.rollup import measure_days, roll_up
from flovia.insights.schema import ATTEMPTS, STALE_DAYS
from flovia.insights.sessions import Lane
from flovia.insights.sql_measures import measure_sql
from flovia.insights.store import prepare, values_of
from flovia.ledger.opening import open_ledger
from flovia.ledger.related import RelatedEvents
from flovia.ledger.sql import SqlLedger

START: Final = 1_735_689_600.0  # 2025-01-01
DAYS: Final = 365
ROUTES: Final = 20
PRICES: Final = (100, 200, 300)
PAYERS: Final = 5000
STORIES: Final = {"unpaid": 600, "refused": 50, "paid": 310, "redelivered": 20, "failed": 5, "refunded": 10, "late": 5}
"""What becomes of an attempt, of 1,000."""
REPORTS: Final = (
    ("funnel",),
    ("funnel", "--by", "day"),
    ("funnel", "--since", "2025-02-03T10:30:00Z", "--until", "2025-11-20T17:45:00Z"),
    ("funnel", "--own", "agent-1*"),
    ("latency",),
    ("revenue",),
    ("pricing",),
    ("integrity",),
    ("retention",),
    ("retention", "--by", "endpoint", "--since", "2025-09-01"),
    ("retention", "--endpoint", "/route/3/{id}"),
    ("workflows",),
    ("workflows", "--endpoint", "/route/3/{id}"),
    ("workflows", "--own", "agent-1*"),
)
_TIMES: Final = ("at", "challenged_at", "presented_at", "verified_at", "delivered_at", "refunded_at", "last_at")


def story(number: int, kind: str, at: float, route: int, price: int, payer: str) -> list[Event]:
    """The events of one attempt, as a gate writes them."""
    challenge, payment = f"challenge_{number:020}", f"payment_{number:020}"
    events: list[Event] = []

    def tell(type_: str, request: int, moment: float, **more: str | int | float | None) -> None:
        fields: dict[str, str | int | float | None] = {
            "type": type_,
            "at": at + moment,
            "request_id": f"req_{number:018}_{request}",
            "seq": len(events) + 1,
            "endpoint": f"/route/{route}/{{id}}",
            "http_method": "GET",
            "rail": "mpp",
        }
        fields |= more
        events.append(Event.from_row(tuple(fields.get(name) for name in FIELDS)))

    asked = {"provider": "hitpay", "amount": price, "currency": "sgd", "challenge_id": challenge}
    paid = asked | {"payment_id": payment, "payer": payer, "recipient": "acct"}
    tell(ev.REQUEST_STARTED, 1, 0.0)
    tell(ev.CHALLENGE_ISSUED, 1, 0.001, **asked)
    tell(ev.REQUEST_COMPLETED, 1, 0.002, **asked, status=402, latency_ms=2.0 + number % 7, problem="payment-required")
    if kind in ("unpaid", "late"):
        if kind == "late":
            moved = {"endpoint": "", "http_method": "", "reason": ev.LATE}
            tell(ev.PAYMENT_LATE, 9, 400.0, **(asked | {"payment_id": payment} | moved))
        return events
    wait = 5.0 + number % 50
    tell(ev.REQUEST_STARTED, 2, wait)
    tell(ev.PAYMENT_CONTEXT_ATTACHED, 2, wait, **asked, payer=payer)
    if kind == "refused":
        tell(ev.REQUEST_COMPLETED, 2, wait + 0.3, **asked, status=402, latency_ms=300.0, problem="verification-failed")
        return events
    tell(ev.PAYMENT_SETTLED, 2, wait + 0.2, **paid)
    tell(ev.ACCESS_GRANTED, 2, wait + 0.2, **paid)
    if kind in ("failed", "redelivered"):
        failure = {"status": 500, "problem": "delivery-failed"}
        tell(ev.PAYMENT_DELIVERY_FAILED, 2, wait + 0.5, **paid, **failure)
        tell(ev.REQUEST_FAILED, 2, wait + 0.5, **paid, **failure, latency_ms=500.0)
        if kind == "failed":
            return events
        tell(ev.REQUEST_STARTED, 3, wait + 60)
        tell(ev.PAYMENT_CONTEXT_ATTACHED, 3, wait + 60, **asked, payer=payer)
        tell(ev.ACCESS_GRANTED, 3, wait + 60, **paid)
    request, end = (3, wait + 61) if kind == "redelivered" else (2, wait + 0.4 + number % 11 / 10)
    type_ = ev.PAYMENT_REDELIVERED if kind == "redelivered" else ev.PAYMENT_DELIVERED
    tell(type_, request, end, **paid, status=200)
    tell(ev.REQUEST_COMPLETED, request, end, **paid, status=200, latency_ms=400.0 + number % 300)
    if kind == "refunded":
        tell(ev.PAYMENT_REFUNDED, 9, 86400.0, **(paid | {"endpoint": "", "http_method": "", "payer": None}))
    return events


FIELDS: Final = tuple(field.name for field in attrs.fields(Event))


def stories(count: int, seed: int = 11) -> Generator[list[Event]]:
    """So many attempts over the year."""
    random = Random(seed)
    kinds, weights = list(STORIES), list(STORIES.values())
    for number in range(count):
        kind = random.choices(kinds, weights)[0]
        at = START + number * (DAYS * DAY_S / count)
        payer = f"agent-{random.randrange(PAYERS)}"
        yield story(number, kind, at, random.randrange(ROUTES), random.choice(PRICES), payer)


def fold(ledger: SqlLedger, count: int) -> tuple[int, float, float]:
    """Write the events of so many attempts and fold them; how many events, and seconds, and those of this process."""
    told = sorted((event for events in stories(count) for event in events), key=lambda event: event.at)
    for start in range(0, len(told), 5000):
        ledger.append([event.to_row() for event in told[start : start + 5000]])
        ledger.flush()
    prepare(ledger.database)
    source = RelatedEvents(ledger)
    begun, used = perf_counter(), process_time()
    while fold_batch(source, ledger.database):
        pass
    return len(told), perf_counter() - begun, process_time() - used


def fill(ledger: SqlLedger, first: int, last: int) -> None:
    """Write attempts over the whole year straight into their table, numbered from ``first`` to ``last``."""
    prepare(ledger.database)
    templates = [values_of(attempt, 1, 1) for events in stories(500) for attempt in attempts(events)]
    random = Random(first)
    days: set[int] = set()
    for start in range(first, last, 5000):
        rows: list[dict[str, object]] = []
        for number in range(start, min(start + 5000, last)):
            row = dict(templates[random.randrange(len(templates))])
            at = START + (number - first) * (DAYS * DAY_S / (last - first))
            shift = at - float(str(row["at"]))
            for name in _TIMES:
                if isinstance(found := row[name], float):
                    row[name] = found + shift
            price = str(random.choice(PRICES))
            row |= {"key": f"c|{number}", "challenge_id": f"challenge_{number:020}", "day": day_of(at), "price": price}
            row |= {"amount": price, "endpoint": f"/route/{random.randrange(ROUTES)}/{{id}}"}
            row["refunded"] = price if row["refunded"] is not None else None
            row["payment_id"] = f"payment_{number:020}" if row["payment_id"] else None
            # Three in a row, so that with a million there are sessions.
            row["payer"] = f"agent-{number // 3 * 7919 % PAYERS}" if row["payer"] else None
            days.add(day_of(at))
            rows.append(row)
        with ledger.database.write() as connection:
            connection.execute(insert(ATTEMPTS), rows)
    with ledger.database.write() as connection:
        put = ledger.database.upsert(STALE_DAYS).on_conflict_do_nothing()
        connection.execute(put, [{"day": day, "mark": last} for day in sorted(days)])
        mark(connection, {Lane("", f"agent-{number}", False): ALWAYS for number in range(PAYERS)})


@attrs.frozen
class Cost:
    """Of one report as a program: seconds, seconds of the processor, and MiB at most."""

    wall: float
    cpu: float
    memory: float


def timed_report(url: str, arguments: Sequence[str]) -> Cost:
    """Run it."""
    command = [sys.executable, "-m", "flovia.cli", "report", *arguments, "--json", "--ledger", url]
    begun = perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return Cost(perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@contextmanager
def place(kind: str, folder: str) -> Generator[str]:
    """The URL of an empty ledger."""
    if kind == "sqlite":
        yield f"sqlite:///{Path(folder).absolute()}/ledger.db"
        return
    from tests.postgres.programs import required
    from tests.postgres.server import Server

    server = Server(required(), fsync="on")
    try:
        server.make()
        yield server.url(server.database())
    finally:
        server.close()


def measured(url: str, count: int, folding: int) -> None:
    """Fill a ledger in two halves, and print what each report takes."""
    costs: dict[tuple[str, ...], list[Cost]] = {}
    ledger = open_ledger(url, patience_s=600)
    assert isinstance(ledger, SqlLedger)
    with closing(ledger):
        if folding:
            events, seconds, cpu = fold(ledger, folding)
            print(f"fold: {events} events of {folding} attempts in {seconds:.1f} s, {cpu:.1f} s of them CPU")
        for first, last in ((0, count // 2), (count // 2, count)):
            fill(ledger, first, last)
            begun = perf_counter()
            days = roll_up(ledger.database)
            print(f"{last} attempts: {days} days counted in {perf_counter() - begun:.1f} s")
            begun, used = perf_counter(), process_time()
            lanes = keep_sessions(ledger.database)
            seconds = perf_counter() - begun
            print(
                f"sessions of {lanes} payers made in {seconds:.1f} s ({process_time() - used:.1f} s of the processor)"
            )
            for arguments in REPORTS:
                costs.setdefault(arguments, []).append(timed_report(url, arguments))
        begun = perf_counter()
        whole = measure_sql(ledger.database)
        seconds = perf_counter() - begun
        assert whole == measure_days(ledger.database, -inf, inf)
        print(f"counted from the attempts, without days: the same, in {seconds:.1f} s")
        assert not ledger.database.query(select(STALE_DAYS.c.day), {})
    print(f"{'report':70}{'s, half':>9}{'s':>7}{'ratio':>7}{'CPU s':>7}{'ratio':>7}{'MiB':>6}")
    for arguments, (half, full) in costs.items():
        wall, cpu = full.wall / half.wall, full.cpu / half.cpu
        name = " ".join(arguments)
        print(f"{name:70}{half.wall:9.2f}{full.wall:7.2f}{wall:7.2f}{full.cpu:7.2f}{cpu:7.2f}{full.memory:6.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--fold", type=int, default=20_000, help="attempts whose events are folded first")
    parser.add_argument("--folder", default=None, help="where to put SQLite's file")
    parser.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, place(options.ledger, folder) as url:
        measured(url, options.attempts, options.fold)


if __name__ == "__main__":
    main()
