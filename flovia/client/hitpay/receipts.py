"""Whether a paid answer's receipt is HitPay's, and for this payment."""

from typing import Final

from flovia.client.wallet import PaidAnswer, ReceiptUnverified, ReceiptVerdict, ReceiptVerified, ReceiptWrong
from flovia.core.effects import Flow
from flovia.signed import BadToken, Jwks, KeysUnavailable

RECEIPT_HEADER: Final = "mpp-receipt"
"""The header of HitPay's own samples. Its landing page names ``Payment-Receipt``, which may hold the token too."""


class TwoReceipts(Exception):  # not an error: a reason to refuse
    """The answer has two receipts, and they are not the same."""


def receipt_token(answer: PaidAnswer) -> str | None:
    """The signed receipt, from whichever place it came in.

    Raises:
        TwoReceipts: the places disagree.
    """
    found = {value.strip() for value in answer.headers.get_all(RECEIPT_HEADER)}
    found |= {value.strip() for value in answer.headers.get_all("payment-receipt") if value.count(".") == 2}
    extra = None if answer.receipt is None else answer.receipt.extra.get("extra")
    inner = extra.get("receipt_jws") if isinstance(extra, dict) else None
    if isinstance(inner, str):
        found.add(inner)
    if len(found) > 1:
        raise TwoReceipts
    return found.pop() if found else None


def verify(
    answer: PaidAnswer, issuer: Jwks, *, charge_id: str | None = None, saved_method_id: str | None = None
) -> Flow[ReceiptVerdict]:
    """Hold the receipt of an answer against the issuer's keys and against what was asked for."""
    try:
        token = receipt_token(answer)
        if token is None:
            return ReceiptUnverified(reason="the server sent no signed receipt")
        claims = yield from issuer.receipt(token)
        claims.check(price=answer.price, challenge_id=charge_id, saved_method_id=saved_method_id)
    except TwoReceipts:
        return ReceiptWrong(reason="the server sent two receipts that differ")
    except BadToken as error:
        return ReceiptWrong(reason=str(error))
    except KeysUnavailable as error:
        return ReceiptUnverified(reason=str(error))
    return ReceiptVerified()
