"""Pricing: what each price that was shown brought, and whether another one is worth trying."""

from typing import Final, Literal

import attrs

from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.money import Price
from flovia.insights.asking import in_order
from flovia.insights.intervals import CONFIDENCE, Share, difference, share
from flovia.insights.mean_money import mean_money
from flovia.insights.measures import Cell, Cells, Route, grouped_by

LEAST_SAMPLE: Final = 100
"""Attempts that must have seen a price before anything is said of it."""
PRICING_BY: Final = ("endpoint", "rail", "price_currency", "price")
"""What prices are told apart by, members of a route."""
Advice = Literal["raise", "lower", "leave", "test"]


@attrs.frozen(kw_only=True)
class PriceRow:
    """One price of a route. ``paid``: those who paid it, of those who saw it.

    ``per_attempt``: base units that one more attempt at this price brings, ``low`` and ``high`` its interval; None
    without a sample. ``shown_at``: when it was last shown, Unix seconds, to the merchant's own payers too.
    """

    price: int
    attempts: int
    paid: Share
    per_attempt: float | None
    low: float | None
    high: float | None
    shown_at: float

    def to_json(self) -> dict[str, JsonValue]:
        """The price as JSON members, camelCase."""
        return {
            "price": str(self.price),
            "attempts": self.attempts,
            "paid": self.paid.to_json(),
            "revenuePerAttempt": self.per_attempt,
            "low": self.low,
            "high": self.high,
            "shownAt": self.shown_at,
        }


@attrs.frozen(kw_only=True)
class PricingRow:
    """One route's prices in one currency, the lowest first, and what to do about them.

    ``current``: of these prices the one that was shown last, to whomever. ``advice``: None as long as a price has too
    small a sample; ``to``: the price to raise or lower it to, or to show to more. ``gain``, ``gain_low``,
    ``gain_high``: base units that this would bring for each attempt, and the interval.
    """

    endpoint: str
    rail: str | None
    currency: str | None
    prices: tuple[PriceRow, ...]
    current: int
    advice: Advice | None
    to: int | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    reason: str

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members, camelCase."""
        return {
            "endpoint": self.endpoint,
            "rail": self.rail,
            "currency": self.currency,
            "prices": [one.to_json() for one in self.prices],
            "current": str(self.current),
            "advice": self.advice,
            "to": None if self.to is None else str(self.to),
            "gain": self.gain,
            "gainLow": self.gain_low,
            "gainHigh": self.gain_high,
            "reason": self.reason,
        }

    def by_price(self) -> list[dict[str, JsonValue]]:
        """The same for a table: for each price one row, with what is said of the route in all of them."""
        route = self.to_json()
        del route["prices"]
        head = {name: route.pop(name) for name in ("endpoint", "rail", "currency")}
        return [{**head, **one.to_json(), **route} for one in self.prices]


def pricing(cells: Cells, least: int = LEAST_SAMPLE) -> list[PricingRow]:
    """What each route's prices brought.

    Args:
        cells: of attempts; those without a price are left out.
        least: attempts that a price must have before it is compared.
    """
    groups = grouped_by(cells, _of)
    routes: dict[tuple[object, ...], list[PriceRow]] = {}
    for group in in_order(groups):
        *route, price = group
        if isinstance(price, int) and groups[group].attempts:
            routes.setdefault(tuple(route), []).append(_price(price, groups[group]))
    return [_row(route, prices, least) for route, prices in routes.items()]


def side_by_side(shown: Cells) -> dict[tuple[str, str | None, str | None], tuple[int, int]]:
    """Routes on most of whose days more than one price was shown: on how many, and of how many days.

    Where a price changes now and then both are shown on that day only. Where they are shown side by side a test is
    running, or the price depends on the request; then those who saw one price asked for something else than those who
    saw the other, and to compare them says nothing about the price.

    Args:
        shown: how many saw a price, by day. A day with a single attempt tells nothing, and is left out.
    """
    days: dict[tuple[str, str | None, str | None], dict[int, dict[int, int]]] = {}
    for route, cell in shown.items():
        if route.price is not None and cell.attempts:
            day = days.setdefault((route.endpoint, route.rail, route.price_currency), {}).setdefault(route.day, {})
            day[route.price] = day.get(route.price, 0) + cell.attempts
    found: dict[tuple[str, str | None, str | None], tuple[int, int]] = {}
    for of, by_day in days.items():
        telling = [prices for prices in by_day.values() if sum(prices.values()) > 1]
        both = sum(len(prices) > 1 for prices in telling)
        if both > 1 and 2 * both > len(telling):
            found[of] = both, len(telling)
    return found


def _of(route: Route) -> tuple[object, ...]:
    return tuple(getattr(route, name) for name in PRICING_BY)


def _price(price: int, cell: Cell) -> PriceRow:
    paid = share(cell.verified, cell.attempts)
    return PriceRow(
        price=price,
        attempts=cell.attempts,
        paid=paid,
        per_attempt=_times(price, paid.value),
        low=_times(price, paid.low),
        high=_times(price, paid.high),
        shown_at=cell.shown_at,
    )


def _times(price: int, part: float | None) -> float | None:
    return None if part is None else price * part


def _row(route: tuple[object, ...], prices: list[PriceRow], least: int) -> PricingRow:
    endpoint, rail, currency = (None if value is None else str(value) for value in route)
    current = max(prices, key=lambda one: (one.shown_at, one.price))
    advice, best, gain, reason = _advise(prices, current, least, currency or "")
    return PricingRow(
        endpoint=endpoint or "",
        rail=rail,
        currency=currency,
        prices=tuple(prices),
        current=current.price,
        advice=advice,
        to=None if best is None else best.price,
        gain=None if gain is None else gain[0],
        gain_low=None if gain is None else gain[1],
        gain_high=None if gain is None else gain[2],
        reason=reason,
    )


Gain = tuple[float, float, float]


def _advise(
    prices: list[PriceRow], current: PriceRow, least: int, currency: str
) -> tuple[Advice | None, PriceRow | None, Gain | None, str]:
    now = _words(current.price, currency)
    if current.attempts < least:
        return None, None, None, f"too few have seen {now}: {current.attempts} of {least}"
    others = [one for one in prices if one is not current and one.attempts >= least]
    if not others:
        few = max((one.attempts for one in prices if one is not current), default=0)
        seen = f"no other price has been seen by {least} (at most {few})" if few else "no other price was ever shown"
        return "test", None, None, f"{seen}, so nothing says whether {now} is right: try another one for a while"
    # The more prices are compared, the more often one of them looks better by chance: Bonferroni.
    confidence = 1 - (1 - CONFIDENCE) / len(others)
    gains = {one.price: _gain(one, current, confidence) for one in others}
    best = max(others, key=lambda one: (gains[one.price][1], one.price))
    gain = gains[best.price]
    if gain[1] > 0:
        verb: Advice = "raise" if best.price > current.price else "lower"
        return (
            verb,
            best,
            gain,
            (
                f"an attempt at {_words(best.price, currency)} brought {mean_money(gain[0], currency)} more than one at"
                f" {now} (at least {mean_money(gain[1], currency)}, with 95 % confidence)"
            ),
        )
    if all(found[2] < 0 for found in gains.values()):
        close = max(gains.values(), key=lambda found: found[2])
        return "leave", None, close, f"every other price that enough have seen brought less than {now}"
    open_ = max(others, key=lambda one: (gains[one.price][2], one.price))
    return (
        "test",
        open_,
        gains[open_.price],
        (
            f"{_words(open_.price, currency)} may bring more than {now} or less"
            f" ({mean_money(gains[open_.price][1], currency)} to {mean_money(gains[open_.price][2], currency)} for each"
            " attempt): show it to more"
        ),
    )


def _gain(one: PriceRow, current: PriceRow, confidence: float) -> Gain:
    ours, theirs = (share(row.paid.count, row.paid.of, confidence) for row in (one, current))
    return difference(ours, theirs, one.price, current.price)


def _words(price: int, currency: str) -> str:
    try:
        return str(Price(amount=price, currency=currency))
    except WiringError:
        return f"{price} {currency}"
