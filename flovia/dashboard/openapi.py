"""The description of the JSON that a dashboard answers: OpenAPI 3.1."""

from collections.abc import Mapping
from functools import cache
from typing import Final, cast

from attrs import fields_dict

import flovia
from flovia.core.encoding import JsonValue
from flovia.dashboard.filters import MOST_S, Filters
from flovia.dashboard.questions import BY_ONE, REPORTS, WITH_BY
from flovia.insights.attempt import COUNTED_AS
from flovia.insights.joined import schema
from flovia.insights.sql_choosing import STEPS, Chosen

Json = dict[str, JsonValue]
_ABOUT: Final = {
    "funnel": "Of those who saw a price: who paid, and who got the answer.",
    "latency": "How long the 402, the verdict and the handler took, and how often each failed.",
    "revenue": "What came, what went back, and what is left; each currency by itself, amounts in base units.",
    "pricing": "What each price brought for each attempt that saw it, and what to ask next.",
    "retention": "Who comes back with another paid session, when, and who may have gone.",
    "workflows": "What is used together and in which order, and where sessions end unpaid.",
    "integrity": "How payments and requests agree, and what needs somebody, the oldest first.",
}


def taken(path: str) -> list[str]:
    """The members that the query of this path may have: those that the document lists."""
    members = cast("Json", cast("Json", _paths()[path])["get"])["parameters"]
    return [str(one["name"]) for one in cast("list[Json]", members) if one["in"] == "query"]


def openapi(root: str) -> Json:
    """The document. ``root``: where the dashboard is mounted."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flovia dashboard",
            "version": flovia.__version__,
            "description": (
                "What the ledger says about the business. Amounts are texts of digits in base units, times Unix"
                " seconds, durations milliseconds. Flovia-As-Of says when an answer was made, Flovia-Position of which"
                " event on."
            ),
        },
        "servers": [{"url": root or "/"}],
        "paths": _paths(),
        "components": {"schemas": {"JoinedEvent": schema(), "Problem": _PROBLEM}},
    }


@cache
def _paths() -> Json:
    paths: Json = {"/api/overview": _path("overview", "The numbers of the first page, and of each day.", _filters())}
    for name in REPORTS:
        more = [*_filters(), *_of_report(name)]
        paths[f"/api/{name}"] = _path(name, f"{_ABOUT[name]} The same as flovia report {name} --json.", more)
        paths[f"/api/{name}.csv"] = _path(f"{name}Csv", f"The rows of {name} as CSV.", more, kind="text/csv")
    chosen: list[JsonValue] = [
        _member(name, f"Only attempts with this {name.replace('_', ' ')}.")
        for name in fields_dict(Chosen)
        if name not in _LIMITED
    ]
    limited: list[JsonValue] = [{**_member(name, about), "schema": of} for name, (about, of) in _LIMITED.items()]
    before = _member("before", "Go on behind the last page: what that said as next.")
    paths["/api/events"] = _path(
        "events",
        "Joined events, the newest first; next is null where there are no more.",
        [*_filters(), *chosen, *limited, _number("limit", "How many at most, 100 if it is left out.", 500), before],
    )
    ident: Json = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/api/attempts/{id}"] = _path(
        "attempt",
        "The joined events of an attempt, a challenge, a payment or a request, and their raw events.",
        [ident],
    )
    return paths


_LIMITED: Final[Mapping[str, tuple[str, Json]]] = {
    "step": ("How far they came.", {"type": "string", "enum": [*STEPS]}),
    "state": ("Only attempts with this state.", {"type": "string", "enum": [*COUNTED_AS]}),
    "price": ("Only attempts with this price, base units.", {"type": "string", "pattern": "^[0-9]+$"}),
}
_PROBLEM: Final[Json] = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}},
}


def _filters() -> list[JsonValue]:
    about = {
        "since": "Attempts that began at this time or later: 2026-01-31, 2026-01-31T12:00:00Z, or 30d (ago).",
        "until": "Attempts that began before this time.",
        "endpoint": "Only this one.",
        "test": "1: count attempts with the mock provider too, where no money moves.",
    }
    return [_member(name, about[name]) for name in about if hasattr(Filters(), name)]


def _of_report(name: str) -> list[JsonValue]:
    own: Json = {
        **_member(
            "own", "As --own of the command: payers of your own besides those of the app's settings; repeatable."
        ),
        "schema": {"type": "array", "items": {"type": "string"}},
    }
    found: list[JsonValue] = [own]
    if name in WITH_BY:
        words = ", ".join(WITH_BY[name])
        what = "What the rows of the CSV are; JSON has all" if name == "workflows" else "What rows are told apart by"
        many = "one of" if name in BY_ONE else "some of, with commas between,"
        found.append(_member("by", f"{what}: {many} {words}."))
    if name in ("pricing", "workflows"):
        found.append(_number("least", "As --least of the command.", 1_000_000))
    if name == "integrity":
        found.append(_number("limit", "As --limit of the command.", 1000))
        pending: Json = {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_S}
        found.append({**_member("pending", "As --pending of the command, seconds."), "schema": pending})
    return found


def _number(name: str, about: str, most: int) -> Json:
    return {**_member(name, about), "schema": {"type": "integer", "minimum": 1, "maximum": most}}


def _member(name: str, about: str) -> Json:
    return {"name": name, "in": "query", "description": about, "schema": {"type": "string"}}


def _path(ident: str, about: str, members: list[JsonValue], kind: str = "application/json") -> JsonValue:
    problem: Json = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    good: Json = {
        "description": about,
        "content": {kind: {"schema": {"type": "string" if kind == "text/csv" else "object"}}},
    }
    answers: Json = {
        "200": good,
        "400": {"description": "A member of the query cannot be meant.", "content": problem},
        "403": {"description": "Nobody who may look.", "content": problem},
        "503": {"description": "The ledger does not answer now, or too much is asked for at once.", "content": problem},
    }
    return {"get": {"operationId": ident, "summary": about, "parameters": members, "responses": answers}}
