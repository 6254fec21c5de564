"""Which spans a request has, what they say, and what they never say."""

import contextvars
import json
import logging
from collections.abc import Callable, Generator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import anyio
import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter

import flovia
from flovia.core.delivery import Delivery
from flovia.core.effects import Flow, HttpCall, HttpReply, Settle, http, sleep
from flovia.core.errors import LedgerError
from flovia.core.provider import NotPaid, Paid, PaidBack, Presented, Quote, Refusal, Terms, Unknown, Verdict
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.otel.sdk import Kept, attributes, ident, parent, paying, request, shop

CHARGE = "/v1/charges/9e9ba0bd-0000-4000-8000-000000000001"


@pytest.fixture
def kept() -> Generator[Kept]:
    """An SDK of the test's own; what it got is searched for secrets in the end."""
    kept = Kept()
    yield kept
    kept.show()


class Told(MockProvider):
    """A provider that says what it is told to."""

    def __init__(self, verdict: Callable[[Presented], Verdict]) -> None:
        super().__init__()
        object.__setattr__(self, "say", verdict)

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Say it."""
        yield from ()
        return self.say(presented)  # type: ignore[no-any-return, attr-defined]


def raising(error: BaseException) -> Callable[[Presented], Verdict]:
    """A provider's answer that is an exception."""

    def raises(presented: Presented) -> Verdict:
        raise error

    return raises


def bought(gate: flovia.PaidApi, proof: str = "ok-test-spans", **more: Any) -> flovia.Passage:
    """Ask, pay, ask again."""
    unpaid = gate.enter(request(**more)).response
    return gate.enter(request(paying(unpaid, proof), **more))


def deliver(gate: flovia.PaidApi, passage: flovia.Passage, status: int = 200, *, completed: bool = True) -> None:
    """What an adapter does with an admitted request."""
    passage.start(status, flovia.Headers.of([]))
    gate.leave(passage, completed=completed)


# --- where they hang ------------------------------------------------------------------------------------------


def test_below_the_servers_span(kept: Kept) -> None:
    """All are children of the span that is current when the gate is asked, and it learns how to find the payment."""
    gate = shop(kept).paid_api()
    unpaid = gate.enter(request()).response
    kept.clear()
    with kept.tracers.get_tracer("server").start_as_current_span("GET /paid") as server:
        passage = gate.enter(request(paying(unpaid)))
        assert server is trace.get_current_span()
        deliver(gate, passage)
    assert ["GET /paid", "flovia.verify", "flovia.settle", "flovia.deliver"] == kept.names()
    first, *ours = kept.spans()
    assert {ident(first)} == {parent(span) for span in ours}
    told = attributes(first)
    assert (passage.trace.request_id, "delivered", False) == (
        told["flovia.request_id"],
        told["flovia.delivery"],
        told["failed"],
    )


def test_below_the_proxys_span(kept: Kept) -> None:
    """Without a span in the process it is the one that traceparent names."""
    field = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    passage = shop(kept).paid_api().enter(request(field))
    (span,) = kept.spans()
    assert ("flovia.challenge", 0x00F067AA0BA902B7) == (span.name, parent(span))
    assert passage.trace.request_id.startswith("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-")
    assert not trace.get_current_span().get_span_context().is_valid


def test_below_one_of_our_own(kept: Kept) -> None:
    """With neither, one span of the whole request holds the others, from its beginning to the last byte."""
    gate = shop(kept).paid_api()
    passage = bought(gate)
    assert 1 == len(kept.spans("flovia.request"))
    deliver(gate, passage)
    assert ["flovia.request", "flovia.challenge"] == kept.names()[:2]
    root, *ours = kept.spans()[2:]
    assert ["flovia.verify", "flovia.settle", "flovia.deliver"] == [span.name for span in ours]
    assert {ident(root)} == {parent(span) for span in ours}
    assert ("flovia.request", "delivered", 200) == (
        root.name,
        attributes(root)["flovia.delivery"],
        attributes(root)["http.response.status_code"],
    )
    assert not trace.get_current_span().get_span_context().is_valid


def test_the_callers_own_request_id_stays(kept: Kept) -> None:
    """Where a program names its requests itself, flovia does not."""
    assert "mine-1" == shop(kept).paid_api().enter(request(request_id="mine-1")).trace.request_id
    assert {"mine-1"} == {attributes(span)["flovia.request_id"] for span in kept.spans()}


async def test_under_an_event_loop(kept: Kept, tmp_path: Any) -> None:
    """On asyncio and trio, with a ledger in threads: the same spans, and the context is as it was before."""
    flo = shop(kept, ledger=f"sqlite:///{tmp_path / 'traced.db'}")
    gate = flo.paid_api()
    with kept.tracers.get_tracer("server").start_as_current_span("GET /paid") as server:
        unpaid = (await gate.aenter(request())).response
        passage = await gate.aenter(request(paying(unpaid)))
        passage.start(200, flovia.Headers.of([]))
        await gate.aleave(passage, completed=True)
        assert server is trace.get_current_span()
    flo.close()
    ours = ["flovia.challenge", "flovia.verify", "flovia.settle", "flovia.deliver"]
    assert ["GET /paid", *ours] == kept.names()
    assert {ident(kept.spans("GET /paid")[0])} == {parent(span) for span in kept.spans()[1:]}


async def test_a_client_that_goes_away(kept: Kept) -> None:
    """A cancelled verification ends its span as an error, and leaves the context as it was."""

    class Slow(MockProvider):
        def verify(self, presented: Presented) -> Flow[Verdict]:
            waiting.set()
            yield from sleep(3600.0)
            raise AssertionError

    waiting = anyio.Event()
    gate = shop(kept, provider=Slow(deadline_s=3600.0)).paid_api()
    unpaid = (await gate.aenter(request())).response
    left: list[trace.Span] = []

    async def ask() -> None:
        try:
            await gate.aenter(request(paying(unpaid)))
        finally:
            left.append(trace.get_current_span())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await waiting.wait()
        tasks.cancel_scope.cancel()
    assert [trace.INVALID_SPAN] == left
    (verify,) = kept.spans("flovia.verify")
    told = attributes(verify)
    assert ("unknown", True) == (told["flovia.verdict"], told["failed"])
    assert "Cancel" in told["error.type"]
    assert {ident(kept.spans("flovia.request")[-1])} == {parent(verify)}


def test_a_flow_that_nobody_drives_any_more(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Closed from elsewhere it ends its spans, and does not undo a context that is not its own."""
    gate = shop(kept).paid_api()
    unpaid = gate.enter(request()).response
    flow = gate.guard.enter(request(paying(unpaid)))
    here = contextvars.copy_context()
    effect = here.run(flow.send, None)
    while not isinstance(effect, Settle):
        effect = here.run(flow.send, gate.world.ledger_call(effect))
    with caplog.at_level(logging.DEBUG):
        contextvars.Context().run(flow.close)
    assert [] == [record.message for record in caplog.records if record.name.startswith("opentelemetry")]
    (settle,) = kept.spans("flovia.settle")
    assert "GeneratorExit" == attributes(settle)["error.type"]
    assert 2 == len(kept.spans("flovia.request"))


# --- what they say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verdict", "status", "error"),
    [
        (lambda asked: NotPaid(), "not_paid", 402, None),
        (lambda asked: PaidBack(reference="back-1", amount=100, currency="usd"), "paid_back", 403, None),
        (raising(Refusal("rate-limited", retry_after_s=3)), "refused", 429, None),
        (lambda asked: Unknown(), "unknown", 503, "outcome-unknown"),
        (raising(RuntimeError("test-secret-in-an-exception")), "unknown", 503, "outcome-unknown"),
        (lambda asked: Paid(reference="less-1", amount=1, currency="usd"), "paid", 402, None),
    ],
)
def test_verdicts(kept: Kept, answer: Any, verdict: str, status: int, error: str | None) -> None:
    """The span says the verdict, and is an error only when nobody knows it; the request says what came of it."""
    gate = shop(kept, provider=Told(answer)).paid_api()
    response = bought(gate).response
    assert status == (response and response.status)
    (verify,) = kept.spans("flovia.verify")
    told = attributes(verify)
    assert (verdict, error, error is not None) == (told["flovia.verdict"], told.get("error.type"), told["failed"])
    assert [] == kept.spans("flovia.settle") + kept.spans("flovia.deliver")
    assert status == attributes(kept.spans("flovia.request")[-1])["http.response.status_code"]
    assert () == verify.events
    assert "test-secret-in-an-exception" not in verify.to_json()


def test_a_time_out_is_unknown(kept: Kept) -> None:
    """A provider that does not answer in time ends as unknown, under a driver that waits."""
    gate = shop(kept, provider=MockProvider(deadline_s=0.01)).paid_api()
    response = bought(gate, "slow-test").response
    assert 503 == (response and response.status)
    assert "unknown" == attributes(kept.spans("flovia.verify")[0])["flovia.verdict"]


def test_a_proof_that_was_used(kept: Kept) -> None:
    """What the ledger does not settle is said in the span of settle, and is no error of ours."""
    gate = shop(kept).paid_api()
    deliver(gate, bought(gate))
    second = bought(gate).response
    assert 402 == (second and second.status)
    told = [attributes(span) for span in kept.spans("flovia.settle")]
    assert ["settled", "proof_used"] == [one["flovia.settlement"] for one in told]
    assert not told[1]["failed"]


def test_a_ledger_that_fails(kept: Kept) -> None:
    """Then the span of settle is an error, by its kind alone."""

    class Failing(MemoryLedger):
        def settle(self, *values: Any) -> Any:
            raise LedgerError("test-secret-of-a-ledger")

    response = bought(shop(kept, ledger=Failing()).paid_api()).response
    assert 503 == (response and response.status)
    (settle,) = kept.spans("flovia.settle")
    assert ("flovia.core.errors.LedgerError", True) == (
        attributes(settle)["error.type"],
        attributes(settle)["failed"],
    )
    assert "test-secret-of-a-ledger" not in settle.to_json()


def test_a_challenge_that_cannot_be_made(kept: Kept) -> None:
    """Its span says which problem the client got."""

    def price(asked: flovia.HttpRequest) -> str:
        raise RuntimeError("no price")

    response = shop(kept).paid_api(price=price).enter(request()).response
    assert 500 == (response and response.status)
    told = attributes(kept.spans("flovia.challenge")[0])
    assert ("internal-payment-error", True) == (told["error.type"], told["failed"])


@pytest.mark.parametrize(
    ("status", "completed", "delivery", "error"),
    [
        (200, True, "delivered", None),
        (302, True, "delivered", None),
        (200, False, "failed", "cut_off"),
        (404, True, "failed", "404"),
        (500, True, "failed", "500"),
        (None, False, "failed", "delivery-failed"),
    ],
)
def test_deliveries(kept: Kept, status: int | None, completed: bool, delivery: str, error: str | None) -> None:
    """The span lasts to the end of the answer, and what is not delivered is an error that says why."""
    gate = shop(kept).paid_api()
    passage = bought(gate)
    if status is None:
        passage.raised()
        gate.leave(passage, completed=False)
    else:
        deliver(gate, passage, status, completed=completed)
    (span,) = kept.spans("flovia.deliver")
    told = attributes(span)
    assert (delivery, error, error is not None) == (told["flovia.delivery"], told.get("error.type"), told["failed"])


def test_a_stored_answer(kept: Kept) -> None:
    """Sent again it is a delivery that was replayed."""
    gate = shop(kept).paid_api(delivery=Delivery(idempotency_ttl=60.0))
    key = ("idempotency-key", '"test-key-1"')
    unpaid = gate.enter(request(key)).response
    credential = paying(unpaid)
    passage = gate.enter(request(key, credential))
    copy = passage.copy()
    passage.start(200, flovia.Headers.of([]))
    assert copy is not None
    copy.feed(b"whole")
    gate.leave(passage, completed=True)
    assert gate.enter(request(key, credential)).replayed
    assert ["delivered", "replayed"] == [attributes(span)["flovia.delivery"] for span in kept.spans("flovia.deliver")]


def test_a_request_that_is_refused_at_once(kept: Kept) -> None:
    """Has no span of ours but the one around it, which says why."""
    response = shop(kept).paid_api().enter(request(body=flovia.BODY_TOO_LARGE)).response
    assert 413 == (response and response.status)
    (root,) = kept.spans()
    assert ("flovia.request", "body-too-large", 413) == (
        root.name,
        attributes(root)["flovia.problem"],
        attributes(root)["http.response.status_code"],
    )


def test_what_an_observer_withholds(kept: Kept) -> None:
    """Is an error in the span of what was observed."""
    seen = shop(kept).observe(provider="mock")
    passage = seen.enter(request())
    assert 500 == (passage.start(200, flovia.Headers.of([])).replace or flovia.HttpResponse(0, ())).status
    seen.leave(passage, completed=True)
    (span,) = kept.spans("flovia.observe")
    assert ("internal-payment-error", True, None) == (
        attributes(span)["error.type"],
        attributes(span)["failed"],
        attributes(span).get("flovia.delivery"),
    )


def test_a_passage_that_is_left_twice(kept: Kept) -> None:
    """Is the caller's mistake, and has one span."""
    gate = shop(kept).paid_api()
    passage = bought(gate)
    deliver(gate, passage)
    with pytest.raises(flovia.CallerError):
        gate.leave(passage, completed=True)
    assert 1 == len(kept.spans("flovia.deliver"))


class Interrupted(MockProvider):
    """A provider during whose work somebody presses Ctrl-C."""

    def quote(self, quote: Quote) -> Flow[Terms]:
        """At the 402, unless it is the first."""
        yield from ()
        if quote.request.headers.get("x-interrupt"):
            raise KeyboardInterrupt
        return (yield from super().quote(quote))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """At once."""
        yield from ()
        raise KeyboardInterrupt


@pytest.mark.parametrize("span", ["flovia.challenge", "flovia.verify"])
@pytest.mark.parametrize("below", ["server", "proxy", "nothing"])
def test_a_program_that_is_told_to_stop(kept: Kept, span: str, below: str) -> None:
    """Every span that was open has ended, as an error, and the context is as it was."""
    gate = shop(kept, provider=Interrupted(fixed_terms=False)).paid_api()
    fields = [paying(gate.enter(request()).response) if span == "flovia.verify" else ("x-interrupt", "1")]
    if below == "proxy":
        fields.append(("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
    kept.clear()
    server = kept.tracers.get_tracer("server").start_as_current_span("GET /paid")
    with server if below == "server" else nullcontext(), pytest.raises(KeyboardInterrupt):
        gate.enter(request(*fields))
    assert not trace.get_current_span().get_span_context().is_valid
    *_, stopped = kept.spans()
    assert (span, "KeyboardInterrupt") == (stopped.name, attributes(stopped)["error.type"])
    around = {"server": ["GET /paid"], "proxy": [], "nothing": ["flovia.request"]}[below]
    assert [*around, span] == kept.names()
    assert [below == "nothing" for _ in around] == [
        "KeyboardInterrupt" == attributes(one).get("error.type") for one in kept.spans()[:-1]
    ]


class Letters(TextMapPropagator):
    """Another way to name a trace, that looks at the names of all fields."""

    fields = frozenset({"x-letter-trace"})

    def extract(self, carrier: Any, context: Any = None, getter: Any = default_getter) -> context.Context:
        """The trace that such a field names."""
        (name,) = [name for name in getter.keys(carrier) if name in self.fields]
        assert getter.get(carrier, "absent") is None
        (value,) = getter.get(carrier, name.title())
        found = trace.SpanContext(int(value, 16), 7, is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(found), context)

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
        """Not used here."""


def test_below_the_span_of_another_propagator(kept: Kept) -> None:
    """Whatever propagator the app has set reads the request's fields; the request's id follows it."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Letters())
    try:
        passage = shop(kept).paid_api().enter(request(("X-Letter-Trace", "abc")))
    finally:
        propagate.set_global_textmap(before)
    assert passage.trace.request_id.startswith(f"{0xABC:032x}-{7:016x}-")
    assert 7 == parent(kept.spans()[0])


# --- calls to a payment backend ---------------------------------------------------------------------------------


class Backend(BaseHTTPRequestHandler):
    """A payment backend on loopback."""

    status = 200

    def do_POST(self) -> None:
        """Answer."""
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


@pytest.fixture
def backend() -> Generator[HTTPServer]:
    """It, served."""
    server = HTTPServer(("127.0.0.1", 0), Backend)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Calling(MockProvider):
    """A provider that asks its backend."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Ask, at an address that is worth money."""
        key = ("x-api-key", "test-key-of-a-backend-0123456789")
        reply = yield from http(HttpCall(http_method="POST", url=f"{self.recipient}{CHARGE}", headers=(key,)))
        if reply.status != 200:
            return Unknown()
        return Paid(reference="called-1", amount=100, currency="usd", recipient=self.recipient)


@pytest.mark.parametrize("how", ["run", "arun"])
async def test_a_call_to_a_backend(kept: Kept, backend: HTTPServer, how: str) -> None:
    """A client's span below verify, with the host and nothing more of the address."""
    gate = shop(kept, provider=Calling(recipient=f"http://127.0.0.1:{backend.server_port}")).paid_api()

    async def enter(asked: flovia.HttpRequest) -> flovia.Passage:
        return gate.enter(asked) if how == "run" else await gate.aenter(asked)

    unpaid = (await enter(request())).response
    assert (await enter(request(paying(unpaid)))).response is None
    (call,) = kept.spans("POST")
    assert {ident(kept.spans("flovia.verify")[0])} == {parent(call)}
    assert trace.SpanKind.CLIENT is call.kind
    assert {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": backend.server_port,
        "http.response.status_code": 200,
        "failed": False,
    } == attributes(call)
    assert "9e9ba0bd" not in json.dumps([span.to_json() for span in kept.spans()])


def test_others_are_quiet_during_a_call(kept: Kept) -> None:
    """Instrumentations of HTTP clients make no span meanwhile: theirs would hold the whole address."""
    key: str = vars(context)["_SUPPRESS_HTTP_INSTRUMENTATION_KEY"]
    with kept.otel().call(HttpCall(http_method="GET", url="https://backend.example.com/1")):
        assert True is context.get_value(key)
    assert None is context.get_value(key)
    assert 443 == attributes(kept.spans("GET")[0])["server.port"]


def test_an_address_that_is_none(kept: Kept) -> None:
    """Is for whoever sends it to refuse."""
    with kept.otel().call(HttpCall(http_method="GET", url="http://[::1:x/")) as answered:
        answered(HttpReply(status=200))
    assert "" == attributes(kept.spans("GET")[0])["server.address"]


@pytest.mark.parametrize("how", ["run", "arun"])
async def test_a_backend_that_fails(kept: Kept, backend: HTTPServer, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 400 or more, and none at all, are errors of the call."""
    monkeypatch.setattr(Backend, "status", 502)
    away = "http://127.0.0.1:1"
    for recipient in (f"http://127.0.0.1:{backend.server_port}", away):
        gate = shop(kept, provider=Calling(recipient=recipient)).paid_api()
        unpaid = gate.enter(request()).response
        asked = request(paying(unpaid))
        response = (gate.enter(asked) if how == "run" else await gate.aenter(asked)).response
        assert 503 == (response and response.status)
    answered, gone = map(attributes, kept.spans("POST"))
    assert ("502", 502, True) == (answered["error.type"], answered["http.response.status_code"], answered["failed"])
    assert ("flovia.core.errors.HttpError", True) == (gone["error.type"], gone["failed"])


# --- what they never say ----------------------------------------------------------------------------------------


def test_no_secret_and_no_payer(kept: Kept) -> None:
    """Neither spans nor metrics hold a credential, a receipt, a proof, a payer, a key, a workflow, or an address."""
    gate = shop(kept).paid_api()
    extra = (("flovia-workflow", "test-workflow-of-somebody"), ("cookie", "test-cookie-of-somebody"))
    unpaid = gate.enter(request(*extra)).response
    credential = paying(unpaid, "ok-test-proof-of-somebody")
    passage = gate.enter(request(credential, *extra))
    start = passage.start(200, flovia.Headers.of([]))
    gate.leave(passage, completed=True)
    receipt = dict(start.add)["payment-receipt"]
    assert "did:example:test-payer" == passage.trace.payer
    everything = "".join(span.to_json() for span in kept.spans()) + repr(kept.metrics())
    for hidden in (credential[1][8:], receipt, "of-somebody", "test-payer", "test-secret"):
        assert hidden not in everything
