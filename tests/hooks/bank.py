"""A bank that sends webhooks and gives money back, served on loopback, and the provider that uses it.

What the bank does to a call is scripted: see :attr:`Bank.faults`.
"""

import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import cast
from wsgiref.types import StartResponse, WSGIEnvironment

from flovia.core.encoding import JsonObject
from flovia.providers.base import (
    Flow,
    Headers,
    Heard,
    HttpCall,
    HttpError,
    HttpReply,
    LatePayment,
    NotPaid,
    NotRefunded,
    Paid,
    PaidBack,
    ParseError,
    Presented,
    Quote,
    Refunded,
    RefundedPayment,
    RefundOrder,
    RefundUnknown,
    RefundVerdict,
    Terms,
    Unknown,
    Verdict,
    charge_request,
    http,
    loads_object,
)
from flovia.testing.servers import serve_wsgi

SALT = b"test-salt-of-the-bank"
KEY = "test-key-of-the-bank"


class Bank:
    """Payments by id and refunds by idempotency key. Safe to call from any number of threads.

    ``faults``: what happens to the next calls, in order: ``""`` nothing, ``503``, ``refuse`` (409: a refund that the
    bank does not want), ``lost`` (done, but the answer says 502), ``garbage`` (done, the answer is no JSON). ``hold``
    keeps every call waiting until it is set; ``held`` counts them.
    """

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, object]] = {}
        self.refunds: dict[str, dict[str, object]] = {}
        self.faults: list[str] = []
        self.calls: Counter[str] = Counter()
        self.keys: list[str] = []
        self.hold: threading.Event | None = None
        self.held = 0
        self._lock = threading.Lock()

    def pay(self, name: str, challenge: str, cents: int = 100, currency: str = "usd", state: str = "paid") -> str:
        """Take a payment; its id."""
        self.payments[name] = {
            "id": name,
            "challenge": challenge,
            "cents": cents,
            "currency": currency,
            "state": state,
            "returned": 0,
        }
        return name

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The bank's API."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if self.hold is not None:
            with self._lock:
                self.held += 1
            self.hold.wait(30)
        with self._lock:
            fault = self.faults.pop(0) if self.faults else ""
            status, found = self._answer(environ, body, fault)
        text = b"<html>" if fault == "garbage" else json.dumps(found).encode()
        start_response(f"{status} X", [("content-type", "application/json"), ("content-length", str(len(text)))])
        return [text]

    def _answer(self, environ: WSGIEnvironment, body: bytes, fault: str) -> tuple[int, dict[str, object]]:
        http_method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.calls[http_method] += 1
        if environ.get("HTTP_AUTHORIZATION") != f"Bearer {KEY}":
            return 401, {}
        if fault == "503":
            return 503, {"error": "test-error-of-the-bank"}
        if http_method == "GET":
            payment = self.payments.get(path.removeprefix("/payments/"))
            return (404, {}) if payment is None else (200, payment)
        status, found = self._refund(environ.get("HTTP_IDEMPOTENCY_KEY", ""), json.loads(body), fault)
        return (502, {}) if fault == "lost" else (status, found)

    def _refund(self, key: str, asked: dict[str, object], fault: str) -> tuple[int, dict[str, object]]:
        self.keys.append(key)
        payment = self.payments.get(str(asked["payment"]))
        if key in self.refunds:
            return 200, self.refunds[key]
        if payment is None or fault == "refuse" or payment["returned"]:
            return 409, {"error": "not today"}
        payment["returned"] = asked["cents"]
        found = {"id": f"refund-{len(self.refunds) + 1}", "cents": asked["cents"], "currency": payment["currency"]}
        self.refunds[key] = found
        return 200, found


def event(payment: str, kind: str = "payment") -> bytes:
    """The body of a webhook, spaced in the bank's own way: only the same bytes have the same signature."""
    return b'{ "event" : ' + json.dumps(kind).encode() + b',\n\t"payment":' + json.dumps(payment).encode() + b" }\r\n"


def sign(body: bytes, salt: bytes = SALT) -> str:
    """Its signature."""
    return hmac.new(salt, body, hashlib.sha256).hexdigest()


class HookBankProvider:
    """Pays with payment ids, hears webhooks, gives back. ``url``: where the bank is."""

    name = "hookbank"
    method = "hookbank"
    intent = "charge"
    rail = "mpp"
    live = False
    fixed_terms = True
    deadline_s = 5.0
    receipt_header = "payment-receipt"
    max_webhook = 4096

    def __init__(self, url: str) -> None:
        self.url = url

    def quote(self, quote: Quote) -> Flow[Terms]:
        """Ask for the price."""
        yield from ()
        return Terms(request=charge_request(quote.price))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Look the payment up."""
        name = presented.payload.get("payment")
        if not isinstance(name, str) or not name.isalnum():
            return NotPaid(problem="invalid-payload")
        try:
            found = yield from self._find(name)
        except (HttpError, ParseError):
            return Unknown()
        if found is None or found["state"] != "paid":
            return NotPaid()
        if found["returned"]:
            return PaidBack(reference=name, amount=_int(found["returned"]), currency=str(found["currency"]))
        return Paid(reference=name, amount=_int(found["cents"]), currency=str(found["currency"]))

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Check the signature, then ask the bank what is true."""
        given = headers.get("bank-signature") or ""
        if not hmac.compare_digest(sign(body).encode(), given.encode("latin-1", "replace")):
            return Heard(status=401, code="bad-signature")
        try:
            told = loads_object(body)
        except ParseError:
            return Heard(status=400, code="malformed")
        name = told.get("payment")
        if told.get("event") != "payment" or not isinstance(name, str):
            return Heard(code="ignored")
        found = yield from self._find(name)
        if found is None:
            return Heard(code="ignored")
        money = {"method": self.method, "payment_id": name, "currency": str(found["currency"])}
        if found["returned"]:
            return Heard(notices=(RefundedPayment(amount=_int(found["returned"]), **money),))
        if found["state"] in ("late", "duplicate"):
            late = LatePayment(
                challenge_id=str(found["challenge"]),
                amount=_int(found["cents"]),
                reason="late" if found["state"] == "late" else "duplicate",
                **money,
            )
            return Heard(notices=(late,))
        return Heard()

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it, with the nonce as the idempotency key."""
        body = json.dumps({"payment": order.payment_id, "cents": order.amount}).encode()
        call = self._call("POST", "/refunds", body, ("idempotency-key", order.nonce))
        try:
            reply = yield from http(call)
            if reply.status == 409:
                return NotRefunded(reason="the bank does not want to")
            if reply.status != 200:
                return RefundUnknown()
            found = loads_object(reply.body)
        except (HttpError, ParseError):
            return RefundUnknown()
        refund_id, cents = found.get("id"), found.get("cents")
        if not isinstance(refund_id, str) or not isinstance(cents, int):
            return RefundUnknown()
        return Refunded(refund_id=refund_id, amount=cents, currency=order.currency)

    def _find(self, name: str) -> Flow[JsonObject | None]:
        reply: HttpReply = yield from http(self._call("GET", f"/payments/{name}"))
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise HttpError("the bank does not answer", sent=True)
        found = loads_object(reply.body)
        if found.get("id") != name or type(found.get("cents")) is not int or type(found.get("returned")) is not int:
            raise HttpError("the bank's answer is about something else", sent=True)
        return found

    def _call(self, http_method: str, path: str, body: bytes = b"", *fields: tuple[str, str]) -> HttpCall:
        headers = (("authorization", f"Bearer {KEY}"), *fields)
        return HttpCall(http_method=http_method, url=self.url + path, headers=headers, body=body, deadline_s=5.0)


def _int(value: object) -> int:
    return cast("int", value)


@contextmanager
def serve_bank() -> Generator[tuple[Bank, str]]:
    """A bank on loopback, and its URL."""
    bank = Bank()
    with serve_wsgi(bank, server="waitress") as url:
        yield bank, url
