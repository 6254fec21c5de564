"""The reports about routes: what each says, for people, as a page, as JSON and CSV."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.buckets import ERROR
from flovia.insights.funnel import PHASES
from flovia.insights.funnel import funnel as ask_funnel
from flovia.insights.funnel import latency as ask_latency
from flovia.insights.intervals import CONFIDENCE
from flovia.insights.mean_money import digits_of, mean_money
from flovia.insights.pricing import PriceRow, PricingRow, side_by_side
from flovia.insights.pricing import pricing as ask_pricing
from flovia.insights.revenue import revenue as ask_revenue
from flovia.reports.answer import Answer, Row, Rows
from flovia.reports.bars import bars, lines
from flovia.reports.parts import GAP, Entry, Grid, Line, Listing, Part, Words
from flovia.reports.reading import Reading, nothing
from flovia.reports.tables import left_out_words, milliseconds, percent
from flovia.words import counted, moment, money

if TYPE_CHECKING:
    from flovia.insights.integrity import Finding

REASONS: Final = 2
"""Reasons of a row that are shown; --json has all."""


def funnel(found: Reading, by: Sequence[str]) -> Answer:
    """Who saw a price, paid, and got what they paid for."""
    rows = ask_funnel(found.cells, by)

    def show() -> list[Part]:
        drawn_lines = lines(found, by)
        some = any(drawn_lines)
        table: list[Sequence[str | Line]] = [
            (
                *_cells(row.group, by),
                *map(str, (row.attempts, row.presented, row.verified, row.delivered)),
                percent(row.conversion),
                percent(row.abandonment),
                milliseconds(row.pay_p50_ms),
                milliseconds(row.pay_p95_ms),
                *([line or ""] if some else []),
                ", ".join([f"{name} {count}" for name, count in row.reasons[:REASONS]] + _more(row.reasons)),
            )
            for row, line in zip(rows, drawn_lines, strict=True)
        ]
        counts = (*by, "attempts", "presented", "paid", "delivered", "conversion", "gave up")
        drawn = ("by day" if found.width == 1 else f"by {found.width} days",) if some else ()
        return [
            Grid(
                caption="From the price to the answer",
                names=(*counts, "to pay p50", "p95", *drawn, "not delivered because"),
                page_names=(*counts, "time to pay, p50", "p95", *drawn, "not delivered because"),
                rows=table,
                left=len(by),
                last_text=True,
                deciding=(len(by) + 4, len(by) + 5),
            ),
            *([Words(text=bars(found), style="dim")] if some else []),
        ]

    return _answer(
        "funnel", "Of those who saw a price: who paid, and who got the answer.", found, rows, show, by=list(by)
    )


def latency(found: Reading, by: Sequence[str]) -> Answer:
    """How long each part of the work took."""
    rows = ask_latency(found.cells, by)

    def show() -> list[Part]:
        table: list[Sequence[str | Line]] = []
        for row in rows:
            phases = (row.challenge, row.verify, row.handler)
            parts = [(milliseconds(one.p50_ms), milliseconds(one.p95_ms), percent(one.errors)) for one in phases]
            whole = (str(row.attempts), milliseconds(row.p50_ms), milliseconds(row.p95_ms))
            table.append((*_cells(row.group, by), *whole, *(cell for part in parts for cell in part)))
        titles = [title for name in PHASES for title in (f"{name} p50", "p95", "errors")]
        full = [title for name in PHASES for title in (f"{name}, p50", f"{name}, p95", f"{name}, errors")]
        return [
            Grid(
                caption="Time of the 402, the verdict and the handler",
                names=(*by, "attempts", "p50", "p95", *titles),
                page_names=(*by, "attempts", "p50", "p95", *full),
                rows=table,
                left=len(by),
            )
        ]

    about = "How long the 402, the verdict and the handler took, and how often each failed."
    return _answer("latency", about, found, rows, show, by=list(by))


def revenue(found: Reading, by: Sequence[str]) -> Answer:
    """What came and what went back."""
    from flovia.insights.sql_integrity import exhausted_sql

    rows = ask_revenue(found.cells, by)
    failed = exhausted_sql(found.ledger.database, found.asked)

    def show() -> list[Part]:
        table: list[Sequence[str | Line]] = []
        for row in rows:
            currency = row.currency or ""
            counts = (str(row.payments), _sum(row.gross, currency), str(row.refunds))
            rest = tuple(_sum(amount, currency) for amount in (row.refunded, row.net, row.owed))
            table.append((*_cells(row.group, by), currency.upper(), *counts, *rest))
        titles = ("currency", "payments", "gross", "refunds", "refunded", "net", "to go back")
        return [
            Grid(caption="Money by currency", names=(*by, *titles), rows=table, left=len(by) + 1),
            *([Words(text=_undecided(failed))] if failed else []),
        ]

    about = "What came, what went back, and what is left; each currency by itself, exact."
    beside: list[JsonValue] = [
        {"currency": currency, "payments": payments, "amount": str(amount)}
        for currency, (payments, amount) in failed.items()
    ]
    return _answer("revenue", about, found, rows, show, lacking="payment", by=list(by), exhausted=beside)


def _undecided(failed: Mapping[str | None, tuple[int, int]]) -> str:
    """Of the net, what may go back or be delivered after all."""
    payments = sum(count for count, _ in failed.values())
    sums = ", ".join(_sum(amount, currency or "") for currency, (_, amount) in failed.items())
    return (
        f'not in "to go back": {counted(payments, "payment")} ({sums}) of which every delivery failed; give it back or'
        " let it be delivered again: flovia report integrity"
    )


def pricing(found: Reading, least: int) -> Answer:
    """What each price brought."""
    rows = ask_pricing(found.cells, least)
    # Periods of several days would show prices that took turns side by side.
    together = side_by_side(found.shown) if found.width == 1 else {}

    def show() -> list[Part]:
        parts: list[Part] = []
        for row in rows:
            table = [
                (_price(one, row), str(one.attempts), percent(one.paid), _brought(one, row.currency))
                for one in row.prices
            ]
            caption = "  ".join(one for one in (row.endpoint, row.rail or "") if one)
            names = ("price", "attempts", "paid", "per attempt")
            parts.append(Grid(caption=caption, titled=True, names=names, rows=table, left=1, deciding=(3,)))
            to = "" if row.to is None or row.advice == "leave" else f" {money(row.to, row.currency)}"
            parts.append(Words(lead=f"{row.advice or 'no advice'}{to}: ", text=row.reason))
            if days := together.get((row.endpoint, row.rail, row.currency)):
                parts.append(Words(text=_side_by_side(*days), style="dim"))
            parts.append(GAP)
        return parts

    about = "What each price brought for each attempt that saw it, before refunds, and what to ask next."
    prices: Rows = [by_price for row in rows for by_price in row.by_price()]
    beside: list[JsonValue] = [
        {"endpoint": endpoint, "rail": rail, "currency": currency, "days": both, "of": of}
        for (endpoint, rail, currency), (both, of) in together.items()
    ]
    answer = _answer("pricing", about, found, rows, show, lacking="price that was shown", sideBySide=beside)
    return attrs.evolve(answer, rows=prices)


def _side_by_side(both: int, of: int) -> str:
    """What to think of before believing the advice."""
    return (
        f"more than one price was shown on {both} of {counted(of, 'day')}: they compare if chance decided who saw"
        " which, and do not if the price depends on what is asked for"
    )


def _price(one: PriceRow, row: PricingRow) -> str:
    return money(one.price, row.currency) + ("  now" if one.price == row.current else "")


def _brought(one: PriceRow, currency: str | None) -> str:
    """``0.357 USD (0.301–0.420)``."""
    if one.per_attempt is None or one.low is None or one.high is None:
        return ""
    digits = digits_of(one.per_attempt or one.high, currency)
    low, high = (mean_money(bound, currency, digits=digits).split(" ")[0] for bound in (one.low, one.high))
    return f"{mean_money(one.per_attempt, currency, digits=digits)} ({low}–{high})"


def integrity(found: Reading, limit: int, pending_s: float, has_commands: Callable[[str], bool]) -> Answer:
    """How payments and requests agree, and what needs somebody.

    ``has_commands``: whether a command finds the provider of this name; where none does, none is told.
    """
    from flovia.insights.integrity import counted_states, remedied
    from flovia.insights.sql_integrity import count_due_sql, count_pending_sql, queue_sql

    database = found.ledger.database
    states = counted_states(found.cells, count_pending_sql(database, found.asked, found.now, pending_s))
    queue = [remedied(one, has_commands) for one in queue_sql(database, found.asked, limit)]
    waiting = count_due_sql(database, found.asked)

    def show() -> list[Part]:
        counts = [(name.replace("_", " "), str(states[name])) for name in states]
        parts: list[Part] = [
            Grid(caption="How payments and requests agree", names=("state", "attempts"), rows=counts, left=1),
            Words(text=f"unpaid is pending for {pending_s:g} s, and expired then (--pending SECONDS)", style="dim"),
            GAP,
        ]
        if queue:
            parts.append(_queue(queue))
        if waiting > len(queue):
            parts.append(Words(text=f"… and {waiting - len(queue)} more: --limit {waiting}"))
        if queue:
            explain = "if nothing is to be done about one: flovia ledger explain ID --note TEXT"
            parts.append(Words(text=explain, style="dim"))
        if not waiting:
            parts.append(Words(text="nothing waits for anybody", style="green"))
        return parts

    more: dict[str, JsonValue] = {"states": dict(states), "waiting": waiting, "pendingS": pending_s}
    about = "How payments and requests agree, and what needs somebody, the oldest first."
    return _answer("integrity", about, found, queue, show, some=any(states.values()), lacking="attempt", **more)


def _more(reasons: Sequence[tuple[str, int]]) -> list[str]:
    """How many had reasons that are not shown, if there are any."""
    others = sum(count for _, count in reasons[REASONS:])
    return [f"others {others}"] if others else []


def _queue(queue: Sequence["Finding"]) -> Listing:
    entries: list[Entry] = []
    table: list[Sequence[str]] = []
    for row in queue:
        amount, price = money(row.amount, row.currency), money(row.price, row.price_currency)
        asked = f"asked {price}" if price not in ("", amount) else ""
        place, state = row.endpoint or "(no request)", row.state.replace("_", " ")
        ids = (row.challenge_id or "", row.payment_id or "", *row.request_ids[-1:])
        beside = (moment(row.at), place, amount, asked, row.insight, *ids)
        entries.append(Entry(label=state, beside=beside, below=row.remedy))
        every = (row.challenge_id or "", row.payment_id or "", " ".join(row.request_ids))
        table.append((moment(row.at), state, row.insight, place, amount, price, row.remedy, *every))
    titles = ("began", "state", "what happened", "endpoint", "came", "asked", "what to do")
    names = (*titles, "challenge", "payment", "requests")
    return Listing(
        entries=entries,
        grid=Grid(
            caption="What needs somebody",
            names=names,
            rows=table,
            left=len(names),
            numbers=(4, 5),
            below=(6, 7, 8, 9),
        ),
    )


def _answer(
    name: str,
    about: str,
    found: Reading,
    rows: Sequence[Row],
    show: Callable[[], list[Part]],
    *,
    some: bool | None = None,
    lacking: str = "attempt",
    **more: JsonValue,
) -> Answer:
    listed: Rows = [row.to_json() for row in rows]
    payload: dict[str, JsonValue] = {"report": name, "since": found.asked.since, "until": found.asked.until}
    payload |= {**more, "confidence": CONFIDENCE, "percentileError": ERROR}
    payload |= {"rows": [dict(row) for row in listed], "leftOut": found.left_out.to_json()}
    return Answer(
        name=name,
        about=about,
        asked=found.asked,
        now=found.now,
        payload=payload,
        rows=listed,
        show=show,
        left_out=left_out_words(found.left_out),
        some=bool(rows) if some is None else some,
        nothing=lambda place: nothing(found, place, lacking),
    )


def _sum(amount: int, currency: str) -> str:
    return money(amount, currency) if amount else "0"


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
