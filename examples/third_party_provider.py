"""A payment provider of one's own: prepaid vouchers, each good for one payment of its worth.

    python examples/third_party_provider.py

serves http://127.0.0.1:8402/ for 0.50 USD. A credential's payload is ``{"voucher": "<code>"}``.
"""

import secrets
from collections.abc import Iterable
from hashlib import sha256
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flovia
import flovia_wsgi
from flovia.providers.base import (
    Flow,
    NotPaid,
    Paid,
    Presented,
    Quote,
    Terms,
    Verdict,
    charge_request,
    remember,
)

YEAR_S = 365 * 86400.0
SOLD = {"TEST-VOUCHER-0001": flovia.Price.parse("0.50 USD"), "TEST-VOUCHER-0002": flovia.Price.parse("0.20 USD")}


class VoucherProvider:
    """Takes vouchers. They are worth money, so ``live``: flovia then insists on a secret."""

    name = "voucher"
    method = "voucher"
    intent = "charge"
    rail = "mpp"
    live = True
    fixed_terms = True  # quote() looks at nothing but the price
    deadline_s = 5.0
    receipt_header = "payment-receipt"

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Ask for the price."""
        yield from ()  # a flow that asks for nothing is still a generator
        return Terms(request=charge_request(quote.price, description=quote.description))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Redeem the voucher for this challenge, unless it was redeemed for another one."""
        code = presented.payload.get("voucher")
        if not isinstance(code, str):
            return NotPaid(problem="invalid-payload")
        worth = SOLD.get(code)
        if worth is None:
            return NotPaid()
        if str(worth.amount) != presented.charge["amount"] or worth.currency != presented.charge["currency"]:
            return NotPaid(problem="payment-insufficient")
        # The nonce is the same however often this credential comes back. Whoever is first keeps the voucher,
        # and finds it still theirs after a crash: the ledger remembers, in one atomic step.
        owner = yield from remember("voucher", code, presented.nonce, ttl_s=YEAR_S, if_absent=True)
        if owner != presented.nonce:
            return NotPaid()
        reference = "voucher_" + sha256(code.encode()).hexdigest()[:32]
        return Paid(reference=reference, amount=worth.amount, currency=worth.currency)


def report(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is for sale."""
    grant: flovia.Grant = environ["flovia.payment"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"paid with {grant.payment_id}\n".encode()]


def make_app() -> WSGIApplication:
    """The paid app, with its payments in voucher.db."""
    flo = flovia.Flovia(secret=secrets.token_urlsafe(32), ledger="sqlite:///voucher.db")
    return flovia_wsgi.paid(flo.paid_api(provider=VoucherProvider(), price="0.50 USD"), report)


if __name__ == "__main__":
    with make_server("127.0.0.1", 8402, make_app()) as server:
        server.serve_forever()
