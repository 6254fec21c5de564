"""A report's parts on a terminal."""

from collections.abc import Sequence

from rich.text import Text

from flovia.cli.console import console, in_line
from flovia.reports.parts import Gap, Grid, Line, Listing, Part, Words
from flovia.words import safe


def print_parts(parts: Sequence[Part]) -> None:
    """Print them on a terminal. Nothing is wrapped, and no value can steer it."""
    out = console()
    for part in parts:
        match part:
            case Grid():
                if part.titled:
                    out.print(Text(safe(part.caption), style="bold"))
                _print_grid(part)
            case Words():
                out.print(Text(safe(part.lead), style="bold") + Text(safe(part.text), style=part.style))
            case Listing():
                for entry in part.entries:
                    out.print(Text(f"{entry.label:<19}", style="yellow") + in_line(entry.beside))
                    out.print(Text(f"    {safe(entry.below)}", style="dim"))
            case Gap():
                out.print()


def _print_grid(grid: Grid) -> None:
    shown = [[safe(cell.bars if isinstance(cell, Line) else cell) for cell in row] for row in grid.rows]
    widths = [max(len(cell) for cell in column) for column in zip(grid.names, *shown, strict=True)]
    out = console()
    out.print(Text(_padded(grid.names, widths, grid.left), style="bold"))
    for row in shown:
        out.print(Text(_padded(row, widths, grid.left)))


def _padded(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(width) if number < left else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
