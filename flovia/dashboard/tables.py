"""What pages show, as plain data: tables whose cells may lead somewhere, and charts whose numbers are in a table."""

from collections.abc import Sequence
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.intervals import Share
from flovia.reports.parts import Line

ROWS: Final = 50
"""Rows of one page of a table."""
LONGEST: Final = 96
"""Characters of a text in a cell; the whole of it is one link away."""


@attrs.frozen(kw_only=True)
class Cell:
    """One cell. ``share``: drawn as a bar with its interval. ``shade``: 0 to 10, a background. ``below``: in small.

    ``parts``: in place of a text several, each with where it leads.
    """

    text: str = ""
    href: str = ""
    number: bool = False
    share: Share | None = None
    shade: int | None = None
    line: Line | None = None
    below: str = ""
    parts: Sequence[tuple[str, str]] = ()


@attrs.frozen(kw_only=True)
class Head:
    """The name of a column."""

    text: str
    number: bool = False


@attrs.frozen(kw_only=True)
class Table:
    """A table, or one page of it: ``first`` is the number of its first row, of ``total``."""

    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    total: int
    first: int = 1
    page: int = 1
    pages: int = 1
    wide: bool = False
    """Whether it stays a table on a phone, to scroll sideways in."""


@attrs.frozen(kw_only=True)
class Chart:
    """A picture that a script draws. ``kind``: ``days`` or ``prices``; ``about``: what it shows, in a sentence.

    ``sketch``: the same without axes, for who has no script: a colour and the points of each line, in a field of 100 by
    100; ``scale``: what its edges are.
    """

    ident: str
    title: str
    kind: str
    about: str
    data: dict[str, JsonValue]
    sketch: Sequence[tuple[str, str]]
    scale: str


def sketched(xs: Sequence[float], lines: Sequence[tuple[str, Sequence[float | None]]]) -> list[tuple[str, str]]:
    """Lines through points, each with its colour, in a field of 100 by 100 that begins at nothing."""
    most = max((y or 0.0 for _, ys in lines for y in ys), default=0.0) or 1.0
    first, width = xs[0], (xs[-1] - xs[0]) or 1.0
    return [
        (
            color,
            " ".join(
                f"{100 * (x - first) / width:.1f},{100 - 98 * y / most:.1f}"
                for x, y in zip(xs, ys, strict=True)
                if y is not None
            ),
        )
        for color, ys in lines
    ]


def scaled(names: Sequence[str], lines: Sequence[tuple[str, Sequence[float | None]]], unit: str = "") -> str:
    """The edges of the same field: from nothing to the most upwards, and from which to which of these sideways."""
    most = max((y or 0.0 for _, ys in lines for y in ys), default=0.0)
    return f"Upwards 0 to {most:,.6g}{' ' if unit else ''}{unit}; sideways {names[0]} to {names[-1]}."


def text(value: str, href: str = "") -> Cell:
    """A cell with text; long text is cut, and says so."""
    return Cell(text=cut(value), href=href)


def number(value: object, href: str = "", below: str = "") -> Cell:
    """A cell with a number, "" for None."""
    shown = f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
    return Cell(text=shown, href=href, number=True, below=below)


def part(value: Share, href: str = "") -> Cell:
    """A cell with a share and its interval, drawn and written."""
    from flovia.reports.tables import percent

    return Cell(text=percent(value), href=href, number=True, share=value if value.value is not None else None)


def cut(value: str) -> str:
    """The text, or its beginning with its length."""
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 16]}… ({len(value)} characters)"


def heads(*names: str, numbers_from: int) -> list[Head]:
    """Names of columns, those from one on of numbers."""
    return [Head(text=name, number=place >= numbers_from) for place, name in enumerate(names)]


def paged(
    caption: str,
    names: Sequence[Head],
    rows: Sequence[Sequence[Cell]],
    page: int,
    *,
    size: int = ROWS,
    wide: bool = False,
) -> Table:
    """A table that has one page of the rows."""
    pages = max(1, -(-len(rows) // size))
    page = min(page, pages)
    start = (page - 1) * size
    return Table(
        caption=caption,
        heads=names,
        rows=rows[start : start + size],
        total=len(rows),
        first=start + 1,
        page=page,
        pages=pages,
        wide=wide,
    )
