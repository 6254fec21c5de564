"""What may go wrong on request, in a local sandbox: for the one run that asked for it, and for nobody else's call."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qs, urlsplit

import attrs

from flovia.core.errors import CallerError
from flovia.core.http import Headers, HttpRequest
from flovia.providers.hitpay.request_hash import request_hash

if TYPE_CHECKING:
    from starlette.requests import Request

    from flovia.showcase.shop import Shop

MOST_FORM: Final = 1000
"""Bytes of a form that are read."""
EXPIRES_AFTER_S: Final = 6.0
SOON_S: Final = 3.0
"""How long after the charge was made its payer does what the trouble says."""
OTHER_SUM: Final = "0.99"
_TRIES: Final = 2
"""Failures in a row: flovia tries at once a second time to make a charge, so that one alone would show nowhere."""
Name = Literal["down", "unknown", "declined", "twice", "amount", "expired"]


@attrs.frozen(kw_only=True)
class Trouble:
    """Something that goes wrong. ``name``: as forms say it."""

    name: Name
    title: str

    @property
    def by_itself(self) -> bool:
        """Whether a payer does it, without the visitor."""
        return self.name in _PAYERS


TROUBLES: Final = (
    Trouble(name="down", title="HitPay is down"),
    Trouble(name="unknown", title="HitPay fails while the payment is verified"),
    Trouble(name="declined", title="the payer's bank declines once"),
    Trouble(name="twice", title="somebody pays twice"),
    Trouble(name="amount", title="somebody pays another sum"),
    Trouble(name="expired", title="the time is over before anybody pays"),
)
"""All of them; a form names one."""
_PAYERS: Final = frozenset({"declined", "twice", "amount", "expired"})


async def trouble_asked(request: "Request") -> Trouble | None:
    """Which one a form asks for; None for none.

    Raises:
        CallerError: for one that there is not.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM:
            raise CallerError(f"a form has at most {MOST_FORM} bytes")
    named = parse_qs(body.decode("latin-1")).get("trouble", [""])[-1]
    found = next((one for one in TROUBLES if one.name == named), None)
    if named and found is None:
        raise CallerError(f"there is no such trouble; known: {', '.join(one.name for one in TROUBLES)}")
    return found


class Staged:
    """The trouble of one run.

    What fails at HitPay fails for this run's request or charge alone, because the sandbox is told which one; what a
    payer does is done to its charge. When the run ends, what has not happened yet does not happen any more.

    Args:
        shop: whose route the run calls.
        run_id: of the run.
        trouble: None for none; where there is no sandbox there is none either.
    """

    def __init__(self, shop: "Shop", run_id: str, trouble: Trouble | None) -> None:
        self._sandbox = shop.sandbox
        self._name = None if trouble is None or shop.sandbox is None else trouble.name
        self._task: asyncio.Task[None] | None = None
        self._charge = ""
        self._acted = False
        self._failing = ""
        # A charge that cannot be made has no name; so the request has one, which is bound into what HitPay is asked.
        self._query = f"run={run_id}" if self._name == "down" else ""
        self.url = f"{shop.endpoint}?{self._query}" if self._query else shop.endpoint
        """What the run calls."""
        self._config = shop.provider.config

    @property
    def missed(self) -> bool:
        """Whether a payer was to do something, and has not, or not in time."""
        return self._name in _PAYERS and not self._acted

    def begin(self) -> None:
        """The run is about to call."""
        if self._name == "down":
            asked = HttpRequest("GET", urlsplit(self.url).path, self._query, Headers.of([]))
            self._fail(request_hash(asked, self._config), 503, {"route": "B1", "retry_after": 5})

    def charged(self, charge_id: str) -> None:
        """Its charge was made."""
        self._charge = charge_id
        if self._name == "unknown":
            self._fail(charge_id, 500, {"route": "B3"})
        elif self._name in _PAYERS:
            self._task = asyncio.create_task(self._later())

    async def end(self, *, delivered: bool) -> None:
        """The run has ended; ``delivered``: with the answer that was paid for."""
        if self._failing and self._sandbox is not None:
            self._sandbox.clear("http", about=self._failing)
            self._failing = ""
        if self._task is None:
            return
        waits = not self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])
        if waits and delivered and self._name == "twice":
            self._act()  # the visitor was quicker, and was the first of the two

    def _fail(self, about: str, status: int, options: Mapping[str, object]) -> None:
        if self._sandbox is not None:
            self._failing = about
            self._sandbox.fault("http", status, id=about, next=_TRIES, **options)

    async def _later(self) -> None:
        await asyncio.sleep(EXPIRES_AFTER_S if self._name == "expired" else SOON_S)
        self._act()

    def _act(self) -> None:
        sandbox, charge = self._sandbox, self._charge
        if sandbox is None:
            return
        # What is no longer possible does not happen: somebody was quicker.
        with suppress(CallerError):
            match self._name:
                case "declined":
                    sandbox.decline(charge)
                case "amount":
                    sandbox.pay(charge, amount=OTHER_SUM)
                case "expired":
                    sandbox.expire(charge)
                case _:
                    with suppress(CallerError):
                        sandbox.pay(charge)
                    sandbox.pay(charge, again=True)
            self._acted = True
