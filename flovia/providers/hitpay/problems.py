"""Refusals of this provider's own: fixed texts, as of all problem types, with nothing of the request in them."""

from typing import Final

from flovia.core.problems import FLOVIA, ProblemType

NOT_CONFIGURED: Final = ProblemType(
    code="hitpay_mpp_not_configured",
    type=FLOVIA + "hitpay_mpp_not_configured",
    status=503,
    title="HitPay is not configured",
    detail=(
        "This service takes payments through HitPay and its operator has not set HITPAY_API_KEY (and, for webhooks,"
        " HITPAY_WEBHOOK_SALT) yet. Do not pay; try again later."
    ),
)
WALLET_UNSUPPORTED: Final = ProblemType(
    code="method-unsupported",
    type="https://paymentauth.org/problems/method-unsupported",
    status=400,
    title="Payment method unsupported",
    detail="This wallet cannot be saved for this price. Pick one of `allowed`, or ask without naming one to pay once.",
)
NO_CUSTOMER: Final = ProblemType(
    code="hitpay_customer_email_missing",
    type=FLOVIA + "hitpay_customer_email_missing",
    status=400,
    title="Customer unknown",
    detail="Saving a wallet needs the customer's e-mail address, which this request does not say. Nothing was charged.",
)
