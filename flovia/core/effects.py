"""What a flow may ask of the world.

A **flow** is a generator that yields effects and is resumed with their results; a driver
(:mod:`flovia.runtime`) performs them, synchronously or under anyio. So a provider is written once, and a
test feeds the answers by hand. Authors use the typed helpers (``reply = yield from http(call)``) and never
see an untyped value.
"""

from collections.abc import Generator
from typing import Any, Literal, TypeVar, cast

import attrs

from flovia.core.answers import StoredAnswer
from flovia.core.events import EventRow
from flovia.core.keeping import KeepingVerb
from flovia.core.owed import RefundVerb

T = TypeVar("T")


# --- the outside world ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class HttpCall:
    """One HTTP request to a backend. ``deadline_s`` is for the whole call, ``max_bytes`` caps the answer.

    Redirects are never followed. ``headers`` and ``body`` may hold keys, so they stay out of the repr.
    """

    http_method: str
    url: str
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    deadline_s: float = 10.0
    max_bytes: int = 1 << 20


@attrs.frozen(kw_only=True)
class HttpReply:
    """The answer to an :class:`HttpCall`, header names in lower case, body as received (not inflated)."""

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a field, ``name`` in lower case."""
        return next((value for key, value in self.headers if key == name), None)


@attrs.frozen
class Now:
    """Ask for the time: Unix seconds."""


@attrs.frozen
class Token:
    """Ask for 128 bits of randomness as 22 characters of base64url."""


@attrs.frozen
class Sleep:
    """Wait for some seconds."""

    seconds: float


@attrs.frozen(kw_only=True)
class Remember:
    """Keep a short text under (namespace, key) for ``ttl_s`` seconds, in the ledger.

    With ``if_absent`` an existing value stays; with ``instead_of`` it stays unless it is that one. Either is decided
    and written in one step: of several that ask at once one has its way. The result is the value that now stands there.
    """

    namespace: str
    key: str
    value: str = attrs.field(repr=False)
    ttl_s: float
    if_absent: bool = False
    instead_of: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Recall:
    """Ask for what was remembered; the result is the text or None."""

    namespace: str
    key: str


# --- the ledger's verbs ----------------------------------------------------------------------------------
# Their fields are the parameters of the method of the same name in flovia.ledger.base, where they are
# described. Positional: the gate passes the same tuple to a ledger that answers at once.


@attrs.frozen
class Claim:
    """Ask for the right to verify, or to redeem, one credential."""

    key: str
    fingerprint: str = attrs.field(repr=False)
    expired: bool
    lease_s: float
    deliver_s: float
    keep_until: float
    max_deliveries: int


@attrs.frozen
class Settle:
    """Record a payment as taken and begin its delivery, in one durable step."""

    key: str
    fence: int
    proof: str = attrs.field(repr=False)
    payment_id: str
    amount: int
    currency: str
    record: str = attrs.field(repr=False)
    deliver_s: float
    keep_until: float
    refund_due: bool
    events: tuple[EventRow, ...]


@attrs.frozen
class Deliver:
    """Record that the last byte was handed over, and the answer if it is to be kept."""

    key: str
    fence: int
    events: tuple[EventRow, ...]
    answer: StoredAnswer | None = None


@attrs.frozen
class Fail:
    """Record that a delivery did not complete: the payment can be redeemed again, or its refund is due."""

    key: str
    fence: int
    events: tuple[EventRow, ...]
    refund_due: bool = False


@attrs.frozen
class Release:
    """Give a claim back: not paid, or (``park``) with an unknown outcome."""

    key: str
    fence: int
    park: bool
    events: tuple[EventRow, ...]


@attrs.frozen
class Renew:
    """Extend the lease of a delivery that is still streaming."""

    key: str
    fence: int
    deliver_s: float


@attrs.frozen
class Find:
    """Look one payment up without changing it."""

    key: str


@attrs.frozen
class FindAnswer:
    """Look up the answer that was delivered for a payment, and kept."""

    key: str


@attrs.frozen(kw_only=True)
class Deadline:
    """Go on with another flow, but for at most ``seconds``; the result is its value, or ``TIMED_OUT``.

    ``flow`` has already been started and asked for ``effect``.
    """

    flow: Generator[Any, Any, Any] = attrs.field(repr=False)
    effect: "Effect"
    seconds: float


class _TimedOut:
    def __repr__(self) -> str:
        return "TIMED_OUT"


TIMED_OUT = _TimedOut()

LedgerVerb = Claim | Settle | Deliver | Fail | Release | Renew | Find | FindAnswer
Effect = HttpCall | Now | Token | Sleep | Remember | Recall | LedgerVerb | RefundVerb | KeepingVerb | Deadline
Flow = Generator[Effect, Any, T]

# --- results ---------------------------------------------------------------------------------------------

ClaimOutcome = Literal[
    "claimed",
    "redeem",
    "busy",
    "foreign",
    "delivered",
    "expired",
    "refunded",
    "exhausted",
    "refund_due",
    "undelivered",
]


@attrs.define
class ClaimResult:
    """What a claim found.

    * ``claimed``: verify now, under ``fence``. ``attempt`` counts the claims of this challenge from 1.
    * ``redeem``: already paid; deliver now under ``fence``; ``record`` is what was settled.
    * ``busy``: another request holds it; ask again in ``retry_after_s`` seconds.
    * ``foreign``: settled by another credential for the same challenge.
    * ``delivered``, ``expired``, ``refunded``, ``exhausted`` (too many deliveries), ``refund_due`` (it was never to
      be delivered), ``undelivered`` (its delivery failed, so its refund is due): ends.
    """

    outcome: ClaimOutcome
    fence: int = 0
    record: str = attrs.field(default="", repr=False)
    payment_id: str = ""
    attempt: int = 0
    retry_after_s: int = 1


SettleResult = Literal["settled", "stale", "proof_used"]


@attrs.frozen(kw_only=True)
class PaymentView:
    """One payment as the ledger holds it, for looking at."""

    key: str
    state: str
    fence: int
    fingerprint: str = attrs.field(repr=False)
    payment_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    record: str | None = attrs.field(default=None, repr=False)
    deliveries: int = 0
    lease_until: float | None = None
    keep_until: float | None = None
    refund_due: bool = False


# --- typed helpers -------------------------------------------------------------------------------------


def http(call: HttpCall) -> Flow[HttpReply]:
    """Make an HTTP call.

    Raises:
        HttpError: no usable answer; ``error.sent`` tells whether the outcome is unknown.
    """
    return cast(HttpReply, (yield call))


def now() -> Flow[float]:
    """The time, Unix seconds."""
    return cast(float, (yield Now()))


def token() -> Flow[str]:
    """22 characters of base64url, 128 random bits."""
    return cast(str, (yield Token()))


def sleep(seconds: float) -> Flow[None]:
    """Wait."""
    yield Sleep(seconds)


def remember(
    namespace: str, key: str, value: str, *, ttl_s: float, if_absent: bool = False, instead_of: str | None = None
) -> Flow[str]:
    """Keep a text; returns the value that now stands there (see :class:`Remember`)."""
    stored = yield Remember(
        namespace=namespace, key=key, value=value, ttl_s=ttl_s, if_absent=if_absent, instead_of=instead_of
    )
    return cast(str, stored)


def recall(namespace: str, key: str) -> Flow[str | None]:
    """What was remembered, or None."""
    return cast("str | None", (yield Recall(namespace=namespace, key=key)))
