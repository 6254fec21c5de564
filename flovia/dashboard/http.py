"""What pages and the API share: reading what is asked, and saying what went wrong."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
from starlette.responses import JSONResponse

from flovia.core.errors import CallerError
from flovia.dashboard.filters import number_of, text_of
from flovia.dashboard.questions import WITH_BY, Options
from flovia.insights.asking import members_by
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


async def in_thread(work: Callable[[], T]) -> T:
    """Do what takes a while where it keeps no other request waiting."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """An error for programs (RFC 9457)."""
    body = {"title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers=dict(HEADERS), media_type="application/problem+json")


def options_of(name: str, params: Mapping[str, str]) -> Options:
    """How a report is to be given.

    Raises:
        CallerError: it cannot be given so.
    """
    by = tuple(one.strip() for one in text_of(params, "by").split(",") if one.strip())
    if by and name not in WITH_BY:
        raise CallerError(f"the rows of {name} are what they are; leave by out")
    if name == "retention":
        if by and by not in (("week",), ("endpoint",)):
            raise CallerError("by is week or endpoint")
    else:
        members_by(by)
    least = number_of(params, "least", 0, 1_000_000) if name in ("pricing", "workflows") else 0
    limit = number_of(params, "limit", 0, 1000) if name in ("integrity", "workflows") else 0
    return Options(by=() if by == ("week",) else tuple(dict.fromkeys(by)), least=least, limit=limit)


def chosen_of(params: Mapping[str, str]) -> Chosen:
    """Which attempts a list shows.

    Raises:
        CallerError: it cannot be meant.
    """
    found = Chosen(**{name: text_of(params, name) for name in attrs.fields_dict(Chosen)})
    if found.step and found.step not in STEPS:
        raise CallerError(f"step is one of {', '.join(STEPS)}")
    return found


def before_of(params: Mapping[str, str]) -> tuple[float, str] | None:
    """Behind which attempt a list goes on.

    Raises:
        CallerError: it is none.
    """
    value = text_of(params, "before")
    if not value:
        return None
    at, _, key = value.partition(",")
    try:
        return float(at), key
    except ValueError:
        raise CallerError("before is what the page before said") from None
