"""How many charges may be created: for one client and in all, exactly, across every process that shares the ledger.

Each permit is a slot that is taken for the length of the window and frees itself, so that no window of that length,
wherever it begins, holds more than so many creations. HitPay counts 70 a minute of one merchant; a flood of unpaid
requests gets 429 here and never reaches it.
"""

import math
from hashlib import sha256
from typing import Final

import attrs

from flovia.core.effects import Flow, now, recall, remember, token
from flovia.core.limiter import Rate
from flovia.providers.hitpay.calls import NAMESPACE
from flovia.providers.hitpay.config import HitPayConfig

_FULL_S: Final = 1.0
"""How long nobody looks again once all slots were taken."""


@attrs.frozen(kw_only=True)
class _Mark:
    """What is kept of one lot of slots: the last that was taken, and while all are, when the first one frees itself."""

    last: int = -1
    full_until: float = 0.0
    free_at: float = 0.0

    @classmethod
    def read(cls, text: str | None) -> "_Mark":
        """The mark in a kept text."""
        if text is None:
            return cls()
        last, full_until, free_at = text.split()
        return cls(last=int(last), full_until=float(full_until), free_at=float(free_at))


def take_creation(config: HitPayConfig, client: str) -> Flow[int]:
    """Take one permit: 0; or, if there is none, whole seconds after which there is one, unless others take it first."""
    name = f"client {sha256(client.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    lots = ((name, config.creations_per_client), ("all", config.creations))
    marks: list[_Mark] = []
    for lot, _ in lots:
        marks.append(_Mark.read((yield from recall(NAMESPACE, f"permits {lot}"))))
    at = yield from now()
    free_at = [mark.free_at if at < mark.full_until else 0.0 for mark in marks]
    if not any(free_at):
        for number, (lot, rate) in enumerate(lots):
            free_at[number] = yield from _take(lot, rate, marks[number], at)
            if free_at[number]:
                break
        else:
            return 0
    # Both lots must have one, so the later of the two moments is the one to come back at.
    for number, (lot, rate) in enumerate(lots):
        free_at[number] = free_at[number] or (yield from _look(lot, rate, marks[number], at))
    return max(1, math.ceil(max(free_at) - at))


def _take(lot: str, rate: Rate, mark: _Mark, at: float) -> Flow[float]:
    """Take a slot: 0.0; or, if there is none, the moment at which the first one frees itself."""
    # Slots are taken in turn, so the one after the last is most likely free. The mark of the last is a hint: of two
    # that come at once the later may set it back. So only who has found every slot taken says that it is full.
    own = f"{at!r} {(yield from token())}"
    free_at = math.inf
    for step in range(1, rate.count + 1):
        slot = (mark.last + step) % rate.count
        holder = yield from remember(NAMESPACE, f"permit {lot} {slot}", own, ttl_s=rate.seconds, if_absent=True)
        if holder == own:
            yield from remember(NAMESPACE, f"permits {lot}", f"{slot} 0 0", ttl_s=2 * rate.seconds)
            return 0.0
        free_at = min(free_at, _taken_at(holder) + rate.seconds)
    yield from _say_full(lot, rate, mark, at, free_at)
    return free_at


def _look(lot: str, rate: Rate, mark: _Mark, at: float) -> Flow[float]:
    """As :func:`_take`, and take none."""
    free_at = math.inf
    for step in range(1, rate.count + 1):
        holder = yield from recall(NAMESPACE, f"permit {lot} {(mark.last + step) % rate.count}")
        if holder is None:
            return 0.0
        free_at = min(free_at, _taken_at(holder) + rate.seconds)
    yield from _say_full(lot, rate, mark, at, free_at)
    return free_at


def _say_full(lot: str, rate: Rate, mark: _Mark, at: float, free_at: float) -> Flow[None]:
    text = f"{mark.last} {min(free_at, at + _FULL_S)!r} {free_at!r}"
    yield from remember(NAMESPACE, f"permits {lot}", text, ttl_s=2 * rate.seconds)


def _taken_at(holder: str) -> float:
    return float(holder.partition(" ")[0])
