"""Rate limits for challenges and verifications: token buckets, per client and in total.

A bucket holds at most ``count`` permits and refills evenly over ``seconds``. Limits hold per process; with
four workers a client can get four times as much.
"""

import math
import re
from collections import OrderedDict
from contextlib import suppress
from typing import Final, cast

import attrs

from flovia.core.errors import WiringError

_UNITS: Final = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}
_RATE: Final = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})?(s|sec|min|h|hour)", re.ASCII)
MAX_CLIENTS: Final = 10_000
_ONE: Final = 1.0 - 1e-9
"""A whole permit. The rest is what sums of floats lose: who has waited as long as told is not sent away once more."""


@attrs.frozen(kw_only=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """A rate like ``60/min``, ``5/s`` or ``100/10min``.

        Raises:
            WiringError: the text is no rate.
        """
        found = _RATE.fullmatch(text)
        if found is None:
            raise WiringError(f"{text!r} is not a rate; write it like 60/min, 5/s or 100/10min")
        return cls(count=int(found[1]), seconds=int(found[2] or 1) * _UNITS[found[3]])


def _rate(value: "str | Rate | None") -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    if not isinstance(cast("object", value), str):
        raise WiringError(f"{value!r} is not a rate; write it like 60/min, 5/s or 100/10min")
    return Rate.parse(value)


@attrs.frozen(kw_only=True)
class Limit:
    """The one line that switches limits on: ``Flovia(limit=Limit(challenges="60/min", verifications="30/min"))``.

    ``challenges`` and ``verifications`` are per client address; the ``total_`` ones for all clients together.
    A client over a limit gets 429 ``rate-limited`` with Retry-After, before any work is done for it.
    """

    challenges: Rate | None = attrs.field(default=None, converter=_rate)
    verifications: Rate | None = attrs.field(default=None, converter=_rate)
    total_challenges: Rate | None = attrs.field(default=None, converter=_rate)
    total_verifications: Rate | None = attrs.field(default=None, converter=_rate)

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Limits as one text: ``challenges=60/min,total_challenges=1000/min`` (the form of FLOVIA_LIMIT).

        Raises:
            WiringError: an unknown name or a value that is no rate.
        """
        rates: dict[str, Rate] = {}
        for part in text.split(","):
            name, equals, value = part.strip().partition("=")
            if not equals or name not in {field.name for field in attrs.fields(cls)}:
                names = ", ".join(field.name for field in attrs.fields(cls))
                raise WiringError(
                    f"{part.strip()!r} is no limit; write challenges=60/min, or several with commas, of: {names}"
                )
            rates[name] = Rate.parse(value.strip())
        return cls(**rates)


class _Buckets:
    """One bucket a client. The longest unused ones go first when there are too many."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> float:
        """Seconds until the next permit, or 0.0 if one was taken."""
        rate = self._rate
        permits, since = self._buckets.get(client, (float(rate.count), now))
        permits = min(float(rate.count), permits + max(0.0, now - since) * rate.count / rate.seconds)
        wait = 0.0 if permits >= _ONE else (1.0 - permits) * rate.seconds / rate.count
        self._buckets[client] = (permits if wait else permits - 1.0, now)
        with suppress(KeyError):  # another thread may have dropped it meanwhile
            self._buckets.move_to_end(client)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait

    def give_back(self, client: str) -> None:
        """Put a permit back that was taken just now and not used."""
        with suppress(KeyError):  # another thread may have dropped it meanwhile
            permits, since = self._buckets[client]
            self._buckets[client] = (permits + 1.0, since)

    def look(self, client: str, now: float) -> float:
        """Seconds until the next permit; none is taken."""
        rate = self._rate
        permits, since = self._buckets.get(client, (float(rate.count), now))
        permits += max(0.0, now - since) * rate.count / rate.seconds
        return 0.0 if permits >= _ONE else (1.0 - permits) * rate.seconds / rate.count


class Limiter:
    """The buckets of one :class:`Limit`. Not locked: a lost update lets one request more through, never fewer."""

    def __init__(self, limit: Limit) -> None:
        def pair(own: Rate | None, total: Rate | None) -> tuple[_Buckets | None, _Buckets | None]:
            return _Buckets(own) if own else None, _Buckets(total) if total else None

        self._challenges = pair(limit.challenges, limit.total_challenges)
        self._verifications = pair(limit.verifications, limit.total_verifications)

    def challenge(self, client: str, now: float) -> int:
        """Whole seconds this client must wait for a challenge; 0 means go on."""
        return self._take(self._challenges, client, now)

    def verification(self, client: str, now: float) -> int:
        """Whole seconds this client must wait before presenting a credential; 0 means go on."""
        return self._take(self._verifications, client, now)

    @staticmethod
    def _take(pair: tuple[_Buckets | None, _Buckets | None], client: str, now: float) -> int:
        own, total = pair
        wait = own.take(client, now) if own else 0.0
        if total is None:
            return math.ceil(wait)
        if wait:
            return math.ceil(max(wait, total.look("", now)))
        wait = total.take("", now)
        if wait and own:
            own.give_back(client)  # or it would have to wait for another one of its own as well
        return math.ceil(wait)
