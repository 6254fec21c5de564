"""What the pages ask of the ledger: each report as the command line gives it, and what only a page shows."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypedDict, TypeVar, cast, get_args

import attrs

from flovia.core.events import Event
from flovia.dashboard.answers import Question
from flovia.dashboard.filters import Filters
from flovia.dashboard.overview import Overview, overview
from flovia.insights.asking import BY, members_by
from flovia.insights.funnel import PHASES
from flovia.insights.integrity import PENDING_S
from flovia.insights.joined import Kept
from flovia.insights.keeping_sessions import keep_sessions
from flovia.insights.pricing import LEAST_SAMPLE, PRICING_BY
from flovia.insights.sql_choosing import Chosen, containing, count_of, endpoints, find, has_endpoint, newest
from flovia.ledger.related import RelatedEvents
from flovia.providers.registry import is_registered
from flovia.reports import payers, routes
from flovia.reports.answer import Answer
from flovia.reports.reading import Reading, ask, asked_of, read, rest

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Known
    from flovia.insights.asking import Asked, LeftOut
    from flovia.ledger.sql import SqlLedger

T = TypeVar("T")
FUNNEL_BY: Final = ("endpoint", "rail", "price")
LIMIT_DUE: Final = 50
MOST_COUNTED: Final = 10_000
"""Joined events behind a number are counted up to so many."""
MANY_EVENTS: Final = 1000
"""Raw events of one attempt that are shown at most."""
REPORTS: Final = ("funnel", "latency", "revenue", "pricing", "retention", "workflows", "integrity")


@attrs.frozen(kw_only=True)
class Options:
    """How a report is to be given: what its command takes, with what that takes if nothing is said."""

    by: tuple[str, ...] = ()
    least: int = 0
    limit: int = 0
    pending_s: float = PENDING_S
    own: tuple[str, ...] = ()
    """Payers of one's own, besides those that the settings name."""


@attrs.frozen(kw_only=True)
class Story:
    """One attempt, the others of the same name, and the events they were made from."""

    attempts: tuple[Kept, ...]
    events: tuple[Event, ...]


@attrs.frozen(kw_only=True)
class Listed:
    """Some joined events, the newest first, of ``count``; :data:`MOST_COUNTED` for so many or more."""

    rows: Sequence[Kept]
    count: int


class _About(TypedDict):
    """What filters say, besides the time."""

    endpoint: str | None
    own: Sequence[str]
    hiding_keys: Sequence[str]
    test: bool


@attrs.frozen(kw_only=True)
class _Ask:
    """A question to a ledger that was read so far."""

    ledger: "SqlLedger"
    asked: "Asked"
    known: "LeftOut"
    now: float

    def read(
        self, by: Sequence[str], times: Sequence[str] = (), *, lines: bool = False, daily: bool = False
    ) -> Reading:
        return read(self.ledger, self.asked, self.known, self.now, by=by, times=times, lines=lines, daily=daily)


class Books:
    """The questions of a dashboard.

    Args:
        ledger: opened for reports.
        own: payers that are the merchant's own.
        hiding_keys: under which payers may be hashed there.
        clock: Unix seconds; None for the ledger's own.
    """

    def __init__(
        self,
        ledger: "SqlLedger",
        *,
        own: Sequence[str] = (),
        hiding_keys: Sequence[str] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._ledger = ledger
        self._own = tuple(own)
        self._keys = tuple(hiding_keys)
        self.now: Callable[[], float] = ledger.now if clock is None else clock

    def report(self, name: str, filters: Filters, options: Options) -> Question[Answer]:
        """One of :data:`REPORTS`, the same as its command gives."""
        make, filters = _REPORTS[name], attrs.evolve(filters, workflow="")
        question = self._question((name, options), filters, lambda asking: make(asking, options), options.own)
        return attrs.evolve(question, heavy=name in ("retention", "workflows"), rows=_rows_of)

    def overview(self, filters: Filters) -> Question[Overview]:
        """What the first page says."""

        def make(asking: _Ask) -> Overview:
            by_day = asking.read((*members_by(("day",)), "currency"), ("pay", "latency"))
            by_route = asking.read((*members_by(FUNNEL_BY), "currency"), ("pay",))
            return overview(asking.ledger, by_day, by_route)

        return self._question(("overview",), attrs.evolve(filters, workflow=""), make)

    def events(
        self, filters: Filters, chosen: Chosen, limit: int, before: tuple[float, str] | None
    ) -> Question[Sequence[Kept]]:
        """Joined events, the newest first."""

        def make(asking: _Ask) -> Sequence[Kept]:
            if chosen.path:
                keep_sessions(asking.ledger.database, None, between=rest)
            return newest(asking.ledger.database, asking.asked, chosen, limit, before)

        question = self._question(("events", chosen, limit, before), filters, make)
        return attrs.evolve(question, heavy=bool(chosen.path), rows=len)

    def listed(
        self, filters: Filters, chosen: Chosen, limit: int, before: tuple[float, str] | None
    ) -> Question[Listed]:
        """The same, and how many there are."""

        def make(asking: _Ask) -> Listed:
            database = asking.ledger.database
            if chosen.path:
                keep_sessions(database, None, between=rest)
            return Listed(
                rows=newest(database, asking.asked, chosen, limit, before),
                count=count_of(database, asking.asked, chosen, MOST_COUNTED),
            )

        question = self._question(("listed", chosen, limit, before), filters, make)
        return attrs.evolve(question, heavy=bool(chosen.path), rows=_size)

    def asked(self, filters: Filters, floor: float | None) -> "Asked":
        """What these filters ask about, now. ``floor``: the time before which attempts were pruned.

        Raises:
            CallerError: they cannot be meant.
        """
        since, until = filters.span(self.now())
        return asked_of(floor, since, until, **self._about(filters, ()))

    def endpoints(self, limit: int) -> Question[list[str]]:
        """Names of endpoints, one more than ``limit`` if there are more."""
        return Question(("endpoints", limit), lambda _: endpoints(self._ledger.database, limit + 1), rows=len)

    def similar(self, endpoint: str, limit: int) -> Question[list[str] | None]:
        """Of an endpoint that no attempt has: names in which it is. None of one that some have."""

        def make(_: "Known") -> list[str] | None:
            database = self._ledger.database
            return None if has_endpoint(database, endpoint) else containing(database, endpoint, limit)

        return Question(("similar", endpoint, limit), make)

    def story(self, ident: str) -> Question[Story]:
        """One attempt, by its key, challenge, payment, or one of its requests."""
        return Question(
            ("story", ident),
            lambda _: _story(self._ledger, ident),
            rows=lambda story: len(story.attempts) + len(story.events),
        )

    def _about(self, filters: Filters, own: Sequence[str]) -> _About:
        every = (*own, *self._own)
        return _About(endpoint=filters.endpoint or None, own=every, hiding_keys=self._keys, test=filters.test)

    def _question(
        self, key: tuple[object, ...], filters: Filters, make: Callable[[_Ask], T], own: Sequence[str] = ()
    ) -> Question[T]:
        def answer(known: "Known") -> T:
            now = self.now()
            since, until = filters.span(now)
            asked, left_out = ask(
                self._ledger,
                known.left_out,
                known.floor,
                since=since,
                until=until,
                **self._about(filters, own),
            )
            return make(_Ask(ledger=self._ledger, asked=asked, known=left_out, now=now))

        return Question((*key, filters), answer)


def _size(listed: Listed) -> int:
    return len(listed.rows)


def _rows_of(answer: Answer) -> int:
    return len(answer.rows)


def _funnel(asking: _Ask, options: Options) -> Answer:
    by = options.by or FUNNEL_BY
    return routes.funnel(asking.read(members_by(by), ("pay",), lines=True), by)


def _latency(asking: _Ask, options: Options) -> Answer:
    by = options.by or ("endpoint",)
    return routes.latency(asking.read(members_by(by), ("latency", *PHASES)), by)


def _revenue(asking: _Ask, options: Options) -> Answer:
    by = options.by or ("endpoint",)
    return routes.revenue(asking.read((*members_by(by), "currency")), by)


def _pricing(asking: _Ask, options: Options) -> Answer:
    return routes.pricing(asking.read(PRICING_BY, lines=True, daily=True), options.least or LEAST_SAMPLE)


def _retention(asking: _Ask, options: Options) -> Answer:
    keep_sessions(asking.ledger.database, None, between=rest)
    by: Literal["week", "endpoint"] = "endpoint" if options.by == ("endpoint",) else "week"
    return payers.retention_answer(asking.ledger, asking.asked, asking.known, asking.now, by)


def _workflows(asking: _Ask, options: Options) -> Answer:
    keep_sessions(asking.ledger.database, None, between=rest)
    by: payers.By = cast("payers.By", options.by[0]) if options.by else "path"
    limit, least = options.limit or payers.LIMIT, options.least or payers.LEAST
    return payers.workflows_answer(
        asking.ledger, asking.asked, asking.known, asking.now, by=by, limit=limit, least=least
    )


def _integrity(asking: _Ask, options: Options) -> Answer:
    return routes.integrity(asking.read(()), options.limit or LIMIT_DUE, options.pending_s, is_registered)


_REPORTS: Final[Mapping[str, Callable[[_Ask, Options], Answer]]] = {
    "funnel": _funnel,
    "latency": _latency,
    "revenue": _revenue,
    "pricing": _pricing,
    "retention": _retention,
    "workflows": _workflows,
    "integrity": _integrity,
}
WITH_BY: Final[Mapping[str, Sequence[str]]] = {
    "funnel": BY,
    "latency": BY,
    "revenue": BY,
    "retention": ("week", "endpoint"),
    "workflows": get_args(payers.By),
}
"""Reports whose rows can be told apart by what is wanted, and by what."""
BY_ONE: Final = ("retention", "workflows")
"""Those of which one is chosen."""


def _story(ledger: "SqlLedger", ident: str) -> Story:
    events = RelatedEvents(ledger)
    nowhere = range(0)
    found = find(ledger.database, ident)
    if not found:
        of_request = events.of_requests([ident], MANY_EVENTS, nowhere)
        challenges = dict.fromkeys(event.challenge_id for _, event in of_request if event.challenge_id)
        found = [one for challenge in challenges for one in find(ledger.database, challenge)]
        found = found or [one for key in _request_keys(ident) for one in find(ledger.database, key)]
    if not found:
        return Story(attempts=(), events=())
    first = found[0].attempt
    told = dict(events.of_requests(first.request_ids[:MANY_EVENTS], MANY_EVENTS, nowhere))
    if first.challenge_id is not None:
        told |= dict(events.of_challenges([first.challenge_id], MANY_EVENTS, nowhere))
    ordered = sorted(told.items(), key=lambda one: (one[1].at, one[0]))[:MANY_EVENTS]
    return Story(attempts=tuple(found), events=tuple(event for _, event in ordered))


def _request_keys(ident: str) -> list[str]:
    from flovia.insights.grouping import request_key

    return [request_key(ident)]
