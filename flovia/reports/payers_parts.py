"""``flovia report retention`` and ``workflows`` for people: who comes back, and what is used together."""

from collections.abc import Sequence

from flovia.insights.intervals import Share
from flovia.insights.retention import LEAST_SESSIONS, SILENCE, Cohort, Concentration, Retention
from flovia.insights.workflows import DropOff, Usage, Workflows
from flovia.reports.parts import GAP, Grid, Part, Words
from flovia.reports.tables import percent
from flovia.words import counted, moment, money


def retention_parts(found: Retention, cohorts: Sequence[Cohort], by: str) -> list[Part]:
    """Shares, cohorts with their weeks, each currency's first payers, and those that may have gone."""
    parts: list[Part] = [_shares(found)]
    if cohorts:
        parts += [GAP, *_weeks(cohorts, by)]
    for one in found.concentration:
        parts += [GAP, *_concentration(one)]
    if found.named:
        rows = [(one.payer, str(one.sessions), duration(one.pause_s), moment(one.last_at)) for one in found.named]
        names = ("may have gone", "paid sessions", "average pause", "last came")
        parts += [GAP, Grid(caption="Payers that may have gone", names=names, rows=rows, left=1)]
    return parts


def _shares(found: Retention) -> Grid:
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
    return Grid(
        caption="Payers",
        names=("payers who", "", "share", ""),
        page_names=("payers who", "how many", "share", "note"),
        rows=[(name, f"{one.count} of {one.of}", percent(one), words) for name, one, words in told],
        left=4,
        numbers=(1, 2),
    )


def _weeks(cohorts: Sequence[Cohort], by: str) -> list[Part]:
    last = max((week.number for one in cohorts for week in one.weeks), default=-1)
    numbers = range(last + 1)
    rows = [
        (_marked(one.name, one.partial), str(one.payers), *(_week(one, number) for number in numbers))
        for one in cohorts
    ]
    names = (f"first {by}", "payers", *(f"W{number}" for number in numbers))
    caption = "Who came back, so many weeks after the first paid session"
    parts: list[Part] = [Grid(caption=caption, names=names, rows=rows, left=1)]
    if any(one.partial or any(week.partial for week in one.weeks) for one in cohorts):
        parts.append(Words(text="* a week that is not over, or was not asked about as a whole", style="dim"))
    return parts


def _concentration(one: Concentration) -> list[Part]:
    code = one.currency.upper()
    total = money(one.net, one.currency) if one.net else f"0 {code}"
    gini = "" if one.gini is None else f"{one.gini:.2f}"
    payers = [
        (f"  {payer}", money(net, one.currency), _part(net / one.net if one.net else None)) for payer, net in one.top
    ]
    return [
        Grid(
            caption=f"How much of the {code} few payers bring, of verified payments whose payer is known",
            names=("currency", "payers", "net of known payers", "first tenth", "Gini"),
            rows=[(code, str(one.payers), total, _part(one.tenth), gini)],
            left=1,
        ),
        Grid(
            caption=f"First payers in {code}",
            names=("  payer", "net", "share"),
            page_names=("payer", "net", "share"),
            rows=payers,
            left=1,
        ),
    ]


def workflows_parts(found: Workflows, limit: int, least: int) -> list[Part]:
    """Sessions, paths, transitions, where sessions end unpaid, and pairs; at most ``limit`` rows of each kind."""
    kinds = f"{counted(found.declared, 'session')} under a declared name"
    summary = (
        f"{counted(found.sessions, 'session')} with {counted(found.attempts, 'attempt')}, paid: {percent(found.paid)};"
        f" {kinds}, {found.nameless} of payers nobody knows"
    )
    parts: list[Part] = [Words(text=summary)]
    for title, rows, many, caption in (
        ("workflow", found.workflows, "workflows", "Declared workflows"),
        ("path", found.paths, "paths", "Paths: endpoints in the order of their first use"),
    ):
        if rows:
            names = (title, "sessions", "paid", "last one paid", "payers who came back")
            table = [_usage(one) for one in rows[:limit]]
            parts += [GAP, Grid(caption=caption, names=names, rows=table, left=1), *_rest(found.kinds[many], limit)]
    if found.transitions:
        moves = [
            (one.origin, one.target, f"{one.share.count} of {one.share.of}", percent(one.share))
            for one in found.transitions[:limit]
        ]
        grid = Grid(caption="What follows what", names=("from", "to", "times", "share"), rows=moves, left=2)
        parts += [GAP, grid, *_rest(found.kinds["transitions"], limit)]
    for name, drops, caption in (
        ("step", found.steps, "Sessions that end unpaid, by how many endpoints they used"),
        ("endpoint", found.endpoints, "Sessions that end unpaid, by their last endpoint"),
    ):
        table = [_drop(one) for one in drops[:limit]]
        grid = Grid(caption=caption, names=(name, "sessions", "ended there unpaid"), rows=table, left=1)
        parts += [GAP, grid, *_rest(found.kinds["endpoints"] if name == "endpoint" else len(drops), limit)]
    if found.pairs:
        pairs = [(one.one, one.other, str(one.sessions), f"{one.lift:.2f}") for one in found.pairs[:limit]]
        grid = Grid(
            caption="Endpoints that are used together",
            names=("used together", "", "sessions", "lift"),
            page_names=("used together", "with", "sessions", "lift"),
            rows=pairs,
            left=2,
        )
        parts += [GAP, grid, *_rest(found.kinds["pairs"], limit)]
    elif found.kinds["endpoints"] > 1:
        parts.append(Words(text=f"no two endpoints are used together in {least} sessions or more", style="dim"))
    return parts


def _usage(one: Usage) -> tuple[str, ...]:
    came_back = f"{one.returned.count} of {one.returned.of}" if one.returned.of else ""
    return one.name, str(one.sessions), percent(one.paid), percent(one.finished), came_back


def _drop(one: DropOff) -> tuple[str, ...]:
    return one.name, str(one.dropped.of), f"{one.dropped.count}  {percent(one.dropped)}"


def _rest(count: int, limit: int) -> list[Part]:
    return [Words(text=f"… and {count - limit} more", style="dim")] if count > limit else []


def _week(cohort: Cohort, number: int) -> str:
    found = next((week for week in cohort.weeks if week.number == number), None)
    return "" if found is None else _marked(_rounded(found.share), found.partial)


def _marked(text: str, partial: bool) -> str:
    return f"{text}*" if partial else text


def _rounded(part: Share) -> str:
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
