"""The three parts: a sandbox, an app in a process of its own, an agent."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import httpx
import pytest

from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.encoding import JsonObject
from flovia.sandbox import Sandbox, serving
from flovia.testing.servers import serve_wsgi


@attrs.frozen(kw_only=True)
class Site:
    """A running app, its sandbox, and what an agent does."""

    sandbox: Sandbox
    url: str
    agent: httpx.Client
    ledger: str

    def get(self, path: str = "/forecast?zip=94103", token: str | None = None, **headers: str) -> httpx.Response:
        """One request."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            fields["authorization"] = f"Payment {token}"
        return self.agent.get(self.url + path, headers=fields)

    def challenge(self, path: str = "/forecast?zip=94103", **headers: str) -> Challenge:
        """A fresh challenge."""
        return challenge_of(self.get(path, **headers))

    def calls(self, route: str) -> int:
        """How often the sandbox was called on a route."""
        return len(self.sandbox.journal(route))


def challenge_of(response: httpx.Response) -> Challenge:
    """The one challenge of a 402."""
    assert 402 == response.status_code, response.text
    (found,) = parse_challenges(response.headers.get_list("www-authenticate"))
    return found


def ident(challenge: Challenge) -> str:
    """The charge or setup that a challenge leads to."""
    details = challenge.request_json["methodDetails"]
    assert isinstance(details, dict)
    return str(details.get("challenge_id") or details["saved_method_id"])


def token(challenge: Challenge, payload: JsonObject | None = None) -> str:
    """A credential in the protocol's form."""
    written = format_credential(Credential(challenge, payload or {"challenge_id": ident(challenge)}))
    return written.removeprefix("Payment ")


def code(response: httpx.Response) -> tuple[int, str]:
    """Status and problem code."""
    return response.status_code, response.json()["type"].rpartition("/")[2].rpartition(":")[2]


Start = Callable[..., Site]


@contextmanager
def running(folder: Path, *, workers: int = 1, **environment: str | None) -> Generator[Site]:
    """A site in a folder of its own; ``workers`` processes, environment in upper case, None for what is not set."""
    with serving() as sandbox, pytest.MonkeyPatch.context() as patch, httpx.Client(timeout=60) as agent:
        ledger = f"sqlite:///{folder}/flovia.db"
        own = {
            "FLOVIA_LEDGER": ledger,
            "FLOVIA_SECRET": "test-secret-of-at-least-32-bytes!!",
            "E2E_MARKER": str(folder / "marker"),
            "E2E_MANY": "",
        }
        for name, value in (*sandbox.environment.items(), *own.items(), *environment.items()):
            if value is None:
                patch.delenv(name)
            else:
                patch.setenv(name, value)
        with serve_wsgi("tests.e2e.hitpay.app:make_app()", server="gunicorn", workers=workers) as url:
            yield Site(sandbox=sandbox, url=url, agent=agent, ledger=ledger)


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Start a site of this test's own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(tmp_path, **options))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """One site for the tests that leave nothing behind; its limit of charges is out of the way."""
    with running(tmp_path_factory.mktemp("site"), E2E_MANY="1") as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Site:
    """The shared site, with a sandbox that has forgotten everything."""
    shared.sandbox.clear()
    shared.sandbox.reset()
    return shared
