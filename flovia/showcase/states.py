"""The states that a run can be in, in words: what each means for who pays, and what flovia does about it."""

from typing import Final, Literal

import attrs

Tone = Literal["good", "wait", "warn", "bad"]


@attrs.frozen(kw_only=True)
class State:
    """How a run stands.

    ``name``: one word for programs. ``title``: for people, ``words``: what it means for the payer, ``does``: what
    flovia does about it. ``over``: nothing changes any more by itself. ``payable``: somebody may pay now. ``paid``:
    money came. ``again``: to present the same credential once more can bring what the run did not get.
    """

    name: str
    tone: Tone
    title: str
    words: str
    does: str = ""
    over: bool = False
    payable: bool = False
    paid: bool = False
    again: bool = False


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
    paid=True,
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
    paid=True,
)
KEPT: Final = State(
    name="kept",
    tone="warn",
    title="Outcome still unknown",
    words="The agent has stopped asking. Its credential is kept and can be presented again: nobody pays a second time.",
    does="The claim stays parked in the ledger. The same credential, and no other, comes in as soon as HitPay answers.",
    over=True,
    paid=True,
    again=True,
)
STOPPED: Final = State(
    name="stopped",
    tone="warn",
    title="Stopped waiting",
    words="This call no longer waits for a payment. If it was paid meanwhile, its credential can still be presented.",
    over=True,
    again=True,
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
    paid=True,
)
LATE: Final = State(
    name="late",
    tone="bad",
    title="Paid, and too late",
    words="A payment came, and the time to pay was over: it opens nothing. Do not pay again.",
    does="flovia has it on record, with its refund due.",
    over=True,
    paid=True,
)
BACK: Final = State(
    name="back",
    tone="warn",
    title="Paid too late, and given back",
    words="A payment came when the time to pay was over. It opened nothing, and the money went back.",
    over=True,
    paid=True,
)
TAKEN: Final = State(
    name="taken",
    tone="warn",
    title="Paid, and taken after all",
    words="The ledger has this payment as taken, and this call has no answer for it. Do not pay again.",
    does="Its own credential, and no other, fetches the answer.",
    over=True,
    paid=True,
    again=True,
)
ELSEWHERE: Final = State(
    name="elsewhere",
    tone="good",
    title="Paid, and answered elsewhere",
    words="Another call presented this payment's credential in time, and has the answer.",
    over=True,
    paid=True,
)
REFUSED: Final = State(
    name="refused",
    tone="bad",
    title="Payment not accepted",
    words="What was paid is not what was asked for, so it opens nothing.",
    does="flovia records what really came, and that its refund is due. The agent does not pay a second time.",
    over=True,
    paid=True,
)
REJECTED: Final = State(
    name="rejected",
    tone="bad",
    title="Delivered, with a receipt that does not hold",
    words="The answer came, and its receipt is not the broker's, or is for something else.",
    over=True,
    paid=True,
)
FAILED: Final = State(name="failed", tone="bad", title="The call failed", words="Nothing was paid.", over=True)
BROKEN: Final = State(
    name="broken",
    tone="bad",
    title="This call broke off",
    words="Something went wrong in this server; its log says what. Whether anything was paid is not known here.",
    over=True,
    again=True,
)
DELIVERED: Final = State(
    name="delivered",
    tone="good",
    title="200: paid and answered",
    words="The payment was verified and settled once, the answer delivered once, with a receipt.",
    over=True,
    paid=True,
)
TWICE: Final = State(
    name="twice",
    tone="warn",
    title="200, and paid twice",
    words="The answer was delivered for the first payment. A second one came for the same charge.",
    does="flovia records the second payment on its own, with its refund due. It buys nothing.",
    over=True,
    paid=True,
)
WRONG: Final = State(
    name="refused",
    tone="bad",
    title="Payment not accepted",
    words="HitPay does not confirm a payment for this very challenge and request, so nothing is opened.",
    does="The agent does not pay a second time.",
    over=True,
)
USED: Final = State(
    name="used",
    tone="bad",
    title="This credential is used up",
    words="The route knows this challenge no more as one that can be redeemed: it was answered, or it is too old.",
    does="A credential buys one answer. A new call gets a new charge.",
    over=True,
    paid=True,
)
RETURNING: Final = State(
    name="returning",
    tone="warn",
    title="Being given back",
    words="What was paid is to go back, so this credential buys nothing more. Do not pay again before it has arrived.",
    does="flovia refuses the credential, so that nobody is given the money and the answer. The ledger has the refund.",
    over=True,
    paid=True,
)
RETURNED: Final = State(
    name="returned",
    tone="warn",
    title="Given back",
    words="What was paid went back, in full or in part, so this credential buys nothing any more. To buy, call anew.",
    does="flovia has the refund on record, and answers the credential with 403 and no challenge.",
    over=True,
    paid=True,
)
EXHAUSTED: Final = State(
    name="exhausted",
    tone="bad",
    title="Paid, and every delivery failed",
    words="The payment was taken, and the answer failed as often as the route allows. Do not pay again.",
    does="It waits in the queue: somebody makes it redeemable again, or gives the money back.",
    over=True,
    paid=True,
)
REOPENED: Final = State(
    name="reopened",
    tone="wait",
    title="Paid, and redeemable again",
    words="Somebody has made this payment redeemable again. Present the same credential, and do not pay again.",
    over=True,
    paid=True,
    again=True,
)
OWED: Final = State(
    name="owed",
    tone="warn",
    title="Paid, and the answer failed",
    words="The payment was taken, and the answer to it failed. Do not pay again: the same credential fetches it.",
    does="The ledger has the payment as taken and not delivered; its own credential redeems it.",
    over=True,
    paid=True,
    again=True,
)
FINAL: Final = State(
    name="final",
    tone="bad",
    title="Paid, and the answer failed",
    words="On this route the payment is for the attempt, and that failed. The same credential gets no other.",
    over=True,
    paid=True,
)
BUSY: Final = State(
    name="busy",
    tone="wait",
    title="This credential is in use",
    words="Another request with the same credential was being served all the while. Do not pay again.",
    does="flovia serves one of them at a time, so that nobody gets two answers for one payment.",
    over=True,
    paid=True,
    again=True,
)
NO_RECORDS: Final = State(
    name="unrecorded",
    tone="warn",
    title="The ledger does not answer",
    words="Payments cannot be recorded at the moment, so this one was not looked at. Do not pay again.",
    does="flovia takes nothing that it cannot write down. The same credential is good when the ledger is back.",
    over=True,
    again=True,
)
UNPAID: Final = State(
    name="unpaid",
    tone="warn",
    title="Not paid so far",
    words="HitPay says that nobody has paid yet, and the agent has stopped asking. Its credential is kept.",
    does="Once somebody has paid, the same credential fetches the answer.",
    over=True,
    again=True,
)
UNANSWERED: Final = State(
    name="unanswered",
    tone="bad",
    title="Presented, and not answered",
    words="",
    does="Its credential is kept. Do not pay again for this call.",
    over=True,
    paid=True,
)
OF_CREDENTIALS: Final[dict[str, State]] = {
    "payment-refunded": RETURNED,
    "refund-due": RETURNING,
    "delivery-exhausted": EXHAUSTED,
    "delivery-failed": OWED,
    "delivery-final": FINAL,
    "precondition-failed": OWED,
    "in-flight": BUSY,
    "ledger-unavailable": NO_RECORDS,
    "invalid-challenge": USED,
    "verification-failed": WRONG,
    "payment-insufficient": REFUSED,
}
"""How a run stands whose credential was refused for good, or for so long that the agent gave up; by the code."""
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
        words="Every unpaid call makes a charge at HitPay, and there is a limit for one client, 10 a minute, and one"
        " for all, 70 a minute. Calls with curl count, too. Try again in a moment.",
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
