"""Which events belong together: the groups that become one attempt each.

A challenge id stands in the 402 and, unchanged, in the credential that answers it. So the unpaid request and
the paid one that follows belong together, whatever lies between them: time, another process, another proxy.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from math import inf, isfinite
from typing import Final, TypeVar

import attrs

from flovia.core import events as ev
from flovia.core.events import Event

T = TypeVar("T")
Payment = tuple[str | None, str | None]
"""A provider's name and its reference of a payment."""

DELIVERIES: Final = frozenset({ev.PAYMENT_DELIVERED, ev.PAYMENT_REDELIVERED})
_END_OF_TIME: Final = 1e300
# Events that say of a payment that it bought something, and of money that it came and bought nothing.
BOUGHT: Final = frozenset({ev.PAYMENT_SETTLED, ev.ACCESS_GRANTED, ev.PAYMENT_DELIVERY_FAILED, *DELIVERIES})
UNSOLD: Final = frozenset({ev.PAYMENT_LATE, ev.PAYMENT_UNMATCHED})
# Events of a request that presented a credential; there the challenge id is the credential's.
PRESENTED: Final = BOUGHT | UNSOLD | {ev.PAYMENT_CONTEXT_ATTACHED, ev.PAYMENT_REFUNDED, ev.PAYMENT_UNKNOWN}


NOTES: Final = frozenset({ev.PAYMENT_EXPLAINED, ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUND_FAILED, ev.PAYMENT_NOT_MADE})
"""Events of what was done or found out about a payment that moved no money: they join an attempt, and never make
one."""


class Request:
    """The events of one request, in order. The challenge ids are dicts for their order."""

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.events: list[Event] = []
        self.issued: dict[str, None] = {}
        self.presented: dict[str, None] = {}

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.events.append(event)
        if event.challenge_id is not None:
            if event.type == ev.CHALLENGE_ISSUED:
                self.issued[event.challenge_id] = None
            elif event.type in PRESENTED:
                self.presented[event.challenge_id] = None

    def about(self, challenge_id: str | None) -> list[Event]:
        """The events that mention the challenge."""
        return [event for event in self.events if event.challenge_id == challenge_id]


@attrs.frozen
class Group:
    """What is one attempt: requests in the order they came, the challenge, and events of its payment outside of them.

    Without requests it is money that none of them brought, and ``moved`` is not empty. A request that was refused
    one challenge and given another is part of both attempts; ``counted`` are those of ``requests`` that count here
    and nowhere else. ``answered``: whether somebody paid the challenge, or tried to.
    """

    requests: Sequence[Request]
    challenge_id: str | None
    moved: Sequence[Event] = ()
    answered: bool = False
    counted: Sequence[Request] = ()

    @property
    def key(self) -> str:
        """What names this attempt and no other: its challenge if somebody answered that, else its only request.

        Of money that no request brought it is the payment.
        """
        if not self.requests:
            return payment_key((self.moved[0].provider, self.moved[0].payment_id))
        if self.answered and self.challenge_id is not None:
            return challenge_key(self.challenge_id)
        return request_key(self.requests[0].id)


def challenge_key(challenge_id: str) -> str:
    """The key of the attempt whose challenge somebody answered."""
    return f"c|{challenge_id}"


def request_key(request_id: str) -> str:
    """The key of an attempt that ended with the request that began it."""
    return f"r|{request_id}"


def payment_key(payment: Payment) -> str:
    """The key of money that no request brought."""
    provider, payment_id = payment
    return f"p|{provider or ''}|{'' if payment_id is None else '|' + payment_id}"


def grouped(events: Iterable[Event]) -> list[Group]:
    """The groups that the events make. The order of the events and repetitions make no difference.

    Each challenge that a credential answered is one attempt: the requests that issued it and those that
    presented it. If nobody answered any challenge of a request, that request is an attempt of its own, under
    its first challenge: several offers in one 402 are one attempt, and the one that is paid names it.
    """
    requests: dict[str, Request] = {}
    moves: dict[Payment, list[Event]] = {}
    notes: dict[str | None, list[Event]] = {}
    paid_for: dict[Payment, str] = {}
    for event in in_order(events):
        if event.http_method:
            requests.setdefault(event.request_id, Request(event.request_id)).add(event)
            if event.payment_id is not None and event.challenge_id is not None:
                paid_for.setdefault((event.provider, event.payment_id), event.challenge_id)
        else:  # of no request: a refund, or money that came too late
            if tells_of_payment(event):
                moves.setdefault((event.provider, event.payment_id), []).append(event)
            else:
                notes.setdefault(event.challenge_id, []).append(event)
    answered: dict[str, list[Request]] = {}
    counted: dict[str, list[Request]] = {}
    for request in requests.values():
        for challenge_id in request.presented:
            answered.setdefault(challenge_id, [])
    meant_for: dict[str | None, list[list[Event]]] = {}
    for payment, moved in moves.items():
        # A refund of what nobody had presented may not know its challenge; the request that presented it later does.
        meant = challenge_of(moved) or paid_for.get(payment)
        meant_for.setdefault(meant, []).append(moved)
        if meant is not None:
            answered.setdefault(meant, [])
    groups: list[Group] = []
    for request in requests.values():
        mine = [one for one in dict.fromkeys(chain(request.issued, request.presented)) if one in answered]
        for challenge_id in mine:
            answered[challenge_id].append(request)
        if mine:
            counted.setdefault(next(iter(request.presented), mine[0]), []).append(request)
        else:
            groups.append(Group([request], next(iter(request.issued), None), counted=[request]))
    for challenge_id, found in answered.items():
        payments = meant_for.get(challenge_id, [])
        own: Sequence[Event] = next((moved for moved in payments if _belongs(moved, found, challenge_id)), ())
        if found:
            told = [*own, *notes.get(challenge_id, ())]
            groups.append(Group(found, challenge_id, told, answered=True, counted=counted.get(challenge_id, ())))
        groups += (
            Group((), challenge_id, moved) for moved in payments if _brings(moved) and (not found or moved is not own)
        )
    groups += (Group((), None, moved) for moved in meant_for.get(None, []) if _brings(moved))
    return groups


def timed(event: Event) -> Event:
    """The event, at a time that can be reckoned with: infinity, and what is no number, are moved to an end of time."""
    return event if isfinite(event.at) else attrs.evolve(event, at=_END_OF_TIME if event.at == inf else -_END_OF_TIME)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Every event once, by time, request and place in it; what is still equal, by all that it says."""
    found = sorted(set(map(timed, events)), key=lambda event: (event.at, event.request_id, event.seq))
    ordered: list[Event] = []
    for _, same in groupby(found, key=lambda event: (event.at, event.request_id, event.seq)):
        run = list(same)
        ordered += sorted(run, key=repr) if len(run) > 1 else run
    return ordered


def challenge_of(moved: Iterable[Event]) -> str | None:
    """The challenge that the events of one payment, outside of any request, are about."""
    return first(event.challenge_id for event in moved)


def is_second(moved: Iterable[Event]) -> bool:
    """Whether the money came beside another payment for the same challenge."""
    return any(event.reason == ev.DUPLICATE for event in moved)


def tells_of_payment(event: Event) -> bool:
    """Whether an event of no request belongs to a payment. What is noted where no payment is known, to a challenge."""
    return event.payment_id is not None or event.type not in NOTES


def first(values: Iterable[T | None]) -> T | None:
    """The first value that is there."""
    return next((value for value in values if value is not None), None)


def _brings(moved: Iterable[Event]) -> bool:
    """Whether it is more than notes."""
    return any(event.type not in NOTES for event in moved)


def _belongs(moved: Sequence[Event], requests: Iterable[Request], challenge_id: str) -> bool:
    """Whether it is the payment that these requests settled; if they settled none, any but a second one may be."""
    about = [event for request in requests for event in request.about(challenge_id)]
    own = {event.payment_id for event in about if event.type in BOUGHT} - {None}
    own = own or {event.payment_id for event in about} - {None}
    return moved[0].payment_id in own if own else not is_second(moved)
