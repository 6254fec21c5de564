"""A WSGI app that costs one Singapore dollar a call, taken by HitPay. The line that makes it so is the last one.

HITPAY_API_KEY=test_… waitress-serve --listen=127.0.0.1:8402 examples.hitpay_wsgi:app
"""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import flovia_wsgi


def handler(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is for sale. Nobody gets here without a settled payment."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"foo": "bar"}']


app = flovia_wsgi.paid(handler, provider="hitpay", rail="mpp", price="1.00 SGD")
