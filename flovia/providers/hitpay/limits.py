"""How many charges may be created: for one client and in all, exactly, across every process that shares the ledger.

Each permit is a slot that is taken for the length of the window and frees itself, so that no window of that length,
wherever it begins, holds more than so many creations. HitPay counts 70 a minute of one merchant; a flood of unpaid
requests gets 429 here and never reaches it.
"""

import math
from hashlib import sha256
from typing import Final

from flovia.core.effects import Flow, now, recall, remember, token
from flovia.core.limiter import Rate
from flovia.providers.hitpay.calls import NAMESPACE
from flovia.providers.hitpay.config import HitPayConfig

_FULL_S: Final = 1.0
"""How long nobody looks again once all slots were taken."""


def take_creation(config: HitPayConfig, client: str) -> Flow[int]:
    """Take one permit; whole seconds to wait if there is none, else 0."""
    name = sha256(client.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    wait = yield from _take(f"client {name}", config.creations_per_client)
    return wait or (yield from _take("all", config.creations))


def _take(name: str, rate: Rate) -> Flow[int]:
    # Slots are taken in turn, so the one after the last is most likely free. The mark of the last is a hint: of two
    # that come at once the later may set it back. So only who has found every slot taken says that it is full.
    last, full_until = _read((yield from recall(NAMESPACE, f"permit {name}")))
    at = yield from now()
    if at < full_until:
        return max(1, math.ceil(full_until - at))
    own = f"{at:.3f} {(yield from token())}"
    free_at = at + rate.seconds
    for step in range(1, rate.count + 1):
        slot = (last + step) % rate.count
        holder = yield from remember(NAMESPACE, f"permit {name} {slot}", own, ttl_s=rate.seconds, if_absent=True)
        if holder == own:
            yield from remember(NAMESPACE, f"permit {name}", f"{slot} 0", ttl_s=2 * rate.seconds)
            return 0
        free_at = min(free_at, float(holder.partition(" ")[0]) + rate.seconds)
    again = min(free_at, at + _FULL_S)
    yield from remember(NAMESPACE, f"permit {name}", f"{last} {again:.3f}", ttl_s=2 * rate.seconds)
    return max(1, math.ceil(free_at - at))


def _read(text: str | None) -> tuple[int, float]:
    last, _, full_until = (text or "-1 0").partition(" ")
    return int(last), float(full_until)
