"""A Flask shop: two paid views on one gate's settings, an error page, a side effect that happens once.

    flask --app examples/flask_app.py run --port 8402

serves http://127.0.0.1:8402/ with the mock provider; payments are kept in flovia.db.
"""

from collections.abc import Iterator

import flask
from flask.typing import ResponseReturnValue

import flovia
import flovia_flask

app = flask.Flask(__name__)
flo = flovia.Flovia(provider="mock", price="1.00 USD")
orders: dict[str, str] = {}


@app.get("/")
def index() -> str:
    """Free."""
    return "quotes are at /quotes/<symbol>, orders go to /orders"


@app.get("/quotes/<symbol>")
@flovia_flask.paid(flo.paid_api(price="0.01 USD", description="one quote"))
def quote(symbol: str) -> ResponseReturnValue:
    """Streamed: each line is sent as it is made."""
    if not symbol.isalpha():
        flask.abort(404)  # no delivery: the payment can be redeemed again

    def lines() -> Iterator[str]:
        yield f"{symbol.upper()}\n"
        yield "42.00\n"

    return flask.Response(lines(), mimetype="text/plain")


@app.post("/orders")
@flovia_flask.paid(flo.paid_api())
def order() -> ResponseReturnValue:
    """The payment's id makes a repeated delivery harmless."""
    grant: flovia.Grant = flask.g.payment
    number = orders.setdefault(grant.payment_id, f"order-{len(orders) + 1}")
    return {"order": number, "repeated": grant.redelivery}, 201


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=8402)
