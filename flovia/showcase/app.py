"""The showcase's site: its pages, the paid route that they call, and the dashboard over the same ledger."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from flovia.core.errors import CallerError
from flovia.dashboard.access import is_from_here, visitor_of
from flovia.showcase import simulated
from flovia.showcase.joining import Deciding
from flovia.showcase.later import LaterDashboard
from flovia.showcase.pages import live_members, page_members, showcase_members
from flovia.showcase.runs import Run, Runs
from flovia.showcase.shop import HOOKS, PATH, Shop, paid_route, webhooks
from flovia.showcase.troubles import trouble_asked
from flovia.web.site import HEADERS, Pages

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PAGE: Final = "/showcase/hitpay-mpp"
FIRST_S: Final = 1.5
"""How long a visitor is kept waiting, at most, so that the first page of a run has its challenge on it."""
STREAM_S: Final = 1500.0
"""How long one stream of updates lasts; the browser asks for the next one by itself."""
MOST_STREAMS: Final = 60
"""Streams at once; who comes then polls."""
LOOK_S: Final = 1.0
"""Between two looks at the ledger, for what no run tells of."""
SELDOM_S: Final = 5.0
"""The same for a run that ended a while ago."""


class Showcase:
    """The site over one shop: an ASGI application.

    Args:
        shop: what is for sale, and who takes the money.
        prepare: called once before the dashboard is made, which whoever asks for it waits for.
    """

    def __init__(self, shop: Shop, prepare: Callable[[], None] = lambda: None) -> None:
        self._shop = shop
        self._pages = Pages("flovia.showcase")
        self._runs = Runs(shop)
        self._deciding = Deciding(lambda: shop.flovia.ledger, own=PATH)
        self._dashboard = LaterDashboard(shop.flovia, prepare)
        self._first_page = threading.Event()
        self._streams = 0
        routes = [
            Route("/", self._start_page),
            Route("/showcase", self._cards),
            Route(PAGE, self._page),
            *simulated.routes(),
            Route(f"{PAGE}/runs", self._start, methods=["POST"]),
            Route(f"{PAGE}/runs/{{run}}", self._run_page),
            Route(f"{PAGE}/runs/{{run}}/state", self._state),
            Route(f"{PAGE}/runs/{{run}}/events", self._events),
            Route(f"{PAGE}/runs/{{run}}/again", self._again, methods=["POST"]),
            Route(PATH, endpoint=paid_route(shop)),
            Route("/static/{version}/{name}", self._pages.file),
            Mount("/dashboard", self._dashboard),
        ]
        if shop.configured:
            routes.insert(0, Route(HOOKS, endpoint=webhooks(shop)))
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request; one for another name than this server's is somebody's page that found a way in.

        Nor is one answered that came by a proxy: it may be from anywhere. The dashboard says the same itself.
        """
        if scope["type"] == "http" and not _is_of_dashboard(scope) and not is_from_here(visitor_of(scope)):
            await self._elsewhere(Request(scope))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def make_dashboard(self, within_s: float) -> None:
        """Have the dashboard ready before somebody asks for it; may be called from any thread.

        Args:
            within_s: how long to wait, at most, for the first page to be out: both at once would make that one late.

        Raises:
            LedgerError: the ledger does not answer.
        """
        self._first_page.wait(within_s)
        self._dashboard.make()

    def close(self) -> None:
        """End streams, and wait for what reads the ledger; may be called from any thread."""
        self._runs.close()
        self._dashboard.close()
        self._deciding.close()

    def _elsewhere(self, request: Request) -> Response:
        return self._pages.render(request, "elsewhere.html", 403, shop=self._shop)

    # --- pages -----------------------------------------------------------------------------------------------

    def _start_page(self, request: Request) -> Response:
        return RedirectResponse(PAGE)

    def _cards(self, request: Request) -> Response:
        return self._pages.render(request, "showcase.html", 200, **showcase_members(self._shop))

    def _page(self, request: Request) -> Response:
        return self._shown(request, None)

    async def _run_page(self, request: Request) -> Response:
        run = self._runs.find(request.path_params["run"])
        return await run_in_threadpool(self._shown, request, run, 404 if run is None else 200)

    def _shown(self, request: Request, run: Run | None, status: int = 200) -> Response:
        members = page_members(self._shop, self._deciding, run)
        story, step = simulated.simulation(), simulated.chosen_step(request)
        shown = self._pages.render(
            request, "hitpay_mpp.html", status, missing=status == 404, simulation=story, step=step, **members
        )
        self._first_page.set()
        return shown

    # --- runs ------------------------------------------------------------------------------------------------

    async def _start(self, request: Request) -> Response:
        if (refused := _from_elsewhere(request)) is not None:
            return refused
        try:
            trouble = await trouble_asked(request)
        except CallerError as error:
            return Response(str(error), 400, media_type="text/plain", headers=dict(HEADERS))
        run = self._runs.start(trouble)
        await run.shown(FIRST_S)
        return self._at(request, run)

    async def _again(self, request: Request) -> Response:
        if (refused := _from_elsewhere(request)) is not None:
            return refused
        run = self._runs.find(request.path_params["run"])
        if run is None:
            return await self._run_page(request)
        self._runs.again(run)
        return self._at(request, run)

    def _at(self, request: Request, run: Run) -> Response:
        # Two tabs and a reload are one run: it is in the address.
        return RedirectResponse(f"{request.scope.get('root_path', '')}{PAGE}/runs/{run.id}#live", 303)

    async def _state(self, request: Request) -> Response:
        run = self._runs.find(request.path_params["run"])
        if run is None:
            return JSONResponse({"gone": True}, 404, headers=dict(HEADERS))
        return JSONResponse(await self._live(request, run), headers=dict(HEADERS))

    async def _live(self, request: Request, run: Run, seen: str = "") -> Mapping[str, object]:
        """What of the page follows a run, as HTML, and a mark that differs whenever it does.

        ``seen``: the mark that its reader has; there is no HTML if it is still that.
        """

        def render() -> Mapping[str, object]:
            members = live_members(self._shop, self._deciding, run)
            mark = sha256(repr(members["mark"]).encode()).hexdigest()[:16]
            if mark == seen:
                return {"mark": mark}
            html = bytes(self._pages.render(request, "live_parts.html", 200, **members).body).decode()
            return {"mark": mark, "over": members["over"], "html": html}

        return await run_in_threadpool(render)

    async def _events(self, request: Request) -> Response:
        run = self._runs.find(request.path_params["run"])
        if run is None or self._streams >= MOST_STREAMS:
            return Response("no stream", 404 if run is None else 503, media_type="text/plain", headers=dict(HEADERS))
        return StreamingResponse(self._stream(request, run), media_type="text/event-stream", headers=dict(HEADERS))

    async def _stream(self, request: Request, run: Run) -> AsyncGenerator[str]:
        self._streams += 1
        try:
            last, loop = "", asyncio.get_running_loop()
            until = loop.time() + STREAM_S
            while not self._runs.closed and loop.time() < until:
                found = await self._live(request, run, last)
                if found["mark"] != last:
                    last = str(found["mark"])
                    yield f"data: {json.dumps(found)}\n\n"
                else:
                    yield ": still here\n\n"
                await run.change(SELDOM_S if self._runs.settled(run) else LOOK_S)
        finally:
            self._streams -= 1


def _is_of_dashboard(scope: "Scope") -> bool:
    return f"{scope['path']}/".startswith("/dashboard/")


def _from_elsewhere(request: Request) -> Response | None:
    """A refusal for a form on somebody else's page: each run makes a charge at HitPay."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if (origin is not None and origin != own) or site not in (None, "same-origin", "none"):
        return Response("call it from its own page", 403, media_type="text/plain", headers=dict(HEADERS))
    return None
