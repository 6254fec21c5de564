"""A real flovia app that sells by HitPay over a sandbox, served with wsgiref."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import flovia
import flovia_wsgi
from flovia.providers.hitpay import HitPayConfig, HitPayProvider, SavedMethods, customer_from_header
from flovia.sandbox import Sandbox
from flovia.testing.servers import serve_wsgi


def sell(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """What is for sale."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"goods"]


@contextmanager
def selling(sandbox: Sandbox, folder: Path, *, saved: bool = False, price: str = "1.00 SGD") -> Generator[str]:
    """The app's address; with ``saved`` customers may bind a wallet: 5.00 at once, 8.00 in all."""
    config = HitPayConfig(
        api_key=sandbox.api_key,
        webhook_salts=(sandbox.webhook_salt,),
        broker=sandbox.broker_url,
        api=sandbox.api_url,
    )
    methods = SavedMethods(
        customer_email=customer_from_header, max_amount_per_charge="5.00", total_amount_cap="8.00", valid_for_s=86400
    )
    flo = flovia.Flovia(
        provider=HitPayProvider(config, saved=methods if saved else None),
        price=price,
        ledger=f"sqlite:///{folder}/ledger.db",
        secret="test-secret-of-32-characters-000",
    )
    with serve_wsgi(flovia_wsgi.paid(flo.paid_api(), sell)) as url:
        yield url
