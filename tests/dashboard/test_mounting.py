"""The dashboard inside of other apps: Flask and FastAPI, below a path, behind their own sessions, before a fork."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import flask
import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import flovia
from flovia.dashboard import Dashboard, Visitor
from flovia.testing.servers import AsgiServer, WsgiServer, serve_asgi, serve_wsgi
from tests.dashboard.shop import SECRET, fresh, page, story, write
from tests.dashboard.test_pages import PAGES, Parts
from tests.patience import eventually


@pytest.fixture
def flo(tmp_path: Path) -> Generator[flovia.Flovia]:
    """An app's Flovia, with two attempts."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"), story(2))
    found = flovia.Flovia(ledger=url, secret=SECRET)
    yield found
    found.close()


def look_around(client: httpx.Client, below: str) -> None:
    """Every page is there, and every link stays below the path."""
    for path in PAGES:
        text = page(client, f"{below}{path}")
        parts = Parts(text)
        links = [one for one in (*parts.links, *parts.loads) if not one.startswith("#")]
        assert [] == [one for one in links if not one.startswith(f"{below}/")]
        assert below + path == parts.current.partition("?")[0] or path == "/events"
        assert [200] * len(parts.loads) == [client.get(one).status_code for one in parts.loads]
    assert 1 == client.get(f"{below}/api/funnel").json()["rows"][0]["delivered"]
    row = client.get(f"{below}/events/new?after=0").json()
    assert {"after", "rows", "gone"} == set(row)


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "hypercorn-trio"])
def test_in_fastapi_behind_its_session(flo: flovia.Flovia, server: AsgiServer) -> None:
    """Whoever has signed in to the app is known to the dashboard; on asyncio and trio."""

    def who(visitor: Visitor) -> str | None:
        session = visitor.scope["session"]
        assert isinstance(session, dict)
        return session.get("name")

    app = FastAPI(middleware=[Middleware(SessionMiddleware, secret_key="test-key-of-the-session")])
    dashboard = Dashboard(flo, authorize=who)

    @app.get("/login/{name}")
    async def login(request: Request, name: str) -> str:
        request.session["name"] = name
        return name

    app.mount("/admin/books", dashboard)
    with serve_asgi(app, server=server) as base, httpx.Client(base_url=base, timeout=120) as client:
        assert 403 == client.get("/admin/books/").status_code
        client.get("/login/alice")
        assert "alice" in page(client, "/admin/books/")
        look_around(client, "/admin/books")
    dashboard.close()


@pytest.mark.parametrize("server", ["wsgiref", "waitress"])
def test_in_flask_behind_its_session(flo: flovia.Flovia, server: WsgiServer) -> None:
    """The same under WSGI."""
    app = flask.Flask(__name__)
    app.secret_key = "test-key-of-the-session"

    def who(visitor: Visitor) -> str | None:
        environ = visitor.scope["wsgi_environ"]
        assert isinstance(environ, dict)
        with app.request_context(environ):
            name = flask.session.get("name")
            return None if name is None else str(name)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask.session["name"] = name
        return name

    dashboard = Dashboard(flo, authorize=who)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/books": dashboard.wsgi})  # type: ignore[method-assign] # as Flask says
    with serve_wsgi(app, server=server) as base, httpx.Client(base_url=base, timeout=120) as client:
        assert 403 == client.get("/books/").status_code
        client.get("/login/alice")
        assert "alice" in page(client, "/books/")
        look_around(client, "/books")
        assert 404 == client.get("/books/nothing").status_code
        # What no browser sends.
        for path in ("/books/?since=%ff", "/books/?endpoint=\u00e4", "/books/%ff"):
            assert client.get(path).status_code in (200, 400, 404), path
    dashboard.close()


def test_raw_bytes_under_wsgi(flo: flovia.Flovia) -> None:
    """A path or query that is no text is refused, and the server lives on."""
    dashboard = Dashboard(flo)
    told: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], error: object = None) -> None:
        told.append(status)

    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/api/openapi.json",
        "QUERY_STRING": "endpoint=\xff\xfe",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": None,
        "wsgi.url_scheme": "http",
    }
    b"".join(dashboard.wsgi(dict(environ), start))  # type: ignore[arg-type] # as a server calls it
    b"".join(dashboard.wsgi(environ | {"PATH_INFO": "/\xff"}, start))  # type: ignore[arg-type] # as a server calls it
    assert ["200 OK", "400 Bad Request"] == told
    dashboard.close()


@contextmanager
def preloaded(url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """An app that was loaded before two workers were forked."""
    monkeypatch.setenv("TEST_LEDGER", url)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--preload")
    with serve_wsgi("tests.dashboard.preloaded:app", server="gunicorn-gthread", workers=2) as base:
        yield base


def test_a_fork_after_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker has a reader and a loop of its own: all answer, and see what is new."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with preloaded(url, monkeypatch) as base:
        seen: set[str] = set()

        def ask() -> set[str]:
            with httpx.Client(base_url=base, timeout=120) as client:
                seen.add(client.get("/pid").text)
                assert 200 == client.get("/dashboard/").status_code
                assert client.get("/dashboard/api/overview").json()["attempts"] > 0
            return seen

        eventually(ask, lambda found: len(found) == 2)
        assert 2 == len(seen)
        write(url, story(2))
        with httpx.Client(base_url=base, timeout=120) as client:
            assert 2 == client.get("/dashboard/api/overview").json()["attempts"]
            assert re.search("As of", page(client, "/dashboard/endpoints"))


def test_raw_asgi_and_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an app of its own; a relative ledger is where it was when it was opened."""
    monkeypatch.chdir(tmp_path)
    write("sqlite:///flovia.db", story(1, "settle", "deliver"))
    flo = flovia.Flovia(secret=SECRET)
    assert flo.ledger.shared
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    dashboard = Dashboard(flo)
    with serve_asgi(dashboard) as base, httpx.Client(base_url=base, timeout=120) as client:
        look_around(client, "")
    dashboard.close()
    flo.close()


def test_a_ledger_that_was_given_as_an_object(tmp_path: Path) -> None:
    """It is read beside the app's own connections."""
    from flovia.ledger.opening import open_ledger

    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    ledger = open_ledger(url)
    flo = flovia.Flovia(secret=SECRET, ledger=ledger)
    assert flo.ledger_url is None
    dashboard = Dashboard(flo)
    with serve_asgi(dashboard) as base, httpx.Client(base_url=base, timeout=120) as client:
        assert 1 == client.get("/api/overview").json()["attempts"]
    dashboard.close()
    assert ledger.read_events(limit=1), "the app's own ledger is still open"
    flo.close()
