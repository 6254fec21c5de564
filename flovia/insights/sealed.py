"""Attempts whose events were pruned: they stay what they are, and still learn what comes later.

From the row events are made that tell the same; joined with what has come since, they give the attempt as it would be
if nothing had been pruned.
"""

from collections.abc import Mapping
from math import inf, nextafter
from typing import Final

import attrs

from flovia.core import events as ev
from flovia.core.events import FIELDS, Event
from flovia.insights.attempt import OBSERVED, Attempt

Value = str | int | float | None

_MOVED: Final = {
    "late": (ev.PAYMENT_LATE, ev.LATE),
    "paid_twice": (ev.PAYMENT_LATE, ev.DUPLICATE),
    "unpresented": (ev.PAYMENT_LATE, ev.NOT_PRESENTED),
    "mismatched": (ev.PAYMENT_UNMATCHED, None),
    "no_payment": (ev.PAYMENT_REOPENED, None),
}
"""By outcome: the event of money that no request told of, and its reason."""
_OWN: Final = {
    "price_risen": (ev.PAYMENT_LATE, ev.PRICE_RISEN, None),
    "failed_due": (ev.PAYMENT_DELIVERY_FAILED, None, "refund-due"),
    "exhausted": (ev.REQUEST_COMPLETED, None, "delivery-exhausted"),
    "unknown": (ev.PAYMENT_UNKNOWN, None, None),
}
"""By outcome: the event of the telling request that says so, its reason and its problem."""


def stand_ins(attempt: Attempt) -> list[Event]:
    """Events that join to the same attempt, where the real ones are gone."""
    return [*(_of_requests(attempt) if attempt.http_method else ()), *_of_money(attempt)]


def carried(old: Attempt, new: Attempt) -> Attempt:
    """The attempt that was made from stand-ins, with what these cannot tell."""
    problems = dict.fromkeys([*old.problems, *new.problems])
    facts = ("challenge_ms", "verify_ms", "handler_ms", "payment_from", "price_from", "payer_from", "workflow_rule")
    kept = {name: getattr(old, name) for name in facts if getattr(old, name) is not None}
    return attrs.evolve(
        new,
        **kept,
        last_at=max(old.last_at, new.last_at),
        probe=old.probe and new.probe,
        backwards=max(old.backwards, new.backwards),
        problems=tuple(problems),
    )


class _Story:
    """Events with what one attempt's have in common, numbered, at times that never go back."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.at = attempt.at
        self.events: list[Event] = []

    def add(self, type_: str, request_id: str, at: float | None, *more: Mapping[str, Value]) -> None:
        """Add an event, at a time or just after the last one. The last mapping that has a field says what it is."""
        of = self.attempt
        self.at = max(self.at, at) if at is not None else self.at
        fields: dict[str, Value] = {
            "type": type_,
            "at": self.at,
            "request_id": request_id,
            "seq": len(self.events) + 1,
            "endpoint": of.endpoint,
            "http_method": of.http_method,
            "provider": of.provider,
            "rail": of.rail,
            "challenge_id": of.challenge_id,
            "payer": of.payer,
            "recipient": of.recipient,
            "workflow": of.workflow,
        }
        for one in more:
            fields.update(one)
        self.events.append(Event.from_row(tuple(fields.get(name) for name in FIELDS)))


def _of_requests(of: Attempt) -> list[Event]:
    ids = of.request_ids
    place = ids.index(of.request_id)
    before = ids[max(0, place + 1 - of.presentations) : place + 1] if of.presentations else ()
    presenting = (*before, *ids[place + 1 : place + 1 + of.presentations - len(before)])
    unpaid = set([one for one in ids if one not in presenting[-1:]][: of.challenges])
    observed = of.price_from == OBSERVED
    story = _Story(of)
    seen = 402 if observed else None
    asked: Mapping[str, Value] = {"amount": of.price, "currency": of.price_currency}
    paid: Mapping[str, Value] = {"amount": of.amount, "currency": of.currency, "payment_id": of.payment_id}
    failures = of.failures - (of.outcome == "failed_due")
    for number, one in enumerate(ids):
        # As a gate writes it: who takes the payment is known only later.
        provider = of.provider if observed else None
        started: Mapping[str, Value] = {"challenge_id": None, "payer": None, "recipient": None, "provider": provider}
        story.add(ev.REQUEST_STARTED, one, None, started)
        if number == 0 and of.challenged_at is not None:
            story.add(ev.CHALLENGE_ISSUED, one, of.challenged_at, asked, {"payer": None, "status": seen})
        if one in presenting:
            first = one == presenting[0]
            story.add(ev.PAYMENT_CONTEXT_ATTACHED, one, of.presented_at if first else None, asked)
            if first and of.verified_at is not None:
                story.add(ev.PAYMENT_SETTLED, one, of.verified_at, paid)
            if failures > 0 and one != of.request_id:
                failures -= 1
                story.add(ev.PAYMENT_DELIVERY_FAILED, one, None, paid)
        if one != of.request_id:
            if one in unpaid:
                story.add(ev.REQUEST_COMPLETED, one, None, asked, {"status": 402, "payer": None})
        else:
            _tell_end(story, of, paid if of.verified_at is not None else asked, failures, of.request_id in unpaid)
        story.at = nextafter(story.at, inf)
    return story.events


def _tell_end(story: _Story, of: Attempt, money: Mapping[str, Value], failures: int, unpaid: bool) -> None:
    """How the telling request ended."""
    for _ in range(failures):
        story.add(ev.PAYMENT_DELIVERY_FAILED, of.request_id, None, money)
    if of.delivered_at is not None:
        story.add(ev.PAYMENT_DELIVERED, of.request_id, of.delivered_at, money, {"status": of.response_status})
    if of.outcome in _OWN:
        type_, reason, problem = _OWN[of.outcome]
        story.add(type_, of.request_id, None, money, {"reason": reason, "problem": problem})
    if of.response_status is not None or unpaid:
        type_ = ev.REQUEST_FAILED if (of.response_status or 0) >= 500 else ev.REQUEST_COMPLETED
        about: Mapping[str, Value] = {"status": of.response_status, "latency_ms": of.latency_ms, "problem": of.problem}
        story.add(type_, of.request_id, None, money, about)


def _of_money(of: Attempt) -> list[Event]:
    """The events of its money outside of its requests."""
    story = _Story(attrs.evolve(of, endpoint="", http_method="", workflow=None, recipient=None, payer=None))
    own = of.request_id if not of.http_method else f"{of.key} sealed"
    money: Mapping[str, Value] = {"currency": of.currency, "payment_id": of.payment_id}
    type_, reason = _MOVED.get(of.outcome, (None, None))
    if of.outcome == "no_payment" and of.http_method:
        type_ = None
    refunded = of.refunded_at is not None
    if type_ is None and refunded and of.verified_at is None and of.amount is not None:
        type_, reason = ev.PAYMENT_LATE, ev.LATE  # it came outside of the requests, and went back
    if type_ is not None:
        at = None if not of.http_method else of.last_at
        story.add(type_, own, at, money, {"reason": reason, "amount": of.amount})
    if refunded:
        story.add(ev.PAYMENT_REFUNDED, own, of.refunded_at, money, {"amount": of.refunded})
    if of.explained_at is not None:
        story.at = of.explained_at
        said: Mapping[str, Value] = {"operator": of.explained_by, "note": of.explanation}
        story.add(ev.PAYMENT_EXPLAINED, own, None, money, {"currency": None, "reason": of.outcome}, said)
    return story.events
