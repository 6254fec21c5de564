"""``flovia report``: which routes convert, what they brought, what to ask for them, and what needs somebody."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import cyclopts
from cyclopts.types import PositiveInt
from rich.text import Text

from flovia.cli.console import complain, console, in_line, money, safe
from flovia.cli.events import ledger_of
from flovia.cli.ledger_opening import moment, write_json
from flovia.cli.report_reading import Options, Reading, nothing, reading
from flovia.cli.report_tables import left_out_words, milliseconds, percent, print_csv, print_table, sparkline
from flovia.core.encoding import JsonValue
from flovia.ledger.opening import shown

if TYPE_CHECKING:
    from flovia.insights.integrity import Finding

DEFAULT: Final = Options()
REASONS: Final = 2
"""Reasons of a row that are printed; --json has all."""
Rows = Sequence[Mapping[str, JsonValue]]

app = cyclopts.App(name="report", help_format="plaintext")
app.command("flovia.cli.report_payers:retention", name="retention", help="Who comes back, when, and who may have gone.")
app.command(
    "flovia.cli.report_payers:workflows", name="workflows", help="What is used together, and where sessions end unpaid."
)


@app.command
def funnel(*, options: Options = DEFAULT, by: str = "endpoint,rail,price") -> int:
    """How many of those who saw a price paid, and got what they paid for; how long paying took, and what failed.

    Conversion is of attempts, not of 402s, with its 95 % interval. Percentiles are within 1 %. Exit status 1 if
    there is nothing to report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.insights.funnel import funnel as ask

    dimensions = _by(by)
    with reading(options, by=members_by(dimensions), times=("pay",), lines=True) as found:
        rows = ask(found.cells, dimensions)
        lines = _sparklines(found, dimensions)

    def show() -> None:
        names = (*dimensions, "attempts", "presented", "paid", "delivered", "conversion", "gave up")
        print_table(
            (*names, "to pay p50", "p95", *(["by day"] if any(lines) else []), "not delivered because"),
            [
                (
                    *_cells(row.group, dimensions),
                    *map(str, (row.attempts, row.presented, row.verified, row.delivered)),
                    percent(row.conversion),
                    percent(row.abandonment),
                    milliseconds(row.pay_p50_ms),
                    milliseconds(row.pay_p95_ms),
                    *([line] if any(lines) else []),
                    ", ".join(f"{reason} {count}" for reason, count in row.reasons[:REASONS]),
                )
                for row, line in zip(rows, lines, strict=True)
            ],
            len(dimensions),
        )

    return _answer("funnel", options, found, [row.to_json() for row in rows], show, by=dimensions)


@app.command
def latency(*, options: Options = DEFAULT, by: str = "endpoint") -> int:
    """How long the answer with the 402, the verdict and the handler took, and how often each failed.

    Percentiles are within 1 %; of an error rate there is the 95 % interval. Exit status 1 if there is nothing to
    report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.insights.funnel import PHASES
    from flovia.insights.funnel import latency as ask

    dimensions = _by(by)
    with reading(options, by=members_by(dimensions), times=("latency", *PHASES)) as found:
        rows = ask(found.cells, dimensions)

    def show() -> None:
        titles = [title for name in PHASES for title in (f"{name} p50", "p95", "errors")]
        table: list[Sequence[str]] = []
        for row in rows:
            phases = (row.challenge, row.verify, row.handler)
            parts = [(milliseconds(one.p50_ms), milliseconds(one.p95_ms), percent(one.errors)) for one in phases]
            whole = (str(row.attempts), milliseconds(row.p50_ms), milliseconds(row.p95_ms))
            table.append((*_cells(row.group, dimensions), *whole, *(cell for part in parts for cell in part)))
        print_table((*dimensions, "attempts", "p50", "p95", *titles), table, len(dimensions))

    return _answer("latency", options, found, [row.to_json() for row in rows], show, by=dimensions)


@app.command
def revenue(*, options: Options = DEFAULT, by: str = "endpoint") -> int:
    """What came, what went back, and what is left, in each currency by itself and exact.

    Money counts on the day of the attempt that it belongs to. Exit status 1 if there is nothing to report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.insights.revenue import revenue as ask

    dimensions = _by(by)
    with reading(options, by=(*members_by(dimensions), "currency")) as found:
        rows = ask(found.cells, dimensions)

    def show() -> None:
        titles = ("currency", "payments", "gross", "refunds", "refunded", "net", "to go back")
        table: list[Sequence[str]] = []
        for row in rows:
            currency = row.currency or ""
            counts = (str(row.payments), _sum(row.gross, currency), str(row.refunds))
            rest = tuple(_sum(amount, currency) for amount in (row.refunded, row.net, row.owed))
            table.append((*_cells(row.group, dimensions), currency.upper(), *counts, *rest))
        print_table((*dimensions, *titles), table, len(dimensions) + 1)

    return _answer("revenue", options, found, [row.to_json() for row in rows], show, by=dimensions)


@app.command
def pricing(*, options: Options = DEFAULT, least: PositiveInt = 100) -> int:
    """What each price that was shown brought, and whether to raise it, to lower it, to leave it, or to test another.

    Nothing is said of a price that too few have seen. Exit status 1 if there is nothing to report.

    Args:
        least: attempts that must have seen a price before it is compared.
    """
    from flovia.insights.pricing import PRICING_BY
    from flovia.insights.pricing import pricing as ask

    with reading(options, by=PRICING_BY) as found:
        rows = ask(found.cells, least)

    def show() -> None:
        out = console()
        for row in rows:
            out.print(Text(safe("  ".join(one for one in (row.endpoint, row.rail or "") if one)), style="bold"))
            table: list[Sequence[str]] = []
            for one in row.prices:
                brought = "" if one.per_attempt is None else f"{one.per_attempt:.2f} ({one.low:.2f}–{one.high:.2f})"
                price = money(one.price, row.currency) + ("  now" if one.price == row.current else "")
                table.append((price, str(one.attempts), percent(one.paid), brought))
            print_table(("price", "attempts", "paid", "base units per attempt"), table, 1)
            to = "" if row.to is None or row.advice == "leave" else f" {money(row.to, row.currency)}"
            out.print(Text(f"{row.advice or 'no advice'}{to}: ", style="bold") + Text(safe(row.reason), style=""))
            out.print()

    return _answer("pricing", options, found, [row.to_json() for row in rows], show)


@app.command
def integrity(*, options: Options = DEFAULT, limit: PositiveInt = 50) -> int:
    """How payments and requests agree, and the queue of those that need somebody, each with the command to run.

    Exit status 1 if there is nothing to report; that nothing waits in the queue is a report.

    Args:
        limit: rows of the queue, at most; all are counted.
    """
    from flovia.insights.integrity import counted_states
    from flovia.insights.sql_integrity import count_due_sql, count_pending_sql, queue_sql

    with reading(options) as found:
        database = found.ledger.database
        states = counted_states(found.cells, count_pending_sql(database, found.asked, found.now))
        queue = queue_sql(database, found.asked, limit)
        waiting = count_due_sql(database, found.asked)

    def show() -> None:
        out = console()
        print_table(("state", "attempts"), [(name.replace("_", " "), str(states[name])) for name in states], 1)
        out.print()
        for row in queue:
            out.print(_finding(row))
            out.print(Text(f"    {safe(row.remedy)}", style="dim"))
        if waiting > len(queue):
            out.print(f"… and {waiting - len(queue)} more: --limit {waiting}")
        if not waiting:
            out.print(Text("nothing waits for anybody", style="green"))

    rows = [row.to_json() for row in queue]
    more: dict[str, JsonValue] = {"states": dict(states), "waiting": waiting}
    return _answer("integrity", options, found, rows, show, some=any(states.values()), **more)


def _answer(
    name: str,
    options: Options,
    found: Reading,
    rows: Rows,
    show: Callable[[], None],
    *,
    some: bool | None = None,
    **more: JsonValue,
) -> int:
    """Print an answer in the form that is wanted, with what was left out; returns the exit status."""
    from flovia.insights.buckets import ERROR
    from flovia.insights.intervals import CONFIDENCE

    there = bool(rows) if some is None else some
    left_out = left_out_words(found.left_out)
    if options.as_json:
        about: dict[str, JsonValue] = {"since": found.asked.since, "until": found.asked.until}
        sure: dict[str, JsonValue] = {"confidence": CONFIDENCE, "percentileError": ERROR}
        left: dict[str, JsonValue] = {"leftOut": found.left_out.to_json()}
        write_json({"report": name, **about, **more, **sure, "rows": [dict(row) for row in rows], **left})
    elif options.csv:
        print_csv(rows)
    elif there:
        show()
    if not options.as_json and left_out and there:
        told = "left out: " + "; ".join(left_out)
        if options.csv:
            complain(told)
        else:
            console().print(Text(told, style="dim"))
    if not there:
        complain(nothing(found, shown(ledger_of(options.ledger))))
        sys.stderr.flush()
    return 0 if there else 1


def _finding(row: "Finding") -> Text:
    ids = (row.challenge_id or "", row.payment_id or "", *row.request_ids[-1:])
    amount = money(row.amount, row.currency)
    asked = money(row.price, row.price_currency)
    parts = (
        moment(row.at),
        row.endpoint or "(no request)",
        amount,
        f"asked {asked}" if asked not in ("", amount) else "",
    )
    return Text(f"{row.state.replace('_', ' '):<19}", style="yellow") + in_line((*parts, row.insight, *ids))


def _sum(amount: int, currency: str) -> str:
    return money(amount, currency) if amount else "0"


def _by(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _cells(group: Mapping[str, JsonValue], by: Sequence[str]) -> list[str]:
    """What tells a row apart, as people read it."""
    found: list[str] = []
    for name in by:
        value = group[name]
        if name == "price":
            currency = group.get("priceCurrency", group.get("currency"))
            found.append("" if value is None else money(int(str(value)), None if currency is None else str(currency)))
        else:
            found.append(str(value or ("(no request)" if name == "endpoint" else "")))
    return found


def _sparklines(found: Reading, by: Sequence[str]) -> list[str]:
    """Attempts by day of each row of the funnel, in its order; empty texts if a row is a day itself."""
    from flovia.insights.asking import grouping, in_order
    from flovia.insights.measures import grouped_by

    key = grouping(by)
    groups = grouped_by(found.cells, key)
    rows = [group for group in in_order(groups) if groups[group].attempts]
    days = [route.day // found.width for route, cell in found.shown.items() if cell.attempts]
    if not days:
        return [""] * len(rows)
    series: dict[tuple[object, ...], dict[int, int]] = {}
    for route, cell in found.shown.items():
        mine = series.setdefault(key(route), {})
        day = route.day // found.width
        mine[day] = mine.get(day, 0) + cell.attempts
    return [sparkline(series.get(group, {}), min(days), max(days)) for group in rows]
