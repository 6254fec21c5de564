"""The dashboard as an application to mount: ASGI, and with a face for WSGI."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flovia.dashboard.access import Authorize, check_mounting, check_switches
from flovia.dashboard.actions import Actions
from flovia.dashboard.api import Api
from flovia.dashboard.desk import Desks
from flovia.dashboard.guard import Guard
from flovia.dashboard.http import Handler
from flovia.dashboard.pages import Site
from flovia.dashboard.wsgi import WsgiFace
from flovia.web.site import Pages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from starlette.types import Receive, Scope, Send

    from flovia.api import Flovia


class Dashboard:
    """Pages over a ledger, to mount anywhere, behind your own authentication.

    An ASGI application. For WSGI there is :attr:`wsgi`.

    Args:
        flovia: whose ledger it shows.
        authorize: gets the request as a :class:`~flovia.dashboard.access.Visitor` and returns the name of who is
            there, or None: then it is answered with 403. May be async. A name is at most 128 printable characters and
            not blank; whatever else it returns is nobody's, and logged. What it raises is answered with 500 and logged.
        open: whoever reaches it may look: for where something in front has asked already. Without this and without
            ``authorize`` only this machine is answered.
        actions: the integrity queue can be worked: whoever may look may make payments redeemable again, give money
            back and explain findings, each on record under the name that ``authorize`` returns (without it under the
            one they type). False leaves pages that change nothing.
        clock: Unix seconds; for tests.

    Raises:
        WiringError: it would be open on a public origin, ``open`` or ``actions`` is no bool, ``authorize`` is no
            function, or the ledger lives in memory or cannot be opened.
    """

    def __init__(
        self,
        flovia: "Flovia",
        *,
        authorize: Authorize | None = None,
        open: bool = False,
        actions: bool = True,
        clock: Callable[[], float] | None = None,
    ) -> None:
        check_switches(authorize, open=open, actions=actions)
        check_mounting(flovia, authorize, open)
        self._desks = Desks(flovia, clock)
        self._pages = Pages("flovia.dashboard")
        self._site = Site(self._desks, self._pages, works=actions)
        self._guard = Guard(self._site, authorize, open=open)
        self._actions = None
        if actions:
            named = authorize is not None
            self._actions = Actions(
                flovia, self._desks, self._pages, self._site, names=named, local=not named and not open
            )
        routes = self._routes()

        async def unrouted(request: Request, error: Exception) -> Response:
            return await self._guard.unrouted(request, error, routes)

        self._app = Starlette(routes=routes, exception_handlers={HTTPException: unrouted})
        self._app.router.redirect_slashes = False  # to the Host that a request names
        self._wsgi = WsgiFace(self)

    def _routes(self) -> list[Route]:
        site, api = self._site, Api(self._desks)
        pages: dict[str, Handler] = {
            "/": site.overview,
            "/endpoints": site.endpoints,
            "/revenue": site.revenue,
            "/pricing": site.pricing,
            "/latency": site.latency,
            "/retention": site.retention,
            "/workflows": site.workflows,
            "/integrity": site.integrity,
            "/events": site.events,
            "/attempts/{ident:path}": site.attempt,
        }
        data: dict[str, Handler] = {
            "/events/new": api.news,
            "/events/stream": api.stream,
            "/api/openapi.json": api.describe,
            "/api/events": api.events,
            "/api/attempts/{ident:path}": api.attempt,
            "/api/{name}": api.report,
        }
        return [
            *(Route(path, self._guard.page(handler)) for path, handler in pages.items()),
            *(() if self._actions is None else self._actions.routes(self._guard.page)),
            *(Route(path, self._guard.data(handler)) for path, handler in data.items()),
            Route("/static/{version}/{name}", self._static),
        ]

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def wsgi(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The same as a WSGI application; what is live asks again instead of being told."""
        return self._wsgi(environ, start_response)

    def close(self) -> None:
        """End what runs in the background, and let go of the ledger. An app that ends need not call it."""
        self._wsgi.close()
        self._desks.close()

    async def _static(self, request: Request) -> Response:
        return self._pages.file(request)
