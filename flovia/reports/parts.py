"""What a report says, in parts that a terminal prints and a page shows: tables, lines, lists."""

from collections.abc import Sequence
from typing import Final

import attrs

_BARS: Final = "▁▂▃▄▅▆▇█"


@attrs.frozen
class Line:
    """A sparkline: ``counts`` one after the other, and what they count."""

    counts: tuple[int, ...]
    about: str

    @property
    def bars(self) -> str:
        """As characters; "" if there is but one count."""
        if len(self.counts) < 2:
            return ""
        most = max(self.counts)
        return "".join(_BARS[min(7, one * 8 // (most + 1))] for one in self.counts)

    @property
    def words(self) -> str:
        """As words, for those who cannot see it."""
        return f"{self.about}: {', '.join(map(str, self.counts))}"


@attrs.frozen(kw_only=True)
class Grid:
    """A table.

    ``caption``: what it is about, for a page. ``titled``: a terminal prints it, too. ``names``: of the columns, and
    ``page_names`` where a page has other ones. The first ``left`` columns are texts, the others numbers; on a page
    those in ``numbers`` (from 0) are numbers, too, and with ``last_text`` the last one is a text. A page shows those in
    ``deciding`` right after the texts, where a narrow screen has them too, and those in ``below`` on lines of their own
    below each row, because they are long.
    """

    caption: str
    names: Sequence[str]
    rows: Sequence[Sequence["str | Line"]]
    left: int
    titled: bool = False
    page_names: Sequence[str] | None = None
    numbers: Sequence[int] = ()
    last_text: bool = False
    deciding: Sequence[int] = ()
    below: Sequence[int] = ()


@attrs.frozen(kw_only=True)
class Words:
    """A line of text, ``lead`` in bold before it. ``style``: of rich, for a terminal."""

    text: str
    lead: str = ""
    style: str = ""


@attrs.frozen(kw_only=True)
class Entry:
    """Something that needs somebody, on two lines: a word in yellow, more beside it, and what to do."""

    label: str
    beside: Sequence[str]
    below: str


@attrs.frozen(kw_only=True)
class Listing:
    """Entries on a terminal; on a page, the table."""

    entries: Sequence[Entry]
    grid: Grid


@attrs.frozen
class Gap:
    """An empty line on a terminal."""


Part = Grid | Words | Listing | Gap
GAP: Final = Gap()
