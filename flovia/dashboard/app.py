"""The dashboard as an ASGI application."""

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flovia.web.site import Pages

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from flovia.api import Flovia


class Dashboard:
    """An ASGI application over a ledger.

    Args:
        flovia: whose ledger it shows.
    """

    def __init__(self, flovia: "Flovia") -> None:
        self._flovia = flovia
        self._pages = Pages("flovia.dashboard")
        routes = [
            Route("/", self._overview),
            Route("/static/{version}/{name}", self._pages.file),
        ]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def _overview(self, request: Request) -> Response:
        return self._pages.render(request, "overview.html")
