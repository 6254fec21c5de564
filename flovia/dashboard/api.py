"""The same numbers for programs: JSON, CSV, and what has just come."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs
from starlette.responses import Response, StreamingResponse

from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError
from flovia.dashboard.access import WSGI
from flovia.dashboard.answers import Found
from flovia.dashboard.filters import number_of, read_filters, text_of
from flovia.dashboard.http import before_of, chosen_of, in_thread, options_of, problem
from flovia.dashboard.joined_rows import matcher
from flovia.dashboard.linking import Linker
from flovia.dashboard.live import MOST_STREAMS, Wanted, news, stream
from flovia.dashboard.openapi import openapi, taken
from flovia.dashboard.questions import REPORTS
from flovia.reports.as_csv import csv_of
from flovia.web.site import HEADERS
from flovia.words import safe

if TYPE_CHECKING:
    from starlette.requests import Request

    from flovia.dashboard.desk import Desks

T = TypeVar("T")
MOST: int = 500
"""Joined events of one answer."""


class Api:
    """The JSON of a dashboard. Every answer is about the ledger as it is now.

    Args:
        desks: the answers.
    """

    def __init__(self, desks: "Desks") -> None:
        self._desks = desks
        self._streams = 0

    async def report(self, request: "Request") -> Response:
        """``GET /api/{name}`` and ``/api/{name}.csv``"""
        name, _, kind = str(request.path_params["name"]).partition(".")
        if (
            (name not in REPORTS and name != "overview")
            or kind not in ("", "csv")
            or (name, kind) == ("overview", "csv")
        ):
            return problem(404, "No such answer", f"There is: overview, events, {', '.join(REPORTS)}, openapi.json")
        if text_of(request.query_params, "workflow"):
            raise CallerError(
                "workflow narrows /api/events alone, and these numbers are of all workflows; leave it out"
            )
        _only(request, f"/api/{name}", but="workflow")
        desk, books = self._desks.here(), self._desks.books
        filters = read_filters(request.query_params, await in_thread(books.now))
        if name == "overview":
            seen = await desk.sure(books.overview(filters))
            return await in_thread(lambda: _json(seen.value.to_json(), seen))
        question = books.report(
            name, filters, options_of(name, request.query_params, request.query_params.getlist("own"))
        )
        found = await desk.sure(question)
        if kind == "csv":
            return await in_thread(lambda: _csv(csv_of(found.value.rows), name, found))
        return await in_thread(lambda: _json(found.value.payload, found))

    async def events(self, request: "Request") -> Response:
        """``GET /api/events``"""
        _only(request, "/api/events")
        params = request.query_params
        desk, books = self._desks.here(), self._desks.books
        filters = read_filters(params, await in_thread(books.now))
        limit = number_of(params, "limit", 100, MOST)
        question = books.events(filters, chosen_of(params), limit + 1, before_of(params))
        found = await desk.sure(question)
        rows, more = found.value[:limit], found.value[limit:]
        last = rows[-1].attempt if more else None
        following = None if last is None else f"{last.at!r},{last.key}"
        return await in_thread(lambda: _json({"events": [one.to_json() for one in rows], "next": following}, found))

    async def attempt(self, request: "Request") -> Response:
        """``GET /api/attempts/{id}``"""
        _only(request, "/api/attempts/{id}")
        ident = text_of(request.path_params, "ident")
        found = await self._desks.here().sure(self._desks.books.story(ident))
        story = found.value
        if not story.attempts:
            return problem(404, "No such attempt", "no attempt, challenge, payment or request has this name")
        events: list[JsonValue] = [{**attrs.asdict(one), "id": one.id} for one in story.events]
        return _json({"attempts": [one.to_json() for one in story.attempts], "events": events}, found)

    async def describe(self, request: "Request") -> Response:
        """``GET /api/openapi.json``"""
        root = str(request.scope.get("root_path", ""))
        return Response(json.dumps(openapi(root)), headers=dict(HEADERS), media_type="application/json")

    async def news(self, request: "Request") -> Response:
        """``GET /events/new?after=N``: what has come, for pages that cannot be told."""
        keeper = self._desks.here().keeper
        keeper.look()
        found = await news(keeper, _after(request), await self._wanted(request), _linker(request))
        return Response(str(found), headers=dict(HEADERS), media_type="application/json")

    async def stream(self, request: "Request") -> Response:
        """``GET /events/stream?after=N``: what comes, as server-sent events."""
        if WSGI in request.scope:
            return problem(404, "No streams here", "mounted under WSGI the page asks again: /events/new")
        keeper = self._desks.here().keeper
        keeper.look()
        keeper.check()
        position = _position(request.headers.get("last-event-id", ""), _after(request))
        if self._streams >= MOST_STREAMS:
            return problem(503, "Too many watch", "so many streams are open that there is no other one: /events/new")
        found = self._counted(stream(keeper, position, await self._wanted(request), _linker(request)))
        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(found, headers=headers, media_type="text/event-stream")

    async def _counted(self, found: AsyncIterator[str]) -> AsyncIterator[str]:
        self._streams += 1
        try:
            async for one in found:
                yield one
        finally:
            self._streams -= 1

    async def _wanted(self, request: "Request") -> Wanted:
        books, known = self._desks.books, self._desks.here().keeper.known
        # A clock that is a database's may have to be asked.
        filters = read_filters(request.query_params, await in_thread(books.now))
        floor = None if known is None else known.floor
        wanted = matcher(await in_thread(lambda: books.asked(filters, floor)), chosen_of(request.query_params))
        return lambda seen: wanted(seen.kept)


def _only(request: "Request", path: str, but: str = "") -> None:
    """Take no member that nobody knows: who misspells one would get all, or the same page again and again.

    Raises:
        CallerError: there is one.
    """
    known = taken(path)
    unknown = [name for name in request.query_params if name not in known and name != but]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise CallerError(f"{path} knows no {safe(unknown[0])[:64]}; {takes}")


def _after(request: "Request") -> int:
    return _position(request.query_params.get("after", ""), 0)


def _position(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else default


def _linker(request: "Request") -> Linker:
    filters = read_filters({}, 0.0)
    return Linker(root=str(request.scope.get("root_path", "")), filters=filters)


def _headers(found: Found[T] | None) -> dict[str, str]:
    if found is None:
        return dict(HEADERS)
    return {**HEADERS, "flovia-as-of": f"{found.made:.3f}", "flovia-position": str(found.position)}


def _json(members: Mapping[str, JsonValue], found: Found[T] | None = None) -> Response:
    return Response(json.dumps(members), headers=_headers(found), media_type="application/json")


def _csv(text: str, name: str, found: Found[T]) -> Response:
    headers = {**_headers(found), "content-disposition": f'attachment; filename="flovia-{name}.csv"'}
    return Response(text, headers=headers, media_type="text/csv")
