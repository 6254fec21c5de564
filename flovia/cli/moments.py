"""Times: as people read them, and as they write them."""

import re
from datetime import UTC, datetime
from typing import Final

from flovia.core.errors import CallerError

_AGO: Final = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def moment(value: object) -> str:
    """Unix seconds as people read them; "" for what is none."""
    if not isinstance(value, int | float) or value <= 0:
        return ""
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return str(value)


def parse_moment(text: str) -> float:
    """Unix seconds of ``2026-01-31`` or ``2026-01-31T12:00:00Z``; without a zone it is UTC.

    Raises:
        CallerError: it is none of these.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CallerError(f"{text!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def moment_of(text: str | None, now: float) -> float | None:
    """The same, or ``30d`` before ``now``; None for None.

    Raises:
        CallerError: it is none of these.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    return parse_moment(text) if ago is None else now - int(ago[1]) * _UNITS[ago[2]]
