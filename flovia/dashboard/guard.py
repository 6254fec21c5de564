"""In front of every handler: who may look, and an answer of ours for whatever goes wrong behind it."""

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from flovia.core.errors import CallerError, FloviaError, LedgerError
from flovia.dashboard.access import Authorize, is_from_here, name_of, visitor_of
from flovia.dashboard.filters import check_once
from flovia.dashboard.http import Handler, problem
from flovia.dashboard.pool import UnavailableError
from flovia.web.site import HEADERS
from flovia.words import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route

    from flovia.dashboard.pages import Site

ANSWER_S: Final = 30.0
"""How long a program waits for an answer in all, whatever it has to wait for: a locked ledger, those before it."""
RETRY_S: Final = "1"
"""When to ask again, where the ledger or the dashboard does not answer."""
_log: Final = logging.getLogger("flovia")


class SlowError(UnavailableError):
    """There was no answer in time. It is made all the same, for who asks again."""


class Guard:
    """Lets those in who may look.

    Args:
        site: for pages that say one thing.
        authorize: who is there, as the app says.
        open: whoever comes may look.
    """

    def __init__(self, site: "Site", authorize: Authorize | None, *, open: bool) -> None:
        self._site = site
        self._authorize = authorize
        self._open = open

    def page(self, handler: Handler) -> Handler:
        """The handler, for those who may look; what goes wrong is said on a page."""
        return self._guarded(handler, is_page=True)

    def data(self, handler: Handler) -> Handler:
        """The same, and what goes wrong is said for programs. They wait for :data:`ANSWER_S` at most."""

        async def bounded(request: Request) -> Response:
            with anyio.move_on_after(ANSWER_S):
                return await handler(request)
            raise SlowError(
                f"no answer in {ANSWER_S:g} s: the ledger is locked, or has much that is new; ask again in a while"
            )

        return self._guarded(bounded, is_page=False)

    async def unrouted(self, request: Request, error: Exception, routes: "Sequence[Route]") -> Response:
        """What the router has no answer for, or the app's ``authorize`` raised as an HTTP exception."""
        found = cast("HTTPException", error)
        if found.status_code == 404 and (elsewhere := _elsewhere(request, routes)) is not None:
            return RedirectResponse(elsewhere, 307, headers=dict(HEADERS))
        is_page = not _path(request).startswith(("/api/", "/events/"))

        async def say(request: Request) -> Response:
            if found.status_code == 404:
                title, detail = "There is no such page", "Its address is none of this dashboard's."
            else:
                title, detail = HTTPStatus(found.status_code).phrase, str(found.detail)
            refused = self._refuse(request, found.status_code, title, detail, is_page=is_page)
            refused.headers.update(found.headers or {})
            return refused

        # Who may not look is not told what there is; of authorize's own exceptions nothing is asked again.
        return await (self._guarded(say, is_page=is_page) if found.status_code in (404, 405) else say)(request)

    def _refuse(self, request: Request, status: int, title: str, detail: str, *, is_page: bool) -> Response:
        return self._site.message(request, status, title, detail) if is_page else problem(status, title, detail)

    def _guarded(self, handler: Handler, *, is_page: bool) -> Handler:
        def refuse(request: Request, status: int, title: str, detail: str) -> Response:
            return self._refuse(request, status, title, detail, is_page=is_page)

        async def answer(request: Request) -> Response:
            try:
                if self._authorize is not None:
                    name = await name_of(visitor_of(request.scope), self._authorize)
                    if name is None:
                        return refuse(
                            request, 403, "You may not look at this", "The app does not know you, or not well enough."
                        )
                    request.scope["flovia.who"] = name
                elif not self._open and not is_from_here(visitor_of(request.scope)):
                    return refuse(
                        request,
                        403,
                        "This dashboard is for its own machine",
                        "Nobody was told who may look, so only requests from this machine, by its own name and without"
                        " a proxy, are answered. Dashboard(flo, authorize=…) says who may.",
                    )
            except HTTPException:
                raise  # an app may say it so
            except Exception:
                return failed(request, "while it asked the app's authorize who is there")
            try:
                check_once(name for name, _ in request.query_params.multi_items())
                return await handler(request)
            except CallerError as error:
                return refuse(request, 400, "That cannot be answered", f"{error}.")
            except LedgerError as error:
                refused = refuse(request, 503, "The ledger does not answer", f"{error}. Try again in a moment.")
            except UnavailableError as error:
                refused = refuse(request, 503, "The dashboard cannot answer now", f"{error}.")
            except FloviaError as error:
                return refuse(request, 500, "That did not work", f"{error}.")
            except ClientDisconnect:
                return refuse(request, 400, "The form did not come", "Whoever sent it has gone.")
            except HTTPException:
                raise
            except Exception:
                return failed(request, "and has answered 500")
            refused.headers["retry-after"] = RETRY_S
            return refused

        def failed(request: Request, when: str) -> Response:
            _log.exception("the dashboard failed at %s %s, %s", request.method, safe(request.url.path), when)
            return refuse(
                request,
                500,
                "Something is wrong here",
                "The dashboard could not make this answer. The app's log says why: look for the logger flovia.",
            )

        return answer


def _path(request: Request) -> str:
    """The path below the dashboard."""
    return str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))


def _elsewhere(request: Request, routes: "Sequence[Route]") -> str | None:
    """Where something is that was asked for with a slash too many or too few: a path, for a Host can be anybody's."""
    path = _path(request)
    other = path[:-1] if path.endswith("/") and len(path) > 1 else f"{path}/"
    scope = {**request.scope, "path": f"{request.scope.get('root_path', '')}{other}"}
    if not any(route.matches(scope)[0] is not Match.NONE for route in routes):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    # Two slashes at the beginning would name a host.
    return "/" + str(scope["path"]).lstrip("/") + query
