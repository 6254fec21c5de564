"""The dashboard as an application to mount: ASGI, and with a face for WSGI."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flovia.core.errors import CallerError, FloviaError, LedgerError
from flovia.dashboard.access import Authorize, check_mounting, is_from_here, name_of, visitor_of
from flovia.dashboard.actions import Actions
from flovia.dashboard.api import Api
from flovia.dashboard.desk import Desks
from flovia.dashboard.http import Handler, problem
from flovia.dashboard.pages import Site
from flovia.dashboard.pool import UnavailableError
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
            there, or None: then it is answered with 403. May be async.
        open: whoever reaches it may look: for where something in front has asked already. Without this and without
            ``authorize`` only this machine is answered.
        actions: the integrity queue can be worked: whoever may look may make payments redeemable again, give money
            back and explain findings, each on record under the name that ``authorize`` returns (without it under the
            one they type). False leaves pages that change nothing.
        clock: Unix seconds; for tests.

    Raises:
        WiringError: it would be open on a public origin, or the ledger lives in memory or cannot be opened.
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
        check_mounting(flovia, authorize, open)
        self._authorize = authorize
        self._open = open
        self._desks = Desks(flovia, clock)
        self._pages = Pages("flovia.dashboard")
        self._site = Site(self._desks, self._pages, works=actions)
        self._actions = None
        if actions:
            named = authorize is not None
            self._actions = Actions(
                flovia, self._desks, self._pages, self._site, names=named, local=not named and not open
            )
        self._app = Starlette(routes=self._routes())
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
            *(Route(path, self._guarded(handler, is_page=True)) for path, handler in pages.items()),
            *(() if self._actions is None else self._actions.routes(lambda one: self._guarded(one, is_page=True))),
            *(Route(path, self._guarded(handler, is_page=False)) for path, handler in data.items()),
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

    def _guarded(self, handler: Handler, *, is_page: bool) -> Handler:
        """The handler, for those who may look; what goes wrong is said in the form that was asked for."""

        def refuse(request: Request, status: int, title: str, detail: str) -> Response:
            return self._site.message(request, status, title, detail) if is_page else problem(status, title, detail)

        async def answer(request: Request) -> Response:
            visitor = visitor_of(request.scope)
            if self._authorize is not None:
                name = await name_of(visitor, self._authorize)
                if name is None:
                    return refuse(
                        request, 403, "You may not look at this", "The app does not know you, or not well enough."
                    )
                request.scope["flovia.who"] = name
            elif not self._open and not is_from_here(visitor):
                return refuse(
                    request,
                    403,
                    "This dashboard is for its own machine",
                    "Nobody was told who may look, so only requests from this machine, by its own name and without a"
                    " proxy, are answered. Dashboard(flo, authorize=…) says who may.",
                )
            try:
                return await handler(request)
            except CallerError as error:
                return refuse(request, 400, "That cannot be answered", f"{error}.")
            except LedgerError as error:
                return refuse(request, 503, "The ledger does not answer", f"{error}. Try again in a moment.")
            except UnavailableError as error:
                refused = refuse(request, 503, "The dashboard cannot answer now", f"{error}.")
                refused.headers["retry-after"] = "1"
                return refused
            except FloviaError as error:
                return refuse(request, 500, "That did not work", f"{error}.")

        return answer
