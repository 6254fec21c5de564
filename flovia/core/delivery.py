"""When a payment counts as delivered, and what becomes of one that does not: a route's policy, as one table.

Who decides is the answer of the handler: whether its status is one that delivers, and whether it went out whole.
"""

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Literal, cast, get_args

import attrs

from flovia.core.errors import WiringError
from flovia.core.owed import challenge_of

OnFailure = Literal["redeem", "refund", "keep"]
Answered = Literal["whole", "cut off", "failed"]
End = Literal["delivered", "redeemable", "refund due"]

DECISIONS: Final[Mapping[Answered, Mapping[OnFailure, End]]] = MappingProxyType(
    {
        # A status that delivers, and the last byte was handed to the server.
        "whole": {"redeem": "delivered", "refund": "delivered", "keep": "delivered"},
        # Such a status, but not to the end, or no answer at all: the client left, or a stream failed in the middle.
        # Never a refund, or whoever leaves before the last byte would have all the others for nothing.
        "cut off": {"redeem": "redeemable", "refund": "redeemable", "keep": "redeemable"},
        # Another status, or the handler raised before its answer began, whatever page says so. The refund is for the
        # first delivery only, see Delivery.again.
        "failed": {"redeem": "redeemable", "refund": "refund due", "keep": "delivered"},
    }
)
"""What becomes of the payment, by how the request was answered and by ``on_failure``."""

FAILURES: Final[Mapping[OnFailure, str]] = MappingProxyType(
    {"redeem": "delivery-failed", "refund": "refund-due", "keep": "delivery-final"}
)
"""The problem that a payer is told of, where flovia itself answers for a handler that failed."""

MAX_DELIVERIES: Final = 5
"""Deliveries that may be begun for one payment, unless its route says otherwise."""


def _statuses(policy: "Delivery") -> frozenset[int]:
    found: set[int] = set()
    given = cast("object", policy.delivers)
    if isinstance(given, str | int) or not isinstance(given, Collection):
        raise WiringError(f"delivers is a list of statuses and classes of them, ('2xx', 404), not {given!r}")
    for one in cast("Collection[object]", given):
        if isinstance(one, str) and len(one) == 3 and one[0] in "234" and one[1:].lower() == "xx":
            found.update(range(int(one[0]) * 100, int(one[0]) * 100 + 100))
        elif type(one) is int and 200 <= one < 500:
            found.add(one)
        else:
            raise WiringError(
                f"delivers: {one!r} is no status that can deliver; write '2xx', '3xx', '4xx' or a number from 200 to"
                " 499. That a broken handler is paid for all the same is on_failure='keep'"
            )
    if 402 in found and 402 in cast("Collection[object]", given):
        raise WiringError("delivers: a 402 asks for money and never delivers what was paid for; leave it out")
    if 412 in found and 412 in cast("Collection[object]", given):
        raise WiringError("delivers: a 412 is the client's own precondition and never goes out whole; leave it out")
    found -= {402, 412}
    if not any(status < 300 for status in found):
        raise WiringError("delivers: without any 2xx no success would count; add '2xx', or the statuses you mean")
    return frozenset(found)


@attrs.frozen(kw_only=True)
class Delivery:
    """What counts as delivered on a route, and what becomes of a payment whose answer failed.

    Args:
        delivers: the statuses that deliver: numbers, and ``"2xx"``, ``"3xx"``, ``"4xx"`` for all of a class. With
            404 among them, "not found" is an answer that is paid for. A receipt goes out with 2xx only.
        on_failure: what happens when the handler answers with another status, or raises. ``redeem``: the payment
            stays good for another try. ``refund``: its refund is due, at once, and the credential is good no more;
            at the payment's first delivery only, after later ones it stays good for another try. ``keep``: it counts as
            delivered, the failed answer was the delivery.
        idempotency_ttl: how long a delivered answer is kept for a request that came with an ``Idempotency-Key``,
            seconds; 0 keeps none and ignores the field.
        idempotency_max_bytes: a longer body is not kept.

    Raises:
        WiringError: the settings contradict each other or cannot work.
    """

    delivers: Collection[int | str] = ("2xx", "3xx")
    on_failure: OnFailure = "redeem"
    idempotency_ttl: float = 86400.0
    idempotency_max_bytes: int = 1 << 18
    statuses: frozenset[int] = attrs.field(default=attrs.Factory(_statuses, takes_self=True), init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.on_failure not in get_args(OnFailure):
            raise WiringError(f"on_failure is 'redeem', 'refund' or 'keep', not {self.on_failure!r}")
        if self.on_failure == "keep" and any(status >= 400 for status in self.statuses):
            raise WiringError(
                "on_failure='keep' delivers every answer already; leave the 4xx out of delivers, or choose 'redeem' or"
                " 'refund' for the others"
            )
        ttl = cast("object", self.idempotency_ttl)
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 <= ttl < math.inf:
            raise WiringError(f"idempotency_ttl is a number of seconds, 0 to keep nothing, not {ttl!r}")
        if type(self.idempotency_max_bytes) is not int or self.idempotency_max_bytes < 0:
            raise WiringError(f"idempotency_max_bytes is a number of bytes, not {self.idempotency_max_bytes!r}")

    def answered(self, status: int | None, problem: str | None, completed: bool) -> Answered:
        """How a request was answered. ``problem``: the handler raised, or its answer was replaced."""
        if status == 412:
            # A precondition is the client's to choose, and the body was withheld: neither delivered nor to be refunded.
            return "cut off"
        if problem is not None or (status is not None and status not in self.statuses):
            return "failed"
        return "whole" if completed and status is not None else "cut off"

    def end(self, status: int | None, problem: str | None, completed: bool) -> End:
        """What becomes of the payment, by :data:`DECISIONS`."""
        return DECISIONS[self.answered(status, problem, completed)][self.on_failure]

    def again(self) -> "Delivery":
        """The policy of every delivery of a payment but its first.

        No refund: an earlier delivery was cut off or outlived its lease, so its answer went out for the most part,
        or may still go out. Answer and money together are what nobody gets.
        """
        return attrs.evolve(self, on_failure="redeem") if self.on_failure == "refund" else self

    @property
    def failure(self) -> str:
        """The code of the problem where flovia answers for a handler that failed."""
        return FAILURES[self.on_failure]


@attrs.frozen(kw_only=True)
class Undelivered:
    """A payment that was taken and that nobody is being served for at the moment.

    Its credential still redeems, unless its time is over or its deliveries are used up.

    ``state``: ``settled``, or ``delivering`` if the lease of its last delivery ran out. ``payment_id`` is the
    provider's reference, ``amount`` in base units of ``currency`` (None for what a ledger no longer knows).
    ``deliveries`` were begun. ``lease_until``: when the last one ended or had to end; ``keep_until``: until when it
    can be redeemed; both Unix seconds.
    """

    key: str
    state: str
    payment_id: str
    amount: int | None
    currency: str | None
    deliveries: int
    lease_until: float
    keep_until: float

    @property
    def challenge_id(self) -> str:
        """The challenge that it paid."""
        return challenge_of(self.key)
