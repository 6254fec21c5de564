"""``flovia sandbox``, started as a user starts it."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.sandbox.local import HASH
from tests.sandbox.process import sandbox

ANY_ADDRESS = ".".join("0000")
"""The address that would let everybody in."""

WITHIN_S = 60.0


def refused(*arguments: str, status: int = 1) -> str:
    """What the command says when it does not start, with the exit status that is promised."""
    done = subprocess.run(
        [sys.executable, "-m", "flovia.cli", "sandbox", *arguments],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert status == done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def exports(printed: str) -> str:
    """The lines that a reader pastes into their shell."""
    return "\n".join(line for line in printed.splitlines() if line.startswith("export "))


def shell(program: str) -> str:
    """What a shell program prints."""
    return subprocess.run(["sh", "-eu", "-c", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_says_what_to_set_and_works(number: signal.Signals) -> None:
    """With what it prints a charge can be made, which pays itself; Ctrl-C and SIGTERM end it with status 0."""
    with sandbox("--seed", "5", "--auto-pay", "0", "--no-limits") as running:
        found = running.environment
        assert {
            "HITPAY_API_KEY",
            "HITPAY_WEBHOOK_SALT",
            "HITPAY_API_SALT",
            "HITPAY_MPP_ENDPOINT",
            "HITPAY_API_ENDPOINT",
        } == set(found)
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as http:
            body = {
                "api_key": found["HITPAY_API_KEY"],
                "amount": "1.00",
                "currency": "sgd",
                "nonce": "nonce-number-0001",
                "request_hash": HASH,
            }
            charge = http.post(f"{found['HITPAY_MPP_ENDPOINT']}/v1/charges", json=body).json()
            give_up = time.monotonic() + WITHIN_S
            while http.get(charge["polling_url"]).json()["status"] != "paid":
                assert time.monotonic() < give_up
                time.sleep(0.02)
            assert http.get(charge["checkout_url"]).text.count("Paid.") == 1
        assert 32 <= len(shell(f'{exports(running.printed)}\nprintf %s "$FLOVIA_SECRET"'))
        running.process.send_signal(number)
        rest = running.process.communicate(timeout=WITHIN_S)[0]
    assert 0 == running.process.returncode
    assert "Traceback" not in rest


def test_a_seed_gives_the_same_key() -> None:
    """So that settings can stay where they are between two runs."""
    keys = []
    for _ in range(2):
        with sandbox("--seed", "5", "--host", "127.0.0.1") as running:
            keys.append([running.environment[name] for name in ("HITPAY_API_KEY", "HITPAY_WEBHOOK_SALT")])
    assert keys[0] == keys[1]


def test_options_reach_the_sandbox() -> None:
    """Limits are HitPay's unless told otherwise; the first contract and a webhook can be asked for."""
    with sandbox("--contract", "2026-05-old", "--webhook", "http://127.0.0.1:9/hook") as running:
        found = running.environment
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as http:
            faults = http.get(f"{found['HITPAY_MPP_ENDPOINT']}/__emulator/faults").json()["faults"]
            assert [{"knob": "contract", "value": "2026-05-old"}] == faults
            key = {"x-business-api-key": found["HITPAY_API_KEY"]}
            assert "Events of every test_ key go to http://127.0.0.1:9/hook" in running.printed
            body = {"amount": "1.00", "currency": "sgd"}
            url = f"{found['HITPAY_API_ENDPOINT']}/v1/payment-requests"
            statuses = [http.post(url, json=body, headers=key).status_code for _ in range(71)]
    assert [*([201] * 70), 429] == statuses


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", ANY_ADDRESS], "this machine only"),
        (["--host", "sandbox.mpp.hitpay.dev"], "this machine only"),
        (["--auto-pay", "-1"], "--auto-pay"),
        (["--contract", "none"], "--contract"),
        (["--broker-port", "65536"], "no port"),
        (["--broker-port", "0", "--api-port", "0", "--webhook", "https://example.com/"], "loopback"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], expected: str) -> None:
    """One line that says what is wrong, and the status of an option that was not understood."""
    assert expected in refused(*arguments, status=2)


def test_a_port_in_use_is_said() -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another" in refused("--broker-port", str(taken.getsockname()[1]))


@pytest.mark.parametrize("package", ["cryptography", "segno", "uvicorn"])
def test_without_the_extra(package: str, tmp_path: Path) -> None:
    """Importing the sandbox names the line that installs what it needs; so does the command."""
    code = f"import sys; sys.modules[{package!r}] = None\nimport flovia.sandbox"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("flovia.core.errors.WiringError: ")
    assert last.endswith(f"the sandbox needs {package}; install it with: pip install 'flovia[sandbox]'")
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['flovia', 'sandbox']\n"
    code += "from flovia.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert 1 == done.returncode
    assert "pip install 'flovia[sandbox]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_shares_no_code_with_what_it_tests(tmp_path: Path) -> None:
    """Importing the sandbox loads neither a provider nor what checks signatures, nor a library for them."""
    code = "import sys, flovia.sandbox, flovia.sandbox.serving\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "flovia.sandbox.signing" in loaded
    others = (
        "flovia.providers",
        "flovia.signed",
        "flovia.client",
        "flovia.core.money",
        "flovia.core.encoding",
        "joserfc",
    )
    assert [] == [name for name in others if name in loaded]


def test_a_broken_module_of_our_own_is_not_taken_for_an_extra(tmp_path: Path) -> None:
    """It is a bug, and shown as one."""
    code = "import sys; sys.modules['flovia.sandbox.core'] = None\nimport flovia.sandbox"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError")
