"""How a run stands, in words: its state, its four steps, and what flovia does about what went wrong."""

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from flovia.insights import join
from flovia.insights.join import JoinedEvent
from flovia.showcase.exchanges import Exchange
from flovia.showcase.runs import Run
from flovia.words import money

Tone = Literal["good", "wait", "warn", "bad"]
Progress = Literal["done", "now", "todo", "failed"]


@attrs.frozen(kw_only=True)
class State:
    """How a run stands.

    ``name``: one word for programs. ``title``: for people, ``words``: what it means for the payer, ``does``: what
    flovia does about it. ``over``: nothing changes any more by itself. ``payable``: somebody may pay now.
    """

    name: str
    tone: Tone
    title: str
    words: str
    does: str = ""
    over: bool = False
    payable: bool = False


@attrs.frozen(kw_only=True)
class Step:
    """One of the four steps of a paid call."""

    title: str
    detail: str
    progress: Progress


ASKING: Final = State(
    name="asking", tone="wait", title="Calling the endpoint", words="The agent sends its request, without a payment."
)
PENDING: Final = State(
    name="pending",
    tone="wait",
    title="Waiting for the payment",
    words="Open the checkout page and pay, or decline. This page notices by itself.",
    payable=True,
)
DECLINED: Final = State(
    name="declined",
    tone="warn",
    title="Declined, and still open",
    words="HitPay says that a payment failed. Nothing was charged; the same checkout page takes another try.",
    does="The charge stays the same one: whoever tries again cannot pay twice.",
    payable=True,
)
ENDING: Final = State(
    name="ending",
    tone="wait",
    title="The time to pay is over",
    words="HitPay is still asked whether somebody has paid in time. Do not pay now.",
)
PRESENTING: Final = State(
    name="presenting",
    tone="wait",
    title="Paid. Asking again with the credential",
    words="The broker says that the charge is paid; the agent repeats its request.",
)
UNKNOWN: Final = State(
    name="unknown",
    tone="warn",
    title="Outcome unknown",
    words="HitPay gave no usable answer about this payment, so nobody can say yet whether it was made.",
    does=(
        "flovia answers 503 without a new challenge, so nobody is asked to pay twice. The claim is parked; the agent"
        " presents the same credential again, and it is verified under the same nonce."
    ),
)
KEPT: Final = State(
    name="kept",
    tone="warn",
    title="Outcome still unknown",
    words="The agent has stopped asking. Its credential is kept and can be presented again: nobody pays a second time.",
    does="The claim stays parked in the ledger. The same credential, and no other, comes in as soon as HitPay answers.",
    over=True,
)
STOPPED: Final = State(
    name="stopped",
    tone="warn",
    title="Stopped waiting",
    words="This call no longer waits for a payment. If it was paid meanwhile, its credential can still be presented.",
    over=True,
)
EXPIRED: Final = State(
    name="expired",
    tone="bad",
    title="Expired",
    words="The time to pay is over, and no payment is known. A new call gets a new charge.",
    does="Money that comes now buys nothing: it is recorded as late, and its refund is due.",
    over=True,
)
SETTLING: Final = State(
    name="settling",
    tone="wait",
    title="Paid at the last moment",
    words=(
        "HitPay has a payment for this charge, and the time to pay was over before it could be taken. What becomes of"
        " it is not on record yet. Do not pay again."
    ),
    does="As soon as HitPay tells of the payment, flovia records it: what buys nothing has its refund due.",
)
LATE: Final = State(
    name="late",
    tone="bad",
    title="Paid, and too late",
    words="A payment came, and the time to pay was over: it opens nothing. Do not pay again.",
    does="flovia has it on record, with its refund due.",
    over=True,
)
BACK: Final = State(
    name="back",
    tone="warn",
    title="Paid too late, and given back",
    words="A payment came when the time to pay was over. It opened nothing, and the money went back.",
    over=True,
)
TAKEN: Final = State(
    name="taken",
    tone="warn",
    title="Paid, and taken after all",
    words="The ledger has this payment as taken, and this call has no answer for it. Do not pay again.",
    does="Its own credential, and no other, fetches the answer.",
    over=True,
)
ELSEWHERE: Final = State(
    name="elsewhere",
    tone="good",
    title="Paid, and answered elsewhere",
    words="Another call presented this payment's credential in time, and has the answer.",
    over=True,
)
REFUSED: Final = State(
    name="refused",
    tone="bad",
    title="Payment not accepted",
    words="What was paid is not what was asked for, so it opens nothing.",
    does="flovia records what really came, and that its refund is due. The agent does not pay a second time.",
    over=True,
)
REJECTED: Final = State(
    name="rejected",
    tone="bad",
    title="Delivered, with a receipt that does not hold",
    words="The answer came, and its receipt is not the broker's, or is for something else.",
    over=True,
)
FAILED: Final = State(name="failed", tone="bad", title="The call failed", words="Nothing was paid.", over=True)
BROKEN: Final = State(
    name="broken",
    tone="bad",
    title="This call broke off",
    words="Something went wrong in this server; its log says what. Whether anything was paid is not known here.",
    over=True,
)
DELIVERED: Final = State(
    name="delivered",
    tone="good",
    title="200: paid and answered",
    words="The payment was verified and settled once, the answer delivered once, with a receipt.",
    over=True,
)
TWICE: Final = State(
    name="twice",
    tone="warn",
    title="200, and paid twice",
    words="The answer was delivered for the first payment. A second one came for the same charge.",
    does="flovia records the second payment on its own, with its refund due. It buys nothing.",
    over=True,
)
NO_ANSWER: Final[dict[str, State]] = {
    "provider-unavailable": State(
        name="down",
        tone="bad",
        title="HitPay cannot be reached",
        words="No charge could be made, so nobody was asked to pay.",
        does="flovia answers 503 with Retry-After and no challenge: an outage opens nothing and costs nobody anything.",
        over=True,
    ),
    "rate-limited": State(
        name="limited",
        tone="warn",
        title="Too many new charges",
        words="Every unpaid call makes a charge at HitPay, which takes 70 a minute. Try again in a moment.",
        does="flovia counts them over all processes and answers 429 before HitPay is called.",
        over=True,
    ),
    "hitpay_mpp_not_configured": State(
        name="unconfigured",
        tone="warn",
        title="503 hitpay_mpp_not_configured",
        words="Set HITPAY_API_KEY (and, for webhooks, HITPAY_WEBHOOK_SALT) where this server runs, and start it again.",
        does="Without a key nothing can be charged, so the route refuses everybody.",
        over=True,
    ),
}


_BACK: Final = (join.REFUNDED, join.PARTLY_REFUNDED)
_NO_MONEY: Final = (join.NOT_PAID, join.NOT_ACCEPTED, join.NO_PAYMENT)
_EXPIRED: Final[dict[str, State]] = {
    **dict.fromkeys(_BACK, BACK),
    **dict.fromkeys((join.NOT_DELIVERED, join.EXHAUSTED), TAKEN),
    join.CONVERTED: ELSEWHERE,
    join.UNKNOWN: SETTLING,
}
"""How a run stands that ended with its time, by what the ledger says of money for its charge; else it is late."""


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
            return TWICE if second is not None else DELIVERED
        case "unknown":
            return KEPT
        case "stopped":
            return attrs.evolve(STOPPED, words=STOPPED.words if ended.reference else "The call was ended.")
        case "refused":
            return _refused(run, joined, second)
        case "rejected":
            return attrs.evolve(REJECTED, does=ended.words)
        case "declined":
            if _says(run.polled, "expired"):
                return _expired(run, joined, second)
            return attrs.evolve(FAILED, words=ended.words)
        case "answered":
            return _answered(run.presented or run.asked)
        case "broken":
            return BROKEN
        case _:
            return attrs.evolve(FAILED, words=ended.words)


def _on_its_way(run: Run, now: float | None) -> State:
    presented = run.presented
    if presented is not None and presented.status == 503:
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


def _refused(run: Run, joined: JoinedEvent | None, second: JoinedEvent | None) -> State:
    code = "" if run.presented is None else run.presented.code
    if code == "payment-expired":
        return _expired(run, joined, second)
    if code in ("payment-insufficient", "verification-failed"):
        went_back = any(one is not None and one.insight in _BACK for one in (joined, second))
        return (
            attrs.evolve(REFUSED, does="flovia recorded what really came, and it went back.") if went_back else REFUSED
        )
    return attrs.evolve(REFUSED, words=f"The route does not take this payment: {code or 'it gave no reason'}.", does="")


def _answered(one: Exchange | None) -> State:
    """The answer of a call that was not paid for."""
    if one is None:
        return FAILED
    known = NO_ANSWER.get(one.code)
    return known or attrs.evolve(FAILED, words=f"The route answered {one.status} {one.code}.".strip())


def _says(polled: Exchange | None, status: str) -> bool:
    return polled is not None and polled.problem.get("status") == status


_PAID: Final = frozenset(
    {"presenting", "unknown", "kept", "delivered", "twice", "rejected", "refused"}
    | {"settling", "late", "back", "taken", "elsewhere"}
)
"""States in which something was paid."""


def steps_of(run: Run, state: State) -> Sequence[Step]:
    """The four steps: what has happened, what is happening, what has not."""
    asked, result = run.asked, run.result
    challenged = run.challenge is not None
    paid = state.name in _PAID
    broken: Progress = "failed" if state.over else "todo"
    first: Progress = "done" if asked is not None and not asked.open else "now"
    if asked is not None and asked.status is not None and not challenged:
        first = "failed"
    price = "" if run.checkout is None else money(run.checkout.price.amount, run.checkout.price.currency)
    second: Progress = "todo"
    if challenged:
        second = "done" if paid else ("failed" if state.over else "now")
    third: Progress = "todo"
    if paid:
        third = "done" if result is not None else ("failed" if state.over else "now")
    fourth: Progress = "done" if result is not None else (broken if third == "done" else "todo")
    last = run.presented
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
