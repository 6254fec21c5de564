"""The example apps for ASGI and FastAPI do what they say, with the settings a first user has: none."""

import json
import runpy
from pathlib import Path
from typing import cast

import pytest

from flovia import AsgiApp
from tests.adapters.asgi_harness import Request, ask, buy
from tests.tree import ROOT


def example(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsgiApp:
    """The app of an example, run in an empty folder; its payments are in flovia.db there."""
    monkeypatch.setattr("flovia.api._default", None)
    monkeypatch.chdir(tmp_path)
    return cast("AsgiApp", runpy.run_path(str(ROOT / "examples" / name))["app"])


async def test_the_asgi_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A free index, a paid report, and 404 for the rest."""
    app = example("asgi_app.py", monkeypatch, tmp_path)
    free, paid = await ask(app, path="/"), await buy(app, path="/report")
    assert [200, 200, 404] == [free.status, paid.status, (await ask(app, path="/other")).status]
    assert [3, 1, 4] == json.loads(paid.body)["report"]
    assert (tmp_path / "flovia.db").exists()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(path="/rows/2026-11-22"), b'{"rows":["Sunday","November"],"payment":'),
        (Request(path="/count", query="to=2"), b'{"number":0}\n{"number":1}\n'),
        (
            Request(
                path="/sum",
                http_method="POST",
                headers=[("content-type", "application/json")],
                body=[b'{"numbers":[1,2]}'],
            ),
            b'{"sum":3}',
        ),
    ],
)
async def test_the_fastapi_example(
    request_: Request, expected: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each paid endpoint answers once it is paid; a day without rows is 404 before anybody pays."""
    app = example("fastapi_app.py", monkeypatch, tmp_path)
    paid = await buy(app, **request_)
    assert paid.body.startswith(expected)
    assert paid.get("payment-receipt")
    assert 404 == (await ask(app, path="/rows/2031-01-01")).status
    assert 200 == (await ask(app, path="/")).status
