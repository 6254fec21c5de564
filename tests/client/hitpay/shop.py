"""A hand-written shop that sells by HitPay, over the sandbox: as little of a server as an agent needs to pay one."""

import json
from hashlib import sha256

import httpx

from flovia.core.challenge import Challenge, format_challenge, format_expires
from flovia.core.encoding import JsonValue, encode_param
from flovia.core.receipt import Receipt, format_receipt
from flovia.sandbox import Sandbox
from tests.client.server import FAR, Say, Seen

HASH = sha256(b"test").hexdigest()


class Shop:
    """Sells one thing for 1.00 SGD. ``details`` replaces members of ``methodDetails``; ``receipts`` go out first."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.amount, self.currency, self.base_units = "1.00", "sgd", "100"
        self.details: dict[str, JsonValue] = {}
        self.core_receipt = True
        self.mpp_receipt = True
        self.receipts: list[str] = []
        self.expires_at = FAR
        self.charges: list[str] = []
        self.made = 0
        self._http = httpx.Client(trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __call__(self, seen: Seen) -> Say:
        """Answer one request."""
        credential = seen.credential
        if credential is None:
            return self.offer()
        charge_id = str(credential.payload.get("challenge_id"))
        body = {"api_key": self.sandbox.api_key, "request_hash": HASH}
        answer = self._http.post(f"{self.sandbox.broker_url}/v1/charges/{charge_id}/verify", json=body)
        if answer.status_code == 402:
            return self._unpaid(credential.challenge, ("Retry-After", "1"))
        if answer.status_code != 200:
            return self.offer()
        return self.sold(charge_id, str(answer.json()["receipt_jws"]))

    def sold(self, reference: str, jws: str) -> Say:
        """The goods, and the receipt in the places that are switched on."""
        jws = self.receipts.pop(0) if self.receipts else jws
        core = Receipt(
            method="hitpay",
            timestamp=format_expires(0),
            reference=reference,
            extra={"extra": {"receipt_jws": jws}},
        )
        fields = [("Payment-Receipt", format_receipt(core))] if self.core_receipt else []
        fields += [("mpp-receipt", jws)] if self.mpp_receipt else []
        return Say(headers=tuple(fields), body=b"goods")

    def offer(self) -> Say:
        """A 402 with a charge of its own."""
        self.made += 1
        body = {
            "amount": self.amount,
            "currency": self.currency,
            "nonce": f"test-nonce-{self.made:024d}",
            "request_hash": HASH,
            "api_key": self.sandbox.api_key,
            "webhook_salt": self.sandbox.webhook_salt,
        }
        made = self._http.post(f"{self.sandbox.broker_url}/v1/charges", json=body).json()
        charge_id = str(made["challenge_id"])
        self.charges.append(charge_id)
        details: dict[str, JsonValue] = {
            "challenge_id": charge_id,
            "checkout_url": str(made["checkout_url"]),
            "polling_url": str(made["polling_url"]),
            "amount_decimal": self.amount,
            "exponent": "2",
            **self.details,
        }
        return self._unpaid(self.challenge(charge_id, details))

    def challenge(self, ident: str, details: dict[str, JsonValue]) -> Challenge:
        """A challenge for the shop's price."""
        request: dict[str, JsonValue] = {
            "amount": self.base_units,
            "currency": self.currency,
            "externalId": ident,
            "methodDetails": details,
        }
        return Challenge(
            id=f"test-{ident}",
            realm="shop.test",
            method="hitpay",
            intent="charge",
            request=encode_param(request),
            expires=format_expires(self.expires_at),
            description="A forecast",
        )

    @staticmethod
    def _unpaid(challenge: Challenge, *more: tuple[str, str]) -> Say:
        body = json.dumps({"error": "payment_required"}).encode()
        return Say(status=402, headers=(("WWW-Authenticate", format_challenge(challenge)), *more), body=body)
