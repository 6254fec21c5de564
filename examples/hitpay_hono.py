"""A route that costs one Singapore dollar, taken by HitPay. The line that makes it so stands before the handler.

HITPAY_API_KEY=test_… uvicorn --app-dir examples hitpay_hono:app --port 8402
"""

import flovia
from flovia_hono import Context, Hono, Response

app = Hono()


def handler(c: Context) -> Response:
    """What is for sale. Nobody gets here without a settled payment."""
    return c.json({"foo": "bar"})


app.get("/paid", flovia.paid_api(provider="hitpay", rail="mpp", price="1.00 SGD"), handler)
