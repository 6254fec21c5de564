"""Asking the broker how a charge or a setup stands, patiently, until a person has done their part."""

from collections.abc import Callable
from typing import Final

import attrs

from flovia.core.effects import Flow, HttpCall, http, now, sleep
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.errors import HttpError, ParseError

MAX_WAIT_S: Final = 60.0
_MAX_ANSWER: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class Patience:
    """How to wait: ask every ``poll_s`` seconds until ``until`` (Unix seconds); ``tick`` hears what is left each time.

    ``call_s``: the deadline of one question.
    """

    poll_s: float
    until: float
    call_s: float = 10.0
    tick: Callable[[float], None] | None = None


@attrs.frozen(kw_only=True)
class Status:
    """One answer of the broker. ``members`` may hold a grant."""

    status: str
    members: JsonObject = attrs.field(repr=False)


def ask(url: str, call_s: float) -> Flow[Status | float]:
    """One question. A number: no usable answer, ask again after so many seconds at least."""
    call = HttpCall(
        http_method="GET",
        url=url,
        headers=(("accept", "application/json"),),
        deadline_s=call_s,
        max_bytes=_MAX_ANSWER,
    )
    try:
        reply = yield from http(call)
        if reply.status != 200:
            wait = reply.header("retry-after") or ""
            return min(float(wait), MAX_WAIT_S) if wait.isascii() and wait.isdecimal() and len(wait) < 6 else 0.0
        members = loads_object(reply.body)
    except (HttpError, ParseError):
        return 0.0
    status = members.get("status")
    return Status(status=status, members=members) if isinstance(status, str) else 0.0


def wait_for(url: str, patience: Patience, final: Callable[[Status], bool]) -> Flow[Status | None]:
    """Ask until ``final`` likes an answer; None when the time is up."""
    while True:
        found = yield from ask(url, patience.call_s)
        if isinstance(found, Status) and final(found):
            return found
        left = patience.until - (yield from now())
        if left <= 0:
            return None
        if patience.tick is not None:
            patience.tick(left)
        pause = patience.poll_s if isinstance(found, Status) else max(found, patience.poll_s)
        yield from sleep(min(pause, left))
