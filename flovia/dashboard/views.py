"""The pages about routes: what their templates are given, made from the answers of the reports."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.money import exponent
from flovia.dashboard.grouped import behind, by_of, by_words, group_cells, group_heads, group_name
from flovia.dashboard.linking import Linker
from flovia.dashboard.overview import Overview
from flovia.dashboard.tables import ROWS, Cell, Chart, Table, heads, number, paged, part, scaled, sketched, text
from flovia.insights.funnel import PHASES
from flovia.insights.intervals import Share
from flovia.insights.mean_money import digits_of, mean_money
from flovia.reports.answer import Answer
from flovia.reports.parts import Grid, Line
from flovia.reports.tables import milliseconds
from flovia.words import money, safe, tallied

Row = dict[str, JsonValue]
Context = dict[str, object]
REASONS: Final = 3
MONEY_CHARTS: Final = 8
"""Currencies whose days are drawn; the table has all."""
MANY: Final = 1000
"""Rows above which no attempts by day are drawn."""
CURVES: Final = 12
"""Price curves that one page draws."""


def share_of(found: JsonValue) -> Share:
    """A share from its JSON members."""
    row = cast("Row", found)
    value, low, high = (cast("float | None", row[name]) for name in ("value", "low", "high"))
    return Share(int(cast("int", row["count"])), int(cast("int", row["of"])), value, low, high)


def count_of(row: Row, name: str) -> int:
    """A count of a row."""
    return int(cast("int", row[name] or 0))


def text_of(row: Row, name: str) -> str:
    """A text of a row, "" for null."""
    value = row.get(name)
    return "" if value is None else str(value)


def ms(value: JsonValue) -> str:
    """Milliseconds as people read them."""
    return milliseconds(cast("float | None", value))


def overview_page(found: Overview, link: Linker) -> Context:
    """Numbers that matter, by day, the busiest endpoints, and what to do."""
    days = found.days
    rows = [
        [
            text(one.date, link.behind(since=one.date, until=_next(one.at), step="shown")),
            *(number(count) for count in (one.attempts, one.paid, one.delivered)),
            text("  ".join(money(amount, currency) for currency, amount in sorted(one.gross.items()))),
        ]
        for one in reversed(days)
    ]
    by_day = paged(
        f"By day, the newest first ({tallied(len(rows), 'day')}, UTC)",
        [*heads("day", "attempts", "paid", "delivered", numbers_from=1), *heads("paid in", numbers_from=9)],
        rows,
        1,
        size=60,
    )
    busiest = [
        [
            text(text_of(one.group, "endpoint"), link.to("/endpoints", endpoint=one.group["endpoint"])),
            number(one.attempts, link.behind(endpoint=one.group["endpoint"], step="shown")),
            part(one.conversion, link.behind(endpoint=one.group["endpoint"], step="delivered")),
            number(milliseconds(one.pay_p50_ms)),
        ]
        for one in found.busiest
    ]
    charts = [_attempts_by_day(found)] if len(days) > 1 else []
    charts += _money_by_day(found) if len(days) > 1 else []
    return {
        "found": found,
        "charts": charts,
        "by_day": by_day,
        "busiest": Table(
            caption=f"Busiest endpoints ({len(busiest)} of {found.endpoints:,})",
            heads=heads("endpoint", "attempts", "conversion", "time to pay, p50", numbers_from=1),
            rows=busiest,
            total=len(busiest),
        ),
    }


def _next(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day + 86400, UTC).date().isoformat()


def _unfinished(found: Overview) -> str:
    """That the last day is not over, if it is not: its line falls, and nothing is wrong."""
    last = found.days[-1]
    return f" {last.date} is not over." if last.at + 86400 > found.now else ""


def _attempts_by_day(found: Overview) -> Chart:
    days = found.days
    data: dict[str, JsonValue] = {
        "x": [one.at for one in days],
        "series": [
            {"label": "attempts", "color": "soft", "values": [one.attempts for one in days]},
            {"label": "paid", "color": "blue", "values": [one.paid for one in days]},
            {"label": "delivered", "color": "teal", "values": [one.delivered for one in days]},
        ],
    }
    total = sum(one.attempts for one in days)
    many = f"{tallied(total, 'attempt')} in {tallied(len(days), 'day')}"
    about = f"Attempts that saw a price, paid and got their answer, by day: {many}.{_unfinished(found)}"
    drawn = [
        ("soft", [float(one.attempts) for one in days]),
        ("blue", [float(one.paid) for one in days]),
        ("teal", [float(one.delivered) for one in days]),
    ]
    return Chart(
        ident="attempts-by-day",
        title="Attempts by day",
        kind="days",
        about=about,
        data=data,
        sketch=sketched([one.at for one in days], drawn),
        scale=scaled([one.date for one in days], drawn),
    )


def _money_by_day(found: Overview) -> list[Chart]:
    charts: list[Chart] = []
    for row in found.revenue[:MONEY_CHARTS]:
        currency = row.currency or ""
        digits = _digits(currency)
        units = 10**digits
        values = [one.gross.get(currency, 0) / units for one in found.days]
        line: dict[str, JsonValue] = {"label": currency.upper(), "color": "teal", "digits": digits}
        series: list[JsonValue] = [line | {"values": [*values]}]
        many = f"{tallied(row.payments, 'payment')}.{_unfinished(found)}"
        about = f"What was paid in {currency.upper()} by day, before refunds: {many}"
        data: dict[str, JsonValue] = {"x": [one.at for one in found.days], "series": series}
        title = f"Paid in {currency.upper()} by day"
        drawn: list[tuple[str, list[float]]] = [("teal", values)]
        sketch = sketched([one.at for one in found.days], drawn)
        scale = scaled([one.date for one in found.days], drawn, currency.upper())
        ident = f"money-{len(charts)}"
        charts.append(Chart(ident=ident, title=title, kind="days", about=about, data=data, sketch=sketch, scale=scale))
    return charts


def _digits(currency: str) -> int:
    try:
        return exponent(currency)
    except WiringError:
        return 0


def endpoints_page(answer: Answer, link: Linker, page: int, sort: str) -> Context:
    """The funnel: all together as a picture, and each endpoint, rail and price in a table."""
    found = [dict(row) for row in answer.rows]
    lines = dict(zip(map(id, found), _lines(answer), strict=False))
    if sort == "conversion":
        found.sort(key=lambda row: (share_of(row["conversion"]).low or 0.0, -count_of(row, "attempts")))
    elif sort != "name":
        found.sort(key=lambda row: -count_of(row, "attempts"))
    by = by_of(answer)
    rows = [_funnel_row(row, by, link, lines.get(id(row))) for row in found]
    totals = {name: sum(count_of(row, name) for row in found) for name in ("attempts", "presented", "verified")}
    totals["delivered"] = sum(count_of(row, "delivered") for row in found)
    steps = [
        ("saw the price", totals["attempts"], link.behind(step="shown")),
        ("presented a payment", totals["presented"], link.behind(step="presented")),
        ("paid", totals["verified"], link.behind(step="paid")),
        ("got the answer", totals["delivered"], link.behind(step="delivered")),
    ]
    names = ("attempts", "presented", "paid", "delivered", "conversion", "gave up")
    table = paged(
        f"From the price to the answer: {tallied(len(rows), 'row')} by {by_words(by)}",
        [
            *group_heads(by),
            *heads(*names, numbers_from=0),
            *heads("time to pay, p50", "p95", numbers_from=0),
            *heads("by day", "not delivered because", numbers_from=9),
        ],
        rows,
        page,
    )
    most = max(totals["attempts"], 1)
    return {"answer": answer, "steps": steps, "most": most, "table": table, "sort": sort, "by": by_words(by)}


def _lines(answer: Answer) -> list[Line | None]:
    """Attempts by day of each row; none of very many, which nobody looks at."""
    if len(answer.rows) > MANY:
        return []
    grids = [one for one in answer.show() if isinstance(one, Grid)]
    return [next((cell for cell in row if isinstance(cell, Line)), None) for grid in grids for row in grid.rows]


def _funnel_row(row: Row, by: Sequence[str], link: Linker, line: Line | None) -> list[Cell]:
    reasons = cast("Mapping[str, int]", row["reasons"])
    why = [
        (f"{reason} {count:,}", behind(row, link, step="undelivered", problem=reason))
        for reason, count in list(reasons.items())[:REASONS]
    ]
    if others := sum(list(reasons.values())[REASONS:]):
        why.append((f"others {others:,}", behind(row, link, step="undelivered")))
    return [
        *group_cells(row, by, link, step="shown"),
        number(row["attempts"], behind(row, link, step="shown")),
        number(row["presented"], behind(row, link, step="presented")),
        number(row["verified"], behind(row, link, step="paid")),
        number(row["delivered"], behind(row, link, step="delivered")),
        part(share_of(row["conversion"])),
        part(share_of(row["abandonment"]), behind(row, link, step="abandoned")),
        number(ms(row["payP50Ms"])),
        number(ms(row["payP95Ms"])),
        Cell(line=line),
        Cell(parts=why),
    ]


def revenue_page(answer: Answer, link: Linker, page: int) -> Context:
    """Money by endpoint and currency, and the sum of each currency."""
    found = [dict(row) for row in answer.rows]
    totals: dict[str, dict[str, int]] = {}
    for row in found:
        mine = totals.setdefault(text_of(row, "currency"), dict.fromkeys(_MONEY, 0))
        for name in _MONEY:
            mine[name] += int(str(row[name]))
    by = by_of(answer)
    rows = [
        [*group_cells(row, by, link, **_paid_in(row)), *_sums(row, text_of(row, "currency"))]
        for row in sorted(found, key=lambda row: (text_of(row, "currency"), -int(str(row["net"]))))
    ]
    names = ("currency", "payments", "gross", "refunds", "refunded", "net", "to go back")
    sums = [
        [*_sums({**mine, "currency": currency}, currency, link.behind(step="money", currency=currency))]
        for currency, mine in sorted(totals.items())
    ]
    return {
        "answer": answer,
        "sums": Table(
            caption="Each currency by itself", heads=heads(*names, numbers_from=1), rows=sums, total=len(sums)
        ),
        "table": paged(
            f"By {by_words([*by, 'currency'])}: {tallied(len(rows), 'row')}",
            [*group_heads(by), *heads(*names, numbers_from=1)],
            rows,
            page,
        ),
    }


_MONEY: Final = ("payments", "gross", "refunds", "refunded", "net", "owed")


def _paid_in(row: Row) -> dict[str, object]:
    return {"step": "money", "currency": row["currency"]}


def _sums(row: Row, currency: str, href: str = "") -> list[Cell]:
    def amount(name: str) -> Cell:
        value = int(str(row[name]))
        return number(money(value, currency or None) if value else "0")

    return [
        text(currency.upper(), href),
        number(row["payments"]),
        amount("gross"),
        number(row["refunds"]),
        amount("refunded"),
        amount("net"),
        amount("owed"),
    ]


def pricing_page(answer: Answer, link: Linker, page: int) -> Context:
    """Each route's prices as a curve with intervals, as a table, and what to do."""
    routes = [dict(row) for row in cast("Sequence[Row]", answer.payload["rows"])]
    order = ("raise", "lower", "test", "leave", "None")
    routes.sort(key=lambda row: (order.index(str(row["advice"])), -_seen(row), text_of(row, "endpoint")))
    pages = max(1, -(-len(routes) // CURVES))
    page = min(page, pages)
    start = (page - 1) * CURVES
    shown = [_priced(row, link, start + place) for place, row in enumerate(routes[start : start + CURVES])]
    beside = {_route_of(one): one for one in cast("Sequence[Row]", answer.payload["sideBySide"])}
    for row, one in zip(routes[start:], shown, strict=False):
        found = beside.get(_route_of(row))
        one["beside"] = "" if found is None else _beside(found)
    return {"answer": answer, "routes": shown, "total": len(routes), "page": page, "pages": pages, "first": start + 1}


def _route_of(row: Row) -> tuple[str, str, str]:
    return text_of(row, "endpoint"), text_of(row, "rail"), text_of(row, "currency")


def _beside(found: Row) -> str:
    count, width = count_of(found, "periods"), count_of(found, "periodDays")
    when = tallied(count, "day") if width == 1 else f"{tallied(count, 'period')} of {width} days"
    return (
        f"Prices were shown side by side on {when}: a comparison if chance decided who saw which, and none if the price"
        " depends on what is asked for."
    )


def _seen(row: Row) -> int:
    return sum(count_of(one, "attempts") for one in cast("list[Row]", row["prices"]))


def _priced(row: Row, link: Linker, place: int) -> Context:
    currency = text_of(row, "currency") or None
    prices = cast("list[Row]", row["prices"])
    table: list[list[Cell]] = []
    for one in prices:
        price = int(str(one["price"]))
        words = money(price, currency) + ("  (now)" if text_of(one, "price") == text_of(row, "current") else "")
        about = {"endpoint": row["endpoint"], "rail": row["rail"], "price": one["price"], "currency": currency}
        href = link.route(about, step="shown")
        table.append([text(words, href), number(one["attempts"]), part(share_of(one["paid"])), _brought(one, currency)])
    chart = None
    if len(prices) > 1 and currency is not None:
        scale = 10 ** _digits(currency)
        at = [int(str(one["price"])) / scale for one in prices]
        values, low, high = (
            [_scaled(one[name], scale) for one in prices] for name in ("revenuePerAttempt", "low", "high")
        )
        data: dict[str, JsonValue] = {
            "x": [*at],
            "values": [*values],
            "low": [*low],
            "high": [*high],
            "currency": currency.upper(),
        }
        about_chart = (
            f"What one attempt brought at each of {len(prices)} prices, with 95 % intervals, of"
            f" {tallied(_seen(row), 'attempt')}."
        )
        chart = Chart(
            ident=f"prices-{place}",
            title="Per attempt, by price",
            kind="prices",
            about=about_chart,
            data=data,
            sketch=sketched(at, [("line", low), ("line", high), ("teal", values)]),
            scale=scaled([f"{one:,.6g}" for one in at], [("teal", values), ("line", high)], currency.upper()),
        )
    to = "" if row["to"] is None or row["advice"] == "leave" else money(int(str(row["to"])), currency)
    return {
        "endpoint": text_of(row, "endpoint") or "(no request)",
        "rail": text_of(row, "rail"),
        "seen": _seen(row),
        "advice": text_of(row, "advice"),
        "to": to,
        "reason": text_of(row, "reason"),
        "chart": chart,
        "href": ""
        if currency is None
        else link.route({"endpoint": row["endpoint"], "rail": row["rail"]}, step="shown", price_currency=currency),
        "table": Table(
            caption=f"Prices of {safe(text_of(row, 'endpoint'))[:96]}",
            heads=heads("price", "attempts", "paid", "per attempt", numbers_from=1),
            rows=table,
            total=len(table),
        ),
    }


def _scaled(value: JsonValue, scale: int) -> float | None:
    return None if value is None else float(cast("float", value)) / scale


def _brought(one: Row, currency: str | None) -> Cell:
    value, low, high = (cast("float | None", one[name]) for name in ("revenuePerAttempt", "low", "high"))
    if value is None or low is None or high is None:
        return number("")
    digits = digits_of(value or high, currency)
    bounds = [mean_money(bound, currency, digits=digits).split(" ")[0] for bound in (low, high)]
    return number(f"{mean_money(value, currency, digits=digits)} ({bounds[0]}–{bounds[1]})")


def latency_page(answer: Answer, link: Linker, page: int) -> Context:
    """How long the 402, the verdict and the handler took, and how often each failed."""
    found = sorted((dict(row) for row in answer.rows), key=lambda row: -count_of(row, "attempts"))
    by = by_of(answer)
    rows: list[list[Cell]] = []
    for row in found:
        cells = [
            *group_cells(row, by, link, step="shown"),
            number(row["attempts"], behind(row, link, step="shown")),
            number(ms(row["p50Ms"])),
            number(ms(row["p95Ms"])),
        ]
        for name in PHASES:
            phase = cast("Row", row[name])
            below = f"of {count_of(phase, 'count'):,}"
            cells += [
                number(ms(phase["p50Ms"]), below=below),
                number(ms(phase["p95Ms"])),
                part(share_of(phase["errors"])),
            ]
        rows.append(cells)
    names = [f"{name}{more}" for name in PHASES for more in (", p50", ", p95", ", errors")]
    table = paged(
        f"Time of the 402, the verdict and the handler: {tallied(len(rows), 'row')} by {by_words(by)}",
        [*group_heads(by), *heads("attempts", "whole, p50", "p95", *names, numbers_from=0)],
        rows,
        page,
    )
    start = (table.page - 1) * ROWS
    drawn = [_bars(row, by, link) for row in found[start : start + 12]]
    most = max((bar["ms"] for one in drawn for bar in cast("list[dict[str, float]]", one["bars"])), default=0.0)
    what = "endpoint" if by == ["endpoint"] else "row"
    return {"answer": answer, "table": table, "drawn": drawn, "most": most or 1.0, "what": what}


def _bars(row: Row, by: Sequence[str], link: Linker) -> Context:
    bars: list[dict[str, object]] = []
    for name in PHASES:
        phase = cast("Row", row[name])
        value = cast("float | None", phase["p95Ms"])
        bars.append({"name": name, "ms": value or 0.0, "words": ms(value) or "not known", "count": phase["count"]})
    return {"name": group_name(row, by), "href": behind(row, link, step="shown"), "bars": bars}
