"""Start a real WSGI or ASGI server on loopback for the length of a ``with`` block.

    with serve_wsgi(app, server="waitress") as url:
        httpx.get(f"{url}/paid")

The listening socket exists before the server does, so the URL can be used at once: early requests wait in
the kernel's queue. Servers run in a thread of this process, except gunicorn and those with several workers,
which are processes of their own: they need an import string (``package.module:app``, or
``package.module:make_app()``) and inherit the environment and ``sys.path``. Leaving the block ends the
server, and only that server.
"""

import contextlib
import importlib
import importlib.util
import inspect
import logging
import os
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Literal, Protocol, cast, get_args
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from flovia.core.errors import CallerError, WiringError

WsgiServer = Literal["wsgiref", "waitress", "gunicorn", "gunicorn-gthread"]
AsgiServer = Literal["uvicorn", "uvicorn-h11", "hypercorn", "hypercorn-trio"]
AsgiApplication = Callable[..., Awaitable[None]]

WSGI_SERVERS: tuple[WsgiServer, ...] = get_args(WsgiServer)
ASGI_SERVERS: tuple[AsgiServer, ...] = get_args(AsgiServer)

_PACKAGES: dict[str, tuple[str, ...]] = {
    "wsgiref": (),
    "waitress": ("waitress",),
    "gunicorn": ("gunicorn",),
    "gunicorn-gthread": ("gunicorn",),
    "uvicorn": ("uvicorn", "httptools"),
    "uvicorn-h11": ("uvicorn", "h11"),
    "hypercorn": ("hypercorn",),
    "hypercorn-trio": ("hypercorn", "trio"),
}
"""What each server needs to be installed."""

_log = logging.getLogger("flovia.testing")

_STARTED_WITHIN_S = 120.0
_ENDED_WITHIN_S = 30.0
_ANSWERS_WITHIN_S = 60
"""When uvicorn takes a worker for dead. Its own five seconds are over on a busy machine before a worker is up."""

_KEPT_S = 120
"""How long an idle connection stays open: longer than with any client, or the two would give it up at once."""


@contextmanager
def serve_wsgi(
    app: WSGIApplication | str, *, server: WsgiServer = "wsgiref", workers: int = 1, port: int = 0
) -> Generator[str]:
    """Serve a WSGI app on ``port`` (0: any free one); yields its base URL, without a slash at the end.

    ``app`` is the callable or an import string (gunicorn: only that). ``gunicorn`` has sync workers,
    ``gunicorn-gthread`` threaded ones; only gunicorn takes more than one worker.

    Raises:
        CallerError: this server cannot serve ``app`` in that way.
        WiringError: the server is not installed, or it ended by itself; the message carries what it printed.
    """
    _check_installed(server)
    with _listening(port) as (listener, url):
        if server in ("gunicorn", "gunicorn-gthread"):
            command = [sys.executable, "-m", "gunicorn", _import_string(app, server), "--bind"]
            command += [f"fd://{listener.fileno()}", "--workers", str(workers), "--log-level", "warning"]
            # No limit for a request: what waits on purpose, or for its turn on a busy machine, is not hanging.
            command += ["--graceful-timeout", "5", "--timeout", "0"]
            if server == "gunicorn-gthread":
                command += ["--worker-class", "gthread", "--threads", "8"]
            with _process(command, listener):
                yield url
            return
        if workers != 1:
            raise CallerError(f"{server} has one worker here: use server='gunicorn' for {workers}")
        found = cast("WSGIApplication", _resolve(app) if isinstance(app, str) else app)
        with _wsgiref(found, listener) if server == "wsgiref" else _waitress(found, listener):
            yield url


@contextmanager
def serve_asgi(
    app: AsgiApplication | str, *, server: AsgiServer = "uvicorn", workers: int = 1, port: int = 0
) -> Generator[str]:
    """Serve an ASGI app, its lifespan included, on ``port`` (0: any free one); yields its base URL.

    ``uvicorn`` parses with httptools, ``uvicorn-h11`` with h11; ``hypercorn`` runs on asyncio,
    ``hypercorn-trio`` on trio. More than one worker: uvicorn only, with an import string.

    Raises:
        CallerError: this server cannot serve ``app`` in that way.
        WiringError: the server is not installed, or it ended by itself; the message carries what it printed.
    """
    _check_installed(server)
    with _listening(port) as (listener, url):
        if workers != 1:
            if not server.startswith("uvicorn"):
                raise CallerError(f"{server} has one worker here: use server='uvicorn' for {workers}")
            target = _import_string(app, server)
            command = [sys.executable, "-m", "uvicorn", target.removesuffix("()"), "--workers", str(workers)]
            command += ["--fd", str(listener.fileno()), "--http", _uvicorn_http(server), "--ws", "none"]
            command += ["--timeout-keep-alive", str(_KEPT_S)]
            command += ["--log-level", "warning", *(["--factory"] if target.endswith("()") else [])]
            if "timeout_worker_healthcheck" in inspect.signature(importlib.import_module("uvicorn").Config).parameters:
                command += ["--timeout-worker-healthcheck", str(_ANSWERS_WITHIN_S)]
            with _process(command, listener):
                yield url
            return
        found = cast("AsgiApplication", _resolve(app) if isinstance(app, str) else app)
        if server.startswith("uvicorn"):
            running = _uvicorn(found, listener, _uvicorn_http(server))
        else:
            running = _hypercorn(found, listener, "trio" if server == "hypercorn-trio" else "asyncio")
        with running:
            yield url


def _check_installed(server: str) -> None:
    missing = [package for package in _PACKAGES.get(server, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise WiringError(f"{server} needs what is not installed; get it with: pip install {' '.join(missing)}")


@contextmanager
def _listening(port: int) -> Generator[tuple[socket.socket, str]]:
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    with listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def _import_string(app: object, server: str) -> str:
    if not isinstance(app, str):
        raise CallerError(f"{server} runs in processes of its own: pass 'package.module:app', not the app itself")
    return app


def _resolve(target: str) -> object:
    """The object an import string names; a trailing ``()`` calls it."""
    module, _, name = target.partition(":")
    found: object = importlib.import_module(module)
    for part in name.removesuffix("()").split("."):
        found = getattr(found, part)
    if name.endswith("()"):
        return cast("Callable[[], object]", found)()
    return found


@contextmanager
def _process(command: list[str], listener: socket.socket) -> Generator[None]:
    """Run a server that inherits the listening socket; SIGTERM at the end, SIGKILL if that does not help."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - the command is built above, no shell
            command,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        # From here the child alone holds the socket: if it dies, clients are refused instead of waiting.
        listener.close()
        try:
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(_ENDED_WITHIN_S)
            except subprocess.TimeoutExpired:
                # The workers too: an orphan would keep the port.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            printed = output.read().decode(errors="replace")
            sys.stderr.write(printed)
        # SIGTERM itself ends a server only if it has not started yet, or has failed to and said why.
        status = process.returncode
        if status not in (0, -signal.SIGKILL) and (status != -signal.SIGTERM or printed):
            raise WiringError(f"{command[2]} ended with status {status}; fix what it says:\n{printed}")


@contextmanager
def _thread(run: Callable[[], object], stop: Callable[[], object]) -> Generator[threading.Thread]:
    """Run a server's loop in a thread; at the end ask it to stop and wait for it."""
    thread = threading.Thread(target=run, daemon=True, name="flovia-test-server")
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(_ENDED_WITHIN_S)
        if thread.is_alive():
            raise WiringError("the server did not stop: a request handler in it never ends")


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print no access log. Tracebacks still go to standard error."""


class _ThreadingWsgiServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when the client went away; that is a thing tests do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(cast("socket.socket", request), client_address)


@contextmanager
def _wsgiref(app: WSGIApplication, listener: socket.socket) -> Generator[None]:
    server = _ThreadingWsgiServer(listener.getsockname(), _QuietHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    # What server_bind() would have set; reading the host name from DNS, as that does, can take seconds.
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(app)
    with _thread(lambda: server.serve_forever(poll_interval=0.02), server.shutdown):
        yield
    server.server_close()


class _WaitressTrigger(Protocol):
    def pull_trigger(self, thunk: Callable[[], None]) -> None: ...


class _WaitressDispatcher(Protocol):
    def shutdown(self) -> bool: ...


class _WaitressServer(Protocol):
    trigger: _WaitressTrigger
    task_dispatcher: _WaitressDispatcher

    def run(self) -> None: ...


@contextmanager
def _waitress(app: WSGIApplication, listener: socket.socket) -> Generator[None]:
    # waitress has no type information.
    waitress = importlib.import_module("waitress")
    wasyncore = importlib.import_module("waitress.wasyncore")
    channels: dict[int, object] = {}
    server = cast(
        "_WaitressServer",
        # Never spill to disk: waitress forgets to close the file when the client goes away.
        waitress.create_server(app, map=channels, sockets=[listener], threads=8, outbuf_overflow=1 << 26),
    )

    def close_all() -> None:
        wasyncore.close_all(channels, ignore_all=True)

    def stop() -> None:
        # The loop may find close_all, woken by a worker, before this has woken it: then there is nobody left to wake.
        with contextlib.suppress(OSError):
            server.trigger.pull_trigger(close_all)

    # Channels belong to the loop's thread, so they are closed there; without any the loop ends.
    with _thread(server.run, stop):
        yield
    server.task_dispatcher.shutdown()


def _uvicorn_http(server: str) -> Literal["h11", "httptools"]:
    return "h11" if server == "uvicorn-h11" else "httptools"


@contextmanager
def _uvicorn(app: AsgiApplication, listener: socket.socket, http: Literal["h11", "httptools"]) -> Generator[None]:
    import uvicorn

    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        loop="asyncio",
        log_level="warning",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=_KEPT_S,
        log_config=None,
    )
    server = uvicorn.Server(config)

    def run() -> None:
        # uvicorn logs why it cannot start and then exits the interpreter.
        with contextlib.suppress(SystemExit):
            server.run(sockets=[listener])

    def stop() -> None:
        server.should_exit = True

    with _thread(run, stop) as thread:
        _wait_until(lambda: server.started, thread, "uvicorn")
        yield


@contextmanager
def _hypercorn(app: AsgiApplication, listener: socket.socket, backend: Literal["asyncio", "trio"]) -> Generator[None]:
    import anyio
    import anyio.to_thread
    from hypercorn.config import Config

    config = Config()
    # hypercorn takes the descriptor over and closes it.
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 2
    config.keep_alive_timeout = _KEPT_S
    config.loglevel = "WARNING"
    config.accesslog = None
    stopping = threading.Event()
    ready = threading.Event()

    async def trigger() -> None:
        ready.set()
        await anyio.to_thread.run_sync(stopping.wait, abandon_on_cancel=True)

    def run() -> None:
        serve = importlib.import_module(f"hypercorn.{backend}").serve
        try:
            anyio.run(lambda: serve(app, config, shutdown_trigger=trigger, mode="asgi"), backend=backend)
        except Exception:
            _log.exception("hypercorn ended with an error")

    with _thread(run, stopping.set) as thread:
        _wait_until(ready.is_set, thread, "hypercorn")
        yield


def _wait_until(started: Callable[[], bool], thread: threading.Thread, name: str) -> None:
    """Wait until the server says so, or has ended without."""
    give_up = time.monotonic() + _STARTED_WITHIN_S
    while not started():
        if not thread.is_alive() or time.monotonic() > give_up:
            raise WiringError(f"{name} did not start: its log says why (the app's lifespan may have failed)")
        time.sleep(0.005)
