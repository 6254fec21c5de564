"""Events as columns of a SQL ledger."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Final

from flovia.core.errors import LedgerError
from flovia.core.events import FIELDS, Event, EventRow
from flovia.ledger.hiding import fields_of
from flovia.ledger.texts import storable

_AMOUNT: Final = FIELDS.index("amount")


def event_values(row: EventRow, hide: Callable[[str], str] | None) -> dict[str, object]:
    """The columns of one event. A shorter row leaves the last fields out."""
    values: dict[str, object] = dict(zip_longest(FIELDS, map(_storable, row)))
    if values["amount"] is not None:
        values["amount"] = str(values["amount"])
    if hide is not None:
        for name in fields_of(hide):
            if isinstance(found := values[name], str):
                values[name] = hide(found)
    return values


def _storable(value: str | int | float | None) -> str | int | float | None:
    return storable(value) if isinstance(value, str) else value


def read_event(row: Sequence[str | int | float | None]) -> tuple[int, Event]:
    """The position and the event of a row.

    Raises:
        LedgerError: no flovia writes such a row.
    """
    position, fields = int(row[0] or 0), row[1:]
    amount = fields[_AMOUNT]
    try:
        whole = None if amount is None else int(amount)
    except ValueError:
        raise LedgerError(
            f"event {position} cannot be read: its amount is {str(amount)[:40]!r}, which nobody but a hand can have"
            " written; correct that row of flovia_events (flovia ledger verify names all such rows)"
        ) from None
    return position, Event.from_row((*fields[:_AMOUNT], whole, *fields[_AMOUNT + 1 :]))
