"""A showcase on a real server, a sandbox beside it, a ledger in a file."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
import pytest

import flovia
from flovia.cli.demo_site import HOST, listen, serving
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.sandbox import Sandbox
from flovia.sandbox import serving as sandbox_serving
from flovia.showcase.app import Showcase
from flovia.showcase.joining import make_ready
from flovia.showcase.shop import HOOKS, Shop, asker
from tests.patience import PATIENT_S, eventually

SECRET = "test-secret-of-the-showcase-0123456789"
_STATE = re.compile(r'data-state-name="([a-z]+)"')


@attrs.frozen(kw_only=True)
class Site:
    """A running showcase."""

    url: str
    sandbox: Sandbox
    flo: flovia.Flovia
    http: httpx.Client
    close: Callable[[], None]

    def start(self, trouble: str = "") -> str:
        """Start a run as the page's form does; the address of its page."""
        form = {"trouble": trouble} if trouble else None
        answer = self.http.post("/showcase/hitpay-mpp/runs", data=form, headers={"origin": self.url})
        assert 303 == answer.status_code
        return answer.headers["location"].removesuffix("#live")

    def page(self, run: str) -> str:
        """The page of a run."""
        return self.http.get(run).text

    def state(self, run: str) -> str:
        """How a run stands, as its page says."""
        found = _STATE.search(self.http.get(f"{run}/state").json()["html"])
        assert found is not None
        return found[1]

    def until(self, run: str, *states: str) -> str:
        """Wait until a run stands like that."""
        found = eventually(lambda: self.state(run), lambda state: state in states, every_s=0.1)
        assert found in states
        return found

    @property
    def charge(self) -> str:
        """The newest charge of the sandbox."""
        return str(self.sandbox.charges()[-1]["id"])


@contextmanager
def open_site(folder: Path, *, configured: bool = True) -> Generator[Site]:
    """A showcase of its own."""
    listener = listen(0)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    with sandbox_serving(seed=11) as sandbox:
        config = HitPayConfig(
            api_key=sandbox.api_key if configured else None,
            webhook_salts=(sandbox.webhook_salt,),
            broker=sandbox.broker_url,
            api=sandbox.api_url,
        )
        provider = HitPayProvider(config)
        flo = flovia.Flovia(
            provider=provider, secret=SECRET, public_origin=url, ledger=f"sqlite:///{folder}/show.db", payer_of=asker
        )
        make_ready(flo.ledger)
        shop = Shop(flovia=flo, provider=provider, url=url, folder=folder / "agent", sandbox=sandbox, lines=["# none"])
        showcase = Showcase(shop)
        with serving(showcase, listener), httpx.Client(base_url=url, trust_env=False, timeout=PATIENT_S) as http:
            sandbox.register_webhook(f"{url}{HOOKS}")
            try:
                yield Site(url=url, sandbox=sandbox, flo=flo, http=http, close=showcase.close)
            finally:
                showcase.close()
        flo.close()


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    """A showcase that is configured."""
    with open_site(tmp_path) as found:
        yield found
