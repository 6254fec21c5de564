"""The rows of a report as comma-separated values."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

from flovia.core.encoding import JsonValue
from flovia.words import safe


def csv_of(rows: Sequence[Mapping[str, JsonValue]]) -> str:
    """Rows as CSV, what is inside of a member as columns of its own.

    No value can steer a terminal, and none is a formula for a spreadsheet.
    """
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    out = StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(row: Mapping[str, JsonValue]) -> dict[str, str | int | float | bool | None]:
    found: dict[str, str | int | float | bool | None] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and name != "reasons":
            found |= {f"{name}.{inner}": more for inner, more in _flat(value).items()}
        elif isinstance(value, Mapping):
            found[name] = safe("; ".join(f"{what}: {count}" for what, count in value.items()))
        elif isinstance(value, str):
            # A spreadsheet would take it for a formula, and a path may be anybody's text.
            formula = value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _number(value)
            found[name] = safe(f"'{value}" if formula else value)
        elif isinstance(value, Sequence):
            found[name] = safe(" ".join(map(str, value)))
        else:
            found[name] = value
    return found


def _number(value: str) -> bool:
    return value.removeprefix("-").isdecimal()
