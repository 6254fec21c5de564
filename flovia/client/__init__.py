"""The agent's side: pay what servers ask, within a budget and a policy, at most once per call.

The parts that know no HTTP library are here; the transports are in :mod:`flovia.client.httpx` and
:mod:`flovia.client.httpx2`, which are imported only by those who use them::

    from flovia.client import Budget, MockWallet
    from flovia.client.httpx import PayingTransport

    transport = PayingTransport(MockWallet(), budget=Budget("5.00 SGD", per_payment="1.00 SGD"))
    with httpx.Client(transport=transport) as client:
        client.get("https://api.example.com/paid")
"""

from flovia.client.budget import Budget
from flovia.client.errors import (
    BudgetExceeded,
    CannotResume,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentError,
    PaymentRefused,
    PolicyViolation,
    ReceiptRejected,
    RedirectAfterPayment,
)
from flovia.client.pending import PendingFiles
from flovia.client.policy import Policy
from flovia.client.steps import KeptAnswer, PaymentInfo
from flovia.client.wallet import (
    Declined,
    ForeseeingWallet,
    MockWallet,
    PaidAnswer,
    Payment,
    PaymentContext,
    ReceiptUnverified,
    ReceiptVerdict,
    ReceiptVerified,
    ReceiptVerifier,
    ReceiptWrong,
    Uncertain,
    Unconfirmed,
    Wallet,
    WalletVerdict,
)

# What a wallet is typed with and written in.
from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, HttpCall, HttpReply, http, now, sleep, token
from flovia.core.encoding import JsonObject
from flovia.core.errors import HttpError
from flovia.core.money import Price

__all__ = [
    "Budget",
    "BudgetExceeded",
    "CannotResume",
    "Challenge",
    "Declined",
    "Flow",
    "ForeseeingWallet",
    "HttpCall",
    "HttpError",
    "HttpReply",
    "JsonObject",
    "KeptAnswer",
    "MockWallet",
    "OutcomeUnknown",
    "PaidAnswer",
    "Payment",
    "PaymentContext",
    "PaymentDeclined",
    "PaymentError",
    "PaymentInfo",
    "PaymentRefused",
    "PendingFiles",
    "Policy",
    "PolicyViolation",
    "Price",
    "ReceiptRejected",
    "ReceiptUnverified",
    "ReceiptVerdict",
    "ReceiptVerified",
    "ReceiptVerifier",
    "ReceiptWrong",
    "RedirectAfterPayment",
    "Uncertain",
    "Unconfirmed",
    "Wallet",
    "WalletVerdict",
    "http",
    "now",
    "sleep",
    "token",
]
