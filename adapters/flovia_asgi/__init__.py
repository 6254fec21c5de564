"""Put a price on an ASGI 3 app: ``app = flovia_asgi.paid(gate, app)``. Works under asyncio and trio.

Only HTTP is guarded; lifespan and websocket scopes reach the app as they are. The handler finds the payment,
a :class:`flovia.Grant`, in ``scope["state"]["payment"]``.
"""

from typing import Unpack, cast, overload

import flovia
from flovia_asgi.delivery import ASGIApp, Delivery, Receive, Scope, Send, http_request, respond

__all__ = ["ASGIApp", "Receive", "Scope", "Send", "paid"]


@overload
def paid(gate: flovia.PaidApi, app: ASGIApp, /) -> ASGIApp: ...
@overload
def paid(app: ASGIApp, /, **settings: Unpack[flovia.RouteSettings]) -> ASGIApp: ...
def paid(first: object, second: object = None, /, **settings: Unpack[flovia.RouteSettings]) -> ASGIApp:
    """Guard every HTTP request to an ASGI app: ``paid(gate, app)`` or ``paid(app, provider=…, price=…)``.

    Put it around the one app (or route) that costs money: the path is not looked at.

    Raises:
        CallerError: there is no app to guard.
        WiringError: the settings cannot work; the message says what to do.
    """
    gate = flovia.as_paid_api(None if second is None else cast("flovia.PaidApi", first), **settings)
    guarded = first if second is None else second
    if isinstance(guarded, flovia.PaidApi) or not callable(guarded):
        raise flovia.CallerError("nothing to guard: paid(gate, app) or paid(app, price=…)")
    app = cast("ASGIApp", guarded)

    async def paid_app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        delivery = Delivery(receive, send)
        headers = flovia.Headers.from_asgi(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        body = flovia.UNREAD_BODY
        if gate.reads_body:
            found = await delivery.read_body(scope, headers, gate.max_body)
            if found is None:
                return None  # the client went away before its request was complete: nobody to answer
            body = found
        passage = await gate.aenter(http_request(scope, headers, "", body))
        if passage.response is not None:
            return await respond(send, passage.response)
        delivery.admit(gate, passage)
        cast("dict[str, object]", scope.setdefault("state", {}))["payment"] = passage.grant
        return await delivery.run(app, scope)

    return paid_app
