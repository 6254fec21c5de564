"""The parts of ``flovia demo``; the whole of it is in ``tests/e2e/test_demo.py``."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from flovia.asgi import AsgiReceive, AsgiScope, AsgiSend
from flovia.cli import app as cli_app
from flovia.cli import demo, demo_showcase, main
from flovia.cli.demo_agent import pay_once
from flovia.cli.demo_site import HOST, listen, serving
from flovia.cli.misuse import Misused
from flovia.core.errors import LedgerError, PeerError
from flovia.ledger.memory import MemoryLedger
from tests.dashboard.shop import story
from tests.patience import PROGRAM_S


def test_without_a_port_any_free_one_will_do() -> None:
    """Two demos at once listen on different ports, without being told."""
    with listen(None) as first, listen(None) as second:
        assert first.getsockname() != second.getsockname()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """The message says which ports there are."""
    with pytest.raises(Misused, match="from 1 to 65535"):
        listen(port)


def test_the_agent_says_when_it_was_not_asked_to_pay(tmp_path: Path) -> None:
    """A route that answers without a payment is a fault to report, not a demo of anything."""

    async def free(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"free"})

    listener = listen(0)
    with listener, serving(free, listener), pytest.raises(PeerError, match="answered 200"):
        pay_once(f"http://{HOST}:{listener.getsockname()[1]}/", budget="1.00 USD", pending=tmp_path)


def test_an_event_that_never_comes_is_said() -> None:
    """A ledger that records nothing ends the demo with what to do, and not with a wait for ever."""
    with pytest.raises(LedgerError, match="--ledger"):
        demo.joined_event(MemoryLedger(), 0, "test-challenge", within_s=0.05)


def test_the_paid_call_is_found_behind_many_others() -> None:
    """A made-up past and other visitors write into the same ledger meanwhile."""
    ledger = MemoryLedger()
    for number in range(1, 401):
        ledger.append([event.to_row() for event in story(number, "settle", "deliver")])
    last = next(event.challenge_id for event in story(400, "settle", "deliver") if event.challenge_id)
    assert len(ledger.read_events()) < len(ledger.read_events(limit=10_000))
    assert last == demo.joined_event(ledger, 0, last).challenge_id


def test_ctrl_c_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as shells expect, and shows nobody where it was."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_app, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert 130 == ended.value.code


def test_a_memory_ledger_is_not_offered_for_reading() -> None:
    """No line to try names a ledger that only the demo itself can read."""
    assert any(" events " in line for line in demo.lines_to_try("http://127.0.0.1:1", "sqlite:///demo.db"))
    assert not any(" events " in line for line in demo.lines_to_try("http://127.0.0.1:1", "memory://"))


def test_a_key_of_ones_own_is_not_printed(tmp_path: Path) -> None:
    """What else commands need is; and for a ledger in memory there is nothing to say."""
    mine = "test_key_of_somebody_0123456789"
    with ExitStack() as stack:
        takes = demo_showcase.hitpay(stack, {"HITPAY_API_KEY": mine})
    lines = demo_showcase.settings_to_export(takes, f"sqlite:///{tmp_path}/demo.db")
    assert mine not in "\n".join(lines)
    assert ["HITPAY_MPP_ENDPOINT", "HITPAY_API_ENDPOINT", "FLOVIA_LEDGER"] == [
        line.split()[1].partition("=")[0] for line in lines if line.startswith("export ")
    ]
    assert "HITPAY_API_KEY as it is set here" in lines[0]
    assert [] == demo_showcase.settings_to_export(takes, "memory://")


def test_the_page_opens_in_a_browser(tmp_path: Path) -> None:
    """At a terminal with a display, the demo opens its page in the user's browser."""
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    os.mkfifo(opened)
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    near, far = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flovia.cli", "demo", "--ledger", f"sqlite:///{tmp_path / 'demo.db'}"],
        cwd=tmp_path,
        env={**os.environ, "DISPLAY": ":0", "BROWSER": f"{browser} %s"},
        stdin=subprocess.DEVNULL,
        stdout=far,
        stderr=far,
    )
    try:
        assert opened.read_text().startswith(f"http://{HOST}:")
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(timeout=PROGRAM_S)
    finally:
        process.kill()
        process.wait()
        os.close(near)
        os.close(far)


LOST_SIGNAL = """
import os, signal, sys, time
from flovia.cli import app as cli_app
from flovia.cli import demo, demo_showcase, main

def open_page(url):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    except KeyboardInterrupt:
        print("lost")  # as in a finalizer, out of which no exception comes

demo.webbrowser.open, demo._has_browser = open_page, lambda: True
sys.exit(demo.demo(port=0))
"""


def test_a_lost_interrupt_ends_the_demo_all_the_same(tmp_path: Path) -> None:
    """Ctrl-C at the moment in which Python cannot raise it still ends the demo, and not only the second one."""
    command = [sys.executable, "-c", LOST_SIGNAL]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.endswith("lost\n")
