"""Integrity: do payments and requests agree? How many of each state, and the queue of those that need somebody."""

import shlex
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import TEST_PROVIDERS, Asked
from flovia.insights.attempt import EXPLAINED as SAID
from flovia.insights.attempt import OUTCOMES, UNPAID, Attempt
from flovia.insights.measures import Cells

PENDING_S: Final = 300.0
"""How long an unpaid attempt counts as pending, unless the question says otherwise: as long as a challenge is good by
default. It is a rule: no event says when a challenge expires."""
EXHAUSTED: Final = "exhausted"
"""The outcome of what is paid and failed as often as its route allows. What becomes of the money a person decides."""
STATES: Final = (
    "paid_and_delivered",
    "paid_not_delivered",
    "pending",
    "expired",
    "late",
    "duplicate",
    "underpaid",
    "overpaid",
    "unmatched_payment",
    "request_without_payment",
    "refunded",
    SAID,
)
"""How payment and request can agree; what somebody explained counts as that. An unpaid attempt is pending for
:data:`PENDING_S` after it began and expired then; one is also pending while nobody knows whether it was paid."""


@attrs.frozen(kw_only=True)
class Finding:
    """One attempt that needs somebody: its state, all its ids, and what to do about it in words.

    ``key``: the attempt's own name.
    """

    state: str
    outcome: str
    insight: str
    at: float
    endpoint: str
    provider: str | None
    rail: str | None
    challenge_id: str | None
    payment_id: str | None
    request_ids: tuple[str, ...]
    price: int | None
    price_currency: str | None
    amount: int | None
    currency: str | None
    problem: str | None
    remedy: str
    key: str

    def to_json(self) -> dict[str, JsonValue]:
        """The finding as JSON members, camelCase; amounts are texts of digits."""
        return {
            "state": self.state,
            "insight": self.insight,
            "at": self.at,
            "endpoint": self.endpoint,
            "provider": self.provider,
            "rail": self.rail,
            "challengeId": self.challenge_id,
            "paymentId": self.payment_id,
            "requestIds": list(self.request_ids),
            "price": None if self.price is None else str(self.price),
            "priceCurrency": self.price_currency,
            "amount": None if self.amount is None else str(self.amount),
            "currency": self.currency,
            "problem": self.problem,
            "remedy": self.remedy,
            "attemptId": self.key,
        }


def counted_states(cells: Cells, pending: int) -> dict[str, int]:
    """How many attempts are in each state, in the order of :data:`STATES`.

    Args:
        cells: of the attempts.
        pending: of those that are unpaid, how many count as pending, see :func:`count_pending`.
    """
    found: dict[str, int] = dict.fromkeys((*STATES, UNPAID), 0)
    for cell in cells.values():
        for state, count in cell.states.items():
            found[state] += count
    unpaid = found.pop(UNPAID)
    found["pending"] += min(pending, unpaid)
    found["expired"] += unpaid - min(pending, unpaid)
    return found


def is_asked(one: Attempt, asked: Asked) -> bool:
    """Whether the attempt is among those that are asked about."""
    return (
        asked.is_in_time(one)
        and asked.endpoint in (None, one.endpoint)
        and (asked.test or one.provider not in TEST_PROVIDERS)
        and not asked.is_own(one.payer)
    )


def queue(attempts: Iterable[Attempt], asked: Asked, limit: int | None = None) -> list[Finding]:
    """What needs somebody, the oldest first.

    Args:
        attempts: to look through.
        asked: which of them.
        limit: how many, at most.
    """
    due = [one for one in attempts if one.due and is_asked(one, asked)]
    return [finding(one) for one in sorted(due, key=lambda one: (one.at, one.key))[:limit]]


def exhausted(attempts: Iterable[Attempt], asked: Asked) -> dict[str | None, tuple[int, int]]:
    """Payments whose every delivery failed, by currency: how many, and their sum in base units.

    They are not due to go back: somebody either lets the agent in again or gives the money back.
    """
    found: dict[str | None, tuple[int, int]] = {}
    for one in attempts:
        if one.outcome == EXHAUSTED and one.due and one.amount is not None and is_asked(one, asked):
            payments, total = found.get(one.currency, (0, 0))
            found[one.currency] = payments + 1, total + one.amount
    return found


def count_pending(attempts: Iterable[Attempt], asked: Asked, now: float, pending_s: float = PENDING_S) -> int:
    """How many unpaid attempts began within ``pending_s`` seconds before ``now`` (Unix seconds)."""
    return sum(
        one.state == UNPAID and not one.probe and one.at >= now - pending_s and is_asked(one, asked) for one in attempts
    )


def finding(one: Attempt) -> Finding:
    """An attempt as a row of the queue."""
    return Finding(
        state=one.state,
        outcome=one.outcome,
        insight=one.insight,
        at=one.at,
        endpoint=one.endpoint,
        provider=one.provider,
        rail=one.rail,
        challenge_id=one.challenge_id,
        payment_id=one.payment_id,
        request_ids=one.request_ids,
        price=one.price,
        price_currency=one.price_currency,
        amount=one.amount,
        currency=one.currency,
        problem=one.problem,
        remedy=_remedy(one),
        key=one.key,
    )


def remedied(found: Finding, has_commands: Callable[[str], bool]) -> Finding:
    """The finding, with a remedy that can be had: ``has_commands`` says whether a command finds its provider."""
    if found.provider is None or has_commands(found.provider):
        return found
    ident = found.payment_id or found.challenge_id or found.request_ids[-1]
    return attrs.evolve(found, remedy=_remedy_without(found.insight, ident, found.provider))


def _remedy_without(insight: str, ident: str, provider: str) -> str:
    """What is to be done about a finding where no command has the provider: none that would ask it is named.

    Args:
        insight: of the finding.
        ident: its payment, challenge or request.
        provider: that took the money, or would.
    """
    elsewhere = f"Only an app that has the provider {provider} can give {ident} back"
    ident = shlex.quote(ident)
    match OUTCOMES[insight]:
        case "undelivered":
            return f"its credential still redeems; if it came too often: flovia ledger redeliver {ident}. {elsewhere}"
        case "exhausted":
            return f"see why the handler fails, then: flovia ledger redeliver {ident}. {elsewhere}"
        case "unknown":
            return f"ask {provider} what became of {ident}: no command here has this provider"
        case "no_payment":
            return f"look for where it belongs: flovia ledger show {ident}"
        case _:
            return elsewhere


def _remedy(one: Attempt) -> str:
    any_id = shlex.quote(one.payment_id or one.challenge_id or one.request_id)
    refund = f"flovia refund {shlex.quote(one.payment_id)}" if one.payment_id else f"flovia ledger show {any_id}"
    match one.outcome:
        case "undelivered":
            again = f"flovia ledger redeliver {any_id}"
            return f"its credential still redeems; if it came too often: {again}, or give it back: {refund}"
        case "exhausted":
            return f"see why the handler fails, then: flovia ledger redeliver {any_id}, or give it back: {refund}"
        case "unknown":
            provider = f" --provider {shlex.quote(one.provider)}" if one.provider not in (None, "hitpay") else ""
            return f"ask the provider: flovia ledger reconcile{provider}"
        case "no_payment":
            return f"look for where it belongs: flovia ledger show {any_id}"
        case _:
            return f"give it back: {refund}"
