"""What a question is about: a time, a route, whose attempts; and what was left out of its answer."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError
from flovia.insights.attempt import Attempt
from flovia.insights.measures import Cells, Route

TEST_PROVIDERS: Final = frozenset({"mock"})
"""Providers that move no money."""
BY: Final = ("endpoint", "provider", "rail", "price", "day")
"""What rows can be told apart by. A price is in its currency."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Asked:
    """What a question is about.

    Args:
        since: Unix seconds, included; None for the beginning. An attempt belongs to the time at which it began.
        until: Unix seconds, not included; None for now.
        endpoint: only this one.
        own: payers that are the merchant's own, ``name`` or ``beginning*``: not counted.
        test: count attempts that a provider of test money would have taken, too.
    """

    since: float | None = None
    until: float | None = None
    endpoint: str | None = None
    own: tuple[str, ...] = ()
    test: bool = False

    def is_own(self, payer: str | None) -> bool:
        """Whether a payer is one of ``own``."""
        return payer is not None and any(
            payer.startswith(one[:-1]) if one.endswith("*") else payer == one for one in self.own
        )

    def is_in_time(self, one: Attempt) -> bool:
        """Whether the attempt began in the time that is asked about."""
        return (self.since is None or one.at >= self.since) and (self.until is None or one.at < self.until)


@attrs.frozen(kw_only=True)
class LeftOut:
    """What an answer does not count, and how much of it there is.

    ``test``: attempts with a provider of test money; ``own``: of the merchant's own payers. ``probes``: asked with
    HEAD; ``turned_away``: refused before any price. ``amountless``: payments and refunds without an amount;
    ``backwards``: durations that a clock going back made negative. Of the whole ledger: ``unknown_events`` of types
    that this version does not know; ``crowded_events`` of attempts that have too many; ``too_old``: attempts that
    changed after they were pruned; ``pruned_events``: whether events were pruned before anybody had read them.
    ``own_unmatched``: names of the merchant's own payers that could not be looked for, because payers are kept here
    under a hash.
    """

    test: int = 0
    own: int = 0
    probes: int = 0
    turned_away: int = 0
    amountless: int = 0
    backwards: int = 0
    unknown_events: int = 0
    crowded_events: int = 0
    too_old: int = 0
    pruned_events: bool = False
    own_unmatched: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """All of it as JSON members, camelCase."""
        return {
            **{camel(name): value for name, value in attrs.asdict(self).items()},
            "ownUnmatched": [*self.own_unmatched],
        }


def camel(name: str) -> str:
    """``turned_away`` as ``turnedAway``."""
    first, *others = name.split("_")
    return first + "".join(one.capitalize() for one in others)


def chosen(
    cells: Cells, own: Cells, asked: Asked, known: LeftOut | None = None, providers: Collection[str] = TEST_PROVIDERS
) -> tuple[Cells, LeftOut]:
    """The cells that a question is about, and what is left out.

    Args:
        cells: all of the time that is asked about.
        own: of them those of the merchant's own payers.
        asked: what is asked.
        known: what was left out before anything was counted.
        providers: those that take test money.
    """
    ours = {route: cell for route, cell in cells.items() if asked.endpoint in (None, route.endpoint)}
    mine = {route: cell for route, cell in own.items() if route in ours}
    test = {route for route in ours if not asked.test and route.provider in providers}
    tests = sum(ours[route].rows for route in test)
    counted = {route: cell for route, cell in ours.items() if route not in test}
    for route, cell in mine.items():
        if route not in test:
            counted[route] = counted[route].copy()
            counted[route].add(cell, -1)
    left_out = attrs.evolve(
        known or LeftOut(),
        test=tests,
        own=sum(cell.rows for route, cell in mine.items() if route not in test),
        **{
            name: sum(getattr(cell, name) for cell in counted.values())
            for name in ("probes", "turned_away", "amountless", "backwards")
        },
    )
    return counted, left_out


def grouping(by: Collection[str]) -> Callable[[Route], tuple[object, ...]]:
    """What makes the group of a route, by these of :data:`BY`.

    Raises:
        CallerError: there is no such thing to tell them apart by.
    """
    names = members_by(by)
    return lambda route: tuple(getattr(route, name) for name in names)


def members_by(by: Collection[str]) -> list[str]:
    """The members of a route that tell rows apart by these of :data:`BY`.

    Raises:
        CallerError: there is no such thing to tell them apart by.
    """
    for name in by:
        if name not in BY:
            raise CallerError(f"{name!r} is nothing that rows can be told apart by; choose from {', '.join(BY)}")
    return [one for name in by for one in (("price", "price_currency") if name == "price" else (name,))]


def members_of(group: tuple[object, ...], by: Collection[str]) -> dict[str, JsonValue]:
    """A group as JSON members: a price as digits with its currency, a day as a date."""
    values = iter(group)
    found: dict[str, JsonValue] = {}
    for name in by:
        value = next(values)
        if name == "price":
            currency = next(values)
            found["price"] = None if value is None else str(value)
            found["currency"] = None if currency is None else str(currency)
        elif name == "day" and isinstance(value, int):
            found["day"] = (_EPOCH + timedelta(days=value)).date().isoformat()
        else:
            found[name] = None if value is None else str(value)
    return found


def in_order(groups: Mapping[tuple[object, ...], object]) -> list[tuple[object, ...]]:
    """The groups in an order of their own: what is not known first, numbers by size."""
    return sorted(groups, key=lambda group: [(value is not None, _sortable(value)) for value in group])


def _sortable(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))
