"""Holding what a report says against what is due, number by number."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Near:
    """A number within a part of ``value``, or so little beside it; None for none."""

    value: float | None
    part: float = 1e-9
    least: float = 1e-9

    def fits(self, found: object) -> bool:
        """Whether it is that."""
        if self.value is None or not isinstance(found, int | float):
            return found is None and self.value is None
        return abs(found - self.value) <= max(self.part * abs(self.value), self.least)


@dataclass(frozen=True, slots=True)
class Fits:
    """Whatever a function accepts."""

    what: str
    accepts: Callable[[Any], bool]

    def fits(self, found: object) -> bool:
        """Whether it does."""
        return self.accepts(found)


@dataclass
class Tally:
    """How many values of one report were compared, and which differ."""

    name: str
    compared: int = 0
    differing: list[str] = field(default_factory=list)

    def compare(self, where: str, due: object, found: object) -> None:
        """Compare two values and all that is in them."""
        if isinstance(due, Mapping) and isinstance(found, Mapping):
            self._keys(where, due, found)
            for key in due:
                if key in found:
                    self.compare(f"{where}.{key}", due[key], found[key])
        elif isinstance(due, list) and isinstance(found, list):
            if len(due) != len(found):
                self._differ(where, f"{len(due)} rows", f"{len(found)} rows")
            for number, (one, other) in enumerate(zip(due, found, strict=False)):
                self.compare(f"{where}[{number}]", one, other)
        else:
            self.compared += 1
            fits = due.fits(found) if isinstance(due, Near | Fits) else found == due and type(found) is type(due)
            if not fits:
                self._differ(where, due, found)

    def rows(
        self, where: str, due: Iterable[Mapping[str, object]], found: Iterable[Mapping[str, object]], by: Sequence[str]
    ) -> None:
        """Compare rows that are told apart by some of their members; the order does not matter here."""
        ours, theirs = _by(due, by), _by(found, by)
        for key in ours.keys() | theirs.keys():
            if key not in ours or key not in theirs:
                self.compared += 1
                self._differ(f"{where} {key}", ours.get(key), theirs.get(key))
            else:
                self.compare(f"{where} {key}", ours[key], theirs[key])

    def check(self, where: str, fits: bool) -> None:
        """One thing that has to be so."""
        self.compared += 1
        if not fits:
            self._differ(where, "so", "not so")

    def _keys(self, where: str, due: Mapping[str, object], found: Mapping[str, object]) -> None:
        if due.keys() != found.keys():
            self.compared += 1
            self._differ(where, sorted(due.keys() - found.keys()), sorted(found.keys() - due.keys()))

    def _differ(self, where: str, due: object, found: object) -> None:
        self.differing.append(f"{self.name}: {where}: {due} was due, {found} is reported")


def _by(rows: Iterable[Mapping[str, object]], by: Sequence[str]) -> dict[str, Mapping[str, object]]:
    found: dict[str, Mapping[str, object]] = {}
    for row in rows:
        key = json.dumps([row.get(name) for name in by])
        if key in found:
            raise AssertionError(f"two rows for {key}")
        found[key] = row
    return found
