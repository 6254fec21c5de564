"""Connections that break under a paid request, on all six ways to make a call."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

import flovia
import flovia_fastapi
from flovia.client import Budget
from flovia.testing.servers import serve_asgi
from tests.client.agent import WAYS, Agent
from tests.client.server import Say, paid, sells, serving


@pytest.mark.parametrize("silence", ["close", "reset"])
@pytest.mark.parametrize("way", WAYS)
def test_c14_a_connection_that_breaks_is_replaced(way: str, silence: str, tmp_path: Path) -> None:
    """C14: closed or reset under the paid request: the same credential goes out on another connection, paid once."""
    a = Agent(way, tmp_path)
    broken = Say(silence="close" if silence == "close" else "reset")
    with serving(sells(broken, broken, paid())) as server:
        reply = a.send("POST", server.url, content=b"two apples")
    assert (200, b"goods") == (reply.status, reply.body)
    assert reply.payment is not None
    assert (3, 1, 100, []) == (reply.payment.tries, a.payments, a.budget.spent(), a.pending.references())
    assert 1 == len({seen.header("authorization") for seen in server.seen[1:]})
    assert [b"two apples"] * 4 == [seen.body for seen in server.seen]


class _SlowLog(logging.Handler):
    """Takes its time over a record, as a busy machine would.

    uvicorn logs what a view raised *after* the error page went out and *before* it closes the connection: this
    holds that moment open, in which a client has its answer and sees nothing wrong with the connection.
    """

    def emit(self, record: logging.LogRecord) -> None:
        threading.Event().wait(0.1)


@pytest.fixture(scope="module", params=["uvicorn", "uvicorn-h11"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A FastAPI app, on each of uvicorn's parsers, whose view raises at the first delivery of each payment."""
    app = FastAPI()
    ledger = tmp_path_factory.mktemp("shop") / "ledger.db"
    flo = flovia.Flovia(provider="mock", price="1.00 USD", secret="test-secret-" * 4, ledger=f"sqlite:///{ledger}")

    @app.get("/paid")
    @flovia_fastapi.paid(flo.paid_api())
    def goods(request: Request) -> str:
        grant: flovia.Grant = request.state.payment
        if not grant.redelivery:
            raise RuntimeError("not now")
        return "goods"

    flovia_fastapi.install(app)
    log, slow = logging.getLogger("uvicorn.error"), _SlowLog()
    log.addHandler(slow)
    try:
        with serve_asgi(app, server="uvicorn" if request.param == "uvicorn" else "uvicorn-h11") as url:
            yield url
    finally:
        log.removeHandler(slow)


@pytest.mark.parametrize("way", WAYS)
def test_c14_a_view_that_raised_is_resumed_at_once(way: str, shop: str, tmp_path: Path) -> None:
    """C14: the documented way back works also while the server is closing the connection that the error came on."""
    a = Agent(way, tmp_path, budget=Budget("5.00 USD"))
    error, reply = a.pursue(f"{shop}/paid")
    assert error is not None
    assert (500, "delivery-failed") == (error.status, error.problem)
    assert reply.payment is not None
    assert (200, b'"goods"', True, None) == (
        reply.status,
        reply.body,
        reply.payment.resumed,
        reply.payment.receipt_problem,
    )
    assert (1, 100, []) == (a.payments, a.budget.spent(), a.pending.references())
