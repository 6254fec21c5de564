"""Rows of a report by what they are told apart by: the columns that say it, and the events behind a row."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from flovia.core.encoding import JsonValue
from flovia.dashboard.linking import Linker
from flovia.dashboard.tables import Cell, Head, cut, heads, text
from flovia.reports.answer import Answer
from flovia.words import money

Row = dict[str, JsonValue]


def by_of(answer: Answer) -> list[str]:
    """What the rows of this answer are told apart by, members of :data:`flovia.insights.asking.BY`."""
    return [str(one) for one in cast("Sequence[JsonValue]", answer.payload["by"])]


def by_words(by: Sequence[str]) -> str:
    """``endpoint, rail and price``."""
    return " and ".join(one for one in (", ".join(by[:-1]), by[-1]) if one)


def group_heads(by: Sequence[str]) -> list[Head]:
    """The columns that tell rows apart."""
    return heads(*by, numbers_from=len(by))


def group_cells(row: Row, by: Sequence[str], link: Linker, **chosen: object) -> list[Cell]:
    """What tells this row apart, the first of it with a link to the events behind the row, narrowed to ``chosen``."""
    first, *others = by
    return [text(_named(row, first), behind(row, link, **chosen)), *(text(_named(row, one)) for one in others)]


def group_name(row: Row, by: Sequence[str]) -> str:
    """The same in one line."""
    return cut("  ".join(said for one in by if (said := _named(row, one))))


def behind(row: Row, link: Linker, **chosen: object) -> str:
    """The joined events behind a row; "" where no address says them."""
    if "provider" in row:
        if row["provider"] is None:
            return ""
        chosen = {"provider": row["provider"], **chosen}
    if "day" in row:
        if link.filters.since or link.filters.until:
            return ""  # of a day of which a part is asked about, an address would give all
        day = str(row["day"])
        chosen = {"since": day, "until": next_day(day), **chosen}
    return link.route(row, **chosen)


def next_day(date: str) -> str:
    """The date of the day after this one."""
    return (datetime.fromisoformat(date).replace(tzinfo=UTC) + timedelta(days=1)).date().isoformat()


def _named(row: Row, name: str) -> str:
    value = row[name]
    if name == "price":
        currency = row.get("priceCurrency", row.get("currency"))
        return "" if value is None else money(int(str(value)), None if currency is None else str(currency))
    return str(value or ("(no request)" if name == "endpoint" else ""))
