"""What may go wrong on request: knobs of the local sandbox, each turned for one call, and no others."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import attrs

from flovia.core.errors import CallerError

if TYPE_CHECKING:
    from starlette.requests import Request

    from flovia.sandbox import Sandbox

MOST_FORM: Final = 1000
"""Bytes of a form that are read."""
EXPIRES_AFTER_S: Final = 6.0
_TRIES: Final = 2
"""Failures in a row: flovia tries at once a second time to make a charge, so that one alone would show nowhere."""
_SOON: Final[Mapping[str, object]] = {"delay": 3, "next": 1}


@attrs.frozen(kw_only=True)
class Trouble:
    """Something that goes wrong. ``knob``, ``value`` and ``options``: of the sandbox, for the next call alone.

    ``expires``: in place of a knob, the charge's time is over some seconds after it was made.
    """

    name: str
    title: str
    knob: str = ""
    value: str | int = ""
    options: Mapping[str, object] = attrs.field(factory=dict[str, object])
    expires: bool = False


TROUBLES: Final = (
    Trouble(
        name="down",
        title="HitPay is down",
        knob="http",
        value=503,
        options={"route": "B1", "next": _TRIES, "retry_after": 5},
    ),
    Trouble(
        name="unknown",
        title="HitPay fails while the payment is verified",
        knob="http",
        value=500,
        options={"route": "B3", "next": _TRIES},
    ),
    Trouble(name="declined", title="the payer's bank declines once", knob="payer", value="decline", options=_SOON),
    Trouble(name="twice", title="somebody pays twice", knob="payer", value="pay_twice", options=_SOON),
    Trouble(name="amount", title="somebody pays another sum", knob="payer", value="wrong_amount", options=_SOON),
    Trouble(name="expired", title="the time is over before anybody pays", expires=True),
)
"""All of them; a form names one."""


async def trouble_asked(request: "Request") -> Trouble | None:
    """Which one a form asks for."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM:
            return None
    named = parse_qs(body.decode("latin-1")).get("trouble", [""])[0]
    return next((one for one in TROUBLES if one.name == named), None)


def turn(sandbox: "Sandbox", trouble: Trouble) -> None:
    """Turn the knob for the call that comes next."""
    if trouble.knob:
        sandbox.fault(trouble.knob, trouble.value, **trouble.options)


async def expire(sandbox: "Sandbox", charge_id: str) -> None:
    """End the time of a charge in a moment, if nobody has paid it by then."""
    await asyncio.sleep(EXPIRES_AFTER_S)
    try:
        sandbox.expire(charge_id)
    except CallerError:
        return  # somebody was quicker
