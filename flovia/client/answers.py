"""What the answer to a paid request says: when to come back, what went wrong, and whether its receipt holds."""

from email.utils import parsedate_to_datetime
from typing import Final

import attrs

from flovia.client.errors import ReceiptRejected
from flovia.client.pending import Pending
from flovia.client.policy import Ask, Policy
from flovia.client.steps import CheckReceipt, Head, KeptAnswer, PaymentInfo, ReadBody, Steps
from flovia.client.wallet import PaidAnswer, ReceiptVerdict, ReceiptVerified, ReceiptWrong
from flovia.core.credential import parse_credential
from flovia.core.encoding import loads_object
from flovia.core.errors import ParseError
from flovia.core.problems import PROBLEMS
from flovia.core.receipt import Receipt, parse_receipt


@attrs.frozen(kw_only=True)
class Problem:
    """The problem type of an error body: its code, the last part of its URI, and whether it is one of ours."""

    code: str | None = None
    known: bool = False


NO_PROBLEM: Final = Problem()


MAX_KEPT_ANSWER: Final = 8 << 20
"""Most bytes that are kept of an answer whose receipt is wrong."""

KEPT_ANSWER_S: Final = 60.0
"""Seconds after which no further part of it is waited for."""


def read_problem(body: bytes) -> Problem:
    """What an error body says, reduced at once: a debug page may echo the credential, and locals end up in logs."""
    try:
        uri = loads_object(body).get("type")
    except ParseError:
        return NO_PROBLEM
    if not isinstance(uri, str):
        return NO_PROBLEM
    code = uri.rpartition("/")[2].rpartition(":")[2]
    if not (0 < len(code) <= 64 and code.isascii() and code.replace("-", "").isalnum()):
        return NO_PROBLEM
    return Problem(code=code, known=code in PROBLEMS and PROBLEMS[code].type == uri)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait: a number or an HTTP date (RFC 9110 section 10.2.3); None if absent or unreadable."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:12])
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def paid_info(head: Head, pending: Pending, tries: int, resumed: bool) -> PaymentInfo:
    """What was paid for an answer, with the receipt it brought."""
    receipt, problem = _receipt(head.headers.get_all("payment-receipt"), pending)
    return PaymentInfo(
        reference=pending.reference,
        challenge_id=pending.challenge_id,
        origin=pending.origin,
        realm=pending.realm,
        method=pending.method,
        price=pending.price,
        recipient=pending.recipient,
        tries=tries,
        resumed=resumed,
        receipt=receipt,
        receipt_problem=problem,
    )


def checked(ask: Ask, head: Head, info: PaymentInfo, pending: Pending, policy: Policy) -> Steps[PaymentInfo]:
    """Have the receipt looked at, and refuse the answer if the policy says so: with all that was delivered."""
    try:
        credential = parse_credential(pending.credential or "")
        answer = PaidAnswer(
            origin=pending.origin,
            price=pending.price,
            recipient=pending.recipient,
            challenge=credential.challenge,
            payload=credential.payload,
            headers=head.headers,
            receipt=info.receipt,
        )
        verdict: ReceiptVerdict = yield CheckReceipt(answer)
    except Exception as error:
        why, verified = f"the receipt could not be verified ({type(error).__name__})", None
    else:
        if isinstance(verdict, ReceiptVerified):
            return attrs.evolve(info, receipt_verified=True)
        why, verified = verdict.reason, False if isinstance(verdict, ReceiptWrong) else None
    info = attrs.evolve(info, receipt_verified=verified, receipt_problem=why)
    if policy.receipts == "note" or (policy.receipts == "check" and verified is None):
        return info
    body: bytes = yield ReadBody(limit=MAX_KEPT_ANSWER, seconds=KEPT_ANSWER_S, keep=True)
    raise ReceiptRejected(
        f"{ask.origin} delivered what was paid for, but its receipt does not hold: {why}. The payment is not repeated;"
        f" the answer is in error.answer, and the credential is kept as {info.reference}. Take it up with the server's"
        ' operator; with Policy(receipts="note") such an answer comes as any other',
        reference=info.reference,
        answer=KeptAnswer(
            status=head.status,
            headers=tuple(head.headers.items()),
            body=body,
            truncated=len(body) >= MAX_KEPT_ANSWER,
            payment=info,
        ),
    )


def _receipt(values: list[str], pending: Pending) -> tuple[Receipt | None, str | None]:
    if not values:
        return None, "the server sent no receipt"
    if len(values) > 1:
        return None, "the server sent more than one receipt"
    try:
        receipt = parse_receipt(values[0])
    except ParseError as error:
        return None, f"the server's receipt cannot be read: {error}"
    if receipt.method != pending.method:
        return receipt, f"the receipt is for another payment method, {receipt.method[:40]}"
    return receipt, None
