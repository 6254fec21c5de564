"""examples/hitpay_shop.py and examples/hitpay_agent.py do what they say."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from flovia.sandbox import Sandbox, serving
from tests.tree import ROOT


@attrs.frozen(kw_only=True)
class Shop:
    """The sandbox, and the example's shop over it."""

    sandbox: Sandbox
    url: str


@contextmanager
def running(folder: Path, environment: Mapping[str, str]) -> Generator[str]:
    """The example's shop in a process of its own; yields the address of what it sells."""
    program = f"import runpy; runpy.run_path({str(ROOT / 'examples' / 'hitpay_shop.py')!r})['main'](0)"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HITPAY_", "FLOVIA_"))}
    path = os.pathsep.join(path for path in sys.path if path)
    shop = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        cwd=folder,
        env={**kept, "FLOVIA_SECRET": "test-secret-of-32-characters-000", "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert shop.stdout is not None
        yield shop.stdout.readline().split(" ")[0]
    finally:
        shop.terminate()
        shop.communicate()


@pytest.fixture
def shop(tmp_path: Path) -> Generator[Shop]:
    """One of each."""
    with serving(seed=31) as sandbox, running(tmp_path, sandbox.environment) as url:
        yield Shop(sandbox=sandbox, url=url)


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


def test_a_wallet_is_saved_and_used(tmp_path: Path, shop: Shop) -> None:
    """The person approves once; both calls are charged to the grant, and neither pays at a checkout."""
    shop.sandbox.fault("payer", "auto_pay", delay=0.5)
    status, out, err = agent(tmp_path, "--save", shop.url)
    assert (0, True) == (status, '{"report"' in out), err
    assert "at most 5.00 SGD" in err
    status, _, err = agent(tmp_path, shop.url)
    assert (0, False) == (status, "Pay 1.00 SGD to" in err)
    (found,) = [each for each in shop.sandbox.saved_methods() if each["uses"]]
    assert ("2.00", 2) == (found["spent"], found["uses"])


def test_the_shop_brings_its_own_sandbox(tmp_path: Path) -> None:
    """With no setting at all there is a sandbox on this machine, and an agent can pay."""
    with running(tmp_path, {}) as url:
        assert "receipt verified" in agent(tmp_path, "--auto-pay", url)[1]


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    """The shop says that its port is taken and how to give another one, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "hitpay_shop.py"), str(port)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    assert (1, "") == (done.returncode, done.stdout)
    assert f"\nport {port}: " in f"\n{done.stderr}"
    assert "python examples/hitpay_shop.py" in done.stderr
    assert "Traceback" not in done.stderr
