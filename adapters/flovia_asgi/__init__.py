"""Put a price on an ASGI 3 app: ``app = flovia_asgi.paid(gate, app)``. Works under asyncio and trio.

HTTP is guarded, lifespan reaches the app as it is, and a websocket is refused: it cannot be paid for, and must
not be a way around the gate. The handler finds the payment,
a :class:`flovia.Grant`, in ``scope["state"]["payment"]``.
"""

from typing import Unpack, cast, overload

from flovia import (
    UNREAD_BODY,
    AsgiApp,
    AsgiDelivery,
    AsgiReceive,
    AsgiScope,
    AsgiSend,
    CallerError,
    Flovia,
    Headers,
    PaidApi,
    RouteSettings,
    WebhookProvider,
    WebhookReceiver,
    as_paid_api,
    asgi_pieces,
    asgi_response,
)

__all__ = ["paid", "webhooks"]


@overload
def paid(gate: PaidApi, app: AsgiApp, /) -> AsgiApp: ...
@overload
def paid(app: AsgiApp, /, **settings: Unpack[RouteSettings]) -> AsgiApp: ...
def paid(first: object, second: object = None, /, **settings: Unpack[RouteSettings]) -> AsgiApp:
    """Guard every HTTP request to an ASGI app: ``paid(gate, app)`` or ``paid(app, provider=…, price=…)``.

    Put it around the one app (or route) that costs money: the path is not looked at.

    Raises:
        CallerError: there is no app to guard.
        WiringError: the settings cannot work; the message says what to do.
    """
    gate = as_paid_api(None if second is None else cast("PaidApi", first), **settings)
    guarded = first if second is None else second
    if isinstance(guarded, PaidApi) or not callable(guarded):
        raise CallerError("nothing to guard: paid(gate, app) or paid(app, provider=…, price=…)")
    return _PaidApp(gate, cast("AsgiApp", guarded))


class _PaidApp:
    """An object and no function, so that a router that takes both knows it for an ASGI app."""

    __slots__ = ("_app", "_gate")

    def __init__(self, gate: PaidApi, app: AsgiApp) -> None:
        self._gate = gate
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                return await self._app(scope, receive, send)
            await receive()  # websocket.connect; closed before it is accepted, it is answered 403
            return await send({"type": "websocket.close", "code": 1008, "reason": "not for sale over a websocket"})
        gate = self._gate
        delivery = AsgiDelivery(scope, receive, send)
        body = await delivery.read_body(gate.max_body) if gate.reads_body else UNREAD_BODY
        if body is None:
            return None
        passage = await gate.aenter(delivery.request(body))
        if passage.response is not None:
            return await asgi_response(passage.response, send)
        delivery.admit(gate, passage)
        cast("dict[str, object]", scope.setdefault("state", {}))["payment"] = passage.grant
        return await delivery.run(self._app)


def webhooks(flo: Flovia, /, *, provider: str | WebhookProvider | None = None) -> AsgiApp:
    """An ASGI app that receives a provider's webhooks: route a path of its own to it.

    Raises:
        WiringError: the provider (default: that of ``flo``) has no webhooks.
    """
    return _WebhookApp(flo.webhooks(provider=provider))


class _WebhookApp:
    __slots__ = ("_receiver",)

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] != "http":
            raise CallerError(f"webhooks come over http, not {scope['type']}: serve this below an app of your own")
        headers = Headers.from_asgi(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        answer = await self._receiver.areceive(cast("str", scope["method"]), headers, asgi_pieces(receive))
        await asgi_response(answer, send)
