"""What pages and the API share: reading what is asked, and saying what went wrong."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from starlette.responses import JSONResponse

from flovia.core.errors import CallerError
from flovia.dashboard.filters import number_of, seconds_of, text_of
from flovia.dashboard.questions import BY_ONE, WITH_BY, Options
from flovia.insights.asking import members_by
from flovia.insights.attempt import COUNTED_AS
from flovia.insights.integrity import PENDING_S
from flovia.insights.sql_choosing import STEPS, Chosen
from flovia.web.site import HEADERS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

T = TypeVar("T")
Handler = Callable[["Request"], Awaitable["Response"]]
AT_ONCE: Final = 8
"""Pages that are made at the same time: threads of our own, so that none of the app's handlers waits for one."""
_limiter: Final = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("flovia-dashboard-limiter")


async def in_thread(work: Callable[[], T], *, abandon: bool = False) -> T:
    """Do what takes a while where it keeps no other request waiting.

    ``abandon``: whoever waits no longer need not wait for its end.
    """
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=abandon)


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """An error for programs (RFC 9457)."""
    body = {"title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers=dict(HEADERS), media_type="application/problem+json")


def options_of(name: str, params: Mapping[str, str], own: Sequence[str] = ()) -> Options:
    """How a report is to be given.

    Raises:
        CallerError: it cannot be given so.
    """
    by = tuple(dict.fromkeys(one.strip() for one in text_of(params, "by").split(",") if one.strip()))
    if by and name not in WITH_BY:
        raise CallerError(f"the rows of {name} are what they are; leave by out")
    if name not in BY_ONE:
        members_by(by)
    elif len(by) > 1 or any(one not in WITH_BY[name] for one in by):
        *others, last = WITH_BY[name]
        raise CallerError(f"by is {', '.join(others)} or {last}")
    return Options(
        by=() if by == ("week",) else by,
        least=number_of(params, "least", 0, 1_000_000) if name in ("pricing", "workflows") else 0,
        limit=number_of(params, "limit", 0, 1000) if name == "integrity" else 0,
        pending_s=seconds_of(params, "pending", PENDING_S) if name == "integrity" else PENDING_S,
        own=tuple(text for one in own if (text := text_of({"own": one}, "own"))),
    )


def chosen_of(params: Mapping[str, str]) -> Chosen:
    """Which attempts a list shows.

    Raises:
        CallerError: it cannot be meant.
    """
    found = Chosen(**{name: text_of(params, name) for name in attrs.fields_dict(Chosen)})
    if found.step and found.step not in STEPS:
        raise CallerError(f"step is one of {', '.join(STEPS)}")
    if found.state and found.state not in COUNTED_AS:
        raise CallerError(f"state is one of {', '.join(COUNTED_AS)}")
    if found.price and not (found.price.isascii() and found.price.isdecimal()):
        raise CallerError("price is a whole number of base units")
    return found


def before_of(params: Mapping[str, str]) -> tuple[float, str] | None:
    """Behind which attempt a list goes on.

    Raises:
        CallerError: it is none.
    """
    value = text_of(params, "before")
    if not value:
        return None
    at, comma, key = value.partition(",")
    try:
        found = float(at)
    except ValueError:
        found = nan
    if not (comma and isfinite(found)):
        raise CallerError("before is what the page before said")
    return found, key
