"""What the site does besides: who may start a run, how many are kept, what follows a run, where code comes from."""

import html
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from flovia import api
from flovia.client import Budget, PendingFiles
from flovia.client.hitpay import HitPayWallet, Pins
from flovia.client.httpx import PayingTransport, payment_info
from flovia.sandbox import Sandbox
from flovia.showcase import code
from flovia.showcase.runs import AT_ONCE, MOST_RUNS
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.e2e.hitpay.environment import examples_environment
from tests.patience import PATIENT_S, PROGRAM_S, eventually
from tests.showcase.conftest import Site, open_site
from tests.tree import ROOT


def test_a_form_of_somebody_else_starts_nothing(site: Site) -> None:
    """Each run makes a charge at HitPay, so another site's page cannot start one."""
    answer = site.http.post("/showcase/hitpay-mpp/runs", headers={"origin": "http://elsewhere.test"})
    assert 403 == answer.status_code
    answer = site.http.post("/showcase/hitpay-mpp/runs", headers={"sec-fetch-site": "cross-site"})
    assert 403 == answer.status_code
    assert [] == site.sandbox.charges()


def test_another_name_is_not_answered(site: Site) -> None:
    """A name that somebody made lead to this machine gets nothing: neither pages nor charges."""
    for path in ("/showcase/hitpay-mpp", "/showcase/hitpay-mpp/paid", "/dashboard/"):
        assert 403 == site.http.get(path, headers={"host": "elsewhere.test"}).status_code
    assert [] == site.sandbox.charges()


@pytest.mark.parametrize("path", ["/", "/showcase", "/showcase/hitpay-mpp", "/showcase/hitpay-mpp/paid", "/dashboard/"])
def test_what_comes_by_a_proxy_is_not_answered(site: Site, path: str) -> None:
    """It may be from anywhere: the showcase says so in the words of its dashboard, and starts nothing."""
    words = "Nobody was told who may look, so only requests from this machine, by its own name and without a proxy"
    answer = site.http.get(path, headers={"x-forwarded-for": "192.0.2.1"})
    assert (403, True) == (answer.status_code, words in html.unescape(answer.text))
    assert 403 == site.http.post("/showcase/hitpay-mpp/runs", headers={"x-forwarded-for": "192.0.2.1"}).status_code
    assert [] == site.sandbox.charges()
    assert 403 != site.http.get(path).status_code


def test_a_run_that_is_not_kept(site: Site) -> None:
    """Its page says so and offers a new one; its updates are gone."""
    page = site.http.get("/showcase/hitpay-mpp/runs/unknown")
    assert 404 == page.status_code
    assert "not kept any more" in page.text
    assert "end with the demo" in page.text
    assert 'href="/dashboard/integrity"' in page.text
    assert 'href="/showcase/hitpay-mpp#live"' in page.text
    assert 404 == site.http.get("/showcase/hitpay-mpp/runs/unknown/state").status_code
    assert 404 == site.http.get("/showcase/hitpay-mpp/runs/unknown/events").status_code
    assert 404 == site.http.post("/showcase/hitpay-mpp/runs/unknown/again").status_code


def test_with_too_many_runs_the_oldest_stops_waiting(site: Site) -> None:
    """What waits for a payment is bounded; whoever's call was stopped can still present what was paid meanwhile."""
    runs = [site.start()]
    site.until(runs[0], "pending")
    first = site.charge
    runs += [site.start() for _ in range(AT_ONCE)]
    site.until(runs[0], "stopped")
    assert MOST_RUNS > len(runs)
    site.sandbox.pay(first)
    site.http.post(f"{runs[0]}/again", headers={"origin": site.url})
    site.until(runs[0], "delivered")


def test_updates_are_streamed(site: Site) -> None:
    """Server-sent events: what the page shows, whenever it shows something else."""
    run = site.start()
    states: list[str] = []
    with site.http.stream("GET", f"{run}/events", timeout=PATIENT_S) as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        for line in stream.iter_lines():
            if not line.startswith("data: "):
                continue
            shown = json.loads(line.removeprefix("data: "))["html"]
            states.append(shown.partition('data-state-name="')[2].partition('"')[0])
            if states[-1] == "pending" and "paying" not in states:
                states.append("paying")
                site.sandbox.pay(site.charge)
            if states[-1] == "delivered":
                break
    assert "pending" in states
    assert "delivered" == states[-1]


def test_a_stream_does_not_hold_the_server_up(tmp_path: Path) -> None:
    """The server ends though somebody is still watching a run."""
    with open_site(tmp_path) as site:
        run = site.start()
        site.until(run, "pending")
        with site.http.stream("GET", f"{run}/events", timeout=PATIENT_S) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
            site.close()
            assert [] == [line for line in lines if line.startswith("data: ")][1:]


def test_without_scripts_the_page_of_a_waiting_run_loads_itself_again(site: Site) -> None:
    """And not when there is nothing to wait for."""
    refresh = '<noscript><meta http-equiv="refresh"'
    run = site.start()
    site.until(run, "pending")
    assert refresh in site.page(run)
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    assert refresh not in site.page(run)
    assert refresh not in site.http.get("/showcase/hitpay-mpp").text


# --- code on the page ------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox]:
    """A broker on this machine, and the examples' environment."""
    with examples_environment(monkeypatch, tmp_path) as found:
        yield found


@pytest.mark.parametrize("name", [name for _, name in code.ONE_LINE])
def test_an_example_is_paid(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every file on the page serves what it says: 402, and 200 with a verified receipt once it is paid."""
    app = runpy.run_path(str(ROOT / "examples" / name))["app"]
    wallet = HitPayWallet(pins=Pins(broker=sandbox.broker_url), show=None, auto_pay=True, poll_s=0.1)
    transport = PayingTransport(wallet, budget=Budget("1.00 SGD"), pending=PendingFiles(tmp_path / "pending"))
    up = serve_wsgi(app) if name in ("hitpay_flask.py", "hitpay_wsgi.py") else serve_asgi(app)
    with up as url, httpx.Client(transport=transport, timeout=PATIENT_S) as agent:
        answer = agent.get(f"{url}/paid")
    info = payment_info(answer)
    assert (200, {"foo": "bar"}) == (answer.status_code, answer.json())
    assert info is not None
    assert info.receipt_verified is True
    api.default().close()


@pytest.mark.parametrize("name", [code.BY_HAND, *(name for _, name in code.ONE_LINE)])
def test_the_page_shows_the_file(name: str) -> None:
    """Each pane is its file from the first import to the last character, with the line that makes it so marked."""
    shown = code.code(name, name)
    text = html.unescape(re.sub(r"<[^>]+>", "", shown.html))
    assert text.startswith(("import ", "from "))
    assert (ROOT / "examples" / name).read_text(encoding="utf-8").endswith(text)
    marked = re.findall(r'<span class="hll">.*?paid', shown.html)
    assert 1 == len(marked)
    assert 'provider="hitpay"' in shown.line


def test_the_page_says_where_the_files_are(site: Site) -> None:
    """Who installed a wheel has no folder of examples."""
    page = site.http.get("/showcase/hitpay-mpp").text
    assert len(re.findall(r"<code>examples/", page)) == len(
        re.findall(r"<code>examples/\w+\.py</code> in the repo", page)
    )


# --- what a visitor can copy ---------------------------------------------------------------------------------------


def test_the_python_that_can_be_copied(site: Site, tmp_path: Path) -> None:
    """It shows where to pay, waits, and prints the answer with a verified receipt."""
    text = code.as_python(f"{site.url}/showcase/hitpay-mpp/paid", site.sandbox.broker_url)
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert eventually(site.sandbox.charges, bool)
        site.sandbox.pay(site.charge)
        out, _ = process.communicate(timeout=PROGRAM_S)
    finally:
        process.kill()
        process.wait()
    assert 0 == process.returncode
    assert "'foo': 'bar'" in out
    assert out.endswith("True\n")
    page = html.unescape(site.http.get("/showcase/hitpay-mpp").text)
    assert text in page
    assert f"curl -i {site.url}/showcase/hitpay-mpp/paid" in page
