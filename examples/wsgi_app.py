"""A WSGI site: the front page is free, ``/report`` costs 1.00 USD.

    python examples/wsgi_app.py

serves http://127.0.0.1:8402/ with the mock provider; payments are kept in flovia.db.
"""

from collections.abc import Iterable
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import flovia
import flovia_wsgi

TEXT = ("Content-Type", "text/plain; charset=utf-8")


def report(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is for sale. A generator: each line is sent as it is made."""
    grant: flovia.Grant = environ["flovia.payment"]
    start_response("200 OK", [TEXT])
    yield f"paid with {grant.payment_id}\n".encode()
    yield b"today's report\n"


paid_report = flovia_wsgi.paid(report, provider="mock", rail="mpp", price="1.00 USD")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Route first, then let the gate see only what is for sale."""
    if environ["PATH_INFO"] == "/report":
        return paid_report(environ, start_response)
    start_response("200 OK", [TEXT])
    return [b"the report is at /report\n"]


if __name__ == "__main__":
    with make_server("127.0.0.1", 8402, app) as server:
        server.serve_forever()
