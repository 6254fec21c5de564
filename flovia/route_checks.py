"""What a route's settings must be, and what to do about those that are not."""

import math
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import TypeVar, cast

from flovia.core.delivery import Delivery
from flovia.core.errors import WiringError
from flovia.core.guard import DAY_S
from flovia.core.http import HttpRequest
from flovia.core.money import Price
from flovia.core.offers import Offer, PriceFunction
from flovia.core.refund import RefundingProvider

T = TypeVar("T")
PriceLike = str | Price | PriceFunction


def check_route(
    offers: Sequence[Offer],
    *,
    expires_in: int,
    redeem_for: float,
    deliver_within: float,
    max_deliveries: int,
    max_body: int,
    delivery: Delivery | None,
) -> None:
    """The settings of :meth:`flovia.Flovia.paid_api` for a gate.

    Raises:
        WiringError: one that cannot work.
    """
    for least, value, what in (
        (1, expires_in, "expires_in"),
        (1, max_deliveries, "max_deliveries"),
        (0, max_body, "max_body"),
    ):
        if type(value) is not int or value < least:
            raise WiringError(f"{what} must be a whole number, at least {least}, not {value!r}")
    if expires_in > 366 * DAY_S:
        raise WiringError(f"expires_in is in seconds, at most a year, not {expires_in}")
    for seconds, what in ((redeem_for, "redeem_for"), (deliver_within, "deliver_within")):
        # Without a lease one credential would be delivered to all who come at once.
        if not isinstance(cast("object", seconds), int | float) or not 0 < seconds < math.inf:
            raise WiringError(f"{what} must be a number of seconds above 0, not {seconds!r}")
    if delivery is None:
        return
    if not isinstance(cast("object", delivery), Delivery):
        raise WiringError(f"delivery={delivery!r} is none; write delivery=flovia.Delivery(on_failure='refund')")
    stuck = [offer.provider.name for offer in offers if not isinstance(offer.provider, RefundingProvider)]
    if delivery.on_failure == "refund" and stuck:
        raise WiringError(
            f"on_failure='refund', but provider {stuck[0]!r} cannot give money back; choose 'redeem' or 'keep'"
        )


def not_none(value: T) -> T:
    """The price.

    Raises:
        WiringError: it is None.
    """
    if value is None:
        raise WiringError(
            "price=None: a price that is missing must not open the route. Give a price like '1.00 SGD', or leave"
            " the argument out if the handler has its own gate"
        )
    return value


def checked_price(price: PriceLike) -> PriceLike:
    """A price that can be one: a text, a Price or a plain function.

    Raises:
        WiringError: it is something else.
    """
    not_none(price)
    if isinstance(price, str | Price):
        return price
    if not callable(price):
        raise WiringError(
            f"price={price!r} is a {type(price).__name__}; write it as a text with its currency: '1.00 SGD'"
        )
    if iscoroutinefunction(cast("Callable[[HttpRequest], object]", price)):
        raise WiringError("the price function is async; it must be a plain function that answers at once")
    return price


def check_distinct(offers: Sequence[Offer]) -> None:
    """Every offer can be told from the others.

    Raises:
        WiringError: two cannot.
    """
    seen: set[tuple[str, str, str]] = set()
    for offer in offers:
        currency = offer.price.currency if isinstance(offer.price, Price) else ""
        key = (offer.provider.method, offer.provider.intent, currency)
        if key in seen:
            raise WiringError(
                f"two offers ask for {key[0]}/{key[1]} in the same currency; a client could not tell them apart"
            )
        seen.add(key)
