"""A small router in the shape of Hono, as an ASGI app; the reference for a PaidApi as ``(c, next)`` middleware::

    app = Hono()
    app.get("/paid", flovia.paid_api(provider="mock", rail="mpp", price="1.00 USD"), handler)
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction, signature
from typing import Unpack, cast

import anyio
from anyio import to_thread

from flovia import CallerError, PaidApi, RouteSettings, as_paid_api
from flovia_hono.context import Context, Disconnected, Message, Receive, Request, Response

__all__ = ["Context", "Hono", "Request", "Response", "paid"]

Next = Callable[[], Awaitable[None]]
Handler = Callable[[Context], object]
Middleware = Callable[[Context, Next], Awaitable[object]]


def paid(gate: PaidApi | None = None, /, **settings: Unpack[RouteSettings]) -> PaidApi:
    """The guard to put right before a handler, which finds the :class:`flovia.Grant` as ``c.get("payment")``.

    Raises:
        WiringError: the guard cannot be set up.
    """
    return as_paid_api(gate, **settings)


class Hono:
    """A router. A handler takes ``c`` and returns an answer; a middleware takes ``c`` and ``next``.

    They run in the order of their registration; handlers that are plain functions in a worker thread.
    """

    def __init__(self) -> None:
        self._routes: list[tuple[Hono, str, str, re.Pattern[str], Handler | Middleware]] = []
        self._error: Callable[[Exception, Context], object] | None = None
        self._missing: Handler = lambda c: c.text("Not Found", 404)
        self.get, self.post = partial(self.on, "GET"), partial(self.on, "POST")
        self.put, self.delete = partial(self.on, "PUT"), partial(self.on, "DELETE")
        self.all = self.use = partial(self.on, "*")

    def on(self, method: str, path: str, *chain: Handler | Middleware, owner: "Hono | None" = None) -> None:
        """Serve a method (``*``: all; GET: HEAD too). Path segments: literal, ``:name``, ``*`` for all the rest."""
        path = "/" + path.strip("/")
        named = re.sub(r":(\w+)", r"(?P<\1>[^/]+)", re.escape(path))
        regex = re.compile(re.sub(r"/\\\*$", "(?:/.*)?", named), re.DOTALL)
        self._routes += [(owner or self, method, path, regex, function) for function in chain]

    def route(self, prefix: str, app: "Hono") -> None:
        """Serve another app's routes, as they are now, below a prefix."""
        for owner, method, path, _, function in app._routes:
            self.on(method, prefix.rstrip("/") + path, function, owner=owner)

    def on_error(self, page: Callable[[Exception, Context], object]) -> None:
        """Answer exceptions with ``page(error, c)``; without, the server does."""
        self._error = page

    def not_found(self, page: Handler) -> None:
        """Answer what no route matches with ``page(c)``."""
        self._missing = page

    async def __call__(self, scope: Mapping[str, object], receive: Receive, send: Callable[[Message], Awaitable[None]]) -> None:
        """Serve one HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        c, bodies = Context(Request(scope, receive)), list[object]()
        try:
            await self._respond(c, bodies)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, receive, tasks.cancel_scope)
                ...
        except Disconnected:
            return
        finally:
            while bodies:
                if (close := getattr(bodies.pop(), "aclose", None)) is not None:
                    await close()

    async def _respond(self, c: Context, bodies: list[object]) -> None:
        found = [(route, match) for route in self._routes if (match := route[3].fullmatch(c.req.local_path))]
        verbs = ("*", "GET" if c.req.method == "HEAD" else c.req.method)
        chain = [(route, match) for route, match in found if route[1] in verbs]
        allowed = ", ".join(sorted({route[1] for route, _ in found} - {"*"}))

        async def run(index: int) -> None:
            page = self._error
            try:
                if index < len(chain):
                    (owner, _, c.req.route_path, _, function), match = chain[index]
                    page, c.req.params = owner._error or page, match.groupdict()
                    if len(signature(function).parameters) > 1:
                        given = await cast("Middleware", function)(c, lambda: run(index + 1))
                    elif (given := await _call(function, c)) is None:
                        raise CallerError(f"the handler of {c.req.route_path} returned None: return an answer")
                elif allowed:
                    given = c.body(b"", 204 if c.req.method == "OPTIONS" else 405, {"allow": allowed})
                else:
                    given = await _call(self._missing, c)
            except Exception as error:
                if page is None or isinstance(error, Disconnected):
                    raise
                c.error, given = error, await _call(page, error, c)
            if given is not None:
                c.res = c.answer(given)
                bodies.append(c.res.body)

        await run(0)
