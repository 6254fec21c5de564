"""WSGI apps that use every freedom PEP 3333 gives: what the tests serve, gunicorn by import string."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import flovia_wsgi
from tests.adapters.buyer import new_flovia

TEXT = ("Content-Type", "text/plain")
closed: list[str] = []
"""The paths of the answers whose ``close`` was called."""


class Pieces:
    """An iterable with ``close``, whose pieces come from a function."""

    def __init__(self, path: str, pieces: Callable[[], Iterator[bytes]]) -> None:
        self._path = path
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces()

    def close(self) -> None:
        """Note that the server closed it."""
        closed.append(self._path)


def plain(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A list of one piece; the server may work out its length."""
    start("200 OK", [TEXT, ("Cache-Control", "public, s-maxage=60"), ("Payment-Receipt", "forged")])
    return [b"whole"]


def several(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A tuple of several pieces."""
    start("200 OK", [TEXT, ("Content-Length", "5")])
    return (b"wh", b"", b"ole")


def late(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A generator: start_response is called when the first piece is asked for, after an empty one."""
    start("200 OK", [TEXT])
    yield b""
    yield b"wh"
    yield b"ole"


def unstarted(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """An iterable that starts the response itself when it is iterated."""

    def pieces() -> Iterator[bytes]:
        start("201 Created", [TEXT])
        yield b"whole"

    return Pieces("/unstarted", pieces)


def written(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """The old way: write(), and then a list as well."""
    write = start("200 OK", [TEXT, ("Content-Length", "5")])
    write(b"")
    write(b"wh")
    write(b"o")
    return [b"le"]


def filed(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A file, through the server's own wrapper where it has one."""
    start("200 OK", [TEXT])
    wrapper: Callable[[io.BytesIO, int], Iterable[bytes]] = environ.get("wsgi.file_wrapper", _blocks)
    return wrapper(io.BytesIO(b"whole"), 2)


def _blocks(file: io.BytesIO, size: int) -> Iterator[bytes]:
    return iter(lambda: file.read(size), b"")


def empty(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A status without a body."""
    start("204 No Content", [])
    return []


def echo(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """The body, read as CONTENT_LENGTH says."""
    start("200 OK", [TEXT])
    return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))]


def denied(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A refusal of the app's own, with a forged receipt."""
    start("403 Forbidden", [TEXT, ("Payment-Receipt", "forged")])
    return [b"denied"]


def corrected(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A success that turns into an error page before its first byte."""
    start("200 OK", [TEXT])
    yield b""
    try:
        raise RuntimeError("found out in time")
    except RuntimeError:
        start("500 Internal Server Error", [TEXT], sys.exc_info())
    yield b"sorry"


def excused(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """An exception dressed as a success."""
    try:
        raise RuntimeError("dressed")
    except RuntimeError:
        start("200 OK", [TEXT], sys.exc_info())
    return [b"all is well"]


def raising(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Raises when called."""
    raise RuntimeError("raised at once")


def raising_late(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Raises after start_response, before the first byte."""
    start("200 OK", [TEXT])
    yield b""
    raise RuntimeError("raised before the first byte")


def silent(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Never calls start_response."""
    return Pieces("/silent", lambda: iter([b"unannounced"]))


def twice(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Calls start_response twice without saying why."""
    start("200 OK", [TEXT])
    start("200 OK", [TEXT])
    return [b"whole"]


def nameless(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """A status that is none."""
    start("OK", [TEXT])
    return [b"whole"]


def breaking(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Raises after its first bytes."""
    start("200 OK", [TEXT, ("Content-Length", "1000")])
    yield b"part"
    raise RuntimeError("raised in the middle")


def breaking_write(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Raises after a write()."""
    start("200 OK", [TEXT, ("Content-Length", "1000")])(b"part")
    raise RuntimeError("raised after a write")


def endless(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Streams more than any client will read."""
    start("200 OK", [TEXT])
    return Pieces("/endless", lambda: iter(lambda: b"x" * 65536, b""))


PAID: dict[str, WSGIApplication] = {
    f"/{app.__name__}": app
    for app in (
        *(plain, several, late, unstarted, written, filed, empty, echo, denied, corrected, excused),
        *(raising, raising_late, silent, twice, nameless, breaking, breaking_write, endless),
    )
}
# What keeps to PEP 3333 and so can be watched by the validator of the standard library.
STRICT = ("/plain", "/several", "/unstarted", "/echo", "/denied", "/written")


def make_app() -> WSGIApplication:
    """All of them behind one gate, some under ``/strict`` too, and ``/closed``, which is free."""
    gate = new_flovia().paid_api(max_body=1000)
    paid = {path: flovia_wsgi.paid(gate, app) for path, app in PAID.items()}
    for path in STRICT:
        # In the server's place for the app, and in the app's place for the server.
        paid["/strict" + path] = validator(flovia_wsgi.paid(gate, validator(PAID[path])))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/closed":
            start_response("200 OK", [TEXT])
            return ["\n".join(closed).encode()]
        return paid[environ["PATH_INFO"]](environ, start_response)

    return app
