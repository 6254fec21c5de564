"""One app with every kind of HitPay route.

Everything comes from the environment, as for a merchant. The app writes all that is logged, at DEBUG, to ``E2E_LOG``.
"""

import logging
import os
import time

import attrs
import flask

import flovia
import flovia_flask
from flovia.core.limiter import Rate
from flovia.ledger.opening import open_ledger
from flovia.providers.hitpay import HitPayProvider, SavedMethods, customer_from_header, from_environ
from flovia.providers.mock import MockProvider
from tests.patience import be_patient

MANY = Rate(count=100_000, seconds=60.0)
CAPPED = SavedMethods(
    customer_email=customer_from_header, max_amount_per_charge="3.00", total_amount_cap="5.00", valid_for_s=86400
)
TWICE = SavedMethods(customer_email=customer_from_header, max_amount_per_charge="3.00", max_uses=2)


def provider(saved: SavedMethods | None = None, **changes: object) -> HitPayProvider:
    """HitPay by the environment, with limits out of the way and time for a busy machine."""
    config = attrs.evolve(from_environ(), creations=MANY, creations_per_client=MANY, breaker_failures=100_000)
    return HitPayProvider(attrs.evolve(config, **{"call_s": 20.0, "verify_s": 40.0, **changes}), saved=saved)


def by_path(request: flovia.HttpRequest) -> str:
    """The price that stands at the end of the path."""
    return f"{request.path.rpartition('/')[2]} SGD"


def make_app() -> flask.Flask:
    """Every route."""
    be_patient()
    logging.basicConfig(filename=os.environ["E2E_LOG"], level=logging.DEBUG, force=True)
    ahead = [0.0]

    def clock() -> float:
        return time.time() + ahead[0]

    def shop(made: HitPayProvider) -> flovia.Flovia:
        return flovia.Flovia(provider=made)

    main, capped = shop(provider()), shop(provider(CAPPED))
    # Its clock can be moved, and what it keeps of the broker's keys is its own.
    other = open_ledger(os.environ["E2E_OTHER_LEDGER"], clock=clock)
    later = flovia.Flovia(provider=provider(CAPPED), ledger=other, clock=clock)
    both = (flovia.Offer(provider="hitpay", price="1.00 SGD"), flovia.Offer(provider="mock", price="0.75 USD"))
    mixed = [attrs.evolve(both[0], provider=provider()), attrs.evolve(both[1], provider=MockProvider())]
    routes = {
        "/forecast": main.paid_api(price="1.00 SGD", description="Forecast"),
        "/core": shop(provider(profile="core")).paid_api(price="1.00 SGD"),
        "/mixed": flovia.Flovia().paid_api(offers=mixed),
        "/rupiah": main.paid_api(price="50000 IDR"),
        "/fallback": shop(provider(core_fallback=True)).paid_api(price="1.00 SGD"),
        "/impatient": shop(provider(call_s=1.0, verify_s=2.0)).paid_api(price="1.00 SGD"),
        "/saved/<amount>": capped.paid_api(price=by_path),
        "/ringgit": capped.paid_api(price="2.00 MYR"),
        "/twice": shop(provider(TWICE)).paid_api(price="1.00 SGD"),
        "/later": later.paid_api(price="1.00 SGD"),
        "/unset": flovia.Flovia(provider=HitPayProvider(from_environ({}))).paid_api(price="1.00 SGD"),
    }
    app = flask.Flask(__name__)
    for path, guard in routes.items():
        app.get(path, endpoint=path.strip("/").partition("/")[0])(flovia_flask.paid(guard)(forecast))
    app.post("/hooks/hitpay")(flovia_flask.webhooks(main))

    @app.post("/clock/<int:seconds>")
    def advance(seconds: int) -> dict[str, float]:
        ahead[0] += seconds
        return {"ahead": ahead[0]}

    return app


def forecast(**_: str) -> dict[str, str]:
    """What is paid for."""
    return {"forecast": "sunny"}
