"""The pages about payers, sessions and money that needs somebody: what their templates are given."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

from flovia.core.encoding import JsonValue
from flovia.dashboard.linking import Linker
from flovia.dashboard.tables import Cell, Table, cut, heads, number, paged, part, text
from flovia.dashboard.views import Context, Row, count_of, share_of, text_of
from flovia.insights.sessions import signature_text
from flovia.reports.answer import Answer
from flovia.reports.payers_parts import duration
from flovia.words import moment, money, tallied

PATHS: Final = 12
"""Paths that are drawn; the table has more."""
MANY: Final = 50


def retention_page(answer: Answer, link: Linker, page: int) -> Context:
    """Cohorts as a grid, who may have gone, and how much of the revenue hangs on few."""
    payload = cast("Row", answer.payload)
    by = text_of(payload, "by")
    found = [dict(row) for row in answer.rows]
    last = max((len(cast("Row", row["weeks"])) for row in found), default=0)
    rows = [_cohort(row, last) for row in (reversed(found) if by == "week" else found)]
    grid = paged(
        f"Who came back, so many weeks after the first paid session: {tallied(len(rows), 'cohort')}",
        heads(f"first {by}", "payers", *(f"W{number}" for number in range(last)), numbers_from=1),
        rows,
        page,
        wide=True,
    )
    second, risk = cast("Row", payload["secondSession"]), cast("Row", payload["churnRisk"])
    shares = [
        ("came back with another paid session", share_of(payload["repeat"]), ""),
        ("of the new ones, came back", share_of(second), _after(second)),
        ("may have gone", share_of(risk), "silent for over three of their average pauses, of those with 3 sessions"),
    ]
    silent = [
        [
            text(text_of(one, "payer"), link.behind(payer=one["payer"], step="paid")),
            number(one["sessions"]),
            number(duration(cast("float | None", one["pauseS"]))),
            text(moment(one["lastAt"])),
        ]
        for one in cast("list[Row]", risk["named"])
    ]
    return {
        "answer": answer,
        "by": by,
        "grid": grid,
        "shares": shares,
        "partial": any(cell.text.endswith("*") for row in rows for cell in row),
        "silent": Table(
            caption="Payers that may have gone",
            heads=[
                *heads("payer", "paid sessions", "average pause", numbers_from=1),
                *heads("last came", numbers_from=9),
            ],
            rows=silent,
            total=len(silent),
        ),
        "money": [_few(one, link) for one in cast("list[Row]", payload["concentration"])],
    }


def _after(second: Row) -> str:
    p50, p95 = (duration(cast("float | None", second[name])) for name in ("p50S", "p95S"))
    return f"after {p50} (p50), {p95} (p95)" if p50 else ""


def _cohort(row: Row, last: int) -> list[Cell]:
    # It leads nowhere: events can be narrowed to a week, but not to those payers who first paid in it.
    name, weeks = text_of(row, "cohort"), cast("dict[str, Row]", row["weeks"])
    cells = [text(name + ("*" if row["partial"] else "")), number(row["payers"])]
    for place in range(last):
        week = weeks.get(f"W{place}")
        if week is None:
            cells.append(Cell(number=True))
            continue
        value = cast("float | None", week["value"])
        mark = "*" if week["partial"] else ""
        shown = "" if value is None else f"{value * 100:.0f} %{mark}"
        shade = None if value is None else round(value * 10)
        cells.append(Cell(text=shown, number=True, shade=shade))
    return cells


def _few(one: Row, link: Linker) -> Context:
    currency = text_of(one, "currency")
    tenth, gini = cast("float | None", one["topTenthShare"]), cast("float | None", one["gini"])
    rows = [
        [
            text(text_of(top, "payer"), link.behind(payer=top["payer"], currency=currency, step="money")),
            number(money(int(str(top["net"])), currency)),
            number(_percent(cast("float | None", top["share"]))),
        ]
        for top in cast("list[Row]", one["top"])
    ]
    return {
        "currency": currency.upper(),
        "payers": one["payers"],
        "net": money(int(str(one["net"])), currency) or "0",
        "tenth": _percent(tenth),
        "gini": "" if gini is None else f"{gini:.2f}",
        "table": Table(
            caption=f"First payers in {currency.upper()}",
            heads=heads("payer", "net", "share", numbers_from=1),
            rows=rows,
            total=len(rows),
        ),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def workflows_page(answer: Answer, link: Linker) -> Context:
    """What is used together and in which order, and where sessions end unpaid."""
    payload = cast("Row", answer.payload)
    kinds = cast("dict[str, int]", payload["kinds"])
    paths = cast("list[Row]", payload["paths"])
    most = max((count_of(one, "sessions") for one in paths), default=1)
    drawn = [
        {
            "steps": [cut(step) for step in text_of(one, "name").split(" → ")],
            "sessions": one["sessions"],
            "paid": share_of(one["paid"]),
            "href": _path(one, link),
        }
        for one in paths[:PATHS]
    ]
    tables = [
        _usages(payload, kinds, "paths", "Paths: endpoints in the order of their first use", "path", link),
        _usages(payload, kinds, "workflows", "Declared workflows", "workflow", link),
        _moves(payload, kinds),
        _drops(payload, "steps", "Sessions that end unpaid, by how many endpoints they used", "step"),
        _drops(payload, "endpoints", "Sessions that end unpaid, by their last endpoint", "endpoint"),
        _pairs(payload, kinds),
    ]
    return {
        "answer": answer,
        "paid": share_of(payload["paid"]),
        "payload": payload,
        "drawn": drawn,
        "most": most,
        "tables": [table for table in tables if table.rows],
    }


def _path(one: Row, link: Linker) -> str:
    return link.behind(path=signature_text(text_of(one, "name").split(" → ")))


def _rows(payload: Row, name: str) -> list[Row]:
    return cast("list[Row]", payload[name])[:MANY]


def _caption(title: str, shown: int, of: int) -> str:
    return f"{title} ({shown:,} of {of:,})" if of > shown else f"{title} ({of:,})"


def _usages(payload: Row, kinds: dict[str, int], name: str, title: str, one_name: str, link: Linker) -> Table:
    found = _rows(payload, name)

    def href(one: Row) -> str:
        return _path(one, link) if name == "paths" else link.behind(workflow=one["name"])

    def came_back(one: Row) -> str:
        share = share_of(one["returned"])
        return f"{share.count} of {share.of}" if share.of else ""

    rows = [
        [
            text(text_of(one, "name"), href(one)),
            number(one["sessions"]),
            part(share_of(one["paid"])),
            part(share_of(one["finished"])),
            number(came_back(one)),
        ]
        for one in found
    ]
    return Table(
        caption=_caption(title, len(rows), kinds[name]),
        heads=heads(one_name, "sessions", "paid", "last one paid", "payers who came back", numbers_from=1),
        rows=rows,
        total=len(rows),
    )


def _moves(payload: Row, kinds: dict[str, int]) -> Table:
    rows = [
        [
            text(text_of(one, "from")),
            text(text_of(one, "to")),
            number(f"{one['count']} of {one['of']}"),
            part(share_of(one)),
        ]
        for one in _rows(payload, "transitions")
    ]
    return Table(
        caption=_caption("What follows what", len(rows), kinds["transitions"]),
        heads=heads("from", "to", "times", "share", numbers_from=2),
        rows=rows,
        total=len(rows),
    )


def _drops(payload: Row, name: str, title: str, one_name: str) -> Table:
    rows: list[list[Cell]] = []
    for one in _rows(payload, name):
        dropped = share_of(one["dropped"])
        rows.append([text(text_of(one, "name")), number(dropped.of), number(dropped.count), part(dropped)])
    return Table(
        caption=title,
        heads=heads(one_name, "sessions", "ended there unpaid", "share", numbers_from=1),
        rows=rows,
        total=len(rows),
    )


def _pairs(payload: Row, kinds: dict[str, int]) -> Table:
    rows = [
        [
            text(text_of(one, "one")),
            text(text_of(one, "other")),
            number(one["sessions"]),
            number(f"{cast('float', one['lift']):.2f}"),
        ]
        for one in _rows(payload, "pairs")
    ]
    return Table(
        caption=_caption("Endpoints that are used together", len(rows), kinds["pairs"]),
        heads=heads("one", "other", "sessions", "lift", numbers_from=2),
        rows=rows,
        total=len(rows),
    )


def integrity_page(answer: Answer, link: Linker) -> Context:
    """How payments and requests agree, and what needs somebody, the oldest first."""
    payload = cast("Row", answer.payload)
    states = cast("dict[str, int]", payload["states"])
    queue = [_finding(dict(row), link) for row in answer.rows]
    rows = [
        [text(name.replace("_", " "), _of_state(name, count, answer, link)), number(count)]
        for name, count in states.items()
    ]
    return {
        "answer": answer,
        "queue": queue,
        "waiting": payload["waiting"],
        "pending_s": payload["pendingS"],
        "turned_away": cast("Row", payload["leftOut"])["turnedAway"],
        "states": Table(
            caption="How payments and requests agree",
            heads=heads("state", "attempts", numbers_from=1),
            rows=rows,
            total=sum(states.values()),
        ),
    }


def _of_state(name: str, count: int, answer: Answer, link: Linker) -> str:
    if name == "pending":
        return ""  # what is young and unpaid, and what nobody knows of: no filter is both
    if name != "expired":
        return link.behind(state=name)
    if not count:
        return ""  # and perhaps no time that would be before
    # Kept as unpaid, as what is pending is: time tells them apart. Who asked with HEAD could not pay.
    over = answer.now - float(cast("float", answer.payload["pendingS"]))
    until = answer.asked.until
    sooner = {} if until is not None and until <= over else {"until": datetime.fromtimestamp(over, UTC).isoformat()}
    return link.behind(state="unpaid", step="shown", **sooner)


def _finding(row: Row, link: Linker) -> Context:
    request_ids = cast("Sequence[JsonValue]", row["requestIds"])
    ident = text_of(row, "challengeId") or text_of(row, "paymentId") or (str(request_ids[0]) if request_ids else "")
    amount, price = _money(row, "amount", "currency"), _money(row, "price", "priceCurrency")
    return {
        "state": text_of(row, "state").replace("_", " "),
        "insight": text_of(row, "insight"),
        "when": moment(row["at"]),
        "endpoint": cut(text_of(row, "endpoint")) or "(no request)",
        "amount": amount,
        "asked": price if price != amount else "",
        "provider": text_of(row, "provider"),
        "payment_id": cut(text_of(row, "paymentId")),
        "remedy": text_of(row, "remedy"),
        "ident": ident,
        "href": link.attempt(ident),
        "work": link.finding(text_of(row, "attemptId")),
    }


def _money(row: Row, name: str, currency: str) -> str:
    return "" if row[name] is None else money(int(str(row[name])), text_of(row, currency) or None)
