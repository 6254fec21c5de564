"""What stands before every handler: an answer of ours whatever goes wrong, and who is nobody."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flovia.dashboard import Dashboard, Visitor
from flovia.dashboard.api import Api
from flovia.dashboard.pages import Site
from flovia.testing.servers import serve_asgi, serve_wsgi
from flovia.web.site import HEADERS
from tests.dashboard.shop import dashboard, fresh

Who = Callable[[Visitor], str | None]


def nothing_else(environ: object, start: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """The app around it."""
    start("404 Not Found", [])
    return [b""]


@contextmanager
def mounted(app: Dashboard, face: str) -> Generator[httpx.Client]:
    """Below /books, in an app of either kind."""
    around = FastAPI()
    around.mount("/books", app)
    wsgi = DispatcherMiddleware(nothing_else, {"/books": app.wsgi})
    served = serve_wsgi(wsgi) if face == "wsgi" else serve_asgi(around)
    with served as base, httpx.Client(base_url=base, timeout=60) as client:
        yield client


def is_ours(answer: httpx.Response) -> bool:
    """Whether an answer has the headers of all others."""
    return all(answer.headers.get(name) == value for name, value in HEADERS.items())


@pytest.mark.parametrize("face", ["asgi", "wsgi"])
def test_a_handler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, face: str
) -> None:
    """A page or a problem of ours, and the log has what happened."""

    async def fails(*arguments: object) -> None:
        raise KeyError("test-secret-of-the-traceback")

    monkeypatch.setattr(Site, "overview", fails)
    monkeypatch.setattr(Api, "report", fails)
    with dashboard(fresh(tmp_path)) as app, mounted(app, face) as client:
        for path, kind in (("/books/", "text/html"), ("/books/api/funnel", "application/problem+json")):
            caplog.clear()
            answer = client.get(path)
            assert (500, True) == (answer.status_code, is_ours(answer))
            assert answer.headers["content-type"].startswith(kind)
            assert "logger flovia" in answer.text
            assert "test-secret" not in answer.text
            (record,) = [one for one in caplog.records if one.name == "flovia"]
            assert logging.ERROR == record.levelno
            assert f"GET {path}" in record.getMessage()
            assert "test-secret-of-the-traceback" in caplog.text


@pytest.mark.parametrize("face", ["asgi", "wsgi"])
def test_an_authorize_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture, face: str) -> None:
    """The same."""

    def fails(visitor: Visitor) -> str | None:
        raise RuntimeError("the session store is gone")

    with dashboard(fresh(tmp_path), authorize=fails) as app, mounted(app, face) as client:
        for path in ("/books/", "/books/api/funnel", "/books/nothing"):
            caplog.clear()
            answer = client.get(path)
            assert (500, True) == (answer.status_code, is_ours(answer)), path
            assert "session store" not in answer.text
            assert "the session store is gone" in caplog.text
            assert "authorize" in caplog.text


def test_an_authorize_that_says_it_by_an_exception(tmp_path: Path) -> None:
    """As apps of this kind do: its status and its headers, in an answer of ours."""

    def refuses(visitor: Visitor) -> str | None:
        raise HTTPException(401, "sign in first", headers={"www-authenticate": "Basic"})

    with dashboard(fresh(tmp_path), authorize=refuses) as app, mounted(app, "asgi") as client:
        answer = client.get("/books/")
        assert (401, "Basic", True) == (answer.status_code, answer.headers["www-authenticate"], is_ours(answer))
        assert "sign in first" in answer.text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, ""),
        (False, ""),
        ("", ""),
        (True, "a bool"),
        (7, "a int"),
        ("  \t ", "empty"),
        ("ann\x1b[31m", "printable"),
        ("a" * 129, "128"),
    ],
)
def test_who_is_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: object, says: str) -> None:
    """What is no name lets nobody in, and what only a mistake can return is told."""

    def who(visitor: Visitor) -> str | None:
        return name  # type: ignore[return-value] # what an app should not

    with dashboard(fresh(tmp_path), authorize=who) as app, mounted(app, "asgi") as client:
        answer = client.get("/books/api/openapi.json")
    assert (403, True) == (answer.status_code, is_ours(answer))
    told = [one.getMessage() for one in caplog.records if one.name == "flovia"]
    assert ([] if not says else [True]) == [says in one and "authorize" in one for one in told]


@pytest.mark.parametrize("face", ["asgi", "wsgi"])
def test_a_slash_leads_to_no_host(tmp_path: Path, face: str) -> None:
    """Where a page is asked for with a slash too many or too few, the answer names a path alone."""
    with dashboard(fresh(tmp_path), authorize=lambda _: "ann") as app, mounted(app, face) as client:
        paths = {"/books/endpoints/?since=7d": "/books/endpoints?since=7d"}
        if face == "wsgi":  # in FastAPI the app around it answers this one
            paths["/books"] = "/books/"
        for path, location in paths.items():
            answer = client.get(path, headers={"host": "evil.example"})
            assert (307, location) == (answer.status_code, answer.headers["location"])
        assert 404 == client.get("/books//evil.example/").status_code


def test_what_is_not_there(tmp_path: Path) -> None:
    """A page of ours, for those who may look alone."""
    with dashboard(fresh(tmp_path)) as app, mounted(app, "asgi") as client:
        for path, kind in (("/books/nothing", "text/html"), ("/books/api/a/b", "application/problem+json")):
            answer = client.get(path)
            assert (404, True) == (answer.status_code, is_ours(answer))
            assert answer.headers["content-type"].startswith(kind)
        assert 403 == client.get("/books/nothing", headers={"host": "evil.example"}).status_code


def test_what_a_page_takes(tmp_path: Path) -> None:
    """A method that it does not take is answered with those that it does."""
    with dashboard(fresh(tmp_path)) as app, mounted(app, "asgi") as client:
        answer = client.put("/books/integrity/x")
        assert (405, {"GET", "HEAD", "POST"}, True) == (
            answer.status_code,
            set(answer.headers["allow"].split(", ")),
            is_ours(answer),
        )
        assert {"GET", "HEAD"} == set(client.post("/books/api/funnel").headers["allow"].split(", "))
