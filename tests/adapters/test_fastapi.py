"""flovia_fastapi: a paid app answers as its free twin does, once it is paid."""

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, cast

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request

import flovia
import flovia_fastapi
from flovia.core.exchange import DELIVERED
from tests.adapters.asgi_harness import (
    Answer,
    Server,
    ask,
    buy,
    make_scope,
    new_flovia,
    redeem,
    serve,
    state,
)
from tests.adapters.asgi_harness import Request as Asked
from tests.adapters.fastapi_views import build

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
MULTIPART = ("content-type", "multipart/form-data; boundary=cut")
UPLOAD = (
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nin the file\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="note"; filename="b"\r\n\r\nnote\r\n--cut--\r\n'
)

PLAIN = (
    *("/dict", "/tuple", "/none", "/dataclass", "/html", "/response", "/json-response", "/redirect", "/file"),
    *("/teapot", "/background", "/stream-sync", "/stream-async", "/lines", "/lines-sync", "/pieces"),
    *("/pieces-sync", "/events", "/events-sync"),
)
GOOD: list[Asked] = [
    *(Asked(path=path) for path in PLAIN),
    {"path": "/rows/2026-11-22", "query": "limit=7"},
    {"path": "/many", "query": "tag=a&tag=b", "headers": [("x-count", "4"), ("cookie", "flavour=oat")]},
    {"path": "/many"},
    {"path": "/items", "http_method": "POST", "headers": [JSON], "body": [b'{"name":', b'"n","size":2}']},
    {"path": "/two-bodies", "http_method": "POST", "headers": [JSON], "body": [b'{"item":{"name":"n"},"note":"x"}']},
    {"path": "/form", "http_method": "POST", "headers": [FORM], "body": [b"name=n", b"&age=3"]},
    {"path": "/upload", "http_method": "POST", "headers": [MULTIPART], "body": [UPLOAD[:50], UPLOAD[50:]]},
    {"path": "/raw-body", "http_method": "POST", "body": [b"some ", b"bytes"]},
    {"path": "/raw-body", "http_method": "POST"},
    {"path": "/json-by-hand", "http_method": "POST", "query": "q=1", "body": [b"[1, 2]"]},
    {"path": "/unread", "http_method": "PUT", "body": [b"nobody reads this"]},
    {"path": "/scopes"},
    {"path": "/basic"},
    {"path": "/greet/you"},
    {"path": "/greet-method/you"},
    {"path": "/greet-partial/you"},
    {"path": "/timed/3"},
    {"path": "/decorated-above/3"},
    {"path": "/checked-only", "query": "n=2"},
    {"path": "/empty", "http_method": "DELETE"},
    {"path": "/file", "headers": [("range", "bytes=0-9")]},
    {"path": "/v1/shop/things/a%20thing"},
    {"path": "/v1/shop/either"},
    {"path": "/v1/shop/either", "http_method": "POST"},
]
BAD: list[Asked] = [
    {"path": "/rows/tomorrow"},
    {"path": "/rows/2026-11-22", "query": "limit=11"},
    {"path": "/many", "headers": [("x-count", "many")]},
    {"path": "/items", "http_method": "POST", "headers": [JSON], "body": [b'{"size":2}']},
    {"path": "/items", "http_method": "POST", "headers": [JSON], "body": [b"{"]},
    {"path": "/items", "http_method": "POST"},
    {"path": "/form", "http_method": "POST", "headers": [FORM], "body": [b"age=3"]},
    {"path": "/upload", "http_method": "POST", "headers": [MULTIPART], "body": [b"no part"]},
    {"path": "/lines", "query": "count=few"},
    {"path": "/nowhere"},
    {"path": "/dict", "http_method": "POST"},
    {"path": "/dict", "http_method": "HEAD"},
    {"path": "/dict", "http_method": "OPTIONS"},
]


def name(request: Asked) -> str:
    """What a test is called."""
    return f"{request.get('http_method', 'GET')} {request.get('path')}?{request.get('query', '')}"


@pytest.fixture(scope="module")
def twin() -> FastAPI:
    """The free app."""
    return build(lambda view: view)


@pytest.fixture(scope="module")
def flo() -> flovia.Flovia:
    """What the paid app's gate is part of."""
    return new_flovia()


@pytest.fixture(scope="module")
def shop(flo: flovia.Flovia) -> FastAPI:
    """The paid app."""
    app = build(flovia_fastapi.paid(flo.paid_api()))
    flovia_fastapi.install(app)
    return app


def comparable(answer: Answer) -> tuple[object, ...]:
    """What has to be the same in both answers; the receipt and the privacy of the paid one are extra."""
    extra = {"payment-receipt", "cache-control"}
    return answer.status, sorted(pair for pair in answer.headers if pair[0] not in extra), answer.body, answer.complete


@pytest.mark.parametrize("request_", GOOD, ids=name)
async def test_a_paid_view_answers_as_the_free_one(request_: Asked, twin: FastAPI, shop: FastAPI) -> None:
    """Whatever goes in and out of a view: unpaid it is 402, paid it is the free app's answer to the byte."""
    free = await ask(twin, **request_)
    unpaid = await ask(shop, **request_)
    paid = await redeem(shop, unpaid, **request_)
    assert 402 == unpaid.status
    assert comparable(free) == comparable(paid)
    assert (200 <= free.status < 300) == (paid.get("payment-receipt") is not None)
    assert "private" in (paid.get("cache-control") or "")


@pytest.mark.parametrize("request_", BAD, ids=name)
async def test_nobody_pays_for_a_request_that_cannot_work(request_: Asked, twin: FastAPI, shop: FastAPI) -> None:
    """422, 404, 405 and the like win over 402 (S08), with the free app's own words."""
    free = await ask(twin, **request_)
    paid = await ask(shop, **request_)
    assert free.status in (400, 404, 405, 422)
    assert comparable(free) == comparable(paid)


async def test_the_documentation_is_the_free_apps_plus_the_402(twin: FastAPI, shop: FastAPI) -> None:
    """OpenAPI shows each route's own parameters, and a 402 with a problem document; nothing of flovia's."""
    document: dict[str, Any] = json.loads((await ask(shop, path="/openapi.json")).body)
    refusals = [operation["responses"].pop("402") for path in document["paths"].values() for operation in path.values()]
    assert twin.openapi() == document
    assert refusals
    for refusal in refusals:
        assert "WWW-Authenticate" in refusal["headers"]
        assert ["application/problem+json"] == list(refusal["content"])


async def test_only_paid_endpoints_are_documented_as_such() -> None:
    """Free endpoints, hidden ones and an app's own words about its 402 stay as they are."""
    app = FastAPI()
    paid = flovia_fastapi.paid(new_flovia().paid_api())
    app.get("/free")(ok)
    app.get("/own", responses={402: {"description": "our own words"}})(paid(other(ok)))
    app.get("/hidden", include_in_schema=False)(paid(other(ok)))
    flovia_fastapi.install(app)
    paths = app.openapi()["paths"]
    assert {"/free", "/own"} == set(paths)
    assert ["200"] == list(paths["/free"]["get"]["responses"])
    assert "our own words" == paths["/own"]["get"]["responses"]["402"]["description"]
    assert app.openapi() is app.openapi()


async def ok() -> str:
    """A view."""
    return "ok"


def other(view: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """Another function that does the same."""

    async def again() -> str:
        return await view()

    return again


# --- who is asked first ------------------------------------------------------------------------------------


async def test_the_app_says_no_before_anybody_pays() -> None:
    """401, 403 and 404 of dependencies win over 402 (S08), and a dependency's teardown runs."""
    seen: list[str] = []

    async def login(who: str) -> AsyncIterator[str]:
        if who in ("401", "403", "404"):
            raise HTTPException(int(who))
        seen.append("opened")
        yield who
        seen.append("closed")

    app = FastAPI()

    @app.get("/paid")
    @flovia_fastapi.paid(new_flovia().paid_api())
    async def view(who: Annotated[str, Depends(login)]) -> str:
        seen.append("view")
        return who

    flovia_fastapi.install(app)
    statuses = [(await ask(app, query=f"who={who}")).status for who in ("401", "403", "404")]
    assert [401, 403, 404] == statuses
    assert [] == seen
    paid = await buy(app, query="who=me")
    assert (200, b'"me"') == (paid.status, paid.body)
    assert ["opened", "closed", "opened", "view", "closed"] == seen


@pytest.mark.parametrize("sync", [True, False])
async def test_the_payment_is_in_the_state_of_the_request(sync: bool) -> None:
    """A view reads its Grant from request.state.payment; a helper deep below can be given it."""
    app = FastAPI()
    paid = flovia_fastapi.paid(new_flovia().paid_api())

    def receipt(request: Request) -> dict[str, object]:
        grant = request.state.payment
        assert isinstance(grant, flovia.Grant)
        return {"amount": grant.amount, "currency": grant.currency, "again": grant.redelivery}

    async def async_view(request: Request) -> dict[str, object]:
        return receipt(request)

    app.get("/paid")(paid(receipt if sync else async_view))
    flovia_fastapi.install(app)
    answer = await buy(app)
    assert {"amount": 100, "currency": "usd", "again": False} == json.loads(answer.body)


async def test_sync_views_run_in_worker_threads() -> None:
    """A blocking view does not block the event loop, and it runs only once it is paid."""
    threads: list[threading.Thread] = []
    app = FastAPI()

    @app.get("/paid")
    @flovia_fastapi.paid(new_flovia().paid_api())
    def view() -> None:
        threads.append(threading.current_thread())

    flovia_fastapi.install(app)
    await ask(app)
    assert [] == threads
    await buy(app)
    assert [False] == [thread is threading.main_thread() for thread in threads]


# --- wiring ------------------------------------------------------------------------------------------------


async def test_without_install_a_paid_endpoint_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """An app that is not prepared gives nothing away: 500, and a log line that names the remedy."""
    app = FastAPI()
    ran: list[str] = []

    @app.get("/view")
    @flovia_fastapi.paid(new_flovia().paid_api())
    async def view() -> None:
        ran.append("view")

    @app.get("/lines")
    @flovia_fastapi.paid(new_flovia().paid_api())
    async def lines() -> AsyncIterator[int]:
        ran.append("lines")
        yield 1

    answer = await ask(app, path="/view")
    assert (500, "internal-payment-error") == (answer.status, answer.problem)
    assert "flovia_fastapi.install(app)" in caplog.text
    server = Server()
    with pytest.raises(flovia.WiringError, match=r"flovia_fastapi\.install\(app\)"):
        await serve(app, make_scope(path="/lines"), server)
    assert 500 == server.answer.status
    assert [] == ran


async def test_paid_above_the_route_is_an_error_not_a_gift() -> None:
    """@paid above @app.get would leave the route free: the answer is withheld and the mistake named."""
    app = FastAPI()

    @flovia_fastapi.paid(new_flovia().paid_api())
    @app.get("/paid")
    async def view() -> str:
        return "for sale"

    flovia_fastapi.install(app)
    server = Server()
    with pytest.raises(flovia.WiringError, match=r"below @app\.get"):
        await serve(app, make_scope(), server)
    assert (500, False) == (server.answer.status, b"for sale" in server.answer.body)


async def test_paid_takes_a_gate_or_its_settings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """paid(gate) and paid(provider=…, price=…) are the same; twice on one view, or on no gate, is an error."""
    monkeypatch.setattr("flovia.api._default", new_flovia())
    by_settings = flovia_fastapi.paid(provider="mock", rail="mpp", price="3.00 USD")
    view = by_settings(other(ok))
    with pytest.raises(flovia.CallerError, match="paid already"):
        by_settings(view)
    with pytest.raises(flovia.WiringError, match="not a guard"):
        flovia_fastapi.paid(cast("flovia.PaidApi", ok))
    app = FastAPI()
    app.get("/paid")(view)
    flovia_fastapi.install(app)
    assert 402 == (await ask(app)).status


@pytest.mark.parametrize("installed", ["outer", "inner", "both"])
async def test_a_mounted_app_is_covered(installed: str) -> None:
    """install on the app or on what it is mounted in will do; the event names the whole pattern."""
    flo = new_flovia()
    outer, inner = FastAPI(), FastAPI()
    router = APIRouter(prefix="/shop")

    @router.get("/items/{item}")
    @flovia_fastapi.paid(flo.paid_api())
    async def view(item: str) -> str:
        return item

    inner.include_router(router, prefix="/v1")
    outer.mount("/api", inner)
    for app, name in ((outer, "outer"), (inner, "inner")):
        if installed in (name, "both"):
            flovia_fastapi.install(app)
    unpaid = await ask(outer, path="/api/v1/shop/items/7")
    again = await redeem(outer, unpaid, path="/api/v1/shop/items/8")
    paid = await redeem(outer, unpaid, path="/api/v1/shop/items/7")
    assert [402, 402, 200] == [unpaid.status, again.status, paid.status]
    assert b'"7"' == paid.body
    assert DELIVERED == state(flo, unpaid)
    assert {"/api/v1/shop/items/{item}"} == {event.endpoint for _, event in flo.ledger.read_events()}


async def test_one_view_in_two_routers_is_two_routes() -> None:
    """A router that is included twice has two patterns: a credential for one is refused at the other."""
    app, router = FastAPI(), APIRouter()

    @router.get("/paid")
    @flovia_fastapi.paid(new_flovia().paid_api())
    async def view() -> str:
        return "ok"

    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")
    flovia_fastapi.install(app)
    unpaid = await ask(app, path="/a/paid")
    assert [402, 200] == [(await redeem(app, unpaid, path=path)).status for path in ("/b/paid", "/a/paid")]


async def test_head_and_options_are_the_frameworks(shop: FastAPI) -> None:
    """Where the route takes HEAD it gets the 402 of a GET without a body; elsewhere the framework's 405."""
    either = await ask(shop, path="/v1/shop/either", http_method="HEAD")
    assert (402, b"") == (either.status, either.body)
    assert either.all("www-authenticate")
    refused = [await ask(shop, path="/dict", http_method=method) for method in ("HEAD", "OPTIONS")]
    assert [405, 405] == [answer.status for answer in refused]
