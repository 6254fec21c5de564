"""A Flask app with every kind of view and hook: what the tests serve, gunicorn by import string."""

import asyncio
import io
from collections.abc import Iterator
from wsgiref.types import WSGIApplication

import flask
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import flovia_flask
from tests.adapters.buyer import new_flovia

KEPT = flask.Response("kept", mimetype="text/plain")
"""One response object for every request of a view."""


class Handled(Exception):
    """What the app makes a friendly page of."""


def make_app() -> WSGIApplication:
    """One app, with another like it mounted at ``/inner``."""
    return DispatcherMiddleware(build(), {"/inner": build()})


def build() -> flask.Flask:
    """One app."""
    app = flask.Flask(__name__)
    flovia = new_flovia()
    gate = flovia.paid_api(max_body=1000)
    paid = flovia_flask.paid(gate)

    @app.before_request
    def first() -> ResponseReturnValue | None:
        if "early" in flask.request.args:
            flask.request.get_data()
        if "form" in flask.request.args:
            flask.g.form = flask.request.form.to_dict()
        return ("no entry", 401) if "stranger" in flask.request.args else None

    @app.after_request
    def last(response: flask.Response) -> flask.Response:
        response.headers["X-Hook"] = "was here"
        if response.status_code == 402:
            return response
        if "hook-raises" in flask.request.args:
            raise RuntimeError("raised in after_request")
        if "hook-replaces" in flask.request.args:
            response = flask.jsonify(wrapped=response.get_data(as_text=True))
        if "hook-status" in flask.request.args:
            response.status_code = 503
        return response

    @app.errorhandler(Handled)
    def friendly(error: Handled) -> ResponseReturnValue:
        return "all is well", 200, {"Payment-Receipt": "forged"}

    @app.errorhandler(418)
    def teapot(error: HTTPException) -> ResponseReturnValue:
        return "tea instead", 200

    @app.get("/plain")
    @paid
    def plain() -> ResponseReturnValue:
        return "whole", {"Cache-Control": "public, s-maxage=60", "Payment-Receipt": "forged"}

    @app.get("/dict")
    @paid
    def as_dict() -> ResponseReturnValue:
        return {"payer": flask.g.payment.payer, "amount": flask.g.payment.amount}

    @app.get("/tuple")
    @paid
    def as_tuple() -> ResponseReturnValue:
        return ["a list"], 201, [("X-Own", "1")]

    @app.get("/kept")
    @paid
    def kept() -> flask.Response:
        return KEPT

    @app.get("/kept-free")
    def kept_free() -> flask.Response:
        return KEPT

    @app.get("/async")
    @paid
    async def as_async() -> ResponseReturnValue:
        await asyncio.sleep(0)
        return "whole"

    @app.get("/generator")
    @paid
    def generator() -> ResponseReturnValue:
        return (piece for piece in ("wh", "ole")), {"Content-Type": "text/plain"}

    @app.get("/context")
    @paid
    def context() -> ResponseReturnValue:
        def pieces() -> Iterator[str]:
            yield "wh"
            yield flask.request.args.get("rest", "ole")

        return flask.Response(flask.stream_with_context(pieces()))

    @app.get("/file")
    @paid
    def file() -> ResponseReturnValue:
        return flask.send_file(io.BytesIO(b"whole"), mimetype="text/plain", etag="test", max_age=60)

    @app.get("/items/<int:number>/<path:rest>")
    @paid
    def item(number: int, rest: str) -> ResponseReturnValue:
        return {"number": number, "rest": rest}

    @app.post("/echo")
    @paid
    def echo() -> ResponseReturnValue:
        return flask.request.get_data()

    @app.post("/form")
    @paid
    def form() -> ResponseReturnValue:
        return dict(flask.request.form)

    @app.get("/abort/<int:status>")
    @paid
    def aborting(status: int) -> ResponseReturnValue:
        flask.abort(status)

    @app.get("/status/<int:status>")
    @paid
    def status(status: int) -> ResponseReturnValue:
        return "", status, {"Location": "/plain"}

    @app.get("/handled")
    @paid
    def handled() -> ResponseReturnValue:
        raise Handled

    @app.get("/unhandled")
    @paid
    def unhandled() -> ResponseReturnValue:
        raise RuntimeError("raised in the view")

    @app.get("/nothing")
    @paid
    def nothing() -> ResponseReturnValue:
        return None  # type: ignore[return-value]  # the mistake this view is for

    @app.get("/breaks")
    @paid
    def breaks() -> ResponseReturnValue:
        def pieces() -> Iterator[str]:
            yield "part"
            raise RuntimeError("raised in the middle")

        return flask.Response(pieces(), headers={"Content-Length": "1000"})

    @app.get("/breaks-at-once")
    @paid
    def breaks_at_once() -> ResponseReturnValue:
        def pieces() -> Iterator[str]:
            yield ""
            raise RuntimeError("raised before the first byte")

        return flask.Response(pieces())

    @app.get("/endless")
    @paid
    def endless() -> ResponseReturnValue:
        return flask.Response(iter(lambda: b"x" * 65536, b""))

    blueprint = flask.Blueprint("area", __name__, url_prefix="/area")

    @blueprint.get("/plain")
    @paid
    def in_blueprint() -> ResponseReturnValue:
        return "whole"

    class Resource(MethodView):
        """Methods with a guard of their own."""

        @paid
        def get(self) -> ResponseReturnValue:
            """Costs money."""
            return "whole"

        def delete(self) -> ResponseReturnValue:
            """Costs none."""
            return "deleted"

    class Decorated(MethodView):
        """A guard for every method."""

        decorators = [paid]  # noqa: RUF012 - the spelling of Flask's documentation

        async def post(self) -> ResponseReturnValue:
            """Costs money."""
            return "whole"

    blueprint.add_url_rule("/resource", view_func=Resource.as_view("resource"))
    blueprint.add_url_rule("/decorated", view_func=Decorated.as_view("decorated"))
    app.register_blueprint(blueprint)

    @app.get("/observed")
    @flovia_flask.paid(flovia.observe())
    def observed() -> ResponseReturnValue:
        return "free lunch"

    return app
