"""The dashboard under WSGI: an event loop in a thread of its own, begun in the process that answers."""

import asyncio
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import attrs

from flovia.ledger.forking import watch

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from a2wsgi import ASGIMiddleware
    from starlette.types import ASGIApp


@attrs.frozen
class _Running:
    """What one process has."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    face: "ASGIMiddleware"


class WsgiFace:
    """An ASGI application for a WSGI server.

    The loop begins with the first request, so a server that loads the app and then forks has one in each worker.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app
        self._lock = threading.Lock()
        self._running: _Running | None = None
        watch(self)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        environ = dict(environ)
        # Servers hand on bytes that are no ASCII; an address has none.
        environ["QUERY_STRING"] = quote(
            str(environ.get("QUERY_STRING", "")), safe="%&=+;:@/?!$'()*,~-._", encoding="latin-1"
        )
        try:
            for name in ("SCRIPT_NAME", "PATH_INFO"):
                str(environ.get(name, "")).encode("latin-1").decode("utf-8")
        except UnicodeError:
            start_response("400 Bad Request", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"the path is no UTF-8"]
        return self._face()(cast("Any", environ), cast("Any", start_response))

    def close(self) -> None:
        """End the loop of this process."""
        running, self._running = self._running, None
        if running is not None:
            running.loop.call_soon_threadsafe(running.loop.stop)
            running.thread.join(10)
            if not running.thread.is_alive():
                running.loop.close()

    def _face(self) -> "ASGIMiddleware":
        running = self._running
        if running is not None:
            return running.face
        with self._lock:
            if self._running is None:
                self._running = self._begin()
            return self._running.face

    def _begin(self) -> _Running:
        from a2wsgi import ASGIMiddleware

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="flovia-dashboard-wsgi", daemon=True)
        thread.start()
        face = ASGIMiddleware(cast("Any", self._app), loop=loop)
        return _Running(loop, thread, face)

    # --- forks -------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing: the parent goes on as it is."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's loop, whose thread is not here, and its lock, which another thread may have held."""
        self._lock, self._running = threading.Lock(), None
