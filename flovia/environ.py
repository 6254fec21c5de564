"""What WSGI adapters share: the environ as an :class:`HttpRequest`, and the answer on its way to the server.

PEP 3333 leaves an app much freedom (a late ``start_response``, a second one with ``exc_info``, ``write``,
iterables with ``close``); :class:`WsgiDelivery` takes all of it, buffers nothing, and reports the end once.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flovia.core.errors import CallerError
from flovia.core.http import (
    BODY_TOO_LARGE,
    BODY_UNTERMINATED,
    NO_BODY,
    UNREAD_BODY,
    Body,
    BodyMeter,
    Headers,
    HttpRequest,
    HttpResponse,
)
from flovia.core.passage import Passage

if TYPE_CHECKING:
    from flovia.api import PaidApi

_log = logging.getLogger("flovia")

_CHUNK: Final = 1 << 16
_LENGTH_DIGITS: Final = 18
_NO_CONTENT: Final = (204, 304)
"""Statuses whose Content-Length, if there is one, announces nothing that is sent (RFC 9110 section 8.6)."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def wsgi_request(
    environ: WSGIEnvironment, paid: "PaidApi", *, route: str = "", body: Body | None = None
) -> HttpRequest:
    """The request in ``environ``; its body is read, and put back, if ``paid`` asks for it.

    ``route`` is the framework's pattern, ``body`` what the framework has read already. The path is
    SCRIPT_NAME + PATH_INFO as UTF-8; bytes that are not UTF-8 are escaped and so stay distinct.
    """
    if body is None:
        body = wsgi_body(environ, paid.max_body) if paid.reads_body else UNREAD_BODY
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if "\\" in path:
        # So that nobody can write out what the next line makes of bytes: two requests must not share a scope.
        path = path.replace("\\", "\\\\")
    if not path.isascii():
        path = path.encode("latin-1").decode("utf-8", "backslashreplace")
    return HttpRequest(
        environ["REQUEST_METHOD"].upper(),
        path,
        environ.get("QUERY_STRING", ""),
        Headers.from_environ(environ),
        route,
        environ.get("REMOTE_ADDR", ""),
        environ.get("SERVER_NAME", ""),
        body,
        "",
        bool(environ.get("wsgi.multiprocess")),
    )


def wsgi_body(environ: WSGIEnvironment, limit: int) -> Body:
    """Read the body, at most ``limit`` bytes, and put it back as ``wsgi.input`` with its CONTENT_LENGTH.

    Chunked input can be read to its end only where the server says that it marks the end
    (``wsgi.input_terminated``); elsewhere reading on would wait for the client for ever.
    """
    length = environ.get("CONTENT_LENGTH", "")
    terminated = bool(environ.get("wsgi.input_terminated"))
    if environ.get("HTTP_TRANSFER_ENCODING") and not terminated:
        return BODY_UNTERMINATED
    if length:
        if not (length.isascii() and length.isdecimal()):
            return BODY_UNTERMINATED
        if len(length) > _LENGTH_DIGITS or int(length) > limit:
            return BODY_TOO_LARGE
        left = int(length)
    elif terminated:
        left = limit + 1
    else:
        return NO_BODY
    meter = BodyMeter(limit)
    kept = BytesIO()
    source = environ["wsgi.input"]
    while left and (chunk := source.read(min(left, _CHUNK))):
        left -= len(chunk)
        if not meter.feed(chunk):
            return BODY_TOO_LARGE
        kept.write(chunk)
    kept.seek(0)
    body = meter.body
    environ["wsgi.input"] = kept
    environ["wsgi.input_terminated"] = True
    environ["CONTENT_LENGTH"] = str(body.size)
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return body


def wsgi_response(response: HttpResponse, start_response: StartResponse) -> list[bytes]:
    """Answer with a response of flovia's own."""
    start_response(f"{response.status} {responses.get(response.status, 'Unknown')}", list(response.headers))
    return [response.body]


def _announced(length: str) -> int:
    """The bytes that a Content-Length announces; 0 if it is none, which is the server's business."""
    length = length.strip()
    return int(length) if length.isascii() and length.isdecimal() and len(length) <= _LENGTH_DIGITS else 0


class WsgiDelivery:
    """An admitted answer on its way to the server: what an adapter returns in place of the app's iterable.

    The head is decided at the first byte, because until then an app may still replace it. ``leave`` is
    called once: as completed when the server closes after the last chunk, as not completed when the app
    fails later than its first byte or the server closes early. Not at the last chunk itself: a server may
    have to write what marks the end of a body, and a process that dies before that has not delivered. An
    answer with fewer bytes than its Content-Length is not completed either: its client waits for the rest.
    """

    __slots__ = (
        "_begun",
        "_chunks",
        "_copy",
        "_ended",
        "_head",
        "_left",
        "_paid",
        "_passage",
        "_replaced",
        "_result",
        "_start",
        "_unsent",
        "_write",
    )

    def __init__(self, paid: "PaidApi", passage: Passage, start_response: StartResponse) -> None:
        self._paid = paid
        self._passage = passage
        self._copy = passage.copy()
        self._start = start_response
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._result: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._write: Callable[[bytes], object] = bytes
        self._begun = self._ended = self._replaced = self._left = False
        self._unsent = 0

    def run(self, app: WSGIApplication, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Call the app; the iterable to return to the server. If it raises there is a 500."""
        try:
            self._result = app(environ, self._start_response)
            if not self._replaced:
                self._chunks = iter(self._result)
        except BaseException as error:
            self._chunks = iter([self._failed(error)])
            return self
        # A server computes Content-Length for a list of one chunk, so a list must still look like one.
        return _Sized(self, len(self._result)) if isinstance(self._result, (list, tuple)) else self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks, None)
            while chunk == b"" and not self._begun:
                chunk = next(self._chunks, None)
            if not self._begun:
                chunk = self._begin(chunk)
            elif chunk is not None and self._passage.renewal_due():
                self._paid.renew(self._passage)
        except BaseException as error:
            chunk = self._failed(error)
        if chunk is None:
            self._ended = True
            raise StopIteration
        self._unsent -= len(chunk)
        if self._copy is not None:
            self._copy.feed(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's iterable; before the last chunk it means that the client went away."""
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            if self._ended and self._unsent > 0:
                _log.error("a paid answer ended %d bytes before its Content-Length: not delivered", self._unsent)
                self._ended = False
            self._leave(completed=self._ended)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: "ExcInfo | None" = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            if self._begun and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
            # The app turned an exception into a page of its own: whatever its status, this is no delivery.
            self._passage.raised()
        elif self._head is not None:
            raise CallerError("start_response() was called twice; pass exc_info to replace an answer")
        self._head = (status, headers)
        return self._written

    def _written(self, data: bytes) -> None:
        """The ``write`` callable of PEP 3333."""
        if not data or self._replaced:
            return
        first = (data if self._begun else self._begin(data)) or b""
        self._unsent -= len(first)
        if self._copy is not None:
            self._copy.feed(first)
        self._write(first)

    def _begin(self, chunk: bytes | None) -> bytes | None:
        """Send the head; returns what to send first: ``chunk``, or the body of what replaces the answer."""
        if self._head is None:
            raise CallerError("the app answered without calling start_response()")
        status, headers = self._head
        if not status[:3].isdecimal():
            raise CallerError("a WSGI status starts with three digits: '200 OK'")
        code, given = int(status[:3]), Headers.of(headers)
        start = self._passage.start(code, given)
        if start.replace is not None:
            return self._replace(start.replace)
        self._begun = True
        length = given.get("content-length")
        if length is not None and code not in _NO_CONTENT and self._passage.request.http_method != "HEAD":
            self._unsent = _announced(length)
        self._write = self._start(status, start.apply(headers))
        return chunk

    def _replace(self, response: HttpResponse) -> bytes:
        self._begun = self._replaced = True
        self._copy = None  # it has this response already
        self._unsent = 0
        self._chunks = iter(())
        reason = responses.get(response.status, "Unknown")
        self._write = self._start(f"{response.status} {reason}", list(response.headers))
        return response.body

    def _failed(self, error: BaseException) -> bytes:
        """What to send in place of an app that raised; where it is too late for that, raises again."""
        if self._begun or not isinstance(error, Exception):
            self._leave(completed=False)
            raise error
        problem = self._passage.raised()
        _log.error("a paid handler raised (%s)", self._passage.problem, exc_info=error)
        return self._replace(problem)

    def _leave(self, *, completed: bool) -> None:
        if not self._left:
            self._left = True
            self._paid.leave(self._passage, completed=completed)


class _Sized:
    """A delivery whose number of chunks is known."""

    __slots__ = ("_delivery", "_length")

    def __init__(self, delivery: WsgiDelivery, length: int) -> None:
        self._delivery = delivery
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return self._delivery

    def close(self) -> None:
        self._delivery.close()
