"""A small router in the shape of Hono, as an ASGI app; in it a PaidApi is ``(c, next)`` middleware as it stands."""

import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction, signature
from typing import Unpack, cast

from anyio import CancelScope, create_task_group, lowlevel, to_thread

import flovia
from flovia_hono.context import Context, Disconnected, Request, Response

__all__ = ["Context", "Hono", "Next", "Request", "Response", "paid", "webhooks"]

Handler = Callable[[Context], object]
Next = Callable[[], Awaitable[None]]
Middleware = Callable[[Context, Next], Awaitable[object]]


def paid(gate: flovia.PaidApi | None = None, /, **settings: Unpack[flovia.RouteSettings]) -> flovia.PaidApi:
    """The guard (or WiringError) to put right before a handler, which finds the Grant as ``c.get("payment")``."""
    return flovia.as_paid_api(gate, **settings)


def webhooks(flo: flovia.Flovia, /, *, provider: str | flovia.WebhookProvider | None = None) -> Handler:
    """A handler (or WiringError) that receives a provider's webhooks: ``app.post("/hooks/bank", …)``."""
    return flo.webhooks(provider=provider).handle


class Hono:
    """A router: what matches runs in the order of registration; handlers that are plain functions, in a thread."""

    def __init__(self) -> None:
        self._routes: list[tuple[Hono, str, str, re.Pattern[str], bool, Handler | Middleware]] = []
        self._error: Callable[[Exception, Context], object] | None = None
        self._missing: Handler = lambda c: c.text("Not Found", 404)
        self.get, self.post, self.put, self.delete = (partial(self.on, m) for m in ("GET", "POST", "PUT", "DELETE"))
        self.all = self.use = partial(self.on, "*")

    def on(self, method: str, path: str, *chain: Handler | Middleware, owner: "Hono | None" = None) -> None:
        """Serve a method (``*``: all; GET: HEAD too). In a path, ``:name`` is one segment, ``/*`` all the rest."""
        named = re.sub(r":(\w+)", r"(?P<\1>[^/]+)", re.escape(path := "/" + path.strip("/")))
        regex = re.compile(re.sub(r"/\\\*$", "(?:/.*)?", named), re.DOTALL)
        for step in chain:
            self._routes.append((owner or self, method, path, regex, len(signature(step).parameters) > 1, step))

    def route(self, prefix: str, app: "Hono") -> None:
        """Serve another app's routes, as they are now, below a prefix."""
        for owner, method, path, _, _, step in app._routes:
            self.on(method, prefix.rstrip("/") + path, step, owner=owner)

    def on_error(self, page: Callable[[Exception, Context], object]) -> None:
        """Answer exceptions with ``page(error, c)``; without, the server does."""
        self._error = page

    def not_found(self, page: Handler) -> None:
        """Answer what no route matches with ``page(c)``."""
        self._missing = page

    async def __call__(self, scope: flovia.AsgiScope, receive: flovia.AsgiReceive, send: flovia.AsgiSend) -> None:
        """Serve one HTTP request, or the lifespan (ASGI 3)."""
        if scope["type"] == "lifespan":
            for _ in ("startup", "shutdown"):
                await send({"type": f"{(await receive())['type']}.complete"})
        if scope["type"] == "http":
            c = Context(Request(scope, receive))
            async with AsyncExitStack() as bodies:
                with suppress(Disconnected):
                    await self._respond(c, bodies)
                    await _send(c, receive, send)

    async def _respond(self, c: Context, bodies: AsyncExitStack) -> None:
        found = [(route, match) for route in self._routes if (match := route[3].fullmatch(c.req.local_path))]
        chain = [(route, match) for route, match in found if route[1] in ("*", c.req.method.replace("HEAD", "GET"))]
        allowed = ", ".join(sorted({route[1] for route, _ in found} - {"*"}))
        status = 204 if c.req.method == "OPTIONS" else 405

        async def run(index: int) -> None:
            page = self._error
            try:
                if index < len(chain):
                    (owner, _, c.req.route_path, _, onward, step), match = chain[index]
                    page, c.req.params = owner._error or page, match.groupdict()
                    given = await (cast("Middleware", step)(c, lambda: run(index + 1)) if onward else _call(step, c))
                else:
                    given = c.body(b"", status, {"allow": allowed}) if allowed else await _call(self._missing, c)
            except Exception as error:
                if page is None or isinstance(error, Disconnected):
                    raise
                c.error, given = error, await _call(page, error, c)
            if (given := c.res if given is None else given) is not None:
                c.res = c.answer(given)
                if (close := getattr(c.res.body, "aclose", None)) is not None:
                    bodies.push_async_callback(close)

        await run(0)


async def _call(function: Callable[..., object], *arguments: object) -> object:
    given = function(*arguments) if iscoroutinefunction(function) else await to_thread.run_sync(function, *arguments)
    return await given if isawaitable(given) else given


async def _send(c: Context, receive: flovia.AsgiReceive, send: flovia.AsgiSend) -> None:
    if c.res is None:
        raise flovia.CallerError("no answer: a handler returns one, a middleware returns one or awaits next()")
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in c.res.headers]
    await send({"type": "http.response.start", "status": c.res.status, "headers": fields})
    body = c.res.body if c.req.method != "HEAD" else b""
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
    else:
        async with create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tasks.cancel_scope)
            async for piece in body:
                await lowlevel.checkpoint()  # sending to nobody does not wait, and would keep _watch from running
                with CancelScope(shield=True):  # what was taken counts, though the client leaves when it has all
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
            tasks.cancel_scope.cancel()


async def _watch(receive: flovia.AsgiReceive, streaming: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # after it servers swallow what is sent, and a stream would go on for ever
    streaming.cancel()
