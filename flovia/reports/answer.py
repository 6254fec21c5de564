"""What one report found: for people, as JSON members, as rows of a CSV."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import Asked
from flovia.reports.parts import Part

Rows = Sequence[Mapping[str, JsonValue]]


class Row(Protocol):
    """A row of an answer."""

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        ...


@attrs.frozen(kw_only=True)
class Answer:
    """What one report found.

    ``about``: what it says, in a sentence; ``payload``: all of it as JSON members; ``rows``: those of a CSV; ``show``:
    the parts for people; ``left_out``: what is not counted, in words; ``some``: whether there is anything to report,
    and if not, ``nothing`` says why of the ledger named to it. ``now``: Unix seconds, when it was made.
    """

    name: str
    about: str
    asked: Asked
    now: float
    payload: Mapping[str, JsonValue]
    rows: Rows
    show: Callable[[], Sequence[Part]]
    left_out: Sequence[str]
    some: bool
    nothing: Callable[[str], str]
