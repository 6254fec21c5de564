"""Events that name nobody: what stands in the place of a payer and of a workflow."""

from collections.abc import Callable

from flovia.core.events import FIELDS, EventRow
from flovia.core.hiding import PERSONAL, Hider


def fields_of(hide: Callable[[str], str]) -> tuple[str, ...]:
    """The fields of an event in which names are hidden: all that may name a person, unless it says which."""
    return hide.fields if isinstance(hide, Hider) else PERSONAL


def hidden(row: EventRow, hide: Callable[[str], str]) -> EventRow:
    """The same event with ``hide`` of each name in its place. A shorter row leaves the last fields out."""
    values = list(row)
    for place in map(FIELDS.index, fields_of(hide)):
        if place < len(values) and isinstance(found := values[place], str):
            values[place] = hide(found)
    return tuple(values)
