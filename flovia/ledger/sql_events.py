"""Events as columns of a SQL ledger."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Final

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


def read_event(fields: Sequence[str | int | float | None]) -> Event:
    """The event of a row's columns."""
    amount = fields[_AMOUNT]
    return Event.from_row((*fields[:_AMOUNT], None if amount is None else int(amount), *fields[_AMOUNT + 1 :]))
