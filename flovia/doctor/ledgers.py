"""The ledger: whether it answers and how fast, its clock, and what in it waits for somebody."""

import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final, cast

from flovia import entropy
from flovia.core.awaited import AWAITED, WAITING
from flovia.core.delivery import MAX_DELIVERIES
from flovia.core.errors import FloviaError, WiringError
from flovia.core.exchange import DELIVERING, SETTLED
from flovia.core.owed import challenge_of
from flovia.doctor.finding import Finding, guarded
from flovia.ledger.opening import open_ledger, shown
from flovia.settings import DEFAULT_LEDGER
from flovia.words import counted

if TYPE_CHECKING:
    from flovia.core.delivery import Undelivered
    from flovia.ledger.exhausted import Standing
    from flovia.ledger.sinks import Backlog
    from flovia.ledger.sql import SqlLedger

CHECK: Final = "ledger"
TRIES: Final = 20
SLOW_S: Final = 0.05
"""A commit that takes longer makes a paid call of three of them feel slow."""
SKEW_S: Final = 2.0
WRONG_S: Final = 30.0
MOST: Final = 1000
"""As many of a kind are counted."""
DECIDE: Final = "flovia ledger redeliver ID lets the agent in again, flovia refund ID gives the money back."
OVERDUE_S: Final = 3600.0
OLD_BACKLOG_S: Final = 300.0


def _at_start(error: FloviaError) -> str:
    if isinstance(error, WiringError):
        return "The app does not start with it: correct FLOVIA_LEDGER, or make what it names."
    return "Paid requests get 503 as long as this lasts: is the database running, and reachable from here?"


def ledger_findings(env: Mapping[str, str], clock: Callable[[], float]) -> Iterator[Finding]:
    """Everything about the ledger."""
    url = env.get("FLOVIA_LEDGER", "").strip() or DEFAULT_LEDGER
    if url.startswith("memory:"):
        yield Finding(
            check=CHECK,
            level="warning",
            text="the ledger is in memory: it forgets every payment when the process ends",
            remedy="Set FLOVIA_LEDGER=sqlite:////var/lib/app/flovia.db, or a PostgreSQL database.",
        )
        return
    try:
        opened = open_ledger(url, create=False)
    except FloviaError as error:
        remedy = "The app makes one when it starts; if it has started, this is not the one it writes (FLOVIA_LEDGER)."
        missing = "there is no ledger" in str(error)
        yield Finding(
            check=CHECK,
            level="warning" if missing else "error",
            text=str(error),
            remedy=remedy if missing else _at_start(error),
        )
        return
    ledger = cast("SqlLedger", opened)
    try:
        ledger.find("doctor|nothing")
    except FloviaError as error:
        remedy = "Paid requests get 503 as long as this lasts: is the database running, and reachable from here?"
        yield Finding(check=CHECK, level="error", text=str(error), remedy=remedy)
        opened.close()
        return
    try:
        yield Finding(check=CHECK, level="ok", text=f"the ledger is {shown(url)}")
        yield from guarded(CHECK, lambda: _schema(ledger))
        yield from guarded(CHECK, lambda: _latency(ledger))
        yield from guarded("clock", lambda: _clock(ledger, clock))
        yield from guarded("payments", lambda: _payments(ledger))
        yield from guarded("reconciling", lambda: _awaited(ledger))
        yield from guarded("exporters", lambda: _backlog(ledger))
    finally:
        opened.close()


def _schema(ledger: "SqlLedger") -> Iterator[Finding]:
    from sqlalchemy import func, select

    from flovia.ledger.sql_schema import META, SCHEMA_VERSION

    rows = ledger.database.query(select(META.c.value).where(META.c.name == "version"), {})
    found = str(rows[0][0]) if rows else "unknown"
    if found == str(SCHEMA_VERSION):
        yield Finding(check=CHECK, level="ok", text=f"its tables have version {found}")
    else:
        yield Finding(
            check=CHECK,
            level="note",
            text=f"its tables have version {found}, this flovia knows {SCHEMA_VERSION}",
            remedy="A newer flovia works on it too; upgrade this one when the roll-out is through.",
        )
    if type(ledger.database).__name__.startswith("Postgres"):
        server = str(ledger.database.query(select(func.version()), {})[0][0])
        yield Finding(check="versions", level="ok", text=" ".join(server.split()[:2]))


def _latency(ledger: "SqlLedger") -> Iterator[Finding]:
    own, times = entropy.token(), list[float]()
    for _ in range(TRIES):
        started = time.perf_counter()
        ledger.remember("doctor", own, "1", 1.0, False)
        times.append(time.perf_counter() - started)
    text = f"it can be read and written: {TRIES} small transactions took {median(times) * 1000:.1f} ms in the middle"
    text += f" and {max(times) * 1000:.1f} ms at most"
    if median(times) <= SLOW_S:
        yield Finding(check=CHECK, level="ok", text=text)
        return
    yield Finding(
        check=CHECK,
        level="warning",
        text=text,
        remedy="A paid call is three such transactions: use a faster disk, a local one, or a database that is near.",
    )


def _clock(ledger: "SqlLedger", clock: Callable[[], float]) -> Iterator[Finding]:
    before = clock()
    theirs = ledger.now()
    after = clock()
    skew = max(before - theirs, theirs - after, 0.0)
    if skew <= SKEW_S:
        yield Finding(check="clock", level="ok", text="this machine's clock agrees with the ledger's")
        return
    yield Finding(
        check="clock",
        level="error" if skew > WRONG_S else "warning",
        text=f"this machine's clock and the ledger's are {skew:.0f} s apart",
        remedy="Set both by NTP: challenges would expire too early or too late.",
    )


def _payments(ledger: "SqlLedger") -> Iterator[Finding]:
    from flovia.ledger.delivering import find_delivering
    from flovia.ledger.exhausted import standings
    from flovia.remedies import explained_payments

    unresolved = ledger.find_unresolved("", MOST)
    undelivered = ledger.find_undelivered(MOST)
    refunds = ledger.find_due(MOST)
    keys = [*(one.key for one in unresolved), *(one.key for one in undelivered), *(one.key for one in refunds)]
    said = explained_payments(ledger, map(challenge_of, keys))
    unresolved = [one for one in unresolved if not _said(said, one.key, one.payment_id)]
    undelivered = [one for one in undelivered if not _said(said, one.key, one.payment_id)]
    # A refund that was begun and whose outcome nobody knows is no matter of words.
    refunds = [one for one in refunds if one.ordered is not None or not _said(said, one.key, one.payment_id)]
    yield _count(
        "payments",
        len(unresolved),
        ("has an outcome that nobody knows", "have an outcome that nobody knows"),
        "flovia ledger reconcile finds it out; what no backend can be asked about shows in flovia ledger show.",
    )
    stands = standings(ledger.database, undelivered, ledger.now())
    yield _count(
        "payments",
        len(undelivered),
        ("is paid and not delivered", "are paid and not delivered"),
        f"{_agents(stands)} List them: flovia ledger undelivered{_failing(undelivered)}.",
    )
    yield _count(
        "payments",
        sum(standing in ("over", "exhausted") for standing in stands),
        (
            "is paid, not delivered, and cannot be redeemed any more",
            "are paid, not delivered, and cannot be redeemed any more",
        ),
        DECIDE,
    )
    most = f"begun {MAX_DELIVERIES} deliveries, all that a route allows by default, and got none"
    yield _count(
        "payments",
        stands.count("perhaps_exhausted"),
        (f"has {most}", f"have {most}"),
        f"Their credentials get 500 delivery-exhausted, unless the route has a larger max_deliveries. {DECIDE}",
    )
    stuck = [one for one in undelivered if one.state == DELIVERING]
    yield _count(
        "payments",
        len(stuck),
        ("has a delivery whose lease has run out", "have a delivery whose lease has run out"),
        "A worker died meanwhile, or its server ended it (a timeout?). For this nothing has to be done: what can still"
        " be redeemed redeems again.",
        level="note",
    )
    running = find_delivering(ledger.database, ledger.now(), MOST)
    yield _count(
        "payments",
        len(running),
        ("is being delivered", "are being delivered"),
        "Nothing has to be done. If a worker died, its payment redeems again when the time is over that flovia ledger"
        " undelivered shows.",
        level="note",
    )
    yield _count(
        "payments",
        len(refunds),
        ("has a refund that is due", "have a refund that is due"),
        "flovia refunds lists them, flovia refund gives each back.",
    )
    if left_out := len(keys) - len(unresolved) - len(undelivered) - len(refunds):
        yield _count(
            "payments",
            left_out,
            ("is explained, and left out above", "are explained, and left out above"),
            "Nothing has to be done: somebody said why. flovia ledger show ID says who.",
            level="note",
        )


def _said(said: Collection[tuple[str, str]], key: str, payment_id: str | None) -> bool:
    """Whether what waits there was explained; while nobody knows whether it is paid it has no payment id."""
    return (challenge_of(key), payment_id or "") in said


def _agents(stands: "Sequence[Standing]") -> str:
    """Who of the payments' agents can still come."""
    redeemable = stands.count("redeemable")
    if redeemable == len(stands):
        return "Their agents can still come for them."
    if not redeemable:
        return "Whether their agents can still come for them stands below."
    return f"The agents of {redeemable} of them can still come; about the others see below."


def _failing(undelivered: "Sequence[Undelivered]") -> str:
    """A handler failed only where a delivery was begun, and ended by itself."""
    failed = sum(one.state == SETTLED and one.deliveries > 0 for one in undelivered)
    if not failed:
        return ""
    return "; see to why the handler fails" if failed == len(undelivered) else f"; the handler failed for {failed}"


def _awaited(ledger: "SqlLedger") -> Iterator[Finding]:
    overdue = ledger.list_texts(AWAITED, "", MOST)
    limit = ledger.now() - OVERDUE_S
    late = [key for key, _ in overdue if key.partition("|")[0].isdecimal() and int(key.partition("|")[0]) < limit]
    yield _count(
        "reconciling",
        len(late),
        ("was to be looked at more than an hour ago", "were to be looked at more than an hour ago"),
        "Run flovia ledger reconcile every few minutes, from cron or a timer: nothing else finds lost payments.",
        what="charge",
    )
    waiting = ledger.list_texts(WAITING, "", MOST)
    yield _count(
        "reconciling",
        len(waiting),
        ("is paid, and its agent has not come yet", "are paid, and their agents have not come yet"),
        "Nothing has to be done: after their time they are among the refunds that are due.",
        what="charge",
        level="note",
    )


def _backlog(ledger: "SqlLedger") -> Iterator[Finding]:
    from flovia.ledger.sinks import backlogs, with_sinks

    now = ledger.now()
    found = backlogs(with_sinks(ledger), now)
    if not found:
        yield Finding(check="exporters", level="ok", text="no exporter reads the events")
    for one in found:
        age = one.age_s(now)
        waiting = counted(one.events, "event waits", "events wait")
        text = f"{one.name}: {waiting}, the oldest for {age:.0f} s; {counted(one.dead, 'dead letter')}"
        bad = bool(one.problem) or one.dead > 0 or age > OLD_BACKLOG_S
        yield Finding(
            check="exporters",
            level="warning" if bad else "ok",
            text=f"{text}; {one.problem}" if one.problem else text,
            remedy=_fed_again(one) if bad else "",
        )
    if ledger.dropped_events:
        dropped = counted(ledger.dropped_events, "event was", "events were")
        yield Finding(check="exporters", level="warning", text=f"{dropped} dropped")


def _fed_again(one: "Backlog") -> str:
    name = shlex.quote(one.name)
    dead = f" flovia events dead-letters --name {name} lists what it refused." if one.dead else ""
    return (
        f"Is its exporter running, and does the sink take what it is sent? flovia events export --name {name} --to …"
        f" goes on where it was.{dead} If the sink is no more: flovia events sinks --forget {name}"
    )


def _count(
    check: str, count: int, texts: tuple[str, str], remedy: str, what: str = "payment", level: str = "warning"
) -> Finding:
    """So many of a kind; ``texts``: what one of them does, and what several do."""
    one, many = texts
    if not count:
        return Finding(check=check, level="ok", text=f"no {what}s {many}")
    text = counted(count, f"{what} {one}", f"{what}s {many}", or_more=count >= MOST)
    return Finding(check=check, level="note" if level == "note" else "warning", text=text, remedy=remedy)
