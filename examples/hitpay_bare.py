"""A HitPay MPP route written by hand, as a provider would have it today, and flovia watching it.

    HITPAY_API_KEY=test_… uvicorn --app-dir examples hitpay_bare:app --port 8402

serves http://127.0.0.1:8402/paid. A paid call by hand, over a ``flovia sandbox`` whose ``export`` lines are set here::

    curl -s http://127.0.0.1:8402/paid
    CHARGE=mpp_ch_…    # the end of its polling_url; its checkout_url is the page to pay on
    curl -s http://127.0.0.1:8402/paid -H "Authorization: Payment $(printf '{"challenge_id": "%s"}' $CHARGE | base64)"
    flovia events --paid

The handler makes its own 402 and asks HitPay's broker itself; the one line in front
of it gates nothing and joins what it sees: which calls were paid for, by which charge. ``HITPAY_MPP_ENDPOINT`` names
the broker; ``flovia sandbox`` is one on this machine. What the handler lacks (single use, limits, an answer for a
broker that is down halfway) is what ``flovia.paid_api(provider="hitpay", price="1.00 SGD")`` would do in its place.
"""

import base64
import hashlib
import json
import os
import secrets
from typing import cast

import httpx

import flovia
from flovia_hono import Context, Hono, Response

BROKER = os.environ.get("HITPAY_MPP_ENDPOINT", "https://sandbox.mpp.hitpay.dev")
API_KEY = os.environ.get("HITPAY_API_KEY", "")
PRICE = {"amount": "1.00", "currency": "sgd", "description": "Forecast"}

app = Hono()
nonces: dict[str, str] = {}


def request_hash(method: str, path: str) -> str:
    """What binds a charge to this route."""
    text = json.dumps({"method": method, "path": path, "query": {}}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def broker(path: str, body: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Ask the broker; the key travels in the body."""
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(f"{BROKER}{path}", json={**body, "api_key": API_KEY})
    return answer.status_code, cast("dict[str, str]", answer.json())


async def ask(c: Context) -> Response:
    """A 402 in HitPay's own form, over a new charge."""
    nonce = secrets.token_hex(16)
    bound = request_hash(c.req.method, c.req.path)
    status, made = await broker("/v1/charges", {**PRICE, "nonce": nonce, "request_hash": bound})
    if status >= 300:
        return c.json({"error": "mpp_charge_failed"}, 502)
    nonces[made["challenge_id"]] = nonce
    details = {name: made[name] for name in ("checkout_url", "expires_at", "polling_url")}
    challenge = {**PRICE, "methodDetails": details}
    encoded = base64.urlsafe_b64encode(json.dumps(challenge).encode()).decode().rstrip("=")
    c.header("www-authenticate", f'Payment method="hitpay", request="{encoded}"')
    c.header("cache-control", "no-store")
    return c.json({"error": "payment_required", "challenge": challenge}, 402)


async def handler(c: Context) -> Response:
    """The whole gate: a credential that the broker vouches for, or a 402."""
    scheme, _, token = (c.req.header("authorization") or "").partition(" ")
    if scheme.lower() == "payment":
        try:
            named = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["challenge_id"]
            bound = request_hash(c.req.method, c.req.path)
            body = {"request_hash": bound, "nonce": nonces[named]}
        except (ValueError, KeyError, TypeError):
            return await ask(c)
        status, found = await broker(f"/v1/charges/{named}/verify", body)
        if status == 200:
            c.header("mpp-receipt", found["receipt_jws"])
            return c.json({"forecast": "sunny"})
    return await ask(c)


app.get("/paid", flovia.paid_api(provider="hitpay", rail="mpp"), handler)
