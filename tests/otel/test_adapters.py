"""Tracing over real servers: the same spans below the server's own, whatever the adapter."""

import os
from collections.abc import Generator

import attrs
import httpx
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import ReadableSpan

from flovia.testing.fixture import WSGI_ADAPTERS, build
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.adapters.buyer import Answer, Buyer, Field, payment
from tests.otel.sdk import AsgiServerSpan, Kept, WsgiServerSpan, attributes, ident, parent
from tests.patience import PATIENT_S, eventually

COMBINATIONS = [
    ("wsgi", "waitress", "memory"),
    ("flask", "wsgiref", "sqlite"),
    ("asgi", "uvicorn", "sqlite"),
    ("asgi", "hypercorn-trio", "sqlite"),
    ("fastapi", "uvicorn-h11", "memory"),
    ("hono", "hypercorn-trio", "memory"),
]
KEPT = Kept()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CHALLENGED, BOUGHT = ["challenge"], ["verify", "settle", "deliver"]
TRACEPARENT = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")


@pytest.fixture(scope="module", autouse=True)
def setting() -> Generator[None]:
    """What an operator does: an SDK for the process, and one setting."""
    # As an app does it, and once for this process: nothing else here looks at them.
    trace.set_tracer_provider(KEPT.tracers)
    metrics.set_meter_provider(KEPT.meters)
    os.environ["FLOVIA_OTEL"] = "true"
    yield
    del os.environ["FLOVIA_OTEL"]


@attrs.frozen
class Site:
    """A served fixture."""

    buyer: Buyer
    adapter: str

    def control(self, what: str, value: object, http_method: str = "POST") -> None:
        """Use a control endpoint of the fixture."""
        answer = httpx.request(http_method, f"{self.buyer.url}/__fixture__/{what}", json=value, timeout=PATIENT_S)
        assert 200 == answer.status_code, answer.text

    def buy(self, path: str, *fields: Field) -> tuple[Field, Answer]:
        """Ask, pay, ask again, with these fields in both requests."""
        unpaid = self.buyer.ask(path, fields)
        assert 402 == unpaid.status
        credential = payment(unpaid)
        return credential, self.buyer.ask(path, [credential, *fields])

    def below(self, path: str, *expected: list[str]) -> list[list[ReadableSpan]]:
        """Our spans below the server's, request by request, once they are these; requests without any are left out.

        A delivery is over when its answer is, which neither the client nor the server's span need wait for.
        """

        def found() -> list[list[ReadableSpan]]:
            spans = KEPT.spans()
            above = {ident(span): parent(span) for span in spans}
            servers: dict[int, list[ReadableSpan]] = {ident(one): [] for one in spans if one.name == f"GET {path}"}
            for span in spans:
                server = parent(span)
                while server is not None and server not in servers:
                    server = above.get(server)  # FastAPI has spans of its own in between
                if server is not None and span.name.startswith("flovia."):
                    servers[server].append(span)
            return [ours for ours in servers.values() if ours]

        spans = eventually(found, lambda found: [names(one) for one in found] == list(expected))
        assert list(expected) == [names(one) for one in spans]
        return spans


def around(span: ReadableSpan) -> ReadableSpan:
    """The span that this one is a child of."""
    (found,) = eventually(
        lambda: [one for one in KEPT.spans() if ident(one) == parent(span)], lambda found: len(found) == 1
    )
    return found


@pytest.fixture(scope="module", params=COMBINATIONS, ids="@".join)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """One adapter on one server and ledger, behind a span as an instrumentation makes it."""
    adapter, server, kind = request.param
    ledger = "memory://" if kind == "memory" else f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'traced.db'}"
    fixture = build(adapter, ledger=ledger)
    if adapter in WSGI_ADAPTERS:
        running = serve_wsgi(WsgiServerSpan(fixture, KEPT.tracers), server=server)  # type: ignore[arg-type]
    else:
        running = serve_asgi(AsgiServerSpan(fixture, KEPT.tracers), server=server)  # type: ignore[arg-type]
    with running as url:
        yield Site(Buyer(url), adapter)
    fixture.close()
    KEPT.show()
    KEPT.clear()


def names(spans: list[ReadableSpan]) -> list[str]:
    """Their names, in order."""
    return [span.name.removeprefix("flovia.") for span in spans]


def test_a_paid_request(site: Site) -> None:
    """The 402 has a span, and the paid request three, all below the server's own and in the caller's trace."""
    _, paid = site.buy("/paid", TRACEPARENT)
    assert 200 == paid.status
    unpaid, bought = site.below("/paid", CHALLENGED, BOUGHT)
    assert {int(TRACE, 16)} == {span.get_span_context().trace_id for span in unpaid + bought}  # type: ignore[union-attr]
    verify, settle, deliver = map(attributes, bought)
    assert ("paid", "settled", "delivered") == (
        verify["flovia.verdict"],
        settle["flovia.settlement"],
        deliver["flovia.delivery"],
    )
    assert (200, "/paid", "mock", False) == tuple(
        deliver[name] for name in ("http.response.status_code", "flovia.endpoint", "flovia.provider", "failed")
    )
    assert {paid.receipt.reference if paid.receipt else ""} == {
        told["flovia.payment_id"] for told in (verify, settle, deliver)
    }
    assert attributes(unpaid[0])["flovia.challenge_id"] == deliver["flovia.challenge_id"]
    assert {parent(bought[0])} == {parent(span) for span in bought}
    server = around(bought[0])
    assert deliver["flovia.request_id"].startswith(f"{TRACE}-{ident(server):016x}-")
    assert deliver["flovia.request_id"] == attributes(server)["flovia.request_id"]


def test_a_stream(site: Site) -> None:
    """A delivery lasts until the last byte of a streamed answer."""
    _, paid = site.buy("/stream")
    assert (200, True) == (paid.status, paid.complete)
    deliver = site.below("/stream", CHALLENGED, BOUGHT)[1][2]
    assert ("delivered", False) == (attributes(deliver)["flovia.delivery"], attributes(deliver)["failed"])


def test_a_handler_that_fails_once(site: Site) -> None:
    """The failed delivery is an error with its problem; the same credential is delivered again without verifying."""
    credential, failed = site.buy("/raise-once")
    assert 500 == failed.status
    again = site.buyer.again("/raise-once", credential)
    assert 200 == again.status
    _, first, second = site.below("/raise-once", CHALLENGED, BOUGHT, ["deliver"])
    told = attributes(first[-1])
    assert ("failed", True, "delivery-failed") == (told["flovia.delivery"], told["failed"], told["error.type"])
    assert "redelivered" == attributes(second[-1])["flovia.delivery"]


def test_a_provider_that_is_down(site: Site) -> None:
    """A verdict that nobody knows is an error; nothing is settled or delivered."""
    unpaid = site.buyer.ask("/search")
    site.control("faults", {"target": "backend", "mode": "down"})
    try:
        assert 503 == site.buyer.ask("/search", [payment(unpaid)]).status
    finally:
        site.control("faults", {}, "DELETE")
    _, (verify,) = site.below("/search", CHALLENGED, ["verify"])
    told = attributes(verify)
    assert ("unknown", True, "outcome-unknown") == (told["flovia.verdict"], told["failed"], told["error.type"])
    server = attributes(around(verify))
    assert ("outcome-unknown", False) == (server["flovia.problem"], server["failed"])


def test_a_replay(site: Site) -> None:
    """A credential that was delivered gets a challenge, and its span says why."""
    credential, paid = site.buy("/cc-public")
    assert 200 == paid.status
    assert 402 == site.buyer.again("/cc-public", credential).status
    *_, (again,) = site.below("/cc-public", CHALLENGED, BOUGHT, CHALLENGED)
    assert "invalid-challenge" == attributes(again)["flovia.problem"]


def test_an_observed_route(site: Site) -> None:
    """A handler with a gate of its own has one span for what flovia saw, below the server's."""
    _, paid = site.buy("/observed")
    assert 200 == paid.status
    # The handler's own gate is one of ours, and traced as well.
    _, (observed, *_) = site.below("/observed", ["observe", *CHALLENGED], ["observe", *BOUGHT])
    told = attributes(observed)
    assert ("delivered", 200, paid.receipt and paid.receipt.reference) == (
        told["flovia.delivery"],
        told["http.response.status_code"],
        told["flovia.payment_id"],
    )
