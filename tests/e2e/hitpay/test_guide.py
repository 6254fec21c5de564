"""The apps of docs/guides/hitpay.md, as they stand there, beside a sandbox that is set up as the guide says."""

import json
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import flovia
from flovia import api
from flovia.sandbox import Sandbox, serving
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.docs.snippets import programs
from tests.e2e.hitpay.conftest import challenge_of, ident, token
from tests.patience import PATIENT_S, eventually
from tests.ports import chosen_port
from tests.tree import ROOT

GUIDE = Path("docs/guides/hitpay.md")
APPS = {"flask": "from flask import Flask", "fastapi": "from fastapi import FastAPI"}


def app_of_the_guide(framework: str, folder: Path) -> dict[str, object]:
    """What the page's ``shop.py`` defines."""
    (found,) = (
        program.text
        for program in programs(GUIDE, (ROOT / GUIDE).read_text(encoding="utf-8"))
        if APPS[framework] in program.text and "flovia.Flovia(" in program.text
    )
    file = folder / "shop.py"
    file.write_text(found, encoding="utf-8")
    return runpy.run_path(str(file))


@contextmanager
def shop(framework: str, folder: Path) -> Generator[tuple[Sandbox, flovia.Flovia, str]]:
    """The sandbox with ``--webhook``, the app's ``flo``, and the app's address; a key and a salt of the app's own."""
    port = chosen_port()
    with (
        serving(webhook=f"http://127.0.0.1:{port}/hooks/hitpay") as sandbox,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        own = {
            "HITPAY_API_KEY": "test_anything",
            "HITPAY_WEBHOOK_SALT": "test_salt",
            "FLOVIA_SECRET": "test-secret-of-32-characters-000",
        }
        for name, value in (sandbox.environment | own).items():
            patch.setenv(name, value)
        defined = app_of_the_guide(framework, folder)
        flo, app = defined["flo"], defined["app"]
        assert isinstance(flo, flovia.Flovia)
        try:
            with (
                serve_wsgi(app, port=port) if framework == "flask" else serve_asgi(app, port=port) as url  # type: ignore[arg-type]  # what a snippet defines
            ):
                yield sandbox, flo, url
        finally:
            flo.close()


@pytest.mark.parametrize("framework", list(APPS))
def test_the_apps_of_the_guide(framework: str, tmp_path: Path) -> None:
    """It sells; and what is paid too late is heard of by webhook, and given back by the ``flo`` of the same program.

    The sandbox's ``--webhook`` is enough for that, with any key and any salt.
    """
    with shop(framework, tmp_path) as (sandbox, flo, url), httpx.Client(base_url=url, timeout=PATIENT_S) as agent:
        challenge = challenge_of(agent.get("/forecast"))
        sandbox.pay(ident(challenge))
        paid = agent.get("/forecast", headers={"authorization": f"Payment {token(challenge)}"})
        assert (200, {"forecast": "sunny"}) == (paid.status_code, paid.json())
        late = challenge_of(agent.get("/forecast"))
        sandbox.late_pay(ident(late))
        due = eventually(flo.refunds_due, bool)
        assert [ident(late)] == [one.payment_id for one in due]
        assert "refunded" == flo.refund(due[0].payment_id).status
        assert {"delivered"} == eventually(
            lambda: {str(each["status"]) for each in sandbox.webhooks()}, lambda found: found == {"delivered"}
        )


def test_a_paid_call_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of curl in examples/hitpay_bare.py ask for a charge, and fetch the answer once it is paid."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not on PATH")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flovia.api._default", None)
    with serving() as sandbox:
        for name, value in sandbox.environment.items():
            monkeypatch.setenv(name, value)
        found = runpy.run_path(str(ROOT / "examples" / "hitpay_bare.py"))
        ask, pay = re.findall(r"^    (curl [^\n]*)$", found["__doc__"], re.MULTILINE)
        with serve_asgi(found["app"]) as url:

            def curl(line: str, **variables: str) -> str:
                program = line.replace("http://127.0.0.1:8402", url)
                done = subprocess.run(
                    ["sh", "-eu", "-c", program],
                    capture_output=True,
                    check=True,
                    text=True,
                    env={"PATH": os.environ["PATH"], **variables},
                )
                return done.stdout

            assert '"payment_required"' in curl(ask)
            (charge,) = sandbox.charges()
            sandbox.pay(str(charge["id"]))
            assert {"forecast": "sunny"} == json.loads(curl(pay, CHARGE=str(charge["id"])))
    api.default().close()
