"""Times: as people write them in options."""

from typing import Final

from cyclopts import Parameter

from flovia.cli.misuse import Misused
from flovia.core.errors import CallerError
from flovia.reports import moments

HYPHENS: Final = Parameter(allow_leading_hyphen=True)
"""Of an option that is a time: -5d is told what to write, and not that an argument is missing."""


def parse_moment(text: str) -> float:
    """Unix seconds of ``2026-01-31`` or ``2026-01-31T12:00:00Z``; without a zone it is UTC.

    Raises:
        Misused: it is none of these.
    """
    try:
        return moments.parse_moment(text)
    except CallerError as error:
        raise Misused(str(error)) from None


def moment_of(text: str | None, now: float) -> float | None:
    """The same, or ``30d`` before ``now``; None for None.

    Raises:
        Misused: it is none of these.
    """
    try:
        return moments.moment_of(text, now)
    except CallerError as error:
        raise Misused(str(error)) from None
