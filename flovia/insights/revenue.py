"""Revenue: what came, what went back, what is left, in each currency by itself and exact."""

from collections.abc import Collection
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import grouping, in_order, members_of
from flovia.insights.measures import Cell, Cells, grouped_by

REVENUE_BY: Final = ("endpoint",)


@attrs.frozen(kw_only=True)
class RevenueRow:
    """Money in one currency, base units. It counts on the day of the attempt it belongs to, refunds too.

    ``gross``: all that payers paid, also too late, twice, or another amount. ``refunded``: what went back. ``net`` is
    the difference; ``owed`` is the part of it that is still to go back.
    """

    group: dict[str, JsonValue]
    currency: str | None
    payments: int
    gross: int
    refunds: int
    refunded: int
    net: int
    owed: int

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members; amounts are texts of digits."""
        return {
            **self.group,
            "currency": self.currency,
            "payments": self.payments,
            "gross": str(self.gross),
            "refunds": self.refunds,
            "refunded": str(self.refunded),
            "net": str(self.net),
            "owed": str(self.owed),
        }


def revenue(cells: Cells, by: Collection[str] = REVENUE_BY) -> list[RevenueRow]:
    """The money of each group and currency. Currencies are never added up.

    Raises:
        CallerError: nothing that rows can be told apart by.
    """
    key = grouping(by)
    groups = grouped_by(cells, lambda route: (*key(route), route.currency))
    return [_row(groups[group], group, by) for group in in_order(groups) if groups[group].payments]


def _row(cell: Cell, group: tuple[object, ...], by: Collection[str]) -> RevenueRow:
    *dimensions, currency = group
    members = members_of(tuple(dimensions), by)
    if "price" in by:
        members["priceCurrency"] = members.pop("currency")
    return RevenueRow(
        group=members,
        currency=None if currency is None else str(currency),
        payments=cell.payments,
        gross=cell.gross,
        refunds=cell.refunds,
        refunded=cell.refunded,
        net=cell.gross - cell.refunded,
        owed=cell.owed,
    )
