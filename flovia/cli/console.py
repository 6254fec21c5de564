"""Printing for people: no line is wrapped (they are there to be copied), and no value can steer the terminal."""

import sys
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.text import Text

from flovia.core.encoding import JsonValue
from flovia.words import safe

NAME_WIDTH = 12


def console() -> Console:
    """A console on standard output as it is now."""
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, emoji=False)


def complain(message: str) -> None:
    """Say on standard error why there is no result."""
    hint(message, style="bold red")


def hint(message: str, style: str = "bold") -> None:
    """Say on standard error what can be done about the result."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False).print(
        Text("flovia: ", style=style) + safe(message)
    )


def in_line(parts: Iterable[str], style: str = "") -> Text:
    """The parts that are not empty, two spaces apart."""
    return Text("  ".join(safe(part) for part in parts if part), style=style)


def members(found: Mapping[str, JsonValue], width: int = NAME_WIDTH) -> Text:
    """One line per member: its name in a column of ``width`` characters and its value, objects as JSON."""
    lines = [
        Text(f"  {safe(name):<{width - 1}} ", style="dim") + Text(safe(plain(value)), style="")
        for name, value in found.items()
    ]
    return Text("\n").join(lines)


def plain(value: JsonValue) -> str:
    """A value on one line: texts as they are, everything else as JSON."""
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
