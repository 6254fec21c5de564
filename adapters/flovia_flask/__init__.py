"""A paid Flask view::

    @app.get("/report")
    @flovia_flask.paid(gate)
    def report():
        return {"paid_by": flask.g.payment.payer}

The gate admits when the view is called, so 404, 405, redirects and the app's own ``before_request`` checks
come first and nobody pays for them. The answer is judged as it leaves the app, after error handlers and
``after_request`` functions.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, ParamSpec, Unpack, cast
from weakref import WeakSet
from wsgiref.types import StartResponse, WSGIEnvironment

try:
    from flask import (
        Flask,
        Response,
        current_app,
        g,
        got_request_exception,
        request,
        request_finished,
        request_started,
        request_tearing_down,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("flovia_flask needs Flask: pip install 'flovia[flask]'", name=error.name) from error
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import InternalServerError

import flovia

__all__ = ["paid", "webhooks"]

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue | Awaitable[ResponseReturnValue]]

_KEY: Final = "flovia.visit"
_STORED: Final = "flovia.stored"
_MARK: Final = "__flovia_paid__"
_VIEWS: Final[WeakSet[Callable[..., object]]] = WeakSet()
"""What ``paid`` was put on; the result carries the view under the mark."""
_CLASSES: Final[dict[type[Response], type[Response]]] = {}


def paid(
    gate: flovia.PaidApi | None = None, /, **settings: Unpack[flovia.RouteSettings]
) -> Callable[[View[P]], Callable[P, ResponseReturnValue]]:
    """Make a view, sync or async, answer paid requests only; put it below ``@app.get``, next to the view.

    ``paid(gate)`` takes a PaidApi, ``paid(provider="mock", price="1.00 USD")`` the keywords of
    :func:`flovia.paid_api`. In the view ``flask.g.payment`` is the :class:`flovia.Grant` (None behind an
    observer). An exception that the app has no handler for becomes a 500 problem; Flask logs it.

    Raises:
        CallerError: the view is paid for already.
        WiringError: the guard cannot be set up.
    """
    guard = flovia.as_paid_api(gate, **settings)

    def decorate(view: View[P]) -> Callable[P, ResponseReturnValue]:
        if hasattr(view, _MARK):
            raise flovia.CallerError("this view is paid for already; give it one paid(), with several offers")

        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            environ = request.environ
            # First, because without Flask's async extra this raises, and nobody should pay for that.
            call = current_app.ensure_sync(view)
            passage = guard.enter(_http_request(guard))
            if passage.response is not None:
                environ[_STORED] = passage.response if passage.replayed else None
                return _flask_response(passage.response)
            g.payment = passage.grant
            visit = environ[_KEY] = _Visit(guard, passage)
            try:
                return cast("ResponseReturnValue", call(*args, **kwargs))
            except BaseException:
                visit.raised()
                raise

        # functools.wraps hands the mark on to decorators above this one.
        guarded.__dict__[_MARK] = view
        with suppress(TypeError):  # a callable without weak references cannot be watched
            _VIEWS.add(view)
        return guarded

    return decorate


def webhooks(flo: flovia.Flovia, /, *, provider: str | flovia.WebhookProvider | None = None) -> Callable[..., Response]:
    """A view that receives a provider's webhooks: ``app.post("/hooks/bank")(flovia_flask.webhooks(flo))``.

    Raises:
        WiringError: the provider (default: that of ``flo``) has no webhooks.
    """
    receiver = flo.webhooks(provider=provider)

    def webhook(**_: object) -> Response:
        read = functools.partial(_body, receiver.max_body, request.environ)
        fields = flovia.Headers.from_environ(request.environ)
        return _flask_response(receiver.receive(request.method, fields, read, request.get_data))

    webhook.__name__ = f"{receiver.provider.name}_webhook"  # Flask takes it for the endpoint's name
    return webhook


def _http_request(guard: flovia.PaidApi) -> flovia.HttpRequest:
    environ = request.environ
    rule = request.url_rule
    route = environ.get("SCRIPT_NAME", "") + (rule.rule if rule else "")
    if rule and (rule.subdomain or rule.host):
        # The same path under another name is another route, perhaps a dearer one.
        route = request.host.lower() + route
    body = _body(guard.max_body, environ) if guard.reads_body else None
    return flovia.wsgi_request(environ, guard, route=route, body=body)


def _body(limit: int, environ: WSGIEnvironment) -> flovia.Body:
    if "stream" not in request.__dict__:
        flask_limit = request.max_content_length
        return flovia.wsgi_body(environ, limit if flask_limit is None else min(flask_limit, limit))
    # A before_request function has read it, and Flask keeps it unless it was parsed as a form.
    data = request.get_data(cache=True)
    if not data and environ.get("HTTP_TRANSFER_ENCODING"):
        return flovia.BODY_UNTERMINATED
    if len(data) != (request.content_length or len(data)):
        raise flovia.CallerError(
            "the request's body was used up before flovia could read it: call request.get_data() before anything"
            " else reads it, or (not for webhooks) set digest=False on the route"
        )
    meter = flovia.BodyMeter(limit)
    meter.feed(data)
    return meter.body


def _flask_response(answer: flovia.HttpResponse, response: Response | None = None) -> Response:
    response = response or current_app.response_class()
    response.status_code = answer.status
    response.set_data(answer.body)
    response.headers.clear()
    response.headers.extend(answer.headers)
    return response


class _Visit:
    """An admitted request between its view and its response."""

    __slots__ = ("guard", "passage", "problem")

    def __init__(self, guard: flovia.PaidApi, passage: flovia.Passage) -> None:
        self.guard = guard
        self.passage = passage
        self.problem: flovia.HttpResponse | None = None

    def raised(self) -> None:
        self.problem = self.passage.raised()


class _PaidResponse(Response):
    """Mixed into the class of a response that leaves a paid view. Stateless: views may reuse a response."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = super().__call__
        visit: _Visit | None = environ.pop(_KEY, None)
        if visit is None:
            return send(environ, start_response)
        return flovia.WsgiDelivery(visit.guard, visit.passage, start_response).run(send, environ)


def _paid_class(response_class: type[Response]) -> type[Response]:
    found = _CLASSES.get(response_class)
    if found is None:
        found = type(response_class.__name__, (_PaidResponse, response_class), {})
        # The class of a response that is used again is found under itself.
        _CLASSES[response_class] = _CLASSES[found] = found
    return found


@request_started.connect
def _check_order(app: Flask, **_: object) -> None:
    """Refuse to serve for nothing a view whose ``@paid`` stands above ``@app.get`` instead of below."""
    view = app.view_functions.get(request.endpoint or "")
    bare = False
    with suppress(TypeError):  # a view without a hash was never noted
        bare = view in _VIEWS
    if bare and not any(getattr(other, _MARK, None) == view for other in app.view_functions.values()):
        raise flovia.WiringError(
            f"the view of endpoint {request.endpoint!r} was registered without its payment guard:"
            " write @flovia_flask.paid(...) below @app.get(...), next to the view"
        )


@request_finished.connect
def _finish(app: Flask, response: Response, **_: object) -> None:
    """Judge the final response as it is sent: signals run after every ``after_request`` function."""
    visit: _Visit | None = request.environ.get(_KEY)
    if visit is None:
        stored: flovia.HttpResponse | None = request.environ.get(_STORED)
        if stored is not None:
            _flask_response(stored, response)  # ``after_request`` functions had their say when it was sent first
        return
    problem, page = visit.problem, InternalServerError().get_body()
    # Of Flask's own page, which says nothing about the payment, the length is known; only that is looked into.
    flasks_own = (response.status_code, response.content_length) == (500, len(page))
    if problem is not None and flasks_own and response.get_data(as_text=True) == page:
        response.set_data(problem.body)
        response.headers.update(dict(problem.headers))
    response.__class__ = _paid_class(type(response))


@got_request_exception.connect
def _raised(app: Flask, **_: object) -> None:
    """Count an exception outside the view, as in ``after_request``, as a failed delivery too."""
    visit: _Visit | None = request.environ.get(_KEY)
    if visit is not None:
        visit.raised()


@request_tearing_down.connect
def _tear_down(app: Flask, **_: object) -> None:
    """Close what never became a response: an exception that debug mode passes on, a worker told to stop."""
    visit: _Visit | None = request.environ.pop(_KEY, None)
    if visit is not None:
        visit.raised()
        visit.guard.leave(visit.passage, completed=False)
