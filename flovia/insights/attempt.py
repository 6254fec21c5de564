"""An attempt: a joined event with everything that the questions ask about it.

One attempt is a row of its own in the ledger's database (:mod:`flovia.insights.schema`), so that questions are
answered without reading events, and after these were pruned.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Final

import attrs

from flovia.core import events as ev
from flovia.core.encoding import JsonValue
from flovia.core.events import Event
from flovia.insights import join as words
from flovia.insights.grouping import (
    BOUGHT,
    DELIVERIES,
    PRESENTED,
    Group,
    Request,
    challenge_key,
    first,
    grouped,
    in_order,
    payment_key,
    request_key,
)
from flovia.insights.join import ENDS, JoinedEvent, chronology, joined, telling_of
from flovia.insights.joined import joined_event

OUTCOMES: Final = {
    words.CONVERTED: "delivered",
    words.REFUNDED: "refunded",
    words.PARTLY_REFUNDED: "partly_refunded",
    words.REFUND_DUE: "price_risen",
    words.TOO_LATE: "late",
    words.PAID_TWICE: "paid_twice",
    words.UNPRESENTED: "unpresented",
    words.MISMATCHED: "mismatched",
    words.FAILED_DUE: "failed_due",
    words.EXHAUSTED: "exhausted",
    words.NOT_DELIVERED: "undelivered",
    words.UNKNOWN: "unknown",
    words.NOT_ACCEPTED: "not_accepted",
    words.NOT_PAID: "not_paid",
    words.NO_PAYMENT: "no_payment",
}
"""The code of each insight: what became of the attempt, in one word for tables."""
INSIGHT_OF: Final = {code: insight for insight, code in OUTCOMES.items()}

VERIFIED: Final = "verified"
OBSERVED: Final = "observed"
DECLARED: Final = "declared"
INFERRED: Final = "inferred"
PROVENANCES: Final = (VERIFIED, OBSERVED, INFERRED, DECLARED)
"""How a fact is known: checked by flovia or its provider; read from what another gate answered; concluded from other
facts; said by the agent."""

RULE_DECLARED: Final = "declared"
"""The agent named its workflow. Other rules infer one."""
DAY_S: Final = 86400
LAST_DAY: Final = 2_932_896
"""31 December 9999; what a broken clock says beyond counts as this, and what is before 1970, or no time, as day 0."""
# Every unpaid request is told so: that is no failure.
_NO_FAILURE: Final = frozenset({"payment-required"})
_CREDENTIAL: Final = frozenset({ev.PAYMENT_CONTEXT_ATTACHED})
_VERDICT: Final = frozenset({ev.PAYMENT_SETTLED, ev.ACCESS_GRANTED})

ATTEMPT: Final = "attempt"
PROBE: Final = "probe"
TURNED_AWAY: Final = "turned_away"
MONEY: Final = "money"
KINDS: Final = (ATTEMPT, PROBE, TURNED_AWAY, MONEY)
"""Somebody saw a price or paid; asked with HEAD, so could not pay; was refused before any price; money that no request
here brought. Conversion is counted over the first kind alone."""

UNPAID: Final = "unpaid"
STATES: Final = {
    "delivered": "paid_and_delivered",
    "refunded": "refunded",
    "partly_refunded": "refunded",
    "price_risen": "underpaid",
    "late": "late",
    "paid_twice": "duplicate",
    "unpresented": "unmatched_payment",
    "mismatched": "unmatched_payment",
    "failed_due": "paid_not_delivered",
    "exhausted": "paid_not_delivered",
    "undelivered": "paid_not_delivered",
    "unknown": "pending",
    "not_accepted": UNPAID,
    "not_paid": UNPAID,
    "no_payment": "request_without_payment",
}
"""How payment and request agree, by outcome. Reports call what is :data:`UNPAID` pending for some time after it began,
and expired then (:data:`flovia.insights.integrity.PENDING_S`). A payment of another amount is under- or overpaid, if
its currency is the price's."""
OPEN: Final = frozenset(
    {"paid_not_delivered", "late", "duplicate", "underpaid", "overpaid", "unmatched_payment", "pending"}
)
"""The states in which somebody has to do something."""
EXPLAINED: Final = "explained"
"""What reports count an attempt as whose state is one of these, where somebody said that nothing is to be done."""
COUNTED_AS: Final = (*dict.fromkeys((*STATES.values(), "underpaid", "overpaid", EXPLAINED)),)
"""Every value of :attr:`Attempt.counts_as`."""


@attrs.frozen(kw_only=True)
class Attempt(JoinedEvent):
    """A joined event, and when each step of it was, how often, how long it took, and how each fact is known.

    ``key``: names the attempt, and no other. ``price``: what its challenge asked, base units of
    ``price_currency``. Times are Unix seconds, None for a step that was not taken: ``challenged_at`` the 402,
    ``presented_at`` the first credential, ``verified_at`` that the payment was good and settled, ``delivered_at``
    the last byte, ``refunded_at``; ``last_at`` is that of the newest event. ``requests`` counts the requests, of which
    ``challenges`` ended with a 402; one that belongs to two attempts (refused one challenge, given another) counts in
    the one whose credential it brought. ``presentations``: requests that brought the credential; ``failures``:
    deliveries that failed. ``probe``: nobody could have paid, it asked with HEAD.

    Durations are milliseconds, None where the events do not say: ``challenge_ms`` the answer with the 402,
    ``verify_ms`` from the credential to the verdict, ``handler_ms`` from there to the last byte. ``backwards``: how
    many were left out because the clock had gone back.

    ``problem``: code of the last problem its telling request met; ``problems``: all of them, in order; the 402
    of an unpaid request is none. ``payment_from``, ``price_from``, ``payer_from``: one of :data:`PROVENANCES`, None if
    there is no such fact. ``workflow_rule``: what found the workflow, :data:`RULE_DECLARED` or the name of a rule that
    inferred it.

    ``explained_at``, ``explained_by``, ``explanation``: when somebody said that nothing is to be done about it, who,
    and why; None if nobody did, or if something came later that needs somebody anew (:func:`explanation_of`).
    """

    key: str
    price: int | None
    price_currency: str | None
    challenged_at: float | None
    presented_at: float | None
    verified_at: float | None
    delivered_at: float | None
    refunded_at: float | None
    last_at: float
    requests: int
    challenges: int
    presentations: int
    failures: int
    probe: bool
    challenge_ms: float | None
    verify_ms: float | None
    handler_ms: float | None
    backwards: int
    problem: str | None
    problems: tuple[str, ...]
    payment_from: str | None
    price_from: str | None
    payer_from: str | None
    workflow_rule: str | None
    explained_at: float | None = None
    explained_by: str | None = None
    explanation: str | None = None

    @property
    def outcome(self) -> str:
        """What became of it: one of the codes in :data:`OUTCOMES`."""
        return OUTCOMES[self.insight]

    @property
    def kind(self) -> str:
        """What it counts as: one of :data:`KINDS`."""
        if not self.http_method:
            return MONEY
        if self.challenge_id is None and self.verified_at is None:
            return TURNED_AWAY
        return PROBE if self.probe else ATTEMPT

    @property
    def state(self) -> str:
        """How payment and request agree: a value of :data:`STATES`, ``underpaid`` or ``overpaid``."""
        if self.outcome == "no_payment" and not self.http_method:
            return "unmatched_payment"
        if self.outcome != "mismatched" or None in (self.price, self.amount) or self.price_currency != self.currency:
            return STATES[self.outcome]
        return "underpaid" if (self.amount or 0) < (self.price or 0) else "overpaid"

    @property
    def due(self) -> bool:
        """Whether somebody has to do something about it: its state is one of :data:`OPEN`, and nobody explained it."""
        return self.state in OPEN and self.explained_at is None

    @property
    def explained(self) -> bool:
        """Whether it would be due, had nobody explained it."""
        return self.state in OPEN and self.explained_at is not None

    @property
    def shown_at(self) -> float:
        """When its price was shown, Unix seconds; where no 402 is on record, when it began."""
        return self.at if self.challenged_at is None else self.challenged_at

    @property
    def counts_as(self) -> str:
        """The state that reports count it in: its own, or that it is explained."""
        return EXPLAINED if self.explained else self.state

    @property
    def pay_ms(self) -> float | None:
        """Milliseconds from the 402 to the verified payment; None if either is missing, or the clock had gone back."""
        return elapsed_ms(self.challenged_at, self.verified_at)

    @property
    def provenance(self) -> dict[str, str]:
        """How each fact that there is is known."""
        workflow = None if self.workflow_rule is None else DECLARED if self.workflow_rule == RULE_DECLARED else INFERRED
        found = {
            "payment": self.payment_from,
            "price": self.price_from,
            "payer": self.payer_from,
            "workflow": workflow,
        }
        return {name: known for name, known in found.items() if known is not None}

    def to_json(self) -> dict[str, JsonValue]:
        """See :func:`flovia.insights.joined.joined_event`."""
        return joined_event(self)


def attempts(events: Iterable[Event]) -> list[Attempt]:
    """The attempts that the events tell of, oldest first: :func:`flovia.insights.join.join` with all its facts."""
    return sorted(map(attempt_of, grouped(events)), key=chronology)


def attempt_of(group: Group) -> Attempt:
    """The attempt that one group of events is."""
    base = joined(group)
    about = [event for request in group.requests for event in request.about(group.challenge_id)]
    told, everything = [*about, *group.moved], _all(group)
    telling = telling_of(group.requests, group.challenge_id) if group.requests else None
    priced = _priced(about) if group.challenge_id is not None else None
    observed = _observed(group.requests)
    challenged_at = _at(event for event in about if event.type == ev.CHALLENGE_ISSUED)
    verified_at = _at(event for event in told if event.type in BOUGHT)
    # Another gate's verdict is not seen: only that its answer began.
    explained = explanation_of(told, OUTCOMES[base.insight])
    verifying = _within(() if observed else group.requests, group.challenge_id, _CREDENTIAL, _VERDICT)
    handling = _within(group.requests[::-1], group.challenge_id, _VERDICT, DELIVERIES)
    return Attempt(
        **{field.name: getattr(base, field.name) for field in attrs.fields(JoinedEvent)},
        key=group.key,
        price=priced.amount if priced else None,
        price_currency=priced.currency if priced else None,
        challenged_at=challenged_at,
        presented_at=_at(event for event in about if event.type in PRESENTED),
        verified_at=verified_at,
        delivered_at=_delivered_at(about),
        refunded_at=_at(event for event in told if event.type == ev.PAYMENT_REFUNDED),
        last_at=max(event.at for event in everything),
        requests=len(group.counted),
        challenges=sum(any(_unpaid(event) for event in request.events) for request in group.counted),
        presentations=len({event.request_id for event in about if event.type in PRESENTED}),
        failures=sum(event.type == ev.PAYMENT_DELIVERY_FAILED for event in about),
        probe=bool(group.requests) and all(event.http_method == "HEAD" for event in everything if event.http_method),
        challenge_ms=_challenge_ms(group),
        verify_ms=elapsed_ms(*verifying),
        handler_ms=elapsed_ms(*handling),
        backwards=sum(_went_back(*pair) for pair in (verifying, handling, (challenged_at, verified_at))),
        problem=first(event.problem for event in reversed(telling.events) if _failed(event)) if telling else None,
        problems=tuple(dict.fromkeys(event.problem for event in everything if event.problem and _failed(event))),
        payment_from=_payment_from(base, verified_at, observed),
        price_from=None if priced is None else OBSERVED if observed else VERIFIED,
        payer_from=_payer_from(base, about),
        workflow_rule=None if base.workflow is None else RULE_DECLARED,
        explained_at=explained.at if explained else None,
        explained_by=explained.operator if explained else None,
        explanation=explained.note if explained else None,
    )


def superseded(one: Attempt) -> Sequence[str]:
    """Keys that attempts may have had which are part of this one by now.

    As soon as somebody answers a challenge, its requests are no attempts of their own any more, and its payment is no
    money that no request brought.
    """
    if one.challenge_id is None or one.key != challenge_key(one.challenge_id):
        return ()
    paid = () if one.payment_id is None else (payment_key((one.provider, one.payment_id)),)
    return [*map(request_key, one.request_ids), *paid]


def explanation_of(about: Sequence[Event], outcome: str) -> Event | None:
    """The explanation that holds for an attempt with this outcome, of the events about it; None if there is none.

    An explanation is about one outcome. When the outcome is another one (late money came, another delivery failed for
    good, a refund became due), that is a new reason, and the attempt is due again. So it is when after it was explained
    somebody made the payment redeemable again, or asked for its refund and did not get it. The last explanation counts.
    """
    said = in_order(event for event in about if event.type == ev.PAYMENT_EXPLAINED)
    if not said or said[-1].reason != outcome:
        return None
    again = (ev.PAYMENT_REOPENED, ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUND_FAILED)
    reopened = any(event.type in again and event.at > said[-1].at for event in about)
    return None if reopened else said[-1]


def day_of(at: float) -> int:
    """The day that a time in Unix seconds is in: days since 1970-01-01, UTC."""
    # Infinity divided is not a number, and nothing compares to that.
    return int(min(max(at, 0.0), LAST_DAY * DAY_S) // DAY_S) if at == at else 0


def elapsed_ms(start: float | None, end: float | None) -> float | None:
    """Milliseconds between two times in Unix seconds; None if one is missing, or the clock had gone back."""
    if start is None or end is None or end < start:
        return None
    return (end - start) * 1000.0


def _went_back(start: float | None, end: float | None) -> bool:
    return start is not None and end is not None and end < start


def _all(group: Group) -> list[Event]:
    """All events of a group: those of its requests, also about other challenges, and of its money."""
    return [*(event for request in group.requests for event in request.events), *group.moved]


def _at(events: Iterable[Event]) -> float | None:
    return min((event.at for event in events), default=None)


def _failed(event: Event) -> bool:
    return event.problem not in _NO_FAILURE


def _unpaid(event: Event) -> bool:
    return event.type in ENDS and event.status == 402


def _observed(requests: Sequence[Request]) -> bool:
    """Whether another gate took the payment: an observer knows its provider from the start, a gate by the offer."""
    return any(
        (event.type == ev.CHALLENGE_ISSUED and event.status is not None)
        or (event.type == ev.REQUEST_STARTED and event.provider is not None)
        for request in requests
        for event in request.events
    )


def _priced(about: Sequence[Event]) -> Event | None:
    """The event that says what the challenge asks."""
    for type_ in (ev.CHALLENGE_ISSUED, ev.PAYMENT_CONTEXT_ATTACHED):
        found = next((event for event in about if event.type == type_ and event.amount is not None), None)
        if found is not None:
            return found
    return None


def _delivered_at(about: Sequence[Event]) -> float | None:
    delivered = _at(event for event in about if event.type in DELIVERIES)
    types = {event.type for event in about}
    if delivered is not None or types & {ev.PAYMENT_SETTLED, ev.PAYMENT_DELIVERY_FAILED}:
        return delivered
    if ev.ACCESS_GRANTED not in types:
        return None
    granted = {event.request_id for event in about if event.type == ev.ACCESS_GRANTED}
    return _at(event for event in about if event.type == ev.REQUEST_COMPLETED and event.request_id in granted)


def _challenge_ms(group: Group) -> float | None:
    for request in group.requests:
        if group.challenge_id in request.issued:
            return first(event.latency_ms for event in request.events if event.type in ENDS)
    return None


def _within(
    requests: Sequence[Request], challenge_id: str | None, starts: Container[str], ends: Container[str]
) -> tuple[float | None, float | None]:
    """When a step began and ended, in the first of the requests in which it did both."""
    for request in requests:
        about = request.about(challenge_id)
        start = first(event.at for event in about if event.type in starts)
        end = first(event.at for event in about if event.type in ends)
        if start is not None and end is not None:
            return start, end
    return None, None


def _payment_from(base: JoinedEvent, verified_at: float | None, observed: bool) -> str | None:
    if base.payment_id is None and verified_at is None:
        return None
    return OBSERVED if observed and base.http_method else VERIFIED


def _payer_from(base: JoinedEvent, about: Sequence[Event]) -> str | None:
    """A credential's source is its agent's word; who is known only since the verdict, the provider has named."""
    if base.payer is None:
        return None
    said = {event.payer for event in about if event.type == ev.PAYMENT_CONTEXT_ATTACHED}
    settled = {event.payer for event in about if event.type == ev.PAYMENT_SETTLED}
    return VERIFIED if base.payer in settled and base.payer not in said else DECLARED
