"""A browser, and a market to use it in: the sandbox, a shop that sells by HitPay, agents as processes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.types import StartResponse, WSGIEnvironment

import attrs
import pytest

import flovia
import flovia_wsgi
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.sandbox import Sandbox, serving
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.e2e.browser.looking import PATIENCE_S, plain_page, window
from tests.require import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_CHECKOUT = re.compile(r"http://127\.0\.0\.1:\d+/payment-request/\S+/checkout")


@pytest.fixture(scope="session")
def browser() -> Generator["Browser"]:
    """Chromium without a screen."""
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture
def page(browser: "Browser") -> Generator["Page"]:
    """A fresh window that fails the test if the page logs an error."""
    with window(browser) as found:
        yield found


@pytest.fixture(scope="session")
def plain() -> Generator[str]:
    """Where a plain page is served."""
    with serve_asgi(plain_page) as found:
        yield found


class AgentProcess:
    """``flovia pay`` as a process that waits for a person."""

    def __init__(self, url: str, folder: Path, environment: dict[str, str]) -> None:
        self._said = ""
        options = ("--state", str(folder), "--timeout", str(PATIENCE_S))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flovia.cli", "pay", url, "--json", "--budget", "5.00 SGD", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def checkout(self) -> str:
        """The address that the agent shows the person."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said += line
            if found := _CHECKOUT.search(line):
                return found[0]
        raise AssertionError(f"the agent showed no checkout page:\n{self._said}")

    def end(self) -> tuple[int, dict[str, object]]:
        """Its exit status and what it printed, once it has ended."""
        out, said = self._process.communicate(timeout=2 * PATIENCE_S)
        self._said += said
        assert out, self._said
        return self._process.returncode, json.loads(out)

    def kill(self) -> None:
        """End it, if it has not."""
        self._process.kill()
        self._process.communicate()


@attrs.define(kw_only=True)
class Market:
    """One sandbox and one shop."""

    sandbox: Sandbox
    flo: flovia.Flovia
    url: str
    folder: Path
    agents: list[AgentProcess] = attrs.field(factory=list[AgentProcess])

    def agent(self) -> AgentProcess:
        """Send an agent shopping."""
        environment = {"HITPAY_MPP_ENDPOINT": self.sandbox.broker_url}
        found = AgentProcess(f"{self.url}/report", self.folder / f"agent{len(self.agents)}", environment)
        self.agents.append(found)
        return found

    @property
    def charges(self) -> int:
        """Charges created at the broker, by its journal."""
        return sum(entry["status"] == 201 for entry in self.sandbox.journal("B1"))

    @property
    def paid_in(self) -> str:
        """SGD that came in."""
        found = self.sandbox.money().get("sgd", {"in": "0.00"})
        assert isinstance(found, dict)
        return str(found["in"])


def sell(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """What is for sale."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"goods"]


@contextmanager
def open_market(folder: Path, *, core_fallback: bool = False) -> Generator[Market]:
    """Sandbox and shop, with the shop's webhooks registered."""
    with serving(seed=7) as sandbox:
        config = HitPayConfig(
            api_key=sandbox.api_key,
            webhook_salts=(sandbox.webhook_salt,),
            broker=sandbox.broker_url,
            api=sandbox.api_url,
            core_fallback=core_fallback,
        )
        flo = flovia.Flovia(
            provider=HitPayProvider(config),
            price="1.00 SGD",
            ledger=f"sqlite:///{folder}/ledger.db",
            secret="test-secret-of-32-characters-000",
        )
        shop, hooks = flovia_wsgi.paid(flo.paid_api(), sell), flovia_wsgi.webhooks(flo)

        def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            return (hooks if environ["PATH_INFO"] == "/hooks" else shop)(environ, start)

        with serve_wsgi(app) as url:
            sandbox.register_webhook(f"{url}/hooks")
            market = Market(sandbox=sandbox, flo=flo, url=url, folder=folder)
            try:
                yield market
            finally:
                for agent in market.agents:
                    agent.kill()
                flo.close()


@pytest.fixture
def market(tmp_path: Path) -> Generator[Market]:
    """One market."""
    with open_market(tmp_path) as found:
        yield found
