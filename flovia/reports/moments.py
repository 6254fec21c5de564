"""Times as people write them: ``2026-01-31``, ``2026-01-31T12:00:00Z``, ``30d`` for so long ago."""

import re
from datetime import UTC, datetime
from typing import Final

from flovia.core.errors import CallerError

_AGO: Final = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_moment(text: str) -> float:
    """Unix seconds of ``2026-01-31`` or ``2026-01-31T12:00:00Z``; without a zone it is UTC.

    Raises:
        CallerError: it is none of these.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise CallerError(f"{text!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z") from None


def moment_of(text: str | None, now: float) -> float | None:
    """The same, or ``30d`` before ``now``; None for None.

    Raises:
        CallerError: it is none of these.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago is None:
        try:
            return parse_moment(text)
        except CallerError as error:
            unsigned = text.removeprefix("-")
            example = unsigned if _AGO.fullmatch(unsigned) else "30d"
            raise CallerError(f"{error}, or {example} for so long ago") from None
    return now - int(ago[1]) * _UNITS[ago[2]]
