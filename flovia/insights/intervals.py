"""Shares and their confidence intervals: what a sample says, and how sure it can be."""

from math import sqrt
from statistics import NormalDist
from typing import Final

import attrs

from flovia.core.encoding import JsonValue

CONFIDENCE: Final = 0.95


@attrs.frozen
class Share:
    """``count`` of ``of``, and the interval that holds the true share with 95 % confidence.

    ``value``, ``low`` and ``high`` are None if there is no sample.
    """

    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, JsonValue]:
        """The share as JSON members."""
        return {"count": self.count, "of": self.of, "value": self.value, "low": self.low, "high": self.high}


def share(count: int, of: int, confidence: float = CONFIDENCE) -> Share:
    """A share with its Wilson score interval, which stays between 0 and 1 and is good for small samples too.

    Wilson, Probable inference (1927); Newcombe, Two-sided confidence intervals for the single proportion (1998).
    """
    if not of:
        return Share(count, of, None, None, None)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    value = count / of
    spread = z * sqrt(value * (1 - value) / of + z * z / (4 * of * of))
    middle, scale = value + z * z / (2 * of), 1 + z * z / of
    low = 0.0 if not count else max(0.0, (middle - spread) / scale)
    high = 1.0 if count == of else min(1.0, (middle + spread) / scale)
    return Share(count, of, value, low, high)


def difference(one: Share, other: Share, weight: float, other_weight: float) -> tuple[float, float, float]:
    """How much ``weight`` × one share is above ``other_weight`` × the other, and the interval of that.

    From the intervals of the two (MOVER: Zou and Donner, Construction of confidence limits, 2008).

    Raises:
        ValueError: one of them has no sample.
    """
    if one.value is None or other.value is None:
        raise ValueError("a share without a sample compares to nothing")
    a, b = weight * one.value, other_weight * other.value
    a_low, a_high = weight * (one.low or 0.0), weight * (one.high or 0.0)
    b_low, b_high = other_weight * (other.low or 0.0), other_weight * (other.high or 0.0)
    found = a - b
    return found, found - sqrt((a - a_low) ** 2 + (b_high - b) ** 2), found + sqrt((a_high - a) ** 2 + (b - b_low) ** 2)
