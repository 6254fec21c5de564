"""``flovia events export`` sends every event somewhere, ``sinks`` and ``dead-letters`` say how that goes.

With ``--joined`` it writes joined events to a file instead: :mod:`flovia.cli.joined_export`.
"""

import json
import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final, cast

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from flovia.cli.console import complain, console, in_line
from flovia.cli.ending import until_told
from flovia.cli.events import ledger_of
from flovia.cli.joined_export import Format, export_joined
from flovia.cli.ledger_files import refuse_ledger
from flovia.cli.misuse import Misused
from flovia.cli.moments import HYPHENS
from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError, WiringError
from flovia.export.envelope import DEFAULT_SOURCE, checked_source
from flovia.export.exporter import BATCH, LEASE_S, REFUSALS, Exporter
from flovia.export.file import FileSink
from flovia.export.opening import open_sink
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import SinkLedger, backlogs, with_sinks
from flovia.words import counted, safe

if TYPE_CHECKING:
    from flovia.ledger.sql import SqlLedger

DEAD_LETTERS: Final = 3
"""Exit status: everything was sent, but for what the sink had refused for good."""


def export(
    *,
    to: str | None = None,
    name: str | None = None,
    ledger: str | None = None,
    source: str | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    batch: PositiveInt = BATCH,
    refusals: PositiveInt = REFUSALS,
    lease: float = LEASE_S,
    joined: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    format: Format | None = None,
    since: Annotated[str | None, HYPHENS] = None,
    until: Annotated[str | None, HYPHENS] = None,
    endpoint: str | None = None,
) -> int:
    """Send every event of a ledger to a sink, at least once and in order, until SIGTERM or Ctrl-C.

    With --joined write joined events to a file, once and whole, and end: none of --to, --name, --once, --batch,
    --refusals and --lease.

    Any number may run with the same name, on any number of machines: one works, the others stand by. A sink that does
    not answer makes the backlog longer, and nothing else. Exit status 0 when it was told to end, or with --once when
    all was sent; 1 if not, or if the sink wants no more; with --once 3 if the sink has dead letters.

    Args:
        to: file:///PATH, https://…, nats://HOST:4222 or otel:; without it FLOVIA_EXPORT_TO. A webhook is signed with
            FLOVIA_EXPORT_SECRET.
        name: the sink's name in the ledger, which keeps how far it is; without it FLOVIA_EXPORT_NAME.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        source: a URI that says whose events they are; without it FLOVIA_EXPORT_SOURCE, and without that urn:flovia.
        once: send what there is, and end.
        batch: how many at once, at most.
        refusals: how often a sink may refuse an event before it becomes a dead letter.
        lease: seconds after which another exporter takes over from one that has died.
        joined: the file for all joined events, one for each attempt, as they are now; - is standard output. A file that
            is there is replaced when the new one is whole.
        format: of that file: ndjson, cloudevents (NDJSON in envelopes), or parquet (needs the extra warehouse). If left
            out, parquet where its name ends so, and else ndjson.
        since: attempts that began at this time or later, like 2026-01-31, 2026-01-31T12:00:00Z or 30d (ago).
        until: attempts that began before this time.
        endpoint: only this one.
    """
    if source is not None:
        _check_source(source)
    if joined is not None:
        if to or name or once or (batch, refusals, lease) != (BATCH, REFUSALS, LEASE_S):
            raise Misused("--joined writes a file, once: leave --to, --name and what belongs to them out")
        return export_joined(
            joined, ledger=ledger, format=format, source=source, since=since, until=until, endpoint=endpoint
        )
    if any(one is not None for one in (format, since, until, endpoint)):
        raise Misused("--format, --since, --until and --endpoint choose joined events: --joined FILE")
    target = _given(to, "FLOVIA_EXPORT_TO", "say where events go: --to file:///var/lib/app/events.ndjson")
    called = _given(name, "FLOVIA_EXPORT_NAME", "give the sink a name, to remember how far it is by: --name warehouse")
    if not lease > 0:
        raise WiringError("--lease takes a number of seconds above 0")
    with (
        closing(open_sink(target, secret=os.environ.get("FLOVIA_EXPORT_SECRET"))) as sink,
        closing(_opened(ledger)) as opened,
        until_told() as wait,
    ):
        if isinstance(sink, FileSink):
            refuse_ledger(sink.path, cast("SqlLedger", opened).database, "nothing was exported")
        exporter = Exporter(
            opened,
            sink,
            called,
            source=source or os.environ.get("FLOVIA_EXPORT_SOURCE", "").strip() or DEFAULT_SOURCE,
            batch=batch,
            refusals=refusals,
            lease_s=lease,
            wait=wait,
        )
        if once:
            console().print(f"{counted(exporter.drain(), 'event')} sent")
            if opened.find_dead(called, 0, 1):
                complain(f"events were refused for good; see: flovia events dead-letters --name {safe(called)}")
                return DEAD_LETTERS
        else:
            exporter.run()
    return 0


def sinks(
    *,
    ledger: str | None = None,
    forget: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the sinks of a ledger: how many events each has yet to get, since when, and what is in the way.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        forget: forget the sink of this name, with its dead letters: it is no more.
        as_json: one JSON object a line.
    """
    with closing(_opened(ledger)) as opened:
        if forget is not None:
            if not opened.forget_sink(forget):
                complain(f"there is no sink {forget!r}, or an exporter is feeding it: flovia events sinks lists them")
                return 1
            if not as_json:
                console().print(f"{safe(forget)} is forgotten, with its dead letters: no event waits for it any more")
            else:
                sys.stdout.write(json.dumps({"forgotten": forget}) + "\n")
            return 0
        now = time.time()
        found = backlogs(opened, now)
    for one in found:
        count = f"{one.events}{'+' if one.events == one.at_most else ''}"
        if as_json:
            shown: dict[str, JsonValue] = {
                "name": one.name,
                "backlog": one.events,
                "ageSeconds": round(one.age_s(now), 3),
                "dead": one.dead,
                "fed": one.fed,
                "problem": one.problem,
            }
            sys.stdout.write(json.dumps(shown) + "\n")
            continue
        parts = [
            one.name,
            f"{count} waiting, the oldest for {one.age_s(now):.0f} s" if one.events else "up to date",
            f"{one.dead} dead" if one.dead else "",
            "" if one.fed else "no exporter at work",
            one.problem,
        ]
        console().print(in_line(parts, "yellow" if one.problem else ""))
    if not found:
        complain("no exporter was ever started for this ledger")
    return 0


def dead_letters(
    *,
    name: str | None = None,
    ledger: str | None = None,
    again: Annotated[bool, Parameter(negative="")] = False,
    number: tuple[int, ...] = (),
    limit: PositiveInt = 100,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the events that a sink refused for good, the oldest first; or have its exporter send them again.

    Beside each stands its challenge, payment or request, for flovia ledger show.

    Args:
        name: the sink's; without it FLOVIA_EXPORT_NAME.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        again: have them sent again, by the exporter that is at work or the next one.
        number: only these, with --again; may be repeated.
        limit: how many to list, at most.
        as_json: one JSON object a line, with the whole event.
    """
    called = _given(name, "FLOVIA_EXPORT_NAME", "say which sink: --name warehouse")
    with closing(_opened(ledger)) as opened:
        if again:
            console().print(f"{counted(opened.revive_dead(called, number or None), 'event')} will be sent again")
            return 0
        found = opened.find_dead(called, 0, limit)
    for letter in found:
        if as_json:
            event: JsonValue = json.loads(letter.body)
            shown: dict[str, JsonValue] = {
                "number": letter.number,
                "reason": letter.reason,
                "tries": letter.tries,
                "at": letter.at,
                "again": letter.again,
                "event": event,
            }
            sys.stdout.write(json.dumps(shown) + "\n")
        else:
            state = "to be sent again" if letter.again else f"refused {counted(letter.tries, 'time')}"
            parts = (str(letter.number), letter.event_id, _about(letter.body), f"{state}: {letter.reason}")
            console().print(in_line(parts))
    return 0


def _about(body: str) -> str:
    """What ``flovia ledger show`` finds the event by: its challenge, else its payment, else its request."""
    event: object = json.loads(body)
    data = cast("dict[str, object]", event).get("data") if isinstance(event, dict) else None
    members = cast("dict[str, object]", data) if isinstance(data, dict) else {}
    names = ("challengeId", "paymentId", "requestId")
    return next((str(members[name]) for name in names if members.get(name)), "")


def _opened(ledger: str | None) -> SinkLedger:
    return with_sinks(open_ledger(ledger_of(ledger), create=False))


def _check_source(source: str) -> None:
    try:
        checked_source(source)
    except CallerError as error:
        raise Misused(f"--source: {error}") from None


def _given(value: str | None, variable: str, otherwise: str) -> str:
    found = value or os.environ.get(variable, "").strip()
    if not found:
        raise WiringError(f"{otherwise} (or {variable})")
    return found
