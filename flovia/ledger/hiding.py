"""Events that name nobody: what stands in the place of a payer and of a workflow."""

from collections.abc import Callable
from typing import Final

from flovia.core.events import FIELDS, EventRow

PERSONAL: Final = ("payer", "workflow")
"""The fields of an event that may name a person."""
_PLACES: Final = tuple(FIELDS.index(name) for name in PERSONAL)


def hidden(row: EventRow, hide: Callable[[str], str]) -> EventRow:
    """The same event with ``hide`` of each name in its place. A shorter row leaves the last fields out."""
    values = list(row)
    for place in _PLACES:
        if place < len(values) and isinstance(found := values[place], str):
            values[place] = hide(found)
    return tuple(values)
