"""What is for sale here: one route that costs one Singapore dollar, taken by HitPay, over this very process."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import attrs

if TYPE_CHECKING:
    from flovia import AsgiApp, Grant, HttpRequest
    from flovia.api import Flovia
    from flovia.providers.hitpay import HitPayProvider
    from flovia.sandbox import Sandbox

PATH: Final = "/showcase/hitpay-mpp/paid"
HOOKS: Final = "/hooks/hitpay"
PRICE: Final = "1.00 SGD"
AGENT_FIELD: Final = "x-agent"
"""By which the agent of the page says who it is, as one with an API key would by its key."""


@attrs.frozen(kw_only=True)
class Shop:
    """What the showcase is made of.

    ``flovia``: whose ledger everything is in; it takes the payments. ``provider``: of those. ``url``: where this very
    server listens, ``http://127.0.0.1:8402``. ``folder``: where the agent keeps its credentials. ``sandbox``: the local
    HitPay, or None if payments are taken by HitPay's own. ``lines``: what can be tried in a terminal, comments between.
    """

    flovia: "Flovia"
    provider: "HitPayProvider"
    url: str
    folder: Path
    sandbox: "Sandbox | None" = None
    lines: Sequence[str] = ()

    @property
    def endpoint(self) -> str:
        """The address of the paid route."""
        return f"{self.url}{PATH}"

    @property
    def broker(self) -> str:
        """The broker that charges are made at."""
        return self.provider.config.broker_endpoint.origin

    @property
    def local(self) -> bool:
        """Whether HitPay is one on this machine, so that its pages open here only."""
        return self.provider.config.broker_endpoint.environment == "local"

    @property
    def configured(self) -> bool:
        """Whether there is a key, so that a charge can be made at all."""
        return self.provider.config.api_key is not None


def asker(request: "HttpRequest") -> str | None:
    """Who is asking, as this app knows it; for ``Flovia(payer_of=…)``."""
    return request.headers.get(AGENT_FIELD)


def paid_route(shop: Shop) -> "AsgiApp":
    """The route: the one line of the examples, before a handler."""
    from flovia_hono import Context, Hono

    def handler(c: Context) -> object:
        """Nobody gets here without a settled payment."""
        grant = cast("Grant", c.get("payment"))
        return c.json({"foo": "bar", "request_id": grant.request_id, "payment_id": grant.payment_id})

    app = Hono()
    gate = shop.flovia.paid_api(provider=shop.provider, rail="mpp", price=PRICE, description="flovia showcase")
    app.get(PATH, gate, handler)
    return app


def webhooks(shop: Shop) -> "AsgiApp":
    """What hears of money that came late, or twice."""
    import flovia_asgi

    return flovia_asgi.webhooks(shop.flovia, provider=shop.provider)
