"""``flovia events``: what a ledger joined, one event per attempt to use a paid route."""

import json
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.text import Text

from flovia.cli.console import complain, console, hint, members
from flovia.cli.event_line import event_line
from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.events import Event
from flovia.insights.attempt import Attempt, attempts
from flovia.insights.join import CONVERTED, JoinedEvent
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger, shown
from flovia.settings import DEFAULT_LEDGER
from flovia.words import counted

EVENTS_A_CALL: Final = 64
"""Events that are looked at for each joined event asked for; a paid call writes about nine."""
BATCH: Final = 5000
RAW_WIDTH: Final = max(len(field.name) for field in attrs.fields(Event)) + 2
"""The column of an event's names."""


def events(
    *,
    ledger: str | None = None,
    limit: PositiveInt = 20,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    paid: Annotated[bool, Parameter(negative="")] = False,
    raw: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Print what a ledger joined: one event per attempt to use a paid route, paid or not, the newest last.

    Only the ledger's newest events are looked at, 64 for each one that is asked for. Exit status 1 if there
    are none. What is left out is said on standard error; of an attempt that began before these events only its
    end is seen.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        limit: how many, at most.
        as_json: one JSON object a line.
        paid: only the attempts that were paid and delivered, also those that were refunded since.
        raw: the events themselves, not joined.
    """
    url = ledger_of(ledger)
    if raw and paid:
        raise WiringError("--paid chooses among joined events; leave it or --raw out")
    with closing(open_ledger(url, create=False)) as opened:
        newest, more = _newest(opened, limit if raw else limit * EVENTS_A_CALL)
    every: Sequence[Event | Attempt] = newest if raw else _attempts(newest, paid=paid)
    found = every[-limit:]
    out = console()
    for one in found:
        told = _raw(one) if isinstance(one, Event) else one.to_json()
        if as_json:
            sys.stdout.write(json.dumps(told) + "\n")
        elif isinstance(one, Event):
            out.print(Text(one.type, style="bold"))
            out.print(members({name: value for name, value in told.items() if value is not None}, RAW_WIDTH))
        else:
            out.print(event_line(one))
    if not newest:
        complain(f"no events in {shown(url)} yet")
    elif not found:
        complain(
            f"no paid call among the newest {counted(len(newest), 'event')} of {shown(url)};"
            f" --limit {limit * 10} looks further back"
        )
    elif more or len(found) < len(every):
        kind = "event" if raw else "call" if paid else "attempt"
        hint(f"{counted(len(found), kind)}, the newest of more: --limit {limit * 10} looks further back")
    return 0 if found else 1


def ledger_of(given: str | None) -> str:
    """The URL of the ledger that a command reads.

    Raises:
        WiringError: it lives in memory.
    """
    url = given or os.environ.get("FLOVIA_LEDGER", "").strip() or DEFAULT_LEDGER
    if url.startswith("memory:"):
        raise WiringError("a memory ledger is gone with its process; name a file: --ledger sqlite:///flovia.db")
    return url


def _attempts(events: Sequence[Event], *, paid: bool) -> list[Attempt]:
    return [one for one in attempts(events) if not paid or _bought(one)]


def _bought(joined: JoinedEvent) -> bool:
    """Whether it was paid and delivered, also if money went back since."""
    if joined.insight == CONVERTED:
        return True
    return joined.refunded is not None and joined.response_status is not None and joined.response_status < 400


def _newest(ledger: Ledger, count: int) -> tuple[list[Event], bool]:
    """The last ``count`` events, in order, and whether there are more; those are passed by, not kept."""
    kept: deque[Event] = deque(maxlen=count)
    position = passed = 0
    while batch := ledger.read_events(position, BATCH):
        kept.extend(event for _, event in batch)
        position, passed = batch[-1][0], passed + len(batch)
    return list(kept), passed > count


def _raw(event: Event) -> dict[str, JsonValue]:
    return {**attrs.asdict(event), "amount": None if event.amount is None else str(event.amount)}
