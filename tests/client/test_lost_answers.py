"""An answer that was delivered and got lost on its way: the client asks again and has it, with one payment (S41)."""

from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import httpx
import pytest

import flovia_wsgi
from flovia.client import Budget, MockWallet, OutcomeUnknown, PaymentRefused, PendingFiles, Policy
from flovia.client.httpx import PayingTransport
from tests.adapters.buyer import event_types, new_flovia


class Losing(httpx.BaseTransport):
    """The first paid answers reach the last hop and no further."""

    def __init__(self, app: WSGIApplication, losses: int, error: type[httpx.TransportError]) -> None:
        self._inner = httpx.WSGITransport(app=app)
        self._losses = losses
        self._error = error

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on; lose its answer, if it is time."""
        response = self._inner.handle_request(request)
        response.read()
        if "authorization" in request.headers and self._losses:
            self._losses -= 1
            raise self._error("test: lost")
        return response


class Shop:
    """A route whose handler must run once, and an agent far away from it."""

    def __init__(
        self, folder: Path, losses: int, error: type[httpx.TransportError] = httpx.ReadError, **policy: bool
    ) -> None:
        self.flo = new_flovia()
        self.calls = 0
        losing = Losing(flovia_wsgi.paid(self.flo.paid_api(), self.app), losses, error)
        self.budget = Budget("9.00 USD")
        self.transport = PayingTransport(
            MockWallet(), budget=self.budget, policy=Policy(**policy), pending=PendingFiles(folder), transport=losing
        )
        self.agent = httpx.Client(transport=self.transport, base_url="http://127.0.0.1")

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """An order."""
        self.calls += 1
        start_response("201 Created", [("Content-Type", "text/plain")])
        return [b"order %d" % self.calls]


def test_s41_a_lost_answer_is_had_again(tmp_path: Path) -> None:
    """S41: within the call, by the credential that paid: the stored response, the handler not run again."""
    shop = Shop(tmp_path, 2)
    answer = shop.agent.post("/order")
    assert (201, "order 1") == (answer.status_code, answer.text)
    assert answer.extensions["flovia"].receipt is not None
    assert 1 == shop.calls
    assert (1, 2) == tuple(event_types(shop.flo).count(name) for name in ("payment.delivered", "payment.replayed"))


def test_s41_a_lost_answer_is_resumed(tmp_path: Path) -> None:
    """S41: and after it, by the reference."""
    shop = Shop(tmp_path, 1, httpx.ReadTimeout)
    with pytest.raises(OutcomeUnknown) as caught:
        shop.agent.post("/order")
    answer = shop.transport.resume(caught.value.reference or "")
    assert (201, b"order 1") == (answer.status_code, answer.read())
    assert 1 == shop.calls


def test_without_a_key_a_lost_answer_stays_lost(tmp_path: Path) -> None:
    """Nothing is paid twice either way; but the server cannot know that the answer never arrived."""
    shop = Shop(tmp_path, 1, idempotency_key=False)
    with pytest.raises(PaymentRefused, match="lost its connection"):
        shop.agent.post("/order")
    assert 1 == shop.calls
