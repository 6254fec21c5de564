"""Joined events as rows of the live page: the same for its table, for its script, and for who polls."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError
from flovia.dashboard.tables import cut
from flovia.insights.asking import TEST_PROVIDERS, Asked
from flovia.insights.integrity import is_asked
from flovia.reports.tables import milliseconds
from flovia.words import moment, money, safe

if TYPE_CHECKING:
    from flovia.insights.joined import Kept
    from flovia.insights.sql_choosing import Chosen

TAGS: Final = {
    "paid_and_delivered": "good",
    "refunded": "",
    "unpaid": "",
    "explained": "",
    "request_without_payment": "",
    "pending": "wait",
}
"""Kinds of tags by state; what is not here needs somebody."""
CAME: Final = frozenset({"underpaid", "overpaid", "late", "duplicate", "unmatched_payment"})
"""States of attempts whose money came, though it bought nothing."""


def row_of(kept: "Kept", address: Callable[[str], str]) -> dict[str, JsonValue]:
    """An attempt as a row: texts that are safe to show, and where its page is."""
    one = kept.attempt
    asked = "" if one.price is None else money(one.price, one.price_currency)
    moved = one.verified_at is not None or one.refunded is not None or one.kind == "money" or one.state in CAME
    came = money(one.amount, one.currency) if moved else ""
    return {
        "id": safe(one.key),
        "href": address(one.key),
        "when": moment(one.at),
        "what": safe(cut(f"{one.http_method} {one.endpoint}" if one.http_method else "(no request)")),
        "asked": safe(asked),
        "paid": safe(came),
        "payer": safe(cut(one.payer or "")),
        "workflow": safe(cut(one.workflow or "")),
        "status": str(one.response_status or ""),
        "latency": milliseconds(one.latency_ms),
        "insight": one.insight,
        "tag": TAGS.get(one.counts_as, "warn"),
        "test": one.provider in TEST_PROVIDERS,
    }


def matcher(asked: Asked, chosen: "Chosen") -> "Callable[[Kept], bool]":
    """Whether an attempt that has just changed is one of those that the page's table shows.

    Raises:
        CallerError: a path was chosen. Only sessions know it, and they are made again when a question needs them.
    """
    if chosen.path:
        raise CallerError("what comes does not say which path it is on until its session is made; leave path out")
    return lambda kept: is_asked(kept.attempt, asked) and chosen.takes(kept.attempt)
