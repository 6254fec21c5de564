"""What a page is about, as its address says: a time, an endpoint, a workflow, whether test money counts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlencode

import attrs

from flovia.core.errors import CallerError
from flovia.reports.moments import moment_of
from flovia.words import safe

LONGEST: Final = 4096
"""Characters of one filter."""
EXACT: Final = ".exact"
"""Behind a member's name: the same with percent signs, where a form shows it with escapes for what nobody could see."""
MOST_S: Final = 1e9
"""Seconds of one option."""
PRESETS: Final = (("", "All"), ("1d", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"))
"""Times that a page offers, and their names."""
_SAID: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
    **dict.fromkeys(("1", "on", "true", "yes"), True),
}
MANY: Final = frozenset({"own"})
"""Members of a query that may be there more than once."""


@attrs.frozen(kw_only=True)
class Filters:
    """What is asked about. Times are as people write them, ``2026-01-31`` or ``30d``; "" is no filter."""

    since: str = ""
    until: str = ""
    endpoint: str = ""
    workflow: str = ""
    test: bool = False

    def span(self, now: float) -> tuple[float | None, float | None]:
        """Unix seconds: from when on, and before when.

        Raises:
            CallerError: one of them is no time, or no time is between them.
        """
        since, until = moment_of(self.since or None, now), moment_of(self.until or None, now)
        if since is not None and until is not None and until <= since:
            raise CallerError(f"{self.until} is not after {self.since}: no time is between them")
        return since, until

    def query(self, **others: object) -> str:
        """``?since=7d&test=1``, with other members after it; "" and None leave one out. "" if there is nothing."""
        found: dict[str, object] = {
            "since": self.since,
            "until": self.until,
            "endpoint": self.endpoint,
            "workflow": self.workflow,
            "test": "1" if self.test else "",
        }
        given = {name: value for name, value in (found | others).items() if value not in ("", None, False)}
        return f"?{urlencode(given, errors='surrogatepass')}" if given else ""


def read_filters(params: Mapping[str, str], now: float) -> Filters:
    """The filters of a query string; members that are none are left alone.

    Raises:
        CallerError: one of them cannot be meant.
    """
    found = Filters(
        since=text_of(params, "since"),
        until=text_of(params, "until"),
        endpoint=text_of(params, "endpoint"),
        workflow=text_of(params, "workflow"),
        test=flag_of(params, "test"),
    )
    found.span(now)
    return found


def text_of(params: Mapping[str, str], name: str) -> str:
    """One member of a query string, "" if it is not there.

    Raises:
        CallerError: it is too long, or holds what no database takes.
    """
    value = params.get(name, "").strip()
    exact = unquote(params.get(f"{name}{EXACT}", ""), errors="surrogateescape")
    if exact and safe(exact) == value:  # it stands in the form as everywhere, and nobody typed another one
        value = exact
    if len(value) > LONGEST:
        raise CallerError(f"{name} has {len(value)} characters; {LONGEST} are the most")
    if "\0" in value or not _encodes(value):
        raise CallerError(f"{name} holds characters that nothing is named with")
    return value


def flag_of(params: Mapping[str, str], name: str) -> bool:
    """Whether a member of a query string says yes.

    Raises:
        CallerError: it says neither yes nor no.
    """
    found = _SAID.get(params.get(name, "").strip().lower())
    if found is None:
        raise CallerError(f"{name} is 1 or 0")
    return found


def check_once(names: Iterable[str]) -> None:
    """Take no member twice: one of them would be heeded and the others not.

    Raises:
        CallerError: one is there more than once.
    """
    twice = [name for name, count in Counter(names).items() if count > 1 and name not in MANY]
    if twice:
        raise CallerError(f"{safe(twice[0])[:64]} is there more than once; say it once")


def number_of(params: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 to ``most``.

    Raises:
        CallerError: it is none.
    """
    text = params.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise CallerError(f"{name} is a whole number from 1 to {most}")
    return int(text)


def seconds_of(params: Mapping[str, str], name: str, default: float) -> float:
    """Seconds, more than none.

    Raises:
        CallerError: it is no number, or none of these.
    """
    text = params.get(name, "").strip()
    try:
        found = float(text) if text else default
    except ValueError:
        found = 0.0
    if not 0 < found <= MOST_S:
        raise CallerError(f"{name} is a number of seconds, more than 0 and at most {MOST_S:.0f}")
    return found


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
