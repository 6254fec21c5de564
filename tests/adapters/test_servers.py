"""The server starters themselves: what they refuse, and how they end."""

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from types import ModuleType
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import pytest

from flovia import AsgiReceive, AsgiScope, AsgiSend, CallerError, WiringError
from flovia.testing import servers
from flovia.testing.servers import ASGI_SERVERS, AsgiServer, WsgiServer, serve_asgi, serve_wsgi
from tests.patience import PATIENT_S, PROGRAM_S, eventually
from tests.ports import chosen_port

NEVER_S = 36_000
"""Longer than any test may take."""
HURRIED = httpx.Timeout(PATIENT_S, read=0.1)
"""For requests that are certain to get no answer."""
go_on = threading.Event()
"""Lets the ASGI app answer ``/slow``."""


def slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """For ``/slow`` no answer at all, nothing else."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(NEVER_S)
    if environ["PATH_INFO"] == "/raises":
        raise RuntimeError("raised for the server")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def plain(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """An app with a lifespan."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    if scope["path"] == "/slow":
        go_on.wait(PATIENT_S)  # blocks the server on purpose
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def failing(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """An app that refuses to start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "not today"})


def make_asgi() -> object:
    """The app, from a factory."""
    return plain


def get(url: str) -> bytes:
    """One request, with time to start."""
    return httpx.get(url, timeout=PROGRAM_S).content


def test_several_workers() -> None:
    """gunicorn and uvicorn take an import string and a number of workers; an attribute's attribute is found."""
    with serve_wsgi("tests.adapters.test_servers:slow", server="gunicorn", workers=2) as url:
        assert b"ok" == get(url)
    with serve_asgi("tests.adapters.test_servers:make_asgi()", server="uvicorn-h11", workers=2) as url:
        assert b"ok" == get(url)
    sys.modules["test_servers_holder"] = holder = ModuleType("test_servers_holder")
    holder.__dict__["inner"] = sys.modules[__name__]
    with serve_wsgi("test_servers_holder:inner.slow") as url:
        assert b"ok" == get(url)


def test_a_port_of_ones_own() -> None:
    """A chosen port is served, and free again afterwards."""
    port = chosen_port()
    for _ in range(2):
        with serve_wsgi(slow, port=port) as url:
            assert f"http://127.0.0.1:{port}" == url
            assert b"ok" == get(url)


def test_what_cannot_be_served_says_why() -> None:
    """An object for another process, and workers where there is only one."""
    with pytest.raises(CallerError, match=r"'package\.module:app'"), serve_wsgi(slow, server="gunicorn"):
        pass
    with pytest.raises(CallerError, match="server='gunicorn'"), serve_wsgi(slow, workers=2):
        pass
    with pytest.raises(CallerError, match="server='uvicorn'"), serve_asgi(plain, server="hypercorn", workers=2):
        pass


@pytest.mark.parametrize(
    ("server", "package"), [("waitress", "waitress"), ("gunicorn", "gunicorn"), ("gunicorn-gthread", "gunicorn")]
)
def test_a_missing_wsgi_server(server: WsgiServer, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not installed is an error with the line that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WiringError, match=f"pip install {package}"), serve_wsgi(slow, server=server):
        pass


@pytest.mark.parametrize(
    ("server", "package"),
    [("uvicorn", "httptools"), ("uvicorn-h11", "uvicorn"), ("hypercorn", "hypercorn"), ("hypercorn-trio", "trio")],
)
def test_a_missing_asgi_server(server: AsgiServer, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a part that the server needs."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WiringError, match=f"pip install {package}"), serve_asgi(plain, server=server):
        pass


def test_a_process_that_ends_by_itself() -> None:
    """Clients are refused rather than left waiting, and the error carries what the server printed."""
    with (
        pytest.raises(WiringError, match="no_such_module"),
        serve_wsgi("no_such_module:app", server="gunicorn") as url,
        pytest.raises(httpx.ConnectError),
    ):
        while True:  # first it is cut off, and refused when the last process is gone
            with contextlib.suppress(httpx.ReadError, httpx.RemoteProtocolError):
                get(url)


def test_a_process_that_is_not_needed_after_all() -> None:
    """Leaving before the server has started is no error."""
    with serve_wsgi("tests.adapters.test_servers:slow", server="gunicorn") as url:
        assert url.startswith("http://127.0.0.1:")


def test_a_process_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes too long to stop is killed."""
    monkeypatch.setattr(servers, "_ENDED_WITHIN_S", 0.1)
    with serve_wsgi("tests.adapters.test_servers:slow", server="gunicorn") as url:
        assert b"ok" == get(url)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{url}/slow", timeout=HURRIED)
    with pytest.raises(httpx.TransportError):
        get(url)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nothing can be killed, so it is an error; the thread runs into its closed socket."""
    before = set(threading.enumerate())
    go_on.clear()
    try:
        with pytest.raises(WiringError, match="never ends"), serve_asgi(plain) as url:
            monkeypatch.setattr(servers, "_ENDED_WITHIN_S", 0.1)
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{url}/slow", timeout=HURRIED)
    finally:
        go_on.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENT_S)


@pytest.mark.parametrize("server", ASGI_SERVERS)
def test_an_app_that_refuses_to_start(server: AsgiServer) -> None:
    """A failed lifespan is a failed start; on trio hypercorn may only notice when it already serves."""
    with pytest.raises((WiringError, httpx.TransportError)), serve_asgi(failing, server=server) as url:
        get(url)


def test_what_wsgiref_prints(capfd: pytest.CaptureFixture[str]) -> None:
    """An app's exception, but not a client that went away."""
    so_far: list[str] = []

    def read() -> str:
        so_far.append(capfd.readouterr().err)
        return "".join(so_far)

    with serve_wsgi(slow) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as wire:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # an RST instead of a FIN
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            wire.send(b"GET")
        assert b"ok" == get(url)
        assert 500 == httpx.get(f"{url}/raises", timeout=PATIENT_S).status_code
        printed = eventually(read, lambda text: "raised for the server" in text)
    printed += capfd.readouterr().err
    assert "raised for the server" in printed
    assert "ConnectionResetError" not in printed


def test_signals_of_this_process_stay() -> None:
    """Servers in threads leave the handlers of the test run alone."""
    before = signal.getsignal(signal.SIGINT)
    with serve_asgi(plain) as url:
        assert b"ok" == get(url)
        assert before is signal.getsignal(signal.SIGINT)
