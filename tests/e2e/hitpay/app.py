"""A paid app as a user would write it, served by a process of its own. Everything comes from the environment."""

import json
import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import attrs

import flovia
import flovia_wsgi
from flovia.core.limiter import Rate
from flovia.providers.hitpay import HitPayProvider, SavedMethods, customer_from_header, from_environ
from tests.patience import be_patient


def handler(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What is paid for. ``/broken`` fails once, the first time it runs."""
    if environ["PATH_INFO"] == "/broken" and not os.path.exists(marker := os.environ["E2E_MARKER"]):
        with open(marker, "w", encoding="utf-8"):
            pass
        raise RuntimeError("test: the handler fails")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"forecast": "sunny"}).encode()]


def make_app() -> WSGIApplication:
    """Paid routes everywhere, and the webhook receiver at /hooks/hitpay."""
    be_patient()
    config = attrs.evolve(from_environ(), core_fallback=os.environ.get("E2E_CORE_FALLBACK") == "1", call_s=20.0)
    config = attrs.evolve(config, charge_id_json=True)
    if os.environ.get("E2E_MANY"):
        many = Rate(count=1000, seconds=60.0)
        config = attrs.evolve(config, creations=many, creations_per_client=many, breaker_failures=100)
    provider = HitPayProvider(
        config, saved=SavedMethods(customer_email=customer_from_header, max_amount_per_charge="10.00")
    )
    flo = flovia.Flovia(provider=provider, price="1.00 SGD")
    paid = flovia_wsgi.paid(flo.paid_api(description="Forecast"), handler)
    hooks = flovia_wsgi.webhooks(flo)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (hooks if environ["PATH_INFO"] == "/hooks/hitpay" else paid)(environ, start_response)

    return app
