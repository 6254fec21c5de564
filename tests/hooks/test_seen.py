"""What somebody sees who has set up no logging at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.adapters.behaviour.wire import exchange, head
from tests.hooks.apps import BANK, HOOK, LEDGER
from tests.patience import PROGRAM_S
from tests.ports import chosen_port

COMMANDS = {
    "flask": ("flask", "--app", "tests.hooks.apps:flask_app", "run", "--port"),
    "uvicorn": ("uvicorn", "--factory", "tests.hooks.apps:asgi_app", "--port"),
}


@pytest.mark.parametrize("server", COMMANDS)
def test_a_wrong_secret_is_seen(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``flask run`` and with ``uvicorn`` a webhook whose signature is wrong is a line on standard error."""
    monkeypatch.setenv(BANK, "http://127.0.0.1:9")
    monkeypatch.setenv(LEDGER, f"sqlite:///{tmp_path}/hooks.db")
    port, printed = chosen_port(), tmp_path / "printed"
    command = [sys.executable, "-m", *COMMANDS[server], str(port)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            fields = [("Host", f"127.0.0.1:{port}"), ("Connection", "close"), ("Content-Length", "2")]
            sent = head("POST", HOOK, [*fields, ("Bank-Signature", "test-signature")]) + b"{}"
            give_up = time.monotonic() + PROGRAM_S
            while True:
                try:
                    reply = exchange(f"http://127.0.0.1:{port}", sent, "POST")
                    break
                except OSError:
                    assert process.poll() is None, printed.read_text()
                    assert time.monotonic() < give_up
                    time.sleep(0.1)
        finally:
            process.terminate()
            process.wait(PROGRAM_S)
    assert 401 == reply.status
    text = printed.read_text()
    assert 1 == text.count("webhooks of hookbank refused because no signature fits"), text
    assert "test-signature" not in text
