"""What the ledger says: the joined event of one run, and the decisions that all of its events lead to."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs

from flovia.core.events import Event
from flovia.insights.join import JoinedEvent, join
from flovia.words import counted, money

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.ledger.sql import SqlLedger

MOST_EVENTS: Final = 1000
"""Events of one challenge that are read."""
FRESH_S: Final = 3.0
"""How old decisions may be before they are worked out again; longer where that takes long, see :data:`SHARE`."""
SHARE: Final = 10.0
"""They are left alone for so many times as long as it took to work them out."""
PATIENCE_S: Final = 0.03
"""How long a page waits for fresh ones; with older ones at hand, or a word that they are on their way, it goes on."""
SHOWN: Final = 3
"""Rows of each decision."""


def make_ready(ledger: "Ledger") -> None:
    """Make the tables of the reports before anybody reads: while somebody writes, a connection of SQLite that was open
    before takes them for missing, and the ledger for failing.

    Raises:
        WiringError: they cannot be made.
    """
    from flovia.insights.store import prepare
    from flovia.ledger.sql import SqlLedger

    if isinstance(ledger, SqlLedger):
        prepare(ledger.database)


def attempts_of(ledger: "Ledger", challenge_id: str) -> Sequence[JoinedEvent]:
    """The joined events of a challenge: the attempt first, then money for it that no request brought."""
    every = join(_events_of(ledger, challenge_id))
    return sorted(
        (one for one in every if one.challenge_id == challenge_id), key=lambda one: (not one.endpoint, one.at)
    )


def _events_of(ledger: "Ledger", challenge_id: str) -> list[Event]:
    from flovia.ledger.sql import SqlLedger

    ledger.flush()
    if not isinstance(ledger, SqlLedger):
        return [event for _, event in ledger.read_events(0, 100_000)]
    from flovia.ledger.related import RelatedEvents

    related, nothing = RelatedEvents(ledger), range(0)
    about = related.of_challenges([challenge_id], MOST_EVENTS, nothing)
    requests = {event.request_id for _, event in about}
    found = dict([*about, *related.of_requests(requests, MOST_EVENTS, nothing)])
    return [found[position] for position in sorted(found)]


@attrs.frozen(kw_only=True)
class Decision:
    """One question that a provider has, and what the ledger says to it.

    ``rows``: what it is about, what is said of it, and out of how many. ``nothing``: why there are none.
    """

    question: str
    rows: Sequence[tuple[str, str]]
    nothing: str


@attrs.frozen(kw_only=True)
class Decisions:
    """All of them, of ``attempts`` in the ledger at ``at`` (Unix seconds), of which the demo made ``seeded`` up."""

    at: float
    attempts: int
    seeded: int
    each: Sequence[Decision]


class Deciding:
    """Decisions over a ledger, worked out in a thread of their own when somebody looks and they are old."""

    def __init__(
        self, ledger: "Callable[[], Ledger]", *, own: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._own = own
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Decisions | None = None
        self._thread: threading.Thread | None = None
        self._took_s = 0.0

    def now(self) -> Decisions | None:
        """What is known, None if nothing is yet. Blocks for a moment at most."""
        from flovia.ledger.sql import SqlLedger

        ledger = self._ledger()
        if not isinstance(ledger, SqlLedger):
            return None
        with self._lock:
            old = self._found is None or self._clock() - self._found.at > max(FRESH_S, SHARE * self._took_s)
            if old and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(
                    target=self._work, args=(ledger,), name="flovia-showcase-decisions", daemon=True
                )
                self._thread.start()
            thread = self._thread
        if thread is not None:
            thread.join(PATIENCE_S)
        return self._found

    @property
    def possible(self) -> bool:
        """Whether there can be any: a ledger in memory has no reports."""
        from flovia.ledger.sql import SqlLedger

        return isinstance(self._ledger(), SqlLedger)

    def close(self) -> None:
        """Wait for what is being worked out, so that the ledger can be closed."""
        if self._thread is not None:
            self._thread.join(30)

    def _work(self, ledger: "SqlLedger") -> None:
        from flovia.core.errors import LedgerError

        started = time.monotonic()
        try:
            self._found = decide(ledger, self._clock(), self._own)
            self._took_s = time.monotonic() - started
        except LedgerError:
            return  # busy or closed: what was known stays, and the next look asks again


_TELLING: Final = {"raise": 0, "lower": 0, "test": 1, "leave": 2}
"""What an advice on a price is worth to who reads it first."""


def decide(ledger: "SqlLedger", now: float, own: str) -> Decisions:
    """Ask the ledger's reports which endpoints convert, which workflows retain, and where to price.

    ``own``: the endpoint that comes first; the others by their attempts.
    """
    from flovia.insights.funnel import funnel
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.pricing import LEAST_SAMPLE, PRICING_BY, pricing
    from flovia.reports.payers import workflows_answer
    from flovia.reports.reading import ask, catch_up, read, rest
    from flovia.showcase.seed_world import PROVIDER

    known, floor = catch_up(ledger)
    keep_sessions(ledger.database, None, between=rest)
    asked, known = ask(ledger, known, floor)
    found = read(ledger, asked, known, now, by=(*PRICING_BY, "provider"), times=(), lines=False)
    rows = funnel(found.cells, ("endpoint",))
    attempts = sum(row.attempts for row in rows)
    converts = [
        (str(row.group["endpoint"]), f"{row.delivered} of {row.attempts} attempts became a paid answer")
        for row in sorted(rows, key=lambda row: (row.group["endpoint"] != own, -row.attempts))[:SHOWN]
    ]
    priced = [
        (f"{row.endpoint} at {money(row.current, row.currency)}", f"{row.advice or 'no advice yet'}: {row.reason}")
        for row in sorted(pricing(found.cells, LEAST_SAMPLE), key=lambda row: _TELLING.get(row.advice or "", 3))[:SHOWN]
    ]
    told = workflows_answer(ledger, asked, known, now, by="workflow", limit=SHOWN, least=1).payload
    retains = [_workflow(row) for row in cast("list[Mapping[str, object]]", told["workflows"])[:SHOWN]]
    return Decisions(
        at=now,
        attempts=attempts,
        seeded=sum(cell.attempts for route, cell in found.cells.items() if route.provider == PROVIDER),
        each=(
            Decision(question="which endpoints convert", rows=converts, nothing="no attempt yet"),
            Decision(question="which workflows retain", rows=retains, nothing="no session of a known payer yet"),
            Decision(question="where to price / upsell", rows=priced, nothing="no price was shown yet"),
        ),
    )


def _workflow(row: Mapping[str, object]) -> tuple[str, str]:
    returned = cast("Mapping[str, int]", row["returned"])
    sessions = counted(cast("int", row["sessions"]), "session")
    return str(row["name"]), f"{sessions}; {returned['count']} of {returned['of']} came back"
