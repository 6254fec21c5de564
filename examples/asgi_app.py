"""A paid app in bare ASGI: a free page, and a report that costs one dollar.

    uvicorn --app-dir examples asgi_app:app --port 8402
    curl -i http://127.0.0.1:8402/report

The mock provider takes no money; the secret is random and the payments are in flovia.db until you set
FLOVIA_SECRET and FLOVIA_LEDGER.
"""

import json
from typing import cast

import flovia_asgi
from flovia import AsgiReceive, AsgiScope, AsgiSend, Grant, paid_api


async def reply(send: AsgiSend, status: int, value: object) -> None:
    """Answer with JSON."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def report(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """What is for sale. Nobody gets here without a settled payment."""
    grant = cast("dict[str, Grant]", scope["state"])["payment"]
    await reply(send, 200, {"report": [3, 1, 4], "payment": grant.payment_id})


paid_report = flovia_asgi.paid(paid_api(provider="mock", rail="mpp", price="1.00 USD"), report)


async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """The router of the app. The gate is around one route, so paths are compared in one place only."""
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    if scope["path"] == "/report":
        await paid_report(scope, receive, send)
    elif scope["path"] == "/":
        await reply(send, 200, {"for sale": "/report"})
    else:
        await reply(send, 404, {"error": "not found"})
