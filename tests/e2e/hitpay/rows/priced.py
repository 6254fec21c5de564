"""The original's own line, at the price in ``E2E_PRICE``: a program that does not start where that cannot work."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import flovia
import flovia_wsgi


def handler(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is paid for."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"sunny"]


app = flovia_wsgi.paid(flovia.paid_api(provider="hitpay", rail="mpp", price=os.environ["E2E_PRICE"]), handler)
