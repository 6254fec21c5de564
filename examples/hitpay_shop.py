"""A shop that sells a report by HitPay, with a sandbox beside it: all that an agent needs to try paying.

    python examples/hitpay_shop.py
    flovia pay http://127.0.0.1:8402/report --budget "5.00 SGD"
    python examples/hitpay_agent.py --save http://127.0.0.1:8402/report

No money moves: the checkout page is on this machine, with buttons to pay or decline, and so is the page on which a
wallet is saved. Set HITPAY_API_KEY and HITPAY_WEBHOOK_SALT, and the same shop sells through HitPay's own sandbox; with
HITPAY_MPP_ENDPOINT and HITPAY_API_ENDPOINT too, through a ``flovia sandbox`` of yours.
"""

import atexit
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flovia
import flovia.sandbox
import flovia_wsgi
from flovia.providers.hitpay import HitPayProvider, SavedMethods, customer_from_header


def report(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is for sale. Nobody gets here without a settled payment."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"report": [3, 1, 4]}\n']


def shop() -> WSGIApplication:
    """The route, for one Singapore dollar; who names a wallet may save it, and is charged silently from then on."""
    saved = SavedMethods(
        customer_email=customer_from_header,  # a real shop takes it from its login, not from a header
        max_amount_per_charge="5.00",
        total_amount_cap="20.00",
        valid_for_s=30 * 86400,
    )
    flo = flovia.Flovia(provider=HitPayProvider(saved=saved))
    _open.callback(flo.close)
    return flovia_wsgi.paid(flo.paid_api(price="1.00 SGD"), report)


def make_app() -> WSGIApplication:
    """The shop with a sandbox that lives as long as the process, unless the environment names a broker."""
    if "HITPAY_API_KEY" not in os.environ:
        os.environ.update(_open.enter_context(flovia.sandbox.serving()).environment)
    return shop()


_open = ExitStack()
atexit.register(_open.close)


def main(port: int = 8402) -> None:
    """Serve it until Ctrl-C."""
    app = make_app()
    try:
        server = make_server("127.0.0.1", port, app)
    except OSError as error:
        sys.exit(f"port {port}: {error.strerror}. Give another one: python examples/hitpay_shop.py {port + 1}")
    with server:
        print(f"http://127.0.0.1:{server.server_port}/report costs 1.00 SGD")
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
