"""A Flask view that costs one Singapore dollar, taken by HitPay. The line that makes it so is the second decorator.

HITPAY_API_KEY=test_… flask --app examples/hitpay_flask.py run --port 8402
"""

import flask

import flovia_flask

app = flask.Flask(__name__)


@app.get("/paid")
@flovia_flask.paid(provider="hitpay", rail="mpp", price="1.00 SGD")
def handler() -> dict[str, str]:
    """What is for sale. Nobody gets here without a settled payment."""
    return {"foo": "bar"}
