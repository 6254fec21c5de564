"""A shop that sells a report by HitPay, with a sandbox beside it: all that an agent needs to try paying.

    python examples/hitpay_shop.py
    flovia pay http://127.0.0.1:8402/report --budget "5.00 SGD"

No money moves: the checkout page is on this machine, with buttons to pay or decline. Set HITPAY_API_KEY,
HITPAY_WEBHOOK_SALT and HITPAY_MPP_ENDPOINT, and the same shop sells through HitPay's own sandbox.
"""

import atexit
import os
from collections.abc import Iterable
from contextlib import ExitStack
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flovia
import flovia.sandbox
import flovia_wsgi


def report(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is for sale. Nobody gets here without a settled payment."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"report": [3, 1, 4]}\n']


def shop() -> WSGIApplication:
    """The route, for one Singapore dollar."""
    return flovia_wsgi.paid(flovia.paid_api(provider="hitpay", rail="mpp", price="1.00 SGD"), report)


def make_app() -> WSGIApplication:
    """The shop with a sandbox that lives as long as the process, unless the environment names a broker."""
    if "HITPAY_API_KEY" not in os.environ:
        os.environ.update(_open.enter_context(flovia.sandbox.serving()).environment)
    return shop()


_open = ExitStack()
atexit.register(_open.close)


def main(port: int = 8402) -> None:
    """Serve it until Ctrl-C."""
    with make_server("127.0.0.1", port, make_app()) as server:
        print(f"http://127.0.0.1:{server.server_port}/report costs 1.00 SGD")
        server.serve_forever()


if __name__ == "__main__":
    main()
