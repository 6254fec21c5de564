"""The simulated flow of the showcase: what happens before a live wallet or checkout is involved, in five steps.

Every value on it comes out of :mod:`flovia.showcase.simulated_run`, which runs the real core; only the sentences
between them stand here.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flovia.core.encoding import JsonValue, canonical
from flovia.core.http import HttpRequest
from flovia.insights.join import JoinedEvent
from flovia.showcase import simulated_run as script
from flovia.showcase.simulated_run import Run, run
from flovia.web.site import HEADERS
from flovia.words import moment

LANES: Final = ("payment", "api", "flovia")
PREVIEW: Final = (
    "requestId",
    "provider",
    "rail",
    "endpoint",
    "paymentId",
    "responseStatus",
    "latencyMs",
    "insight",
)
"""The members of the joined event that are shown first."""
ADDRESS: Final = "/showcase/hitpay-mpp/simulated.json"
_SECRET_FIELDS: Final = frozenset({"authorization"})
_LONG: Final = 96


@attrs.frozen(kw_only=True)
class Message:
    """What goes over the wire, as lines. ``name``: who says it to whom."""

    name: str
    lines: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Entry:
    """A fact in one of the lanes. ``step``: the one that makes it true."""

    step: int
    text: str


@attrs.frozen(kw_only=True)
class Step:
    """One of the five. ``insight``: what the join makes of the events that are there by then."""

    number: int
    title: str
    says: str
    facts: tuple[str, ...]
    messages: tuple[Message, ...]
    events: tuple[str, ...]
    insight: str


@attrs.frozen(kw_only=True)
class Simulation:
    """The whole story. ``event``: the joined event as it serialises itself, the members of :data:`PREVIEW` first."""

    steps: tuple[Step, ...]
    lanes: dict[str, tuple[Entry, ...]]
    event: dict[str, JsonValue]

    @property
    def preview(self) -> str:
        """The first members of the event, as JSON for people."""
        return json.dumps({name: self.event[name] for name in PREVIEW}, indent=2)

    @property
    def others(self) -> str:
        """All members of the event, as JSON for people."""
        return json.dumps(self.event, indent=2)

    def to_json(self) -> dict[str, JsonValue]:
        """The story for programs; ``simulated`` says what it is."""
        return {
            "simulated": True,
            "clock": moment(script.START_MS / 1000),
            "steps": [
                {
                    "number": one.number,
                    "title": one.title,
                    "says": one.says,
                    "facts": list(one.facts),
                    "messages": [{"name": said.name, "lines": list(said.lines)} for said in one.messages],
                    "events": list(one.events),
                    "insight": one.insight,
                    "lanes": {
                        name: [entry.text for entry in entries if entry.step == one.number]
                        for name, entries in self.lanes.items()
                    },
                }
                for one in self.steps
            ],
            "event": self.event,
        }


@lru_cache(maxsize=1)
def simulation() -> Simulation:
    """The story, told once: it never changes.

    Raises:
        OffScriptError: the core did something that is not in the script.
    """
    played = run()
    return Simulation(steps=_steps(played), lanes=_lanes(played), event=_event(played))


def chosen_step(request: Request) -> int:
    """The step that an address asks for, ``?step=3``; without one the last: the story is over and all is shown."""
    asked, last = request.query_params.get("step", ""), len(simulation().steps)
    numbers = {str(number): number for number in range(1, last + 1)}
    return numbers.get(asked, last)


def _answer(request: Request) -> Response:
    return JSONResponse(simulation().to_json(), headers={**HEADERS})


def routes() -> list[Route]:
    """What the site serves of it beside its page."""
    return [Route(ADDRESS, _answer)]


# --- the five steps --------------------------------------------------------------------------------------------


def _steps(played: Run) -> tuple[Step, ...]:
    (status, fields, body), event = played.answer, played.attempts[-1]
    asks = f"{played.asked.http_method} {played.asked.path}"
    told = (
        (
            "Agent calls paid API",
            "The first request carries no credential. Flovia gives it an id before anything else happens.",
            (asks, "no payment credential", f"request id created: {played.asked.request_id}"),
            (_request("Agent to API", played.asked),),
        ),
        (
            "MPP blocks access",
            "The gate asks HitPay for a charge and answers with a challenge that leads to its checkout page.",
            ("HitPay MPP", "402 challenge + checkout URL", f"status {played.refused.status}"),
            (
                _response("API to agent", played.refused.status, played.refused.headers, ""),
                _json("The challenge's request, decoded", played.challenge.request_json),
            ),
        ),
        (
            "Payment completes",
            "Somebody pays on the checkout page. The API hears nothing of it yet; the agent polls HitPay.",
            ("checkout session + QR payment", script.CHARGE, _price()),
            (_json("HitPay to agent, at the polling URL", played.status),),
        ),
        (
            "API access granted",
            "The agent repeats its request with a credential. HitPay's signed receipt is checked, the payment is on"
            " record, and only then the handler runs.",
            ("paid retry + API response", f"status {status}", f"response {body.decode()}"),
            (
                _request("Agent to API", played.retry),
                _response("API to agent", status, fields, body.decode()),
            ),
        ),
        (
            "Flovia joins event",
            "The challenge id stands in the 402 and, unchanged, in the credential: both requests and the payment become"
            " one event.",
            ("payment context", "endpoint usage", "workflow signal"),
            (_json("What makes the two requests one", _link(event)),),
        ),
    )
    return tuple(
        Step(
            number=number,
            title=title,
            says=says,
            facts=facts,
            messages=messages,
            events=tuple(event.type for event in played.events[number - 1]),
            insight=played.attempts[number - 1].insight,
        )
        for number, (title, says, facts, messages) in enumerate(told, 1)
    )


def _lanes(played: Run) -> dict[str, tuple[Entry, ...]]:
    event, last = played.attempts[-1], len(played.attempts)
    counts = [len(events) for events in played.events]
    (status, _, _) = played.answer
    told: dict[str, tuple[tuple[int, str], ...]] = {
        "payment": (
            (2, "402 challenge + checkout URL"),
            (2, f"Checkout URL / QR: {_checkout(played)}"),
            (2, f"expires {played.challenge.expires}"),
            (3, f"{event.payment_id} paid"),
            (3, _price()),
            (4, "receipt verified against HitPay's published keys"),
        ),
        "api": (
            (1, f"{event.http_method} {event.endpoint}"),
            (1, f"request id {played.asked.request_id}"),
            (2, f"request → {played.refused.status}, nothing delivered"),
            (4, f"retry, request id {played.retry.request_id}"),
            (4, f"{status} paid response"),
            (4, f"latency captured: {event.latency_ms:g} ms"),
        ),
        "flovia": (
            (1, f"{counts[0]} event: {played.attempts[0].insight}"),
            (2, f"{counts[1]} events: {played.attempts[1].insight}"),
            (4, f"{counts[3]} events: payment settled and delivered"),
            (last, f"payment id ↔ request id: {event.payment_id} ↔ {event.request_id}"),
            (last, f"rail ↔ endpoint: {event.rail} ↔ {event.endpoint}"),
            (last, f"paid response ↔ workflow: {event.response_status} ↔ {event.workflow}"),
            (last, f"retained demand signal: {event.insight}"),
        ),
    }
    return {name: tuple(Entry(step=step, text=text) for step, text in told[name]) for name in LANES}


def _event(played: Run) -> dict[str, JsonValue]:
    # By way of the canonical form, in which a number has one spelling: 47 and not 47.0.
    whole: dict[str, JsonValue] = json.loads(canonical(played.attempts[-1].to_json()))
    return {name: whole[name] for name in (*PREVIEW, *(one for one in whole if one not in PREVIEW))}


def _checkout(played: Run) -> str:
    details = played.challenge.request_json["methodDetails"]
    return str(details["checkout_url"]) if isinstance(details, Mapping) else ""


def _price() -> str:
    return f"S${script.PRICE}"


def _link(event: JoinedEvent) -> dict[str, JsonValue]:
    return {"challengeId": event.challenge_id, "requestIds": list(event.request_ids), "paymentId": event.payment_id}


# --- what goes over the wire --------------------------------------------------------------------------------------


def _request(name: str, request: HttpRequest) -> Message:
    head = f"{request.http_method} {request.path} HTTP/1.1"
    return Message(name=name, lines=(head, *_fields(tuple(request.headers.items()))))


def _response(name: str, status: int, fields: Sequence[tuple[str, str]], body: str) -> Message:
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    return Message(name=name, lines=(head, *_fields(fields), *(("", body) if body else ())))


def _json(name: str, found: object) -> Message:
    return Message(name=name, lines=tuple(json.dumps(found, indent=2).splitlines()))


def _fields(fields: Sequence[tuple[str, str]]) -> list[str]:
    """Header fields, one a line. A credential is hidden, as it would be anywhere, and what is long is cut."""
    shown: list[str] = []
    for name, value in fields:
        if name in _SECRET_FIELDS:
            scheme, _, rest = value.partition(" ")
            value = f"{scheme} ({len(rest)} characters, not shown)"
        elif len(value) > _LONG:
            value = f"{value[:_LONG]}… ({len(value)} characters)"
        shown.append(f"{name.title()}: {value}")
    return shown
