"""Times: as people read them, and as they write them."""

import re
from datetime import UTC, datetime
from typing import Final

from cyclopts import Parameter

from flovia.cli.misuse import Misused

HYPHENS: Final = Parameter(allow_leading_hyphen=True)
"""Of an option that is a time: -5d is told what to write, and not that an argument is missing."""
_AGO: Final = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_moment(text: str) -> float:
    """Unix seconds of ``2026-01-31`` or ``2026-01-31T12:00:00Z``; without a zone it is UTC.

    Raises:
        Misused: it is none of these.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Misused(f"{text!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def moment_of(text: str | None, now: float) -> float | None:
    """The same, or ``30d`` before ``now``; None for None.

    Raises:
        Misused: it is none of these.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago is None:
        try:
            return parse_moment(text)
        except Misused as error:
            unsigned = text.removeprefix("-")
            example = unsigned if _AGO.fullmatch(unsigned) else "30d"
            raise Misused(f"{error}, or {example} for so long ago") from None
    return now - int(ago[1]) * _UNITS[ago[2]]
