"""The fixture app itself: how it is started, what it refuses, and that its controls do what they say."""

import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.providers.mock import MockProvider
from flovia.testing.fixture import ADAPTERS, build, serve
from tests.adapters.behaviour.wire import control, exchange, head
from tests.adapters.test_races_http import credential
from tests.adapters.test_races_http import get as fetch
from tests.patience import PROGRAM_S, eventually
from tests.ports import chosen_port
from tests.postgres.server import Server


def get(url: str, path: str) -> int:
    """The status of one GET."""
    fields = [("Host", url.removeprefix("http://")), ("Connection", "close")]
    return exchange(url, head("GET", path, fields), "GET").status


def events_of(url: str, *, at_least: int) -> int:
    """How many events the sink has got, each another one, once it has so many: some are written a moment later."""

    def look() -> int:
        found = cast("list[dict[str, str]]", control(url, "GET", "counters")["events"])
        assert len(found) == len({event["id"] for event in found})
        return len(found)

    return eventually(look, lambda found: found >= at_least)


def test_runs_as_a_program() -> None:
    """It prints one line when it answers, serves on the port it was given, and ends with 0 on SIGTERM."""
    port = chosen_port()
    command = [sys.executable, "-m", "flovia.testing.fixture", "--adapter", "asgi", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"ready http://127.0.0.1:{port}\n" == process.stdout.readline()
        assert 402 == get(f"http://127.0.0.1:{port}", "/paid")
        process.send_signal(signal.SIGTERM)
        assert "" == process.stdout.read()
        assert 0 == process.wait(timeout=PROGRAM_S)


def test_serves_from_postgres(postgres: Server, ledger_template: str) -> None:
    """The program keeps payments, events and counts in PostgreSQL, the handler's own gate in a schema beside; reset."""
    port, ledger = chosen_port(), postgres.url(postgres.database(ledger_template))
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "flovia.testing.fixture", "--adapter", "wsgi", "--port", str(port)]
    with subprocess.Popen([*command, "--ledger", ledger], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert f"ready {url}\n" == process.stdout.readline()
            for path in ("/paid", "/observed"):
                authorization = credential(url, path, f"ok-{path[1:]}")
                assert 200 == fetch(url, path, authorization).status
                used = eventually(partial(fetch, url, path, authorization), lambda reply: reply.status != 409)
                assert 402 == used.status
            counted = control(url, "GET", "counters")
            assert (2, 1, 1) == (counted["handler_calls"], counted["ledger_keys"], counted["deliveries"])
            control(url, "POST", "reset")
            assert 0 == control(url, "GET", "counters")["ledger_keys"]
            assert 402 == get(url, "/paid")
        finally:
            process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=PROGRAM_S)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--adapter", "asgi", "--workers", "2"], "cannot share memory://"),
        (["--adapter", "asgi", "--server", "gunicorn"], "does not serve asgi"),
        (["--adapter", "wsgi", "--ledger", "mongodb://x"], "no kind of ledger"),
        (["--adapter", "wsgi", "--provider", "nobody"], "no provider 'nobody'"),
    ],
)
def test_says_what_cannot_work(options: list[str], message: str) -> None:
    """Settings that do not go together end the program with 2 and a sentence, not with a traceback."""
    command = [sys.executable, "-m", "flovia.testing.fixture", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert 2 == done.returncode
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "" == done.stdout


def test_says_that_a_port_is_taken() -> None:
    """A port that somebody else listens on is named as the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "flovia.testing.fixture", "--adapter", "wsgi", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert "in use" in done.stderr


def test_refuses_a_live_provider() -> None:
    """A provider that takes real money is not served by an app that gives things away."""
    with pytest.raises(WiringError, match="test mode"):
        build("asgi", provider=MockProvider(live=True))


def test_knows_its_adapters() -> None:
    """Another adapter's name is an error that lists the right ones."""
    with pytest.raises(WiringError, match="wsgi, asgi, flask, fastapi, hono"):
        build("django")


def test_controls_refuse_what_they_do_not_know() -> None:
    """An unknown member, target, mode or endpoint is refused, and changes nothing."""
    with serve("hono") as url:
        for name, given in [
            ("clock", {"advance": 5}),
            ("clock", {"advance_s": "5"}),
            ("clock", {"advance_s": -5}),
            ("clock", {"advance_s": True}),
            ("faults", {"target": "moon", "mode": "down"}),
            ("faults", {"target": "ledger", "mode": "tired"}),
            ("faults", {"target": "ledger", "mode": "slow", "seconds": "1"}),
            ("faults", {"target": "ledger", "mode": "slow", "minutes": 1}),
            ("config", {"colour": "blue"}),
            ("config", {"secret": 5}),
            ("config", {"prices": ["1.00"]}),
            ("config", {"prices": {"/paid": 1}}),
            ("reset", {"hard": True}),
        ]:
            with pytest.raises(AssertionError, match="error"):
                control(url, "POST", name, cast("JsonValue", given))
        with pytest.raises(AssertionError, match="no such control"):
            control(url, "GET", "nothing")
        assert 402 == get(url, "/paid")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_clock_stands_still(adapter: str) -> None:
    """Time passes only when somebody says so; the answer is RFC 3339."""
    with serve(adapter) as url:
        first = str(control(url, "POST", "clock", {"advance_s": 0})["now"])
        assert first == control(url, "POST", "clock", {"advance_s": 0})["now"]
        assert first != control(url, "POST", "clock", {"advance_s": 1})["now"]
        assert first.endswith("Z")
        assert len("2026-01-01T00:00:00Z") == len(first)


def test_a_clock_of_ones_own() -> None:
    """In process the clock can be given; advancing adds to it."""
    from flovia.testing.servers import AsgiApplication, serve_asgi

    app = build("asgi", clock=lambda: 1_000_000_000.0)
    try:
        with serve_asgi(cast("AsgiApplication", app)) as url:
            assert "2001-09-09T01:46:50Z" == control(url, "POST", "clock", {"advance_s": 10})["now"]
    finally:
        app.close()


def test_counts_over_all_processes(tmp_path: Path) -> None:
    """With several workers counters, clock and settings are one, whoever answers; a reset empties the ledger."""
    ledger = f"sqlite:///{tmp_path / 'fixture.db'}"
    with serve("wsgi", server="gunicorn", workers=3, ledger=ledger) as url:
        for _ in range(12):
            assert 200 == get(url, "/free")
            assert 402 == get(url, "/paid")
        counted = control(url, "GET", "counters")
        assert (12, 0) == (counted["handler_calls"], counted["ledger_keys"])
        assert 12 * 3 == events_of(url, at_least=12 * 3)
        now = {str(control(url, "POST", "clock", {"advance_s": 0})["now"]) for _ in range(6)}
        assert 1 == len(now)
        control(url, "POST", "faults", {"target": "ledger", "mode": "down"})
        assert {503} == {get(url, "/paid") for _ in range(6)}
        control(url, "POST", "reset")
        assert {402} == {get(url, "/paid") for _ in range(6)}
        assert 0 == control(url, "GET", "counters")["handler_calls"]


def test_the_sink_gets_every_event_once() -> None:
    """Events wait in the ledger while the sink fails, and arrive once it does not: each once, though sent again."""
    with serve("wsgi") as url:
        for mode, arrives in [("down", False), ("hang", False), ("slow", True), ("lost_ack", True), ("raises", False)]:
            control(url, "POST", "reset")
            control(url, "POST", "faults", {"target": "sink", "mode": mode, "seconds": 0.01})
            assert 402 == get(url, "/paid")
            expected = 3 if arrives else 0
            assert [expected] * 2 == [events_of(url, at_least=expected) for _ in range(2)]
            control(url, "DELETE", "faults")
            assert 3 == events_of(url, at_least=3)
