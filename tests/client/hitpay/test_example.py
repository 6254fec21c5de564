"""examples/hitpay_shop.py and examples/hitpay_agent.py do what they say."""

import os
import runpy
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

from flovia.sandbox import Sandbox, serving
from flovia.testing.servers import serve_wsgi
from tests.client.hitpay.app import selling
from tests.tree import ROOT


@attrs.frozen(kw_only=True)
class Shop:
    """The sandbox, and the example's shop over it."""

    sandbox: Sandbox
    url: str


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    """One of each; the shop takes the environment's sandbox, as a reader's would."""
    monkeypatch.chdir(tmp_path)
    with serving(seed=31) as sandbox:
        for name, value in {**sandbox.environment, "FLOVIA_SECRET": "test-secret-of-32-characters-000"}.items():
            monkeypatch.setenv(name, value)
        make_app = runpy.run_path(str(ROOT / "examples" / "hitpay_shop.py"))["make_app"]
        with serve_wsgi(make_app()) as url:
            yield Shop(sandbox=sandbox, url=f"{url}/report")


def agent(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the example."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "hitpay_agent.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_sandbox_pays_then_a_person_does(tmp_path: Path, shop: Shop) -> None:
    """Without a person, and with one who pays after a second; the receipt is verified both times."""
    said = f"1.00 SGD to {shop.url.removesuffix('/report')}, receipt verified\n" + '{"report": [3, 1, 4]}\n'
    assert (0, said) == agent(tmp_path, "--auto-pay", shop.url)[:2]
    shop.sandbox.fault("payer", "auto_pay", delay=1)
    status, out, err = agent(tmp_path, shop.url)
    assert (0, said) == (status, out)
    assert "Pay 1.00 SGD to" in err
    assert 2 == agent(tmp_path)[0]


def test_a_dead_end_and_a_resumption(tmp_path: Path, shop: Shop) -> None:
    """The server fails after the payment: another process resumes, and a failed charge is exit 5."""
    shop.sandbox.fault("http", 503, route="B3")
    status, out, _ = agent(tmp_path, "--auto-pay", shop.url)
    assert (3, True) == (status, "Do not pay again" in out)
    shop.sandbox.clear()
    status, out, _ = agent(tmp_path, "--resume", out.split("--resume ")[1].strip())
    assert (0, True) == (status, '{"report"' in out), out
    assert 1 == len(shop.sandbox.charges())
    shop.sandbox.fault("http", 503, route="B1")
    status, out, _ = agent(tmp_path, "--auto-pay", shop.url)
    assert (0, "") == (status, out.partition("{")[0])  # no challenge, so nothing to pay: the server's own 503 is shown


def test_a_wallet_is_saved_and_used(tmp_path: Path) -> None:
    """The person approves once; both calls are charged to the grant, and neither pays at a checkout."""
    with serving(seed=32) as sandbox, selling(sandbox, tmp_path, saved=True) as url:
        sandbox.fault("payer", "auto_pay", delay=0.5)
        assert 0 == agent(tmp_path, "--save", f"{url}/report")[0]
        assert 0 == agent(tmp_path, f"{url}/report")[0]
        (found,) = [each for each in sandbox.saved_methods() if each["uses"]]
        assert ("2.00", 2) == (found["spent"], found["uses"])


def test_the_shop_brings_its_own_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no setting at all there is a sandbox on this machine, and an agent can pay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOVIA_SECRET", "test-secret-of-32-characters-000")
    for name in ("API_KEY", "WEBHOOK_SALT", "API_SALT", "MPP_ENDPOINT", "API_ENDPOINT"):
        monkeypatch.setenv(f"HITPAY_{name}", "test_unset")  # so that it is put back after the example has set it
        monkeypatch.delenv(f"HITPAY_{name}")
    found = runpy.run_path(str(ROOT / "examples" / "hitpay_shop.py"))
    with serve_wsgi(found["make_app"]()) as url:
        assert "receipt verified" in agent(tmp_path, "--auto-pay", f"{url}/report")[1]
