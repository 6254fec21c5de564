"""One shop with a webhook receiver on every adapter: at ``/hooks/bank``, and mounted at ``/mounted/hooks``.

Settings come from the environment, because gunicorn imports its app: see :func:`settings`.
"""

import os
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flovia
from flovia.testing.servers import AsgiApplication
from tests.core.world import REALM, SECRET
from tests.hooks.bank import HookBankProvider

BANK, LEDGER = "FLOVIA_TEST_BANK_URL", "FLOVIA_TEST_LEDGER"
HOOK, MOUNTED = "/hooks/bank", "/mounted/hooks"


def flo() -> flovia.Flovia:
    """The shop."""
    return flovia.Flovia(
        provider=HookBankProvider(os.environ[BANK]),
        ledger=os.environ[LEDGER],
        secret=SECRET,
        realm=REALM,
        price="1.00 USD",
    )


def wsgi_app() -> WSGIApplication:
    """Raw WSGI behind a router of a few lines."""
    import flovia_wsgi

    shop = flo()
    hook = flovia_wsgi.webhooks(shop)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == HOOK:
            return hook(environ, start_response)
        if path == MOUNTED:
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/mounted", "/hooks"
            return hook(environ, start_response)
        start_response("404 Not Found", [("content-length", "0")])
        return [b""]

    return app


def flask_app() -> WSGIApplication:
    """Flask: on the app, and in a blueprint that takes every method."""
    import flask

    import flovia_flask

    shop, app = flo(), flask.Flask("hooks")
    mounted = flask.Blueprint("mounted", "mounted", url_prefix="/mounted")
    app.post(HOOK)(flovia_flask.webhooks(shop))
    mounted.add_url_rule("/hooks", view_func=flovia_flask.webhooks(shop), methods=["GET", "POST", "PUT"])
    app.register_blueprint(mounted)
    return app


def asgi_app() -> AsgiApplication:
    """Raw ASGI behind a router of a few lines."""
    import flovia_asgi

    shop = flo()
    hook = flovia_asgi.webhooks(shop)

    async def app(scope: flovia.AsgiScope, receive: flovia.AsgiReceive, send: flovia.AsgiSend) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": f"{(await receive())['type']}.complete"})
        elif scope["path"] in (HOOK, MOUNTED):
            await hook(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    return app


def fastapi_app() -> AsgiApplication:
    """FastAPI: on the app, and in a mounted app that takes every method; with the paid endpoints' middleware."""
    import fastapi

    import flovia_fastapi

    shop, app, mounted = flo(), fastapi.FastAPI(), fastapi.FastAPI()
    app.post(HOOK)(flovia_fastapi.webhooks(shop))
    mounted.api_route("/hooks", methods=["GET", "POST", "PUT"])(flovia_fastapi.webhooks(shop))
    app.mount("/mounted", mounted)
    flovia_fastapi.install(app)
    return app


def hono_app() -> AsgiApplication:
    """The Hono-like router: on the app, and in one that is mounted and takes every method."""
    import flovia_hono

    shop, app, mounted = flo(), flovia_hono.Hono(), flovia_hono.Hono()
    app.post(HOOK, flovia_hono.webhooks(shop))
    mounted.all("/hooks", flovia_hono.webhooks(shop))
    app.route("/mounted", mounted)
    return app


MAKERS: dict[str, Callable[[], object]] = {
    "wsgi": wsgi_app,
    "flask": flask_app,
    "asgi": asgi_app,
    "fastapi": fastapi_app,
    "hono": hono_app,
}
