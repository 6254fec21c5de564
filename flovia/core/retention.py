"""How long events and finished payments are kept.

Never forgotten by any policy: used proofs, refunds, payments whose outcome is unknown, and paid ones that were not
delivered or whose money is to go back.
"""

from typing import Final

import attrs

from flovia.core.errors import WiringError

DAY_S: Final = 86400.0
LEAST_DAYS: Final = 2
"""A challenge that is paid at the last moment may be presented a day late: until then its events are one story."""
NAMES: Final = ("events", "unpaid_events", "delivered", "attempts")


@attrs.frozen(kw_only=True)
class Retention:
    """Whole days, None for ever.

    Args:
        events_days: events of every kind.
        unpaid_events_days: events of requests for which nobody ever paid; these are most, and tell least after a while.
        delivered_days: rows of payments that were delivered or given back, if longer than they can be presented
            (``redeem_for``, 7 days). What must not be forgotten of them stays in other tables for ever.
        attempts_days: what reports keep of each attempt; their counts by day stay.

    Raises:
        WiringError: less than 2 days for events or attempts, or no whole number.
    """

    events_days: int | None = None
    unpaid_events_days: int | None = None
    delivered_days: int = 0
    attempts_days: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in NAMES:
            name, least = f"{name}_days", 0 if name == "delivered" else LEAST_DAYS
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise WiringError(f"{name}={value!r}: keep them for a whole number of days, at least {least}")

    @classmethod
    def parse(cls, text: str) -> "Retention":
        """``events=400d,unpaid_events=90d,delivered=30d,attempts=800d``, each of them or none.

        Raises:
            WiringError: it says something else.
        """
        found: dict[str, int] = {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            days = value.removesuffix("d")
            if name not in NAMES or f"{name}_days" in found or not (days.isascii() and days.isdecimal()):
                raise WiringError(
                    f"{part.strip()!r} is no part of a retention; write"
                    " events=400d,unpaid_events=90d,delivered=30d,attempts=800d, or some of these"
                )
            found[f"{name}_days"] = int(days)
        return cls(**found)

    @property
    def for_ever(self) -> bool:
        """Whether no event is ever pruned."""
        return self.events_days is None and self.unpaid_events_days is None


FOR_EVER: Final = Retention()
"""Events are kept: whether they are wanted is for the merchant to say, and a backup of them may be the law."""
