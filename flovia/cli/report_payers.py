"""``flovia report retention`` and ``workflows``: who comes back, and what is used together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, Protocol

import attrs
from cyclopts.types import PositiveFloat, PositiveInt
from rich.text import Text

from flovia.cli.console import complain, console, money, safe
from flovia.cli.events import ledger_of
from flovia.cli.ledger_opening import write_json
from flovia.cli.moments import moment
from flovia.cli.report_reading import Options, asking, rest
from flovia.cli.report_tables import left_out_words, percent, print_csv, print_table
from flovia.cli.wording import counted
from flovia.core.encoding import JsonValue
from flovia.ledger.opening import shown

if TYPE_CHECKING:
    from flovia.insights.asking import Asked, LeftOut
    from flovia.insights.intervals import Share
    from flovia.insights.retention import Cohort, Retention
    from flovia.insights.workflows import DropOff, Usage, Workflows

DEFAULT: Final = Options()
Rows = Sequence[Mapping[str, JsonValue]]


class Row(Protocol):
    """A row of an answer."""

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        ...


def retention(
    *, options: Options = DEFAULT, by: Literal["week", "endpoint"] = "week", gap: PositiveFloat | None = None
) -> int:
    """Who comes back, when, and who may have gone; and how much of the revenue hangs on few payers.

    A payer comes back with another paid session. Cohorts are payers by their first one; W1 is the week after it. Exit
    status 1 if there is nothing to report.

    Args:
        by: cohorts by the week of the first paid session, or by the endpoint that was paid first.
        gap: seconds without anything that end a session, 300 until another number was given; it is remembered.
    """
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.retention import retention as ask
    from flovia.insights.sql_retention import count_sql

    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, gap, between=rest)
        facts = count_sql(ledger.database, asked, now)
    found = ask(facts, asked, now)
    cohorts = found.by_week if by == "week" else found.by_endpoint
    words = [
        (facts.own, "of your own payers", None),
        (facts.test, "paid session with the mock provider (--test counts them)", "paid sessions with the mock provider"
         " (--test counts them)"),
        (facts.ahead, "paid session that begins later than now", "paid sessions that begin later than now"),
        (facts.nameless, "paid attempt whose payer nobody knows", "paid attempts whose payer nobody knows"),
        (facts.amountless, "paid attempt without an amount", "paid attempts without an amount"),
    ]  # fmt: skip
    answer = _Answer(
        name="retention",
        options=options,
        asked=asked,
        known=known,
        counts={name: getattr(facts, name) for name in ("own", "test", "ahead", "nameless", "amountless")},
        left_out=[f"{count} {one if count == 1 or many is None else many}" for count, one, many in words if count],
    )
    rows = [one.to_json() for one in cohorts]
    more = {"by": by, **found.to_json()}
    if answer.print_plain(rows, more, some=facts.active > 0):
        _show_retention(found, cohorts, by)
    return answer.end(some=facts.active > 0, what="paid session of a known payer")


def workflows(
    *,
    options: Options = DEFAULT,
    by: Literal["workflow", "path", "transition", "step", "endpoint", "pair"] = "path",
    limit: PositiveInt = 10,
    least: PositiveInt = 5,
    gap: PositiveFloat | None = None,
) -> int:
    """What is used together and in which order, which workflows come back, and where sessions end unpaid.

    A session is what a payer, or an agent under a workflow's name, did until a pause. Exit status 1 if there is
    nothing to report.

    Args:
        by: what the rows of --csv are; --json has all, and so has a terminal.
        limit: rows of each kind on a terminal, at most.
        least: sessions that must have used two endpoints before anything is said of the pair.
        gap: seconds without anything that end a session, 300 until another number was given; it is remembered.
    """
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.sql_workflows import count_sql
    from flovia.insights.workflows import workflows as ask

    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, gap, between=rest)
        facts = count_sql(ledger.database, asked, now, least)
    found = ask(facts)
    kinds: dict[str, Sequence[Row]] = {
        "workflow": found.workflows,
        "path": found.paths,
        "transition": found.transitions,
        "step": found.steps,
        "endpoint": found.endpoints,
        "pair": found.pairs,
    }
    words = [
        (facts.alone, "attempt whose payer nobody knows", "attempts whose payer nobody knows"),
        (facts.own, "session of your own payers", "sessions of your own payers"),
        (facts.test, "session with the mock provider (--test counts them)", "sessions with the mock provider (--test"
         " counts them)"),
        (facts.ahead, "session that begins later than now", "sessions that begin later than now"),
    ]  # fmt: skip
    answer = _Answer(
        name="workflows",
        options=options,
        asked=asked,
        known=known,
        counts={name: getattr(facts, name) for name in ("alone", "own", "test", "ahead")},
        left_out=[counted(count, one, many) for count, one, many in words if count],
    )
    every: dict[str, JsonValue] = {f"{kind}s": [row.to_json() for row in rows] for kind, rows in kinds.items()}
    more = {**found.to_json(), "leastTogether": least, **every}
    if answer.print_plain([row.to_json() for row in kinds[by]], more, some=facts.sessions > 0, rows_in_json=False):
        _show_workflows(found, limit, least)
    return answer.end(some=facts.sessions > 0, what="session")


@attrs.frozen(kw_only=True)
class _Answer:
    """What both reports say around their rows. ``counts``, ``left_out``: what is not counted, as numbers and words."""

    name: str
    options: Options
    asked: "Asked"
    known: "LeftOut"
    counts: Mapping[str, JsonValue]
    left_out: Sequence[str]

    def print_plain(self, rows: Rows, more: Mapping[str, JsonValue], *, some: bool, rows_in_json: bool = True) -> bool:
        """Print JSON or CSV if that is wanted; True if it is not, and there is something to show."""
        from flovia.insights.intervals import CONFIDENCE

        if self.options.as_json:
            about: dict[str, JsonValue] = {"since": self.asked.since, "until": self.asked.until}
            left: dict[str, JsonValue] = {"leftOut": {**self._known(), **self.counts}}
            listed: dict[str, JsonValue] = {"rows": [dict(row) for row in rows]} if rows_in_json else {}
            write_json({"report": self.name, **about, "confidence": CONFIDENCE, **more, **listed, **left})
        elif self.options.csv:
            print_csv(rows)
        else:
            return some
        return False

    def end(self, *, some: bool, what: str) -> int:
        """Say what was left out, or why there is nothing; returns the exit status."""
        told = [*self.left_out, *left_out_words(self.known)]
        if not some:
            left = f"; left out: {'; '.join(told)}" if told else ""
            place = shown(ledger_of(self.options.ledger))
            complain(f"no {what} in {place} that is asked about{left}")
            return 1
        if told and not self.options.as_json:
            if self.options.csv:
                complain(f"left out: {'; '.join(told)}")
            else:
                console().print(Text(safe(f"left out: {'; '.join(told)}"), style="dim"))
        return 0

    def _known(self) -> dict[str, JsonValue]:
        names = ("unknownEvents", "crowdedEvents", "tooOld", "prunedEvents")
        return {name: value for name, value in self.known.to_json().items() if name in names}


def _show_retention(found: "Retention", cohorts: Sequence["Cohort"], by: str) -> None:
    from flovia.insights.retention import LEAST_SESSIONS, SILENCE

    times = [duration(one) for one in (found.second_p50_s, found.second_p95_s)]
    after = f"after {times[0]} (p50), {times[1]} (p95)" if times[0] else ""
    rule = (
        f"silent for over {SILENCE:g} of their average pauses and a day, of those with {LEAST_SESSIONS} paid sessions"
    )
    told = [
        ("came back with another paid session", found.repeat, ""),
        ("of the new ones, came back", found.second, after),
        ("may have gone", found.at_risk, rule),
    ]
    rows = [(name, f"{one.count} of {one.of}", percent(one), words) for name, one, words in told]
    print_table(("payers who", "", "share", ""), rows, 4)
    last = max((week.number for one in cohorts for week in one.weeks), default=-1)
    if cohorts:
        console().print()
        table = [
            (_marked(one.name, one.partial), str(one.payers), *(_week(one, number) for number in range(last + 1)))
            for one in cohorts
        ]
        print_table((f"first {by}", "payers", *(f"W{number}" for number in range(last + 1))), table, 1)
        if any(one.partial or any(week.partial for week in one.weeks) for one in cohorts):
            console().print(Text("* a week that is not over, or was not asked about as a whole", style="dim"))
    for one in found.concentration:
        console().print()
        total = money(one.net, one.currency) if one.net else f"0 {one.currency.upper()}"
        print_table(
            ("currency", "payers", "net", "first tenth", "Gini"),
            [
                (
                    one.currency.upper(),
                    str(one.payers),
                    total,
                    _part(one.tenth),
                    "" if one.gini is None else f"{one.gini:.2f}",
                )
            ],
            1,
        )
        print_table(
            ("  payer", "net", "share"),
            [
                (f"  {payer}", money(net, one.currency), _part(net / one.net if one.net else None))
                for payer, net in one.top
            ],
            1,
        )
    if found.named:
        console().print()
        print_table(
            ("may have gone", "paid sessions", "average pause", "last came"),
            [(one.payer, str(one.sessions), duration(one.pause_s), moment(one.last_at)) for one in found.named],
            1,
        )


def _show_workflows(found: "Workflows", limit: int, least: int) -> None:
    out = console()
    kinds = f"{counted(found.declared, 'session')} under a declared name"
    out.print(
        f"{counted(found.sessions, 'session')} with {counted(found.attempts, 'attempt')}, paid: {percent(found.paid)};"
        f" {kinds}, {found.nameless} of payers nobody knows"
    )
    for title, rows, many in (
        ("workflow", found.workflows, "workflows"),
        ("path", found.paths, "paths"),
    ):
        if rows:
            out.print()
            names = (title, "sessions", "paid", "last one paid", "payers who came back")
            print_table(names, [_usage(one) for one in rows[:limit]], 1)
            _rest(found.kinds[many], limit)
    if found.transitions:
        out.print()
        moves = [
            (one.origin, one.target, f"{one.share.count} of {one.share.of}", percent(one.share))
            for one in found.transitions[:limit]
        ]
        print_table(("from", "to", "times", "share"), moves, 2)
        _rest(found.kinds["transitions"], limit)
    for name, drops in (("step", found.steps), ("endpoint", found.endpoints)):
        out.print()
        print_table((name, "sessions", "ended there unpaid"), [_drop(one) for one in drops[:limit]], 1)
        _rest(found.kinds["endpoints"] if name == "endpoint" else len(drops), limit)
    if found.pairs:
        out.print()
        pairs = [(one.one, one.other, str(one.sessions), f"{one.lift:.2f}") for one in found.pairs[:limit]]
        print_table(("used together", "", "sessions", "lift"), pairs, 2)
        _rest(found.kinds["pairs"], limit)
    elif found.kinds["endpoints"] > 1:
        out.print(Text(f"no two endpoints are used together in {least} sessions or more", style="dim"))


def _usage(one: "Usage") -> tuple[str, ...]:
    came_back = f"{one.returned.count} of {one.returned.of}" if one.returned.of else ""
    return one.name, str(one.sessions), percent(one.paid), percent(one.finished), came_back


def _drop(one: "DropOff") -> tuple[str, ...]:
    return one.name, str(one.dropped.of), f"{one.dropped.count}  {percent(one.dropped)}"


def _rest(count: int, limit: int) -> None:
    if count > limit:
        console().print(Text(f"… and {count - limit} more", style="dim"))


def _week(cohort: "Cohort", number: int) -> str:
    found = next((week for week in cohort.weeks if week.number == number), None)
    return "" if found is None else _marked(_rounded(found.share), found.partial)


def _marked(text: str, partial: bool) -> str:
    return f"{text}*" if partial else text


def _rounded(part: "Share") -> str:
    return "" if part.value is None else f"{part.value * 100:.0f} %"


def _part(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def duration(seconds: float | None) -> str:
    """``45 s``, ``12.5 min``, ``3.2 h``, ``5.1 d``; "" if it is not known."""
    if seconds is None:
        return ""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
