"""How a run stands, in words: its state, its four steps, and what flovia does about what went wrong."""

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from flovia.insights import join
from flovia.insights.join import JoinedEvent
from flovia.showcase.exchanges import Exchange
from flovia.showcase.runs import Run
from flovia.showcase.states import (
    ASKING,
    BACK,
    BROKEN,
    DECLINED,
    DELIVERED,
    ELSEWHERE,
    ENDING,
    EXHAUSTED,
    EXPIRED,
    FAILED,
    KEPT,
    LATE,
    NO_ANSWER,
    OF_CREDENTIALS,
    PENDING,
    PRESENTING,
    REFUSED,
    REJECTED,
    REOPENED,
    RETURNED,
    RETURNING,
    SETTLING,
    STOPPED,
    TAKEN,
    TWICE,
    UNANSWERED,
    UNKNOWN,
    UNPAID,
    State,
)
from flovia.words import counted, money

Progress = Literal["done", "now", "todo", "failed"]


@attrs.frozen(kw_only=True)
class Step:
    """One of the four steps of a paid call."""

    title: str
    detail: str
    progress: Progress


UNKNOWN_CODE: Final = "outcome-unknown"
"""The code of the refusal while HitPay gives no usable answer."""
_BACK: Final = (join.REFUNDED, join.PARTLY_REFUNDED)
_NO_MONEY: Final = (join.NOT_PAID, join.NOT_ACCEPTED, join.NO_PAYMENT)
_EXPIRED: Final[dict[str, State]] = {
    **dict.fromkeys(_BACK, BACK),
    **dict.fromkeys((join.NOT_DELIVERED, join.EXHAUSTED), TAKEN),
    join.CONVERTED: ELSEWHERE,
    join.UNKNOWN: SETTLING,
}
"""How a run stands that ended with its time, by what the ledger says of money for its charge; else it is late."""


_STOPPED: Final[dict[str, State]] = {
    **dict.fromkeys(_BACK, RETURNED),
    join.NOT_DELIVERED: TAKEN,
    join.CONVERTED: ELSEWHERE,
    join.EXHAUSTED: EXHAUSTED,
    join.FAILED_DUE: RETURNING,
    **dict.fromkeys((join.MISMATCHED, join.REFUND_DUE), REFUSED),
}
"""The same for a run that was stopped."""


def state_of(
    run: Run, joined: JoinedEvent | None = None, second: JoinedEvent | None = None, now: float | None = None
) -> State:
    """How a run stands.

    Args:
        run: as it is.
        joined: its attempt, as the ledger has it.
        second: money for its charge that no request brought, as the ledger has it.
        now: Unix seconds; None to leave the time to pay out of it.
    """
    ended = run.ended
    if ended is None:
        return _on_its_way(run, now)
    match ended.how:
        case "delivered" if second is not None and second.insight in _BACK:
            return attrs.evolve(TWICE, does="flovia recorded the second payment on its own, and it went back.")
        case "delivered":
            return TWICE if second is not None else _delivered(run)
        case "rejected":
            return attrs.evolve(REJECTED, does=ended.words)
        case "broken":
            return BROKEN
        case "declined" if _says(run.polled, "expired"):
            return _expired(run, joined, second)
        case "stopped":
            return _stopped(run, joined, second, now)
        case "unknown" | "refused" | "answered" if run.presented is not None:
            return _of_credential(run.presented, run, joined, second, now)
        case "unknown":
            return KEPT
        case "answered":
            return _answered(run.asked)
        case _:
            return attrs.evolve(FAILED, words=ended.words)


def _on_its_way(run: Run, now: float | None) -> State:
    presented = run.presented
    if presented is not None and presented.code == UNKNOWN_CODE:
        return UNKNOWN
    if presented is not None and presented.open and not presented.failed:
        return PRESENTING
    if run.checkout is None:
        return ASKING
    if _says(run.polled, "paid"):
        return PRESENTING
    if now is not None and run.expires_at is not None and run.expires_at <= now:
        return ENDING
    return DECLINED if run.payments.declined else PENDING


def _expired(run: Run, joined: JoinedEvent | None, second: JoinedEvent | None) -> State:
    """Its time was over before a payment of it was taken. The ledger knows best what came all the same, then HitPay."""
    for one in (second, joined):
        if one is not None and one.insight not in _NO_MONEY:
            return _EXPIRED.get(one.insight, LATE)
    paid = any(_says(one, "paid") for one in run.log.exchanges if one.who == "wallet")
    return SETTLING if paid or run.payments.made else EXPIRED


def _delivered(run: Run) -> State:
    """Delivered; and what happened in between, if HitPay did not answer at once."""
    tries = [one for one in run.log.exchanges if one.paid]
    failed = sum(one.code == UNKNOWN_CODE for one in tries)
    if not failed:
        return DELIVERED
    return attrs.evolve(
        DELIVERED,
        does=(
            f"The agent presented its credential {counted(len(tries), 'time')}. HitPay gave no usable answer to"
            f" {failed} of them, so flovia answered 503 {UNKNOWN_CODE} without a new challenge and parked the claim."
            " The same credential came in when HitPay answered: nobody paid twice."
        ),
    )


def _stopped(run: Run, joined: JoinedEvent | None, second: JoinedEvent | None, now: float | None) -> State:
    """It no longer waits: why, and whether somebody may still pay. What the ledger knows of its payment comes first."""
    if run.ended is None or run.ended.reference is None:
        return attrs.evolve(STOPPED, words=f"The call was ended: {_why(run)}.", again=False)
    for one in (second, joined):
        if one is not None and one.insight not in (*_NO_MONEY, join.UNKNOWN):
            return _STOPPED.get(one.insight, LATE)
    if not _in_time(run, now):
        return attrs.evolve(STOPPED, words=f"It was stopped: {_why(run)}. {STOPPED.words} Do not pay now.")
    return attrs.evolve(
        STOPPED,
        words=(
            f"It was stopped: {_why(run)}. The checkout page below still takes the payment; then present the same"
            " credential, and this call gets its answer."
        ),
        payable=True,
    )


def _why(run: Run) -> str:
    return "" if run.ended is None else run.ended.words


def _in_time(run: Run, now: float | None) -> bool:
    """Whether somebody may still pay: nobody has, as far as this call could learn, and the time is not over."""
    if now is None or run.expires_at is None or now >= run.expires_at or run.payments.made:
        return False
    if run.presented is not None and run.presented.status != 402:
        return False
    return not _says(run.polled, "paid")


def _of_credential(
    last: Exchange, run: Run, joined: JoinedEvent | None, second: JoinedEvent | None, now: float | None
) -> State:
    """How a run stands whose credential got no answer, by the code of the refusal, and by what came after it."""
    code = last.code
    if code == "payment-expired":
        return _expired(run, joined, second)
    if any(one is not None and one.insight in _BACK for one in (joined, second)):
        return RETURNED
    mismatched = any(one is not None and one.insight == join.MISMATCHED for one in (joined, second))
    if mismatched and last.status == 402:
        return REFUSED
    how = "" if run.ended is None else run.ended.how
    if how == "unknown" and last.status == 402:
        return attrs.evolve(UNPAID, payable=_in_time(run, now))
    found = OF_CREDENTIALS.get(code)
    if found is EXHAUSTED and joined is not None and joined.insight == join.NOT_DELIVERED:
        return REOPENED
    if found is not None:
        return found
    if how == "unknown":
        return KEPT
    said = f"{last.status} {code}".strip()
    return attrs.evolve(UNANSWERED, words=f"The route answered the credential with {said}.", again=last.status == 429)


def _answered(one: Exchange | None) -> State:
    """The answer of a call that was not paid for."""
    if one is None:
        return FAILED
    known = NO_ANSWER.get(one.code)
    return known or attrs.evolve(FAILED, words=f"The route answered {one.status} {one.code}.".strip())


def _says(polled: Exchange | None, status: str) -> bool:
    return polled is not None and polled.problem.get("status") == status


def steps_of(run: Run, state: State, came: str | None = None) -> Sequence[Step]:
    """The four steps: what has happened, what is happening, what has not. ``came``: another sum than the one asked."""
    asked, result = run.asked, run.result
    challenged = run.challenge is not None
    paid = state.paid
    broken: Progress = "failed" if state.over else "todo"
    first: Progress = "done" if asked is not None and not asked.open else "now"
    if asked is not None and asked.status is not None and not challenged:
        first = "failed"
    price = "" if run.checkout is None else money(run.checkout.price.amount, run.checkout.price.currency)
    price = f"{came} came, {price} asked" if came else price
    second: Progress = "todo"
    if challenged:
        second = "done" if paid else ("failed" if state.over and not state.payable else "now")
    last = run.presented
    refused = state.over or (run.ended is not None and last is not None)
    third: Progress = "todo"
    if paid:
        third = "done" if result is not None else ("failed" if refused else "now")
    fourth: Progress = "done" if result is not None else (broken if third == "done" else "todo")
    return (
        Step(
            title="Call",
            detail="" if asked is None or asked.status is None else f"{asked.status} {asked.code}".strip(),
            progress=first,
        ),
        Step(title="Checkout", detail=price, progress=second),
        Step(
            title="Paid retry",
            detail="" if not paid or last is None or last.status is None else f"{last.status} {last.code}".strip(),
            progress=third,
        ),
        Step(
            title="Answer and receipt",
            detail="" if result is None else ("receipt verified" if result.verified else "receipt not verified"),
            progress=fourth,
        ),
    )
