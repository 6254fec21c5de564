"""How to teach flovia a payment provider.

A provider answers two questions, each as a flow (see :mod:`flovia.core.effects`): *what shall the challenge
ask for* (:meth:`Provider.quote`) and *was it paid* (:meth:`Provider.verify`). Everything else, single use,
binding, expiry, receipts, events, belongs to the gate. A whole provider::

    class BankProvider:
        name, method, intent, rail = "bank", "bank", "charge", "mpp"
        live, fixed_terms, deadline_s, receipt_header = True, True, 10.0, "payment-receipt"

        def quote(self, quote: Quote) -> Flow[Terms]:
            yield from ()  # asks for nothing, but a flow is a generator all the same
            return Terms(request=charge_request(quote.price, recipient="ACME"))

        def verify(self, presented: Presented) -> Flow[Verdict]:
            transfer = presented.payload.get("transfer")
            if not isinstance(transfer, str) or not transfer:
                return NotPaid(problem="invalid-payload")
            url = f"https://bank.example/transfers/{quote_text(transfer, safe='')}"  # urllib.parse.quote
            try:
                reply = yield from http(HttpCall(http_method="GET", url=url))
                if reply.status == 404:
                    return NotPaid()
                found = loads_object(reply.body)
            except (HttpError, ParseError):
                return Unknown()
            # The bank's own name for the transfer: what the client wrote may be one of many spellings.
            number, cents, currency = found.get("number"), found.get("cents"), found.get("currency")
            if reply.status != 200 or not isinstance(cents, int):
                return Unknown()
            if not isinstance(number, str) or not isinstance(currency, str):
                return Unknown()
            return Paid(reference=number, amount=cents, currency=currency)

Register it under the entry point group ``flovia.providers`` (the entry is called without arguments) or pass
the object itself: ``flovia.paid_api(provider=BankProvider(), price="1.00 SGD")``.

A provider that also hears webhooks is a :class:`WebhookProvider`, one that can give money back a
:class:`RefundingProvider`, one whose backend can be asked what became of a charge a :class:`ReconcilingProvider`: one
more method each, and no inheritance.
:class:`flovia.testing.providers.ProviderContract` is the contract as tests, to run against it: how to is in
``docs/write-a-provider.md``.
"""

from flovia.core.effects import Flow, HttpCall, HttpReply, http, now, recall, remember, sleep, token
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import HttpError, ParseError
from flovia.core.http import Headers
from flovia.core.money import Price
from flovia.core.problems import ProblemType
from flovia.core.provider import (
    Adopted,
    AdoptingProvider,
    AmountReading,
    LateRedeeming,
    Look,
    NotPaid,
    Paid,
    PaidBack,
    Presented,
    PriceChecking,
    Provider,
    Quote,
    Refusal,
    Terms,
    Unknown,
    Verdict,
    charge_request,
)
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved, OwnCharge, ReconcilingProvider
from flovia.core.refund import NotRefunded, Refunded, RefundingProvider, RefundOrder, RefundUnknown, RefundVerdict
from flovia.core.webhook import Heard, LatePayment, Notice, RefundedPayment, WaitingPayment, WebhookProvider

__all__ = [
    "Adopted",
    "AdoptingProvider",
    "AmountReading",
    "Charge",
    "ChargeState",
    "ChargeUnknown",
    "Flow",
    "Headers",
    "Heard",
    "HttpCall",
    "HttpError",
    "HttpReply",
    "JsonObject",
    "LatePayment",
    "LateRedeeming",
    "Look",
    "Moved",
    "NotPaid",
    "NotRefunded",
    "Notice",
    "OwnCharge",
    "Paid",
    "PaidBack",
    "ParseError",
    "Presented",
    "Price",
    "PriceChecking",
    "ProblemType",
    "Provider",
    "Quote",
    "ReconcilingProvider",
    "RefundOrder",
    "RefundUnknown",
    "RefundVerdict",
    "Refunded",
    "RefundedPayment",
    "RefundingProvider",
    "Refusal",
    "Terms",
    "Unknown",
    "Verdict",
    "WaitingPayment",
    "WebhookProvider",
    "charge_request",
    "http",
    "loads_object",
    "now",
    "recall",
    "remember",
    "sleep",
    "token",
]
