"""A paid WSGI app: ``app = flovia_wsgi.paid(gate, app)``.

Every request of the wrapped app is paid for, so wrap the part that is for sale and route to it. What the
app may know about the payment is ``environ["flovia.payment"]``, a :class:`flovia.Grant` (None behind an
observer).
"""

from collections.abc import Iterable
from typing import Unpack, overload
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flovia import (
    CallerError,
    Flovia,
    Headers,
    PaidApi,
    RouteSettings,
    WebhookProvider,
    WsgiDelivery,
    as_paid_api,
    wsgi_body,
    wsgi_request,
    wsgi_response,
)

__all__ = ["paid", "webhooks"]


@overload
def paid(gate: PaidApi, app: WSGIApplication, /) -> WSGIApplication: ...
@overload
def paid(app: WSGIApplication, /, **settings: Unpack[RouteSettings]) -> WSGIApplication: ...


def paid(
    gate_or_app: PaidApi | WSGIApplication,
    app: WSGIApplication | None = None,
    /,
    **settings: Unpack[RouteSettings],
) -> WSGIApplication:
    """Wrap a WSGI app so that it answers paid requests only.

    ``paid(gate, app)`` takes a PaidApi, ``paid(app, provider="mock", price="1.00 USD")`` the keywords of
    :func:`flovia.paid_api`. An exception of the app before its first byte becomes a 500 problem and is
    logged to ``flovia``; one after it is the server's to handle.

    Raises:
        CallerError: there is no app to wrap.
        WiringError: the guard cannot be set up.
    """
    if isinstance(gate_or_app, PaidApi):
        if app is None:
            raise CallerError("there is no app to wrap: flovia_wsgi.paid(gate, app)")
        return _Paid(as_paid_api(gate_or_app, **settings), app)
    if app is not None:
        raise CallerError("the guard comes first: flovia_wsgi.paid(gate, app)")
    return _Paid(as_paid_api(**settings), gate_or_app)


class _Paid:
    __slots__ = ("_app", "_guard")

    def __init__(self, guard: PaidApi, app: WSGIApplication) -> None:
        self._guard = guard
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]:
        passage = self._guard.enter(wsgi_request(environ, self._guard))
        if passage.response is not None:
            return wsgi_response(passage.response, start_response)
        environ["flovia.payment"] = passage.grant
        return WsgiDelivery(self._guard, passage, start_response).run(self._app, environ)


def webhooks(flo: Flovia, /, *, provider: str | WebhookProvider | None = None) -> WSGIApplication:
    """A WSGI app that receives a provider's webhooks: route a path of its own to it.

    Raises:
        WiringError: the provider (default: that of ``flo``) has no webhooks.
    """
    receiver = flo.webhooks(provider=provider)

    def webhook(environ: WSGIEnvironment, start_response: StartResponse, /) -> Iterable[bytes]:
        answer = receiver.receive(
            environ["REQUEST_METHOD"].upper(),
            Headers.from_environ(environ),
            lambda: wsgi_body(environ, receiver.max_body),
            lambda: environ["wsgi.input"].read(),
        )
        return wsgi_response(answer, start_response)

    return webhook
