"""The fixture app's ``POST /webhook``: there if its provider has webhooks, on every adapter."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import cast

import pytest

from flovia.core.encoding import JsonValue
from flovia.testing.fixture import ADAPTERS, WsgiFixture, build
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.adapters.behaviour.wire import Reply, control, exchange, head
from tests.hooks.bank import Bank, HookBankProvider, event, sign


def post(url: str, body: bytes, signature: str) -> Reply:
    """Send a webhook."""
    fields = [("Host", url.removeprefix("http://")), ("Connection", "close"), ("Bank-Signature", signature)]
    fields.append(("Content-Length", str(len(body))))
    return exchange(url, head("POST", "/webhook", fields) + body, "POST")


Serve = Callable[[HookBankProvider | None], AbstractContextManager[str]]


@pytest.fixture(params=ADAPTERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """How to serve the fixture of an adapter with a provider."""

    @contextmanager
    def start(provider: HookBankProvider | None) -> Generator[str]:
        with closing(build(request.param, provider=provider)) as app:
            if isinstance(app, WsgiFixture):
                running = serve_wsgi(app, server="waitress")
            else:
                running = serve_asgi(app)
            with running as url:
                yield url

    return start


def test_the_route(serve: Serve, bank: Bank, bank_url: str) -> None:
    """The provider of the fixture hears it; the ledger's and the backend's faults are 503; nothing else moves."""
    payment = bank.pay("late", "challenge", state="late")
    with serve(HookBankProvider(bank_url)) as url:
        assert 401 == post(url, event(payment), "test").status
        for target in ("backend", "ledger"):
            control(url, "POST", "faults", {"target": target, "mode": "error"})
            assert (503, "try-again") == answer(post(url, event(payment), sign(event(payment))))
            control(url, "DELETE", "faults")
        assert (200, "accepted") == answer(post(url, event(payment), sign(event(payment))))
        counted = control(url, "GET", "counters")
        types = [cast("dict[str, JsonValue]", one)["type"] for one in cast("list[JsonValue]", counted["events"])]
        assert ["payment.late"] == types
        assert (1, 0, 0) == (counted["ledger_keys"], counted["settlements"], counted["handler_calls"])
        assert "test-salt" not in str(control(url, "GET", "log")["text"])


def answer(reply: Reply) -> tuple[int, JsonValue]:
    """Status and code."""
    return reply.status, reply.json["code"]


def test_no_route_without_webhooks(serve: Serve) -> None:
    """The mock has none, so there is nothing to post to."""
    with serve(None) as url:
        assert 404 == post(url, b"", "test").status
