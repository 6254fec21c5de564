"""Durations in buckets, so that percentiles of days, routes and prices can be added up.

A percentile of a year cannot be made from those of its days, but counts in buckets can be added. Each bucket is
2 % wide, so what is read from it is within :data:`ERROR` of the exact value (Masson, Rim, Lee: DDSketch, 2019).
"""

from collections.abc import Mapping
from math import ceil, log
from typing import Final

ERROR: Final = 0.01
"""How far a percentile may be from the exact one: 1 % of it."""
LEAST_MS: Final = 0.001
"""What is at most this long counts as nothing: a microsecond, the resolution of the clocks."""
_WIDTH: Final = (1 + ERROR) / (1 - ERROR)
_LOG_WIDTH: Final = log(_WIDTH)


def bucket(ms: float) -> int:
    """The number of the bucket that a duration in milliseconds is in. Not negative, and at least a microsecond."""
    return max(0, ceil(log(max(ms, LEAST_MS) / LEAST_MS) / _LOG_WIDTH))


def middle(number: int) -> float:
    """The milliseconds that stand for a bucket: within :data:`ERROR` of everything in it; 0 for the first one, where
    all is at most a microsecond.
    """
    return 0.0 if number == 0 else float(LEAST_MS * 2 * _WIDTH**number / (_WIDTH + 1))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration, in milliseconds, that ``share`` (0 to 1) of all do not exceed; None if there are none.

    It is the nearest rank: that of an attempt that was there, within :data:`ERROR`.
    """
    wanted = max(1, ceil(share * sum(counts.values())))
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= wanted:
            return middle(number)
    return None
