"""For some new events, all that is needed to say what their attempts are now.

What a new event can change is near it: its request, its challenge, its payment, and the attempts that share a request
with these. All that is loaded goes to :func:`flovia.insights.grouping.grouped`, which also makes groups of
what is loaded in part; :attr:`Gathered.keys` says which groups are whole.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

import attrs

from flovia.core.errors import FloviaError
from flovia.core.events import Event
from flovia.insights.grouping import Payment, challenge_key, payment_key, request_key, tells_of_payment, timed

MOST_RELATED: Final = 20_000
"""Events that are held at once: a bound for memory, far above what the requests of an honest agent make."""
Found = Sequence[tuple[int, Event]]


class Source(Protocol):
    """Where events are read from: see :class:`flovia.ledger.related.RelatedEvents`."""

    def read(self, after: int, limit: int) -> Found:
        """The next events by position, up to one before which no more can appear."""
        ...

    def of_challenges(self, ids: Collection[str], at_most: int, known: range) -> Found:
        """The events that mention these challenges, but for known positions; more than ``at_most`` say: too many."""
        ...

    def of_requests(self, ids: Collection[str], at_most: int, known: range) -> Found:
        """The events of these requests, but for known positions; more than ``at_most`` say: too many."""
        ...

    def present(self, positions: Collection[int]) -> set[int]:
        """Which of these events are still there."""
        ...


class Links(Protocol):
    """What leads from a payment to its challenges and to the notices that told of it."""

    def linked(self, payments: Collection[str]) -> Collection[str]:
        """Keys of challenges (``c|…``) and of requests (``r|…``) by keys of payments."""
        ...


class TooManyError(FloviaError):
    """More events belong together than are held at once."""


@attrs.frozen(kw_only=True)
class Gathered:
    """Events by position, and the keys of the attempts that can be made from them; no others can.

    ``links``: what leads from new events' payments to their challenges and notices, and when it was last told.
    """

    events: dict[int, Event]
    keys: set[str]
    challenges: set[str]
    links: dict[tuple[str, str], float]


def gather(batch: Found, source: Source, links: Links, *, also: Collection[str] = (), most: int) -> Gathered:
    """Load what is near the events of a batch.

    Args:
        batch: events with their positions, at least one.
        source: where the others are.
        links: what earlier batches linked.
        also: challenges that concern the batch for reasons that no event tells any more.
        most: events that may be held at once.

    Raises:
        TooManyError: it is more.
    """
    near = _Near(batch, source, links, most)
    new = [event for _, event in batch]
    asked = {event.request_id for event in new if event.http_method}
    payments = {_payment(event) for event in new if _is_of_payment(event)}
    near.load_requests(asked)
    changed = near.close(
        {*also, *near.challenges_of(asked), *(event.challenge_id for event in new if event.challenge_id)}, payments
    )
    requests = near.requests_about(changed) | asked
    near.load_requests(requests)
    # A request that two challenges share counts in one of them, so a change to one may be a change to the other.
    whole = near.close(near.challenges_of(requests) | changed)
    shared = near.requests_about(whole)
    near.load_requests(shared)
    near.close(near.challenges_of(shared) | whole)  # whether somebody answered those
    keys = {challenge_key(one) for one in whole} | {request_key(one) for one in requests}
    keys |= {payment_key(one) for one in payments | near.payments_about(whole)}
    fresh: dict[tuple[str, str], float] = {}
    for position, event in near.events.items():
        if position >= batch[0][0]:
            fresh |= {link: max(event.at, fresh.get(link, event.at)) for link in _links(event)}
    return Gathered(events=near.events, keys=keys, challenges=whole, links=fresh)


class _Near:
    """Events that were loaded, and by which ids; nothing is asked for twice."""

    def __init__(self, batch: Found, source: Source, links: Links, most: int) -> None:
        self.events: dict[int, Event] = {position: timed(event) for position, event in batch}
        self._source = source
        self._links = links
        self._most = most
        self._known = range(batch[0][0], batch[-1][0] + 1)
        self._asked: dict[str, set[str]] = {"challenges": set(), "requests": set(), "payments": set()}

    def load_requests(self, ids: Iterable[str]) -> None:
        """All events of these requests."""
        if wanted := self._new("requests", ids):
            self._take(self._source.of_requests(wanted, self._most, self._known))

    def close(self, challenges: set[str], payments: Collection[Payment] = ()) -> set[str]:
        """All events about these challenges, and about those that share a payment with them; all these challenges."""
        known, more = set(challenges), {payment_key(one) for one in payments}
        while True:
            if wanted := self._new("challenges", known):
                self._take(self._source.of_challenges(wanted, self._most, self._known))
            more |= {payment_key(one) for one in self.payments_about(known)}
            wanted = self._new("payments", more)
            if not wanted:
                linked = {link for one in self.events.values() for payment, link in _links(one) if payment in more}
                found = {link[2:] for link in linked if link.startswith("c|")}
                if found <= known:
                    return known
                known |= found
                continue
            linked = set(self._links.linked(wanted))
            known |= {link[2:] for link in linked if link.startswith("c|")}
            self.load_requests(link[2:] for link in linked if link.startswith("r|"))

    def challenges_of(self, requests: Collection[str]) -> set[str]:
        """The challenges that these requests mention."""
        return {
            event.challenge_id
            for event in self.events.values()
            if event.challenge_id is not None and event.http_method and event.request_id in requests
        }

    def requests_about(self, challenges: Collection[str]) -> set[str]:
        """The requests that mention these challenges."""
        return {
            event.request_id for event in self.events.values() if event.http_method and event.challenge_id in challenges
        }

    def payments_about(self, challenges: Collection[str]) -> set[Payment]:
        """The payments that events about these challenges name."""
        return {
            _payment(event)
            for event in self.events.values()
            if event.challenge_id in challenges and _is_of_payment(event)
        }

    def _new(self, kind: str, ids: Iterable[str]) -> set[str]:
        wanted = set(ids) - self._asked[kind]
        self._asked[kind] |= wanted
        return wanted

    def _take(self, found: Found) -> None:
        self.events.update((position, timed(event)) for position, event in found)
        if len(self.events) > self._most:
            raise TooManyError(f"more than {self._most} events belong together")


def _is_of_payment(event: Event) -> bool:
    return event.payment_id is not None or (not event.http_method and tells_of_payment(event))


def _payment(event: Event) -> Payment:
    return event.provider, event.payment_id


def _links(event: Event) -> list[tuple[str, str]]:
    """What the event leads to from its payment."""
    if event.http_method and (event.payment_id is None or event.challenge_id is None):
        return []
    if not tells_of_payment(event):
        return []
    payment = payment_key(_payment(event))
    to = [challenge_key(event.challenge_id)] if event.challenge_id is not None else []
    return [(payment, link) for link in (to if event.http_method else [*to, request_key(event.request_id)])]
