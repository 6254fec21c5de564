"""What the reports have in common: which attempts they are about, and reading what is new before they answer."""

import time
from collections.abc import Callable, Collection, Sequence
from math import ceil, inf
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.hiding import PREFIX, hider
from flovia.reports.tables import POINTS
from flovia.words import counted, moment

if TYPE_CHECKING:
    from flovia.insights.asking import Asked, LeftOut
    from flovia.insights.measures import Cells
    from flovia.ledger.sql import SqlLedger

PAUSE_S: Final = 0.01
"""Between two batches, so that paid requests get their turn."""


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


def read(
    ledger: "SqlLedger",
    asked: "Asked",
    known: "LeftOut",
    now: float,
    *,
    by: Collection[str],
    times: Collection[str],
    lines: bool,
    daily: bool = False,
) -> Reading:
    """What counts of the attempts.

    ``by``: what its rows are told apart by, members of a route. ``times``: the durations
    that it needs. ``lines``: whether how many saw a price is wanted by day, or by so many days that a line has about
    twenty bars; ``daily``: by single days.
    """
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
    width = 1 if days is None or daily else ceil((days[1] - days[0] + 1) / POINTS)
    shown = {} if days is None or days[0] == days[1] else measured(width, shown_only=True)[0]
    return Reading(ledger=ledger, asked=asked, cells=cells, shown=shown, width=width, left_out=left_out, now=now)


def ask(
    ledger: "SqlLedger",
    known: "LeftOut",
    floor: float | None,
    *,
    since: float | None = None,
    until: float | None = None,
    endpoint: str | None = None,
    own: Sequence[str] = (),
    hiding_keys: Sequence[str] = (),
    test: bool = False,
) -> "tuple[Asked, LeftOut]":
    """A question to a ledger that was read to its end, and what will be left out of every answer.

    Args:
        ledger: read to its end.
        known: of :func:`catch_up`.
        floor: the same.
        since: Unix seconds; None for the beginning.
        until: Unix seconds; None for now.
        endpoint: only this one.
        own: the merchant's own payers, ``name`` or ``beginning*``, as their owner writes them.
        hiding_keys: under which payers may be hashed there.
        test: count attempts with the mock provider too.
    """
    asked = asked_of(floor, since, until, endpoint=endpoint, own=own, hiding_keys=hiding_keys, test=test)
    return asked, attrs.evolve(known, own_unmatched=_unmatched(ledger, asked, own, hiding_keys))


def asked_of(
    floor: float | None,
    since: float | None,
    until: float | None,
    *,
    endpoint: str | None,
    own: Sequence[str],
    hiding_keys: Sequence[str],
    test: bool,
) -> "Asked":
    """The question alone, without asking the ledger; see :func:`ask`."""
    from flovia.insights.asking import Asked

    if since is not None and floor is not None and since < floor:
        since -= since % 86400  # of such old days only whole ones are known
    hidden = [hider(key)(one) for key in hiding_keys for one in own if not one.endswith("*")]
    every = tuple(dict.fromkeys([*own, *hidden]))
    return Asked(since=since, until=until, endpoint=endpoint, own=every, test=test)


def _unmatched(ledger: "SqlLedger", asked: "Asked", own: Sequence[str], hiding_keys: Sequence[str]) -> tuple[str, ...]:
    """The names of own payers that cannot be looked for, because payers are kept under a hash.

    A beginning cannot: a hash tells nothing of how a name begins. A whole name can, where its secret is known.
    """
    from flovia.insights.sql_measures import has_payer

    lost = [one for one in dict.fromkeys(own) if not one.startswith(PREFIX) and (one.endswith("*") or not hiding_keys)]
    if not lost or not has_payer(ledger.database, f"{PREFIX}*", asked.since, asked.until):
        return ()
    return tuple(lost)


def catch_up(ledger: "SqlLedger", begin: Callable[[int], None] | None = None) -> "tuple[LeftOut, float | None]":
    """Fold all events that are new, and count the days they changed.

    Returns what was left out so far, and the time before which attempts were pruned, None if none were. ``begin``: as
    :func:`fold_new`.
    """
    from flovia.insights.rollup import roll_up

    fold_new(ledger, begin=begin)
    roll_up(ledger.database)
    return known_of(ledger)


def known_of(ledger: "SqlLedger") -> "tuple[LeftOut, float | None]":
    """What was left out so far, and the time before which attempts were pruned, None if none were."""
    from flovia.insights.asking import LeftOut
    from flovia.insights.store import read_state

    state = read_state(ledger.database)
    known = LeftOut(
        unknown_events=int(state.get("unknown", "0")),
        crowded_events=int(state.get("crowded", "0")),
        too_old=int(state.get("too_old", "0")),
        pruned_events="pruned" in state,
    )
    return known, float(state["floor"]) if "floor" in state else None


def fold_new(
    ledger: "SqlLedger", stop: Callable[[], bool] = lambda: False, begin: Callable[[int], None] | None = None
) -> int:
    """Fold all events that are there; the position up to which all are folded.

    ``stop``: asked before each batch; when it says yes, the others are left to the next time. ``begin``: told first
    behind which position events are new.
    """
    from flovia.insights.fold import position_of
    from flovia.insights.store import note_pruned, prepare, read_state
    from flovia.ledger.related import RelatedEvents

    database = ledger.database
    prepare(database)
    cursor = position_of(read_state(database)["cursor"])
    if RelatedEvents(ledger).pruned_after(cursor):
        note_pruned(database)
    if begin is not None:
        begin(cursor)
    return fold_on(ledger, stop)


def fold_on(ledger: "SqlLedger", stop: Callable[[], bool] = lambda: False) -> int:
    """The same where it was done before, so that the tables are there."""
    from flovia.insights.fold import fold_batch, position_of
    from flovia.insights.store import read_state
    from flovia.ledger.related import RelatedEvents

    source = RelatedEvents(ledger)
    # Where events come all the time there is no end: what was not there when the last batch was read is for next time.
    while not stop() and (folded := fold_batch(source, ledger.database)) and not folded.last:
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
