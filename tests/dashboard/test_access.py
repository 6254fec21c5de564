"""Who may look: what is refused when it is mounted, and who is refused when it is asked."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import flovia
from flovia.core.errors import WiringError
from flovia.dashboard import Dashboard, Visitor
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.dashboard.shop import SECRET, dashboard, fresh, page, served, story, write


def app_at(origin: str | None, tmp_path: Path) -> flovia.Flovia:
    """An app at a public origin."""
    return flovia.Flovia(ledger=fresh(tmp_path), secret=SECRET, public_origin=origin)


def test_no_public_origin_is_open_by_mistake(tmp_path: Path) -> None:
    """Neither who may look nor that all may: it is not made, and the message says what to write."""
    flo = app_at("https://api.example.com", tmp_path)
    with pytest.raises(WiringError, match=r"api\.example\.com: give Dashboard\(flo, authorize=…\)"):
        Dashboard(flo)
    with pytest.raises(WiringError, match="not both"):
        Dashboard(flo, authorize=lambda visitor: "me", open=True)
    Dashboard(flo, authorize=lambda visitor: "me").close()
    Dashboard(flo, open=True).close()
    flo.close()


@pytest.mark.parametrize("origin", [None, "http://localhost:8402", "http://127.0.0.1:8402"])
def test_this_machine_needs_nobody(tmp_path: Path, origin: str | None) -> None:
    """On loopback it is made as it is."""
    flo = app_at(origin, tmp_path)
    Dashboard(flo).close()
    flo.close()


def test_a_ledger_in_memory_has_no_dashboard() -> None:
    """It is said which setting to change."""
    flo = flovia.Flovia(ledger="memory://", secret=SECRET)
    with pytest.raises(WiringError, match="needs a ledger in a database"):
        Dashboard(flo)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"x-forwarded-for": "203.0.113.9"},
        {"forwarded": "for=203.0.113.9"},
        {"x-forwarded-host": "api.example.com"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/attempts/x", "/api/funnel", "/events/stream", "/events/new"])
def test_another_name_is_refused(client: httpx.Client, headers: dict[str, str], path: str) -> None:
    """A page of somebody else's whose name leads here, or a proxy, gets nothing."""
    answer = client.get(path, headers=headers)
    assert 403 == answer.status_code
    assert "its own machine" in answer.text
    assert "/endpoints" not in answer.text


async def send_from(app: Dashboard, client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]]) -> int:
    """The status of a request whose peer is somebody."""
    told: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        told.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/openapi.json",
        "raw_path": b"/api/openapi.json",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)  # type: ignore[arg-type] # what a server sends
    return int(str(told[0]["status"]))


@pytest.mark.anyio
async def test_another_peer_is_refused(tmp_path: Path) -> None:
    """The name alone is not enough, no name is none, and neither is a peer that nobody knows."""
    host = [(b"host", b"localhost:8000")]
    with dashboard(fresh(tmp_path)) as app:
        assert 403 == await send_from(app, ("203.0.113.9", 1234), host)
        assert 200 == await send_from(app, ("127.0.0.1", 1234), host)
        assert 403 == await send_from(app, None, host), "a Unix socket, behind which a proxy may be"
        assert 403 == await send_from(app, ("127.0.0.1", 1234), [])
        assert 403 == await send_from(app, ("127.0.0.1", 1234), [*host, *host])


def by_token(visitor: Visitor) -> str | None:
    """Who is there, by a header."""
    return {"test-token-alice": "alice"}.get(visitor.header("x-token") or "")


async def later(visitor: Visitor) -> str | None:
    """The same, asynchronously."""
    return by_token(visitor)


def deferred(visitor: Visitor) -> Awaitable[str | None]:
    """The same, by a function that returns what is to be awaited."""
    return later(visitor)


@pytest.mark.parametrize("authorize", [by_token, later, deferred])
def test_who_is_there(tmp_path: Path, authorize: Callable[[Visitor], str | None]) -> None:
    """The app's own answer decides, under whatever name and from wherever."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with served(url, authorize=authorize) as client:
        away = {"host": "api.example.com", "x-forwarded-for": "203.0.113.9"}
        for path in ("/", "/events", "/events/new", "/events/stream", "/api/funnel", "/attempts/x"):
            answer = client.get(path, headers=away)
            assert 403 == answer.status_code, path
            assert "does not know you" in answer.text
        client.headers["x-token"] = "test-token-alice"
        assert 1 == client.get("/api/overview", headers=away).json()["attempts"]
        assert '<span class="who soft">alice</span>' in page(client, "/")
        client.headers["x-token"] = "test-token-mallory"
        assert 403 == client.get("/").status_code


def test_what_authorize_sees(tmp_path: Path) -> None:
    """Method, path, headers, peer, and what was around; none of it in its repr."""
    seen: list[Visitor] = []

    def look(visitor: Visitor) -> str | None:
        seen.append(visitor)
        return None

    with served(fresh(tmp_path), authorize=look) as client:
        client.get("/api/funnel?x=1", headers={"Cookie": "session=test-cookie"})
    (visitor,) = seen
    assert ("GET", "/api/funnel", "127.0.0.1") == (visitor.http_method, visitor.path, visitor.client)
    assert "session=test-cookie" == visitor.header("Cookie")
    assert visitor.header("x-none") is None
    assert "http" == visitor.scope["type"]
    assert "test-cookie" not in repr(visitor)


def test_an_authorize_that_fails_lets_nobody_in(tmp_path: Path) -> None:
    """An error is an error, and no page."""

    def fails(visitor: Visitor) -> str | None:
        raise RuntimeError("the session store is gone")

    with served(fresh(tmp_path), authorize=fails) as client:
        answer = client.get("/")
        assert 500 == answer.status_code
        assert "session store" not in answer.text


def test_under_wsgi_too(tmp_path: Path) -> None:
    """Host, peer and proxies count there as well."""
    url = fresh(tmp_path)
    with dashboard(url) as app, serve_wsgi(app.wsgi) as base:
        assert 200 == httpx.get(f"{base}/api/openapi.json").status_code
        assert 403 == httpx.get(f"{base}/", headers={"host": "evil.example"}).status_code
        assert 403 == httpx.get(f"{base}/", headers={"x-forwarded-for": "203.0.113.9"}).status_code


def test_open_is_open(tmp_path: Path) -> None:
    """Where it was said so, everybody may look."""
    flo = app_at("https://api.example.com", tmp_path)
    app = Dashboard(flo, open=True)
    with serve_asgi(app) as base:
        assert 200 == httpx.get(f"{base}/api/funnel", headers={"host": "api.example.com"}).status_code
    app.close()
    flo.close()


@pytest.mark.parametrize("wrong", [{"open": "false"}, {"actions": "no"}, {"open": 1}, {"authorize": "alice"}])
def test_no_switch(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A text from a setting would switch on what it says is off."""
    flo = app_at(None, tmp_path)
    with pytest.raises(WiringError, match=next(iter(wrong))):
        Dashboard(flo, **wrong)
    flo.close()
