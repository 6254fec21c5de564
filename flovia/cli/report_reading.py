"""What the reports have in common: which attempts they are about, and reading what is new before they answer."""

import sys
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from math import ceil, inf
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Parameter

from flovia.cli.console import complain
from flovia.cli.ledger_opening import opened
from flovia.cli.misuse import Misused
from flovia.cli.moments import HYPHENS, moment_of
from flovia.core.hiding import PREFIX, hider
from flovia.reports.tables import POINTS
from flovia.settings import Settings, read_settings
from flovia.words import counted, moment

if TYPE_CHECKING:
    from flovia.insights.asking import Asked, LeftOut
    from flovia.insights.measures import Cells
    from flovia.ledger.sql import SqlLedger

PATIENCE_S: Final = 30.0
"""How long one statement may wait: nobody's request depends on it."""
PAUSE_S: Final = 0.01
"""Between two batches, so that paid requests get their turn."""
MANY: Final = 20_000
"""New events of which somebody at a terminal is told, because reading them takes a while."""


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


@attrs.frozen(kw_only=True)
class Reading:
    """What a report is made from: the cells that count, what was left out, where to ask more.

    ``shown``: how many saw a price, by ``width`` days; empty if that was not asked for, or there is but one day.
    """

    ledger: "SqlLedger"
    asked: "Asked"
    cells: "Cells"
    shown: "Cells"
    width: int
    left_out: "LeftOut"
    now: float


@contextmanager
def reading(
    options: Options, *, by: Collection[str] = (), times: Collection[str] = (), lines: bool = False
) -> "Generator[Reading]":
    """The ledger of a report, read to its end.

    ``by``: what its rows are told apart by, members of a route. ``times``: the durations that it needs. ``lines``:
    whether it draws how many saw a price by day.

    Raises:
        Misused: the options contradict each other, or say no time.
        WiringError: there is no such ledger.
    """
    with asking(options) as (found, asked, known, now):
        yield read(found, asked, known, now, by=by, times=times, lines=lines)


def read(
    ledger: "SqlLedger",
    asked: "Asked",
    known: "LeftOut",
    now: float,
    *,
    by: Collection[str],
    times: Collection[str],
    lines: bool,
) -> Reading:
    """What counts of the attempts; see :func:`reading`."""
    from flovia.insights.asking import chosen
    from flovia.insights.measures import ALL_DAYS, Cells
    from flovia.insights.rollup import days_between, measure_days
    from flovia.insights.sql_measures import measure_sql

    span = (-inf if asked.since is None else asked.since, inf if asked.until is None else asked.until)
    columns = {*by, *(() if asked.test else ("provider",)), *(() if asked.endpoint is None else ("endpoint",))}

    def measured(width: int, *, shown_only: bool) -> tuple[Cells, "LeftOut"]:
        database = ledger.database
        cells = measure_days(database, *span, width=width, by=columns, times=times, shown_only=shown_only)
        own: Cells = {}
        if asked.own:
            own = measure_sql(
                database, *span, payers=asked.own, width=width, by=columns, times=times, shown_only=shown_only
            )
        return chosen(cells, own, asked, known)

    cells, left_out = measured(1 if "day" in by else ALL_DAYS, shown_only=False)
    days = days_between(ledger.database, *span) if lines and "day" not in by else None
    width = 1 if days is None else ceil((days[1] - days[0] + 1) / POINTS)
    shown = {} if days is None or days[0] == days[1] else measured(width, shown_only=True)[0]
    return Reading(ledger=ledger, asked=asked, cells=cells, shown=shown, width=width, left_out=left_out, now=now)


@contextmanager
def asking(options: Options) -> "Generator[tuple[SqlLedger, Asked, LeftOut, float]]":
    """The ledger of a report, read to its end; the question, what was left out of everything, and now.

    Raises:
        Misused: the options contradict each other, or say no time.
        WiringError: there is no such ledger.
    """
    from flovia.insights.asking import Asked

    if options.as_json + options.csv + options.html > 1:
        raise Misused("choose one of --json, --csv and --html")
    settings = read_settings()
    with opened(options.ledger, patience_s=PATIENCE_S) as found:
        now = found.now()
        since, until = moment_of(options.since, now), moment_of(options.until, now)
        if since is not None and until is not None and until <= since:
            raise Misused(f"--until {options.until} is not after --since {options.since}: no time is between them")
        known, floor = catch_up(found)
        if since is not None and floor is not None and since < floor:
            since -= since % 86400  # of such old days only whole ones are known
        asked = Asked(
            since=since,
            until=until,
            endpoint=options.endpoint,
            own=_own(options.own, settings),
            test=options.test,
        )
        known = attrs.evolve(known, own_unmatched=_unmatched(found, asked, options.own, settings))
        yield found, asked, known, now


def catch_up(ledger: "SqlLedger") -> "tuple[LeftOut, float | None]":
    """Fold all events that are new, and count the days they changed.

    Returns what was left out so far, and the time before which attempts were pruned, None if none were.
    """
    from flovia.insights.asking import LeftOut
    from flovia.insights.rollup import roll_up
    from flovia.insights.store import read_state

    database = ledger.database
    fold_new(ledger)
    roll_up(database)
    state = read_state(database)
    known = LeftOut(
        unknown_events=int(state.get("unknown", "0")),
        crowded_events=int(state.get("crowded", "0")),
        too_old=int(state.get("too_old", "0")),
        pruned_events="pruned" in state,
    )
    return known, float(state["floor"]) if "floor" in state else None


def fold_new(ledger: "SqlLedger", stop: Callable[[], bool] = lambda: False) -> int:
    """Fold all events that are new; the position up to which all are folded.

    ``stop``: asked before each batch; when it says yes, the others are left to the next time.
    """
    from flovia.insights.fold import position_of
    from flovia.insights.store import note_pruned, prepare, read_state
    from flovia.ledger.related import RelatedEvents

    database = ledger.database
    prepare(database)
    cursor = position_of(read_state(database)["cursor"])
    if RelatedEvents(ledger).pruned_after(cursor):
        note_pruned(database)
    new = ledger.count_events(cursor, MANY + 1)
    if new > MANY and sys.stderr.isatty():
        complain(f"reading more than {counted(MANY, 'new event')}; the next report reads only what is new by then")
    return fold_on(ledger, stop)


def fold_on(ledger: "SqlLedger", stop: Callable[[], bool] = lambda: False) -> int:
    """The same where it was done before, so that the tables are there."""
    from flovia.insights.fold import fold_batch, position_of
    from flovia.insights.store import read_state
    from flovia.ledger.related import RelatedEvents

    source = RelatedEvents(ledger)
    while not stop() and fold_batch(source, ledger.database):
        rest()
    return position_of(read_state(ledger.database)["cursor"])


def rest() -> None:
    """Let paid requests have their turn."""
    time.sleep(PAUSE_S)


def nothing(reading: Reading, shown: str, lacking: str = "attempt") -> str:
    """Why there is nothing to report, and what to do. ``lacking``: what the report would have been about."""
    left_out = reading.left_out
    if attempts := sum(cell.attempts for cell in reading.cells.values()):
        about = _about(reading.asked)
        return f"no {lacking}{about} in {shown}, but {counted(attempts, 'attempt')}: flovia report funnel shows them"
    if left_out.test:
        many = counted(left_out.test, "attempt")
        return f"no attempt with money in {shown}, but {many} with the mock provider: --test counts them"
    if left_out.own:
        return f"no attempt but {counted(left_out.own, 'attempt')} of your own payers in {shown}"
    if about := _about(reading.asked):
        return f"no attempt{about} in {shown}; flovia report funnel without these options shows what there is"
    return (
        f"no attempt in {shown} yet; is it the ledger that the app writes (FLOVIA_LEDGER, --ledger)?"
        " flovia events --raw shows single events"
    )


def _about(asked: "Asked") -> str:
    """`` of /paid since 2026-01-31 00:00:00Z``; "" if everything is asked about."""
    about = [f" of {asked.endpoint}" if asked.endpoint else ""]
    about += [f" since {moment(asked.since)}" if asked.since is not None else ""]
    about += [f" until {moment(asked.until)}" if asked.until is not None else ""]
    return "".join(about)


def _named(given: tuple[str, ...], settings: Settings) -> list[str]:
    return [*given, *settings.own_payers]


def _unmatched(ledger: "SqlLedger", asked: "Asked", given: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """The names of own payers that cannot be looked for, because payers are kept under a hash; also says so.

    A beginning cannot: a hash tells nothing of how a name begins. A whole name can, where its secret is known.
    """
    from flovia.insights.sql_measures import has_payer

    lost = [
        one
        for one in dict.fromkeys(_named(given, settings))
        if not one.startswith(PREFIX) and (one.endswith("*") or not settings.hiding_keys)
    ]
    if not lost or not has_payer(ledger.database, f"{PREFIX}*", asked.since, asked.until):
        return ()
    for one in lost:
        remedy = (
            "the whole name of each of them is needed (--own NAME, FLOVIA_OWN_PAYERS)"
            if one.endswith("*")
            else "set FLOVIA_SECRET as the app has it"
        )
        complain(f"own payers {one} may be counted all the same: payers are kept here under a hash, so {remedy}")
    return tuple(lost)


def _own(given: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """The merchant's own payers, also as they are written where payers are hashed."""
    own = _named(given, settings)
    hidden = [hider(key)(one) for key in settings.hiding_keys for one in own if not one.endswith("*")]
    return tuple(dict.fromkeys([*own, *hidden]))
