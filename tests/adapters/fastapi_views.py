"""Views as people write them, for a paid app and for its free twin. Annotations are strings here."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
)
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.security import HTTPBasic, HTTPBasicCredentials, SecurityScopes
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

if TYPE_CHECKING:
    from decimal import Decimal

P = ParamSpec("P")
R = TypeVar("R")
Mark = Callable[[Callable[..., Any]], Callable[..., Any]]


class Item(BaseModel):
    """A request body."""

    name: str
    size: int = 1


class Shown(BaseModel):
    """A response model that leaves ``size`` out."""

    name: str


@dataclass
class Point:
    """A dataclass as a result."""

    x: int
    y: int


class Db:
    """A dependency."""

    rows = ("a", "b")


def db() -> Db:
    """A sync dependency."""
    return Db()


async def session(database: Annotated[Db, Depends(db)]) -> AsyncIterator[str]:
    """An async dependency with a teardown, on top of another one."""
    yield f"session of {len(database.rows)} rows"


def secured(scopes: SecurityScopes) -> str:
    """A dependency that is told which scopes are needed."""
    return scopes.scope_str


def timed(view: Callable[P, R]) -> Callable[P, R]:
    """A decorator of the app's own, below ``paid``."""

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return view(*args, **kwargs)

    return wrapper


class Greeter:
    """A view that is an object."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, name: str) -> dict[str, str]:
        """Greet."""
        return {self.greeting: name}

    def method(self, name: str) -> dict[str, str]:
        """Greet as a bound method."""
        return {self.greeting: name}


def build(mark: Mark) -> FastAPI:
    """The app; every view goes through ``mark``."""
    app = FastAPI()
    add_parameters(app, mark)
    add_answers(app, mark)
    add_streams(app, mark)
    app.include_router(routers(mark), prefix="/v1")
    return app


def add_parameters(app: FastAPI, mark: Mark) -> None:
    """One route for each way to get something into a view."""

    @app.get("/rows/{day}")
    @mark
    async def rows(day: date, database: Annotated[Db, Depends(db)], limit: int = Query(5, le=10)) -> dict[str, object]:
        """What the documentation says."""
        return {"day": day, "rows": database.rows, "limit": limit}

    @app.get("/many")
    @mark
    def many(
        tag: Annotated[list[str] | None, Query()] = None,
        x_count: Annotated[int, Header()] = 0,
        flavour: Annotated[str | None, Cookie()] = None,
        opened: str = Depends(session),
    ) -> dict[str, object]:
        return {"tag": tag, "x_count": x_count, "flavour": flavour, "opened": opened}

    @app.post("/items", response_model=Shown, status_code=201)
    @mark
    async def create(item: Item, response: Response) -> Item:
        response.headers["x-made"] = item.name
        response.set_cookie("seen", "yes")
        return item

    @app.post("/two-bodies")
    @mark
    def two_bodies(
        item: Item, note: Annotated[str, Body()], embedded: Annotated[int, Body(embed=True)] = 3
    ) -> list[object]:
        return [item, note, embedded]

    @app.post("/form")
    @mark
    def form(name: Annotated[str, Form()], age: Annotated[int, Form()] = 1) -> dict[str, object]:
        return {"name": name, "age": age}

    @app.post("/upload")
    @mark
    async def upload(file: UploadFile, note: Annotated[bytes | None, File()] = None) -> dict[str, object]:
        return {"name": file.filename, "text": (await file.read()).decode(), "note": note}

    @app.post("/raw-body")
    @mark
    async def raw_body(request: Request) -> dict[str, object]:
        pieces = [piece async for piece in request.stream()]
        return {"body": b"".join(pieces).decode(), "again": (await request.body()).decode() if not pieces else "-"}

    @app.post("/json-by-hand")
    @mark
    async def json_by_hand(request: Request, q: str = "") -> dict[str, object]:
        return {"json": await request.json(), "q": q, "path": request.url.path}

    @app.put("/unread")
    @mark
    def unread(q: int = 0) -> int:
        return q

    @app.get("/scopes")
    @mark
    def scopes(scope: str = Security(secured, scopes=["read", "write"])) -> str:
        return scope

    @app.get("/basic")
    @mark
    def basic(login: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]) -> str:
        return login.username if login else "nobody"

    app.get("/greet/{name}")(mark(Greeter("hello")))
    app.get("/greet-method/{name}")(mark(Greeter("good day").method))
    app.get("/greet-partial/{name}")(mark(functools.partial(Greeter("hi").method)))

    @app.get("/timed/{number}")
    @mark
    @timed
    async def timed_view(number: int) -> int:
        return number

    @app.get("/decorated-above/{number}")
    @timed
    @mark
    def decorated_above(number: int) -> int:
        return number

    @app.get("/checked-only", response_model=None)
    @mark
    def checked_only(n: int = 1) -> Decimal | int:
        return n


def add_answers(app: FastAPI, mark: Mark) -> None:
    """One route for each way to answer."""

    @app.get("/dict")
    @mark
    def a_dict() -> dict[str, int]:
        return {"a": 1}

    @app.get("/tuple")
    @mark
    def a_tuple() -> tuple[int, str]:
        return 1, "two"

    @app.get("/none")
    @mark
    async def a_none() -> None:
        return None

    @app.delete("/empty", status_code=204)
    @mark
    async def empty() -> None:
        """Nothing to say."""

    @app.get("/dataclass")
    @mark
    async def a_dataclass() -> Point:
        return Point(1, 2)

    @app.get("/html", response_class=HTMLResponse)
    @mark
    def html() -> str:
        return "<p>hello"

    @app.get("/response")
    @mark
    def response() -> Response:
        return PlainTextResponse("as it is", 202, {"x-own": "1", "cache-control": "public, max-age=5"})

    @app.get("/json-response")
    @mark
    async def json_response() -> JSONResponse:
        return JSONResponse(["é"])

    @app.get("/redirect")
    @mark
    async def redirect() -> RedirectResponse:
        return RedirectResponse("/elsewhere")

    @app.get("/file")
    @mark
    async def file() -> FileResponse:
        return FileResponse(Path(__file__), media_type="text/x-python")

    @app.get("/teapot")
    @mark
    def teapot() -> None:
        raise HTTPException(418, "short and stout", {"x-handle": "1"})

    @app.get("/background")
    @mark
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(str)
        return "later"


def add_streams(app: FastAPI, mark: Mark) -> None:
    """One route for each way to stream."""

    def numbers() -> Iterator[bytes]:
        for n in range(3):
            yield b"%d;" % n

    @app.get("/stream-sync")
    @mark
    def stream_sync() -> StreamingResponse:
        return StreamingResponse(numbers(), media_type="text/plain")

    @app.get("/stream-async")
    @mark
    async def stream_async() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for n in range(3):
                yield f"{n};"

        return StreamingResponse(pieces())

    @app.get("/lines")
    @mark
    async def lines(count: int = 3) -> AsyncIterator[Item]:
        for n in range(count):
            yield Item(name=str(n))

    @app.get("/lines-sync")
    @mark
    def lines_sync(count: int = 3) -> Iterator[Item]:
        for n in range(count):
            yield Item(name=str(n))

    @app.get("/pieces", response_class=StreamingResponse)
    @mark
    async def raw_pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b"):
            yield piece

    @app.get("/pieces-sync", response_class=PlainTextStream)
    @mark
    def raw_pieces_sync() -> Iterator[bytes]:
        yield from numbers()

    @app.get("/events", response_class=EventSourceResponse)
    @mark
    async def events() -> AsyncIterator[ServerSentEvent]:
        for n in range(3):
            yield ServerSentEvent(data={"n": n}, id=str(n))

    @app.get("/events-sync", response_class=EventSourceResponse)
    @mark
    def events_sync() -> Iterator[Item]:
        yield Item(name="only")


class PlainTextStream(StreamingResponse):
    """A response class of the app's own."""

    media_type = "text/plain"


def routers(mark: Mark) -> APIRouter:
    """A router in a router."""
    outer = APIRouter(prefix="/shop", dependencies=[Depends(db)])
    inner = APIRouter(tags=["inner"])

    @inner.get("/things/{thing}")
    @mark
    async def thing(thing: str) -> str:
        return thing

    @inner.api_route("/either", methods=["GET", "POST", "HEAD"], include_in_schema=False)
    @mark
    async def either(request: Request) -> str:
        return request.method

    outer.include_router(inner)
    return outer
