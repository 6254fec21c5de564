"""Every number of an answer as ``--json`` gives it, as tables of a page."""

import json
from collections.abc import Iterator, Mapping, Sequence

from flovia.core.encoding import JsonValue
from flovia.reports.parts import Grid

Row = Mapping[str, JsonValue]


def exact_grids(payload: Row) -> list[Grid]:
    """One table for all single members, and one for each list of objects; names are paths with dots.

    Texts are as they are, everything else is JSON: ``null`` for what is not known.
    """
    single: dict[str, JsonValue] = {}
    lists: dict[str, Sequence[Row]] = {}
    for path, value in _members(payload):
        rows = _rows(value)
        if rows is None:
            single[path] = value
        else:
            lists[path] = rows
    facts = [(path, _text(value)) for path, value in single.items()]
    return [
        Grid(caption="members", names=("member", "value"), rows=facts, left=1),
        *(_listed(path, rows) for path, rows in lists.items()),
    ]


def _listed(path: str, rows: Sequence[Row]) -> Grid:
    flat = [dict(_members(row, deep=True)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    # What a row does not have is empty: not known would be null.
    table = [["" if name not in row else _text(row[name]) for name in names] for row in flat]
    return Grid(caption=path, names=names, rows=table, left=0)


def _members(found: Row, before: str = "", *, deep: bool = False) -> Iterator[tuple[str, JsonValue]]:
    """What is in an object and the objects in it, by path; with ``deep`` also what is in lists, by number."""
    for name, value in found.items():
        path = f"{before}{name}"
        rows = _rows(value)
        if isinstance(value, Mapping) and value:
            yield from _members(value, f"{path}.", deep=deep)
        elif deep and rows is not None:
            for number, row in enumerate(rows):
                yield from _members(row, f"{path}.{number}.", deep=True)
        else:
            yield path, value


def _rows(value: JsonValue) -> Sequence[Row] | None:
    """A list of objects; None for anything else, an empty one too."""
    rows = [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
    return rows if isinstance(value, list) and rows and len(rows) == len(value) else None


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
