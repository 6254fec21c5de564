"""One event per attempt to use a paid route: who paid, joined with what was used.

A challenge id stands in the 402 and, unchanged, in the credential that answers it. So the unpaid request and
the paid one that follows belong together, whatever lies between them: time, another process, another proxy.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import attrs

from flovia.core import events as ev
from flovia.core.encoding import JsonValue
from flovia.core.events import Event
from flovia.insights.grouping import BOUGHT, DELIVERIES, UNSOLD, Group, Request, challenge_of, first, grouped, is_second

CONVERTED: Final = "payment converted into paid API demand"
REFUNDED: Final = "payment refunded"
PARTLY_REFUNDED: Final = "payment refunded in part"
REFUND_DUE: Final = "payment came after the price had risen, refund due"
TOO_LATE: Final = "payment came too late, refund due"
PAID_TWICE: Final = "paid twice, refund due"
UNPRESENTED: Final = "paid and not presented, refund due"
FAILED_DUE: Final = "paid, delivery failed, refund due"
EXHAUSTED: Final = "paid, every delivery failed"
NOT_DELIVERED: Final = "paid, not delivered yet"
MISMATCHED: Final = "payment did not match the price, refund due"
UNKNOWN: Final = "payment outcome unknown"
NOT_ACCEPTED: Final = "payment not accepted"
NOT_PAID: Final = "price shown, not paid"
NO_PAYMENT: Final = "request without a payment"

# What happened to the money, the most telling first.
_INSIGHTS: Final = (
    (ev.PAYMENT_REFUNDED, REFUNDED),
    (ev.PAYMENT_DELIVERED, CONVERTED),
    (ev.PAYMENT_REDELIVERED, CONVERTED),
    (ev.PAYMENT_LATE, REFUND_DUE),
    (ev.PAYMENT_SETTLED, NOT_DELIVERED),
    (ev.PAYMENT_DELIVERY_FAILED, NOT_DELIVERED),
    (ev.PAYMENT_UNMATCHED, MISMATCHED),
    (ev.PAYMENT_UNKNOWN, UNKNOWN),
)
INSIGHTS: Final = (
    PARTLY_REFUNDED,
    *dict.fromkeys(insight for _, insight in _INSIGHTS),
    FAILED_DUE,
    EXHAUSTED,
    TOO_LATE,
    UNPRESENTED,
    PAID_TWICE,
    NOT_ACCEPTED,
    NOT_PAID,
    NO_PAYMENT,
)
"""Every sentence an insight can be."""

# Codes of problems that say more of a payment than its events' types.
_REFUND_DUE: Final = "refund-due"
_EXHAUSTED: Final = "delivery-exhausted"
_REUSED: Final = "idempotency-key-reused"
_OF_REFUNDS: Final = frozenset({ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED, ev.PAYMENT_REFUND_FAILED})
UNPAID: Final = 402
ENDS: Final = frozenset({ev.REQUEST_COMPLETED, ev.REQUEST_FAILED})


@attrs.frozen(kw_only=True)
class JoinedEvent:
    """One attempt to use a paid route: its unpaid requests and the paid one, as a single event.

    ``request_id``: the request that delivered, or else the last one; status, latency (ms, received to last
    byte), endpoint and workflow are that request's. ``request_ids``: all of them, in the order they came.
    ``at``: when the first one came, Unix seconds. ``amount``: base units of ``currency``. ``challenge_id``:
    None for a request that was refused before any challenge. ``refunded``: what went back, base units, None if
    nothing did. ``insight``: one of :data:`INSIGHTS`.

    Money that no request here brought (a second payment for a challenge, a late one whose 402 is not among the
    events) is an event too: with the id of the notice or refund in place of a request's, no endpoint and no HTTP
    method.
    """

    request_id: str
    request_ids: tuple[str, ...]
    at: float
    provider: str | None
    rail: str | None
    endpoint: str
    http_method: str
    challenge_id: str | None
    payment_id: str | None
    amount: int | None
    currency: str | None
    payer: str | None
    recipient: str | None
    workflow: str | None
    response_status: int | None
    latency_ms: float | None
    insight: str
    refunded: int | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """The event as JSON members, camelCase. The amount is a text of digits, as it is on the wire."""
        return {
            "requestId": self.request_id,
            "requestIds": list(self.request_ids),
            "at": self.at,
            "provider": self.provider,
            "rail": self.rail,
            "endpoint": self.endpoint,
            "httpMethod": self.http_method,
            "challengeId": self.challenge_id,
            "paymentId": self.payment_id,
            "amount": None if self.amount is None else str(self.amount),
            "currency": self.currency,
            "refunded": None if self.refunded is None else str(self.refunded),
            "payer": self.payer,
            "recipient": self.recipient,
            "workflow": self.workflow,
            "responseStatus": self.response_status,
            "latencyMs": self.latency_ms,
            "insight": self.insight,
        }


def join(events: Iterable[Event]) -> list[JoinedEvent]:
    """The attempts that the events tell of, oldest first.

    See :func:`flovia.insights.grouping.grouped` for what is one attempt. The order of the events and repetitions
    make no difference.
    """
    return sorted(map(joined, grouped(events)), key=chronology)


def chronology(one: JoinedEvent) -> tuple[float, tuple[str, ...], str, str]:
    """What attempts are sorted by: the oldest first, and no two alike."""
    return one.at, one.request_ids, one.challenge_id or "", one.payment_id or ""


def joined(group: Group) -> JoinedEvent:
    """The joined event of one group."""
    if group.requests:
        return _joined(group.requests, group.challenge_id, group.moved)
    return _of_no_request(group.moved)


def _joined(requests: Sequence[Request], challenge_id: str | None, moved: Sequence[Event] = ()) -> JoinedEvent:
    """One attempt; ``requests`` in the order they came, at least one; ``moved`` of its payment outside of them."""
    about = [event for request in requests for event in request.about(challenge_id)]
    telling = telling_of(requests, challenge_id)
    # The telling request's word first, then the others', the latest first. What came beats what was asked for.
    own = telling.about(challenge_id)
    words = [*reversed(own), *(event for event in reversed(about) if event.request_id != telling.id)]
    bought = any(event.type in BOUGHT for event in about)
    came = [] if bought else [event for event in (*moved, *words) if event.type in UNSOLD]
    words = [*came, *words, *moved]
    last = telling.events[-1]
    end = next((event for event in reversed(telling.events) if event.type in ENDS), None)
    amount, refunded = _amount(words), _refunded([*about, *moved])
    return JoinedEvent(
        request_id=telling.id,
        request_ids=tuple(request.id for request in requests),
        at=requests[0].events[0].at,
        provider=first(event.provider for event in [*words, last]),
        rail=first(event.rail for event in [*words, last]),
        endpoint=last.endpoint,
        http_method=last.http_method,
        challenge_id=challenge_id,
        payment_id=first(event.payment_id for event in words),
        amount=amount,
        currency=first(event.currency for event in words),
        payer=first(event.payer or None for event in words),
        recipient=first(event.recipient for event in words),
        workflow=first(event.workflow for event in [*reversed(telling.events), *words]),
        response_status=end.status if end else None,
        latency_ms=end.latency_ms if end else None,
        insight=_of_moved(moved, amount, refunded) or _insight(requests, challenge_id, [*about, *moved]),
        refunded=refunded,
    )


def _of_no_request(moved: Sequence[Event]) -> JoinedEvent:
    """Money that no request among the events brought."""
    amount, refunded = _amount(moved), _refunded(moved)
    oldest = moved[0]
    return JoinedEvent(
        request_id=oldest.request_id,
        request_ids=(oldest.request_id,),
        at=oldest.at,
        provider=oldest.provider,
        rail=first(event.rail for event in moved),
        endpoint="",
        http_method="",
        challenge_id=challenge_of(moved),
        payment_id=oldest.payment_id,
        amount=amount,
        currency=first(event.currency for event in moved),
        payer=first(event.payer or None for event in moved),
        recipient=None,
        workflow=None,
        response_status=None,
        latency_ms=None,
        insight=_of_moved(moved, amount, refunded) or NO_PAYMENT,
        refunded=refunded,
    )


def _amount(words: Iterable[Event]) -> int | None:
    """What was paid, or asked for: a refund's amount is its own."""
    return first(event.amount for event in words if event.type not in _OF_REFUNDS)


def _refunded(events: Iterable[Event]) -> int | None:
    """What went back."""
    return first(event.amount for event in events if event.type == ev.PAYMENT_REFUNDED)


def _of_moved(moved: Sequence[Event], amount: int | None, refunded: int | None) -> str | None:
    """What money says that moved outside of the requests; None if it says less than they do."""
    if refunded is not None and amount is not None and refunded < amount:
        return PARTLY_REFUNDED
    types = {event.type for event in moved}
    if ev.PAYMENT_REFUNDED in types:
        return REFUNDED
    if ev.PAYMENT_UNMATCHED in types:
        return MISMATCHED
    if ev.PAYMENT_LATE not in types:
        return None
    if any(event.reason == ev.NOT_PRESENTED for event in moved):
        return UNPRESENTED
    return PAID_TWICE if is_second(moved) else TOO_LATE


def telling_of(requests: Sequence[Request], challenge_id: str | None) -> Request:
    """The request that delivered; else the last that presented the challenge; else the last."""
    delivering = [one for one in requests if any(e.type in DELIVERIES for e in one.about(challenge_id))]
    presenting = [one for one in requests if challenge_id in one.presented]
    # One that came with a key and a credential of another request says nothing of what these bought.
    own = [one for one in presenting if all(event.problem != _REUSED for event in one.events)]
    return next(chain(delivering, reversed(own), reversed(presenting), reversed(requests)))


def _insight(requests: Sequence[Request], challenge_id: str | None, about: Sequence[Event]) -> str:
    types = {event.type for event in about}
    for type_, insight in _INSIGHTS:
        if type_ == ev.PAYMENT_UNKNOWN and _known_unpaid(requests, challenge_id, about):
            continue
        if type_ in types:
            return _undelivered(about) if insight == NOT_DELIVERED else insight
    if ev.ACCESS_GRANTED in types and ev.REQUEST_COMPLETED in types:
        return CONVERTED  # an observed route: its own gate took the payment, and the answer was delivered
    if any(challenge_id in request.presented for request in requests):
        return NOT_ACCEPTED
    return NO_PAYMENT if challenge_id is None else NOT_PAID


def _known_unpaid(requests: Sequence[Request], challenge_id: str | None, about: Sequence[Event]) -> bool:
    """Whether nobody had paid, as was found out after the outcome was last unknown.

    While it is unknown only the provider's word lets a gate answer its credential with another 402.
    """
    doubted = [any(event.type == ev.PAYMENT_UNKNOWN for event in one.about(challenge_id)) for one in requests]
    asked = [
        challenge_id in one.presented
        and any(event.type == ev.REQUEST_COMPLETED and event.status == UNPAID for event in one.events)
        for one in requests
    ]
    last = max((at for at, doubt in enumerate(doubted) if doubt), default=len(requests))
    if any(asked[last + 1 :]):
        return True
    since = max((event.at for event in about if event.type == ev.PAYMENT_UNKNOWN), default=None)
    return since is not None and any(event.type == ev.PAYMENT_NOT_MADE and event.at >= since for event in about)


def _undelivered(about: Sequence[Event]) -> str:
    """What is to become of a payment that is taken and not delivered."""
    if any(event.type == ev.PAYMENT_DELIVERY_FAILED and event.problem == _REFUND_DUE for event in about):
        return FAILED_DUE
    ended = max((event.at for event in about if event.problem == _EXHAUSTED), default=None)
    if ended is None or any(event.type == ev.PAYMENT_REOPENED and event.at >= ended for event in about):
        return NOT_DELIVERED
    return EXHAUSTED
