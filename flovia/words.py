"""Counts, times and money as people read them, and text from strangers that can do no harm where it is shown."""

from datetime import UTC, datetime

from flovia.core.errors import WiringError
from flovia.core.money import Price


def counted(count: int, one: str, many: str | None = None, *, or_more: bool = False) -> str:
    """A number of things: ``1 payment``, ``2 payments``, ``0 payments``; with ``or_more`` ``1000 or more payments``."""
    number = f"{count} or more" if or_more else str(count)
    return f"{number} {one if count == 1 and not or_more else many or one + 's'}"


def tallied(count: int, one: str, many: str | None = None) -> str:
    """The same as pages write numbers: ``2,053 payments``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def moment(value: object) -> str:
    """Unix seconds as people read them; "" for what is none."""
    if not isinstance(value, int | float) or value <= 0:
        return ""
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return str(value)


def money(amount: int | None, currency: str | None) -> str:
    """An amount with its currency; "" if either is unknown."""
    if amount is None or currency is None:
        return ""
    try:
        return str(Price(amount=amount, currency=currency))
    except WiringError:  # a currency of the payment method's own
        return f"{amount} {currency}"


def safe(text: str) -> str:
    """The text with every character that is not printable written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
