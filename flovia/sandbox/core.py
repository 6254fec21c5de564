"""The pure heart of the sandbox: a state and a request in, a state and responses out."""

import json
import re
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import urlsplit

import attrs

from flovia.core.errors import IllegalTransition
from flovia.sandbox import broker, control, endpoints, pages, payment_requests, recurring, saved, webhooks
from flovia.sandbox.faults import Fault
from flovia.sandbox.fields import read_json
from flovia.sandbox.journal import call_entry
from flovia.sandbox.payer import act
from flovia.sandbox.records import Delivery, Timer
from flovia.sandbox.state import Draft, State
from flovia.sandbox.wire import (
    Advance,
    Answered,
    Call,
    Post,
    Refused,
    Reply,
    Request,
    Response,
    Side,
    api_error,
    broker_error,
    is_loopback,
    json_reply,
)

MAX_BODY: Final = 256 * 1024
"""Most bytes of a request's body."""

Handler = Callable[..., Reply]


@attrs.frozen(kw_only=True)
class Route:
    """One endpoint. ``name`` is what faults and the journal call it."""

    name: str
    side: Side | Literal["both"]
    http_method: str
    path: str
    handler: Handler

    def match(self, call: Call) -> re.Match[str] | None:
        """The parts of the path that vary, if it is this route's."""
        if self.side not in (call.side, "both"):
            return None
        return re.fullmatch(re.sub(r"\{\w+\}", "([A-Za-z0-9_.-]+)", self.path), call.path)


def _route(name: str, side: Side | Literal["both"], line: str, handler: Handler) -> Route:
    http_method, _, path = line.partition(" ")
    return Route(name=name, side=side, http_method=http_method, path=path, handler=handler)


ROUTES: Final = (
    _route("B1", "broker", "POST /v1/charges", broker.create_charge),
    _route("B2", "broker", "GET /v1/charges/{id}", broker.read_charge),
    _route("B3", "broker", "POST /v1/charges/{id}/verify", broker.verify_charge),
    _route("B8", "broker", "POST /v1/webhook/hitpay", broker.receive_webhook),
    _route("B9", "broker", "GET /.well-known/jwks.json", broker.read_keys),
    _route("B4", "broker", "GET /v1/saved-payment-methods/options", saved.options),
    _route("B5", "broker", "POST /v1/saved-payment-methods", saved.create),
    _route("B6", "broker", "GET /v1/saved-payment-methods/{id}", saved.read),
    _route("B7", "broker", "POST /v1/saved-payment-methods/{id}/charges", saved.charge),
    _route("payment_requests.create", "api", "POST /v1/payment-requests", payment_requests.create),
    _route("payment_requests.list", "api", "GET /v1/payment-requests", payment_requests.listed),
    _route("payment_requests.read", "api", "GET /v1/payment-requests/{id}", payment_requests.read),
    _route("payment_requests.cancel", "api", "DELETE /v1/payment-requests/{id}", payment_requests.cancel),
    _route("refunds.create", "api", "POST /v1/refund", payment_requests.create_refund),
    _route("refunds.read", "api", "GET /v1/refund/{id}", payment_requests.read_refund),
    _route("recurring_billing.create", "api", "POST /v1/recurring-billing", recurring.create),
    _route("recurring_billing.read", "api", "GET /v1/recurring-billing/{id}", recurring.read),
    _route("recurring_billing.cancel", "api", "DELETE /v1/recurring-billing/{id}", recurring.cancel),
    _route("recurring_billing.charge", "api", "POST /v1/charge/recurring-billing/{id}", recurring.charge),
    _route("webhook_events.create", "api", "POST /v1/webhook-events", endpoints.create),
    _route("webhook_events.list", "api", "GET /v1/webhook-events", endpoints.listed),
    _route("webhook_events.read", "api", "GET /v1/webhook-events/{id}", endpoints.read),
    _route("webhook_events.delete", "api", "DELETE /v1/webhook-events/{id}", endpoints.delete),
    _route("setup", "api", "GET /setup/{id}", pages.setup),
    _route("setup.act", "api", "POST /setup/{id}/{action}", pages.setup_act),
    _route("checkout", "api", "GET /payment-request/@hitpay/{id}/checkout", pages.checkout),
    _route("checkout.act", "api", "POST /payment-request/@hitpay/{id}/{action}", pages.checkout_act),
    *(_route("control", "both", line, handler) for line, handler in control.ENDPOINTS),
)
"""Every endpoint, in the order in which they are tried."""

_UNJOURNALED: Final = "control"
_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?").fullmatch
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def handle(state: State, request: Request) -> tuple[State, tuple[Response, ...]]:
    """One step of the sandbox: pure, so the same state and request give the same result.

    The responses are a :class:`Reply` for a :class:`Call`, then the webhooks to send now.
    """
    d = Draft(state)
    responses: list[Response] = []
    if isinstance(request, Answered):
        webhooks.answered(d, request.delivery, request.status)
    elif isinstance(request, Advance):
        run(d, d.now + max(request.ms, 0))
    else:
        run(d, d.now + round(d.limit("clock_step") * 1000))
        responses.append(_answer(d, request))
    run(d, d.now)
    if not d.wiped:  # what was on its way is forgotten too
        responses += d.posts
    return d.commit(), tuple(responses)


# --- time --------------------------------------------------------------------------------------------------


def run(d: Draft, until: int) -> None:
    """Let happen what is due up to this instant, in its order; the clock stands there afterwards."""
    while (found := _next(d, until)) is not None:
        if isinstance(found, Timer):
            d.now = max(d.now, found.due)
            del d.timers[0]
            act(d, found.action, found.target, found.amount)
        else:
            d.now = max(d.now, found.due or 0)
            _send(d, found)
    d.now = max(d.now, until)


def _next(d: Draft, until: int) -> Timer | Delivery | None:
    timer = d.timers[0] if d.timers else None
    due, delivery = min(((due, found) for found, due in d.waiting.items()), key=lambda pair: pair[0], default=(0, None))
    if timer is not None and timer.due <= until and (delivery is None or timer.due <= due):
        return timer
    return d.deliveries[delivery] if delivery is not None and due <= until else None


def _send(d: Draft, delivery: Delivery) -> None:
    webhooks.send(d, delivery)
    if delivery.target != "broker":
        return
    post = d.posts.pop()
    call = Call(
        side="broker",
        http_method="POST",
        path=urlsplit(post.url).path,
        headers=(("host", urlsplit(post.url).netloc), *post.headers),
        body=post.body,
    )
    webhooks.answered(d, post.delivery, _answer(d, call).status)


# --- calls -------------------------------------------------------------------------------------------------


def _answer(d: Draft, call: Call) -> Reply:
    d.applied = []
    route, parts = _find(call)
    name = route.name if route else "none"
    try:
        _check(call)
        reply = _faulty(d, call, route, parts)
    except Refused as refused:
        reply = refused.reply
    except IllegalTransition as error:
        reply = json_reply(409, {"error": "not_possible", "message": str(error)})
    if name != _UNJOURNALED and not d.wiped:
        d.entries.append(call_entry(d, call, name, reply))
    return reply


def _find(call: Call) -> tuple[Route | None, tuple[str, ...]]:
    verb = "GET" if call.http_method == "HEAD" else call.http_method
    for route in ROUTES:
        if route.http_method == verb and (found := route.match(call)) is not None:
            return route, found.groups()
    return None, ()


def _check(call: Call) -> None:
    """Nobody but programs and pages of this machine: a page elsewhere must not drive the sandbox (DNS rebinding).

    Raises:
        Refused: 421, 403 or 413.
    """
    hosts = [value for name, value in call.headers if name.lower() == "host"]
    if len(hosts) != 1 or not is_loopback(_host(hosts[0])):
        raise broker_error(421, "misdirected", "the sandbox answers to loopback host names only")
    origin = call.header("origin")
    if origin is not None and call.http_method not in _SAFE and not is_loopback(_host(origin.partition("://")[2])):
        raise broker_error(403, "forbidden", "a page of another site may not do this")
    if len(call.body) > MAX_BODY:
        raise broker_error(413, "too_large", f"a body has at most {MAX_BODY} bytes")


def _host(text: str) -> str:
    """The host without its port; what is no host with a port stays as it is, and is not this machine."""
    text = text.strip().lower()
    found = _HOST(text)
    return text if found is None else found[1]


def _none(call: Call) -> Reply:
    """No such endpoint: 405 with the verbs there are, or 404."""
    verbs = sorted({route.http_method for route in ROUTES if route.match(call) is not None})
    if call.http_method == "OPTIONS" and verbs:
        allowed = (("access-control-allow-origin", "*"), ("access-control-allow-methods", ", ".join(verbs)))
        return Reply(status=204, headers=allowed if verbs == ["GET"] else allowed[1:])
    status, code = (405, "method_not_allowed") if verbs else (404, "not_found")
    make = broker_error(status, code, "no such endpoint")
    if call.side == "api":
        make = api_error(status, "The route could not be found.")
    return attrs.evolve(make.reply, headers=(*make.reply.headers, *([("allow", ", ".join(verbs))] if verbs else [])))


def _faulty(d: Draft, call: Call, route: Route | None, parts: tuple[str, ...]) -> Reply:
    """The route's answer, as the knob ``http`` lets it out."""
    if route is None:
        return _none(call)
    fault = d.fault("http", (route.name,), _named(d, call, parts)) if route.name != _UNJOURNALED else None
    if fault is None:
        return route.handler(d, call, *parts)
    if fault.value in ("500", "502", "503", "429"):
        if fault.flag("after_commit"):
            route.handler(d, call, *parts)
        wait = round(fault.option("retry_after", 1))
        after = [("retry-after", str(wait))] if fault.value in ("503", "429") else []
        said = "the sandbox was told to fail here"
        if call.side == "api":
            return api_error(int(fault.value), said, None, *after).reply
        return broker_error(int(fault.value), "fault", said, *after).reply
    if fault.value == "redirect":
        return Reply(status=307, headers=(("location", fault.text("location", f"{d.origin(call.side)}/elsewhere")),))
    if fault.value == "hang" and not fault.flag("after_commit"):
        return Reply(status=504, ending="hang")
    if fault.value == "reset" and not fault.flag("after_commit", default=True):
        return Reply(status=504, ending="reset")
    reply = route.handler(d, call, *parts)
    return _spoilt(fault, reply)


def _named(d: Draft, call: Call, parts: tuple[str, ...]) -> tuple[str, ...]:
    """What a call is about, for a fault that is about one thing: what its path names. A creation names no thing yet;
    its body names the request that it is for.
    """
    if parts or not any(fault.about for fault in d.faults):
        return parts
    try:
        bound = read_json(call).get("request_hash")
    except Refused:
        return ()
    return (bound,) if isinstance(bound, str) else ()


def _spoilt(fault: Fault, reply: Reply) -> Reply:
    match fault.value:
        case "slow":
            return attrs.evolve(reply, delay_ms=round(fault.option("ms", 1000)))
        case "hang":
            return attrs.evolve(reply, ending="hang")
        case "reset":
            return attrs.evolve(reply, ending="reset")
        case "non_json":
            return Reply(
                status=reply.status,
                headers=(("content-type", "text/html"), ("cache-control", "no-store")),
                body=b"<!doctype html><title>Gateway</title><p>Something else answered.",
            )
        case _:
            return _refielded(fault, reply)


def _refielded(fault: Fault, reply: Reply) -> Reply:
    try:
        body = reply.json()
    except ValueError:
        return reply
    if fault.value == "extra_fields":
        body = {"sandbox_extra": {"nested": [1, None, "two"]}, **body, "sandbox_more": True}
    elif (name := fault.text("field") or next(iter(body), "")) in body:
        del body[name]
    return attrs.evolve(reply, body=json.dumps(body, separators=(",", ":")).encode())


__all__ = ["MAX_BODY", "ROUTES", "Post", "Route", "handle", "run"]
