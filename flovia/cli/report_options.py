"""What every report command takes, and the ledger that it names."""

import sys
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Parameter

from flovia.cli.console import complain
from flovia.cli.ledger_opening import opened
from flovia.cli.misuse import Misused
from flovia.cli.moments import HYPHENS, moment_of
from flovia.reports.reading import Reading, ask, catch_up, read
from flovia.settings import read_settings
from flovia.words import counted

if TYPE_CHECKING:
    from flovia.insights.asking import Asked, LeftOut
    from flovia.ledger.sql import SqlLedger

MANY: Final = 20_000
"""New events of which somebody at a terminal is told, because reading them takes a while."""
PATIENCE_S: Final = 30.0
"""How long one statement may wait: nobody's request depends on it."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """What every report takes.

    Args:
        since: attempts that began at this time or later, like 2026-01-31, 2026-01-31T12:00:00Z or 30d (ago).
        until: attempts that began before this time.
        endpoint: only this one, as flovia events names it.
        own: a payer of your own, or the beginning of such names and a *, whose attempts do not count; may be repeated.
            Besides those in FLOVIA_OWN_PAYERS.
        test: count the attempts with the mock provider too, where no money moves.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
        csv: comma-separated values, with a line of names.
        html: one page for a browser, with nothing from elsewhere in it.
    """

    since: Annotated[str | None, HYPHENS] = None
    until: Annotated[str | None, HYPHENS] = None
    endpoint: str | None = None
    own: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)] = ()
    test: Annotated[bool, Parameter(negative="")] = False
    ledger: str | None = None
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
    csv: Annotated[bool, Parameter(negative="")] = False
    html: Annotated[bool, Parameter(negative="")] = False


@contextmanager
def reading(
    options: Options, *, by: Collection[str] = (), times: Collection[str] = (), lines: bool = False, daily: bool = False
) -> "Generator[Reading]":
    """The ledger of a report, read to its end.

    ``by``: what its rows are told apart by, members of a route. ``times``: the durations that it needs. ``lines``:
    whether it draws how many saw a price by day; ``daily``: whether it asks for single days.

    Raises:
        Misused: the options contradict each other, or say no time.
        WiringError: there is no such ledger.
    """
    with asking(options) as (found, asked, known, now):
        yield read(found, asked, known, now, by=by, times=times, lines=lines, daily=daily)


@contextmanager
def asking(options: Options) -> "Generator[tuple[SqlLedger, Asked, LeftOut, float]]":
    """The ledger of a report, read to its end; the question, what was left out of everything, and now.

    Raises:
        Misused: the options contradict each other, or say no time.
        WiringError: there is no such ledger.
    """
    if options.as_json + options.csv + options.html > 1:
        raise Misused("choose one of --json, --csv and --html")
    settings = read_settings()
    with opened(options.ledger, patience_s=PATIENCE_S) as found:
        now = found.now()
        since, until = moment_of(options.since, now), moment_of(options.until, now)
        if since is not None and until is not None and until <= since:
            raise Misused(f"--until {options.until} is not after --since {options.since}: no time is between them")
        known, floor = catch_up(found, lambda cursor: tell_of_many(found, cursor))
        asked, known = ask(
            found,
            known,
            floor,
            since=since,
            until=until,
            endpoint=options.endpoint,
            own=[*options.own, *settings.own_payers],
            hiding_keys=settings.hiding_keys,
            test=options.test,
        )
        for one in known.own_unmatched:
            remedy = (
                "the whole name of each of them is needed (--own NAME, FLOVIA_OWN_PAYERS)"
                if one.endswith("*")
                else "set FLOVIA_SECRET as the app has it"
            )
            complain(f"own payers {one} may be counted all the same: payers are kept here under a hash, so {remedy}")
        yield found, asked, known, now


def tell_of_many(ledger: "SqlLedger", cursor: int) -> None:
    """Tell somebody at a terminal that there is much to read behind this position."""
    if ledger.count_events(cursor, MANY + 1) > MANY and sys.stderr.isatty():
        complain(f"reading more than {counted(MANY, 'new event')}; the next report reads only what is new by then")
