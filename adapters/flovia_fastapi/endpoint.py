"""The decorator. FastAPI sees the view's own parameters, and one more through which it hands us the request."""

import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Final, ParamSpec, TypeVar, Unpack, cast

import anyio

try:
    from fastapi import Depends, Request, Response
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("flovia_fastapi needs FastAPI: pip install 'flovia[fastapi]'", name=error.name) from error
from fastapi.dependencies.utils import get_typed_return_annotation, get_typed_signature
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

import flovia
from flovia_fastapi.exchange import KEY, VIEW, Exchange

P = ParamSpec("P")
R = TypeVar("R")
View = Callable[..., object]
_HIDDEN: Final = "flovia_request_"
_UNPREPARED: Final = "a paid endpoint refuses, as its app is not prepared: call flovia_fastapi.install(app)"


def paid(
    gate: flovia.PaidApi | None = None, /, **settings: Unpack[flovia.RouteSettings]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Guard an endpoint: ``@paid(gate)`` or ``@paid(provider=…, price=…)``, below ``@app.get(…)``.

    The view is a function, a generator or another callable, sync or async; its signature and docstring stay.

    Raises:
        CallerError: the view is paid already.
        WiringError: the settings cannot work; the message says what to do.
    """
    guard = flovia.as_paid_api(gate, **settings)
    Exchange.largest = max(Exchange.largest, guard.max_body if guard.reads_body else 0)

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        if hasattr(view, VIEW):
            raise flovia.CallerError("this view is paid already; several ways to pay are offers=[…] of one gate")
        streams = _is(view, inspect.isasyncgenfunction) or _is(view, inspect.isgeneratorfunction)
        endpoint = functools.update_wrapper((_streaming if streams else _answering)(guard, view), view)
        endpoint.__name__ = getattr(view, "__name__", type(view).__name__)
        vars(endpoint).update({VIEW: view, "__signature__": _signature(view), "__wrapped__": _stream})
        # FastAPI looks through decorators to learn how to call: it shall see us, not whether the view is sync.
        if not streams:
            del endpoint.__wrapped__
        Exchange.views[id(view)] = view
        return cast("Callable[P, R]", endpoint)

    return decorate


def webhooks(flo: flovia.Flovia, /, *, provider: str | flovia.WebhookProvider | None = None) -> View:
    """An endpoint (or WiringError) that receives a provider's webhooks: ``app.post("/hooks/bank")(…)``."""
    receiver = flo.webhooks(provider=provider)

    async def webhook(request: Request) -> Response:
        answer = await receiver.areceive(request.method, request.headers.items(), request.stream())
        return Response(answer.body, answer.status, dict(answer.headers))

    return webhook


def _is(view: View, kind: Callable[[object], bool]) -> bool:
    plain = inspect.unwrap(view)
    return kind(view) or kind(plain) or kind(plain.__call__)


def _signature(view: View) -> inspect.Signature:
    """The view's signature as FastAPI reads it, annotations resolved, and the hidden parameter."""
    hidden = inspect.Parameter(_HIDDEN, inspect.Parameter.KEYWORD_ONLY, annotation=_Hidden)
    parameters = sorted([*get_typed_signature(view).parameters.values(), hidden], key=lambda p: p.kind)
    return inspect.Signature(parameters, return_annotation=get_typed_return_annotation(view))


async def _watched(request: Request) -> AsyncIterator[Request]:
    """A dependency that sees every exception of the endpoint, before any handler makes a page of it."""
    try:
        yield request
    except BaseException:
        if KEY in request.scope:
            cast("Exchange", request.scope[KEY]).fail()
        raise


_Hidden = Annotated[object, Depends(_watched)]


def _answering(guard: flovia.PaidApi, view: View) -> Callable[..., object]:
    """The endpoint for a view that returns its answer."""
    is_async = _is(view, inspect.iscoroutinefunction)

    async def endpoint(**arguments: object) -> object:
        if (refusal := await _admit(guard, cast("Request", arguments.pop(_HIDDEN)))) is not None:
            response = Response(refusal.body, refusal.status)
            response.raw_headers = flovia.asgi_headers(refusal.headers)
            return response
        result = view(**arguments) if is_async else await run_in_threadpool(view, **arguments)
        return await cast("Awaitable[object]", result) if inspect.isawaitable(result) else result

    return endpoint


def _streaming(guard: flovia.PaidApi, view: View) -> Callable[..., object]:
    """The endpoint for a generator, which FastAPI runs while it sends the answer."""
    is_async = _is(view, inspect.isasyncgenfunction)

    def endpoint(**arguments: object) -> object:
        request = cast("Request", arguments.pop(_HIDDEN))
        lock, decided = anyio.Lock(), list[flovia.HttpResponse | None]()

        async def decide() -> flovia.HttpResponse | None:
            async with lock:  # head and stream both ask, and it depends on the kind of stream who is first
                if not decided:
                    decided.append(await _admit(guard, request))
            return decided[0]

        if KEY not in request.scope:  # once it runs, it could only cut the answer off
            raise flovia.WiringError(_UNPREPARED)
        cast("Exchange", request.scope[KEY]).decide = decide
        items = view(**arguments)
        return _stream(decide, items if is_async else iterate_in_threadpool(cast("Iterator[object]", items)))

    return endpoint


async def _stream(decide: Callable[[], Awaitable[object]], items: object) -> AsyncIterator[object]:
    if await decide() is None:
        async for item in cast("AsyncIterator[object]", items):
            yield item


async def _admit(guard: flovia.PaidApi, request: Request) -> flovia.HttpResponse | None:
    """Ask the gate: None if the view may run, else what to answer instead."""
    exchange = cast("Exchange | None", (scope := request.scope).get(KEY))
    if exchange is None:
        logging.getLogger("flovia").error(_UNPREPARED)
        return flovia.problem_response("internal-payment-error")
    body = flovia.UNREAD_BODY
    if guard.reads_body:
        if not exchange.request_complete:
            exchange.reading_ahead = True
            await request.body()  # kept by the request, so the view can still read it
            exchange.reading_ahead = False
        if exchange.broken:
            return flovia.HttpResponse(400, ())  # to nobody: the client is gone
        body = exchange.meter.body if exchange.meter.body.size <= guard.max_body else flovia.BODY_TOO_LARGE
    # Only there are the patterns of an included router's routes whole.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope["route"]
    passage = await guard.aenter(exchange.request(body, route=scope.get("root_path", "") + route.path_format))
    if passage.response is None:
        exchange.admit(guard, passage)
        request.state.payment = passage.grant
    exchange.stored = passage.response if passage.replayed else None
    return passage.response
