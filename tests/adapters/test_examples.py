"""The examples of this folder's adapters run, ask for money and deliver."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from flovia.testing.servers import AsgiApplication, serve_asgi, serve_wsgi
from tests.adapters.buyer import Buyer
from tests.tree import ROOT


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], object]:
    """Load an example's ``app``, with its payments in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flovia.api._default", None)
    for name in ("FLOVIA_LEDGER", "FLOVIA_PRICE", "FLOVIA_SECRET", "FLOVIA_PUBLIC_ORIGIN"):
        monkeypatch.delenv(name, raising=False)
    return lambda name: runpy.run_path(str(ROOT / "examples" / name))["app"]


def test_wsgi(example: Callable[[str], object]) -> None:
    """The front page is free, the report streams."""
    with serve_wsgi(example("wsgi_app.py")) as url:  # type: ignore[arg-type]  # what run_path finds has no type
        buyer = Buyer(url)
        assert 200 == buyer.ask("/").status
        _, report = buyer.buy("/report")
    assert (200, True) == (report.status, report.body.endswith(b"today's report\n"))
    assert report.receipt is not None


def test_flask(example: Callable[[str], object]) -> None:
    """A stream, a 404 nobody loses money by, and an order."""
    with serve_wsgi(example("flask_app.py")) as url:  # type: ignore[arg-type]  # as above
        buyer = Buyer(url)
        assert 200 == buyer.ask("/").status
        assert b"ABC\n42.00\n" == buyer.buy("/quotes/abc")[1].body
        credential, missing = buyer.buy("/quotes/123")
        assert (404, 404) == (missing.status, buyer.again("/quotes/123", credential).status)
        _, order = buyer.buy("/orders", method="POST", body=b"one, please")
    assert (201, b'{"order":"order-1","repeated":false}\n') == (order.status, order.body)


def test_hono(example: Callable[[str], object]) -> None:
    """The line as it was first written, a stream, and middleware around both answers."""
    with serve_asgi(cast("AsgiApplication", example("hono_app.py"))) as url:
        buyer = Buyer(url)
        assert "1" == buyer.ask("/paid").get("x-version")
        _, paid = buyer.buy("/paid")
        assert (200, "1") == (paid.status, paid.get("x-version"))
        assert b'{"foo": "bar", "paid_with": "mock_' == paid.body[:34]
        assert b"abc 41.98\nabc 42.00\n" == buyer.buy("/ticker/abc")[1].body
