"""What a Gate and an Observer have in common: settings, request ids, and the writing of events."""

import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

import attrs

from flovia.core.answers import KEY_FIELD, StoredAnswer
from flovia.core.binding import Keyring
from flovia.core.effects import ClaimResult, PaymentView, SettleResult
from flovia.core.events import WORKFLOW_FIELDS, EventRow, declared_workflow
from flovia.core.http import FieldSet, HttpRequest
from flovia.core.limiter import Limiter
from flovia.core.origin import Origin
from flovia.core.owed import NoteResult, PaidView
from flovia.core.passage import Trace
from flovia.core.trace_context import TRACEPARENT, request_id

_log = logging.getLogger("flovia")
DAY_S: Final = 86400.0
MAX_PAYER: Final = 255
MAX_ENDPOINT: Final = 256
MAX_METHOD: Final = 32
"""Characters that events keep of a path and an HTTP method: both are the client's, and events add up."""
# Most requests have none of them, and one look tells.
_RARE: Final = FieldSet(*WORKFLOW_FIELDS, KEY_FIELD, TRACEPARENT)


class LedgerVerbs(Protocol):
    """What a guard uses of a ledger; the whole contract is :class:`flovia.ledger.base.Ledger`."""

    @property
    def direct(self) -> bool:
        """Whether no method ever waits."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several processes may use the store."""
        ...

    @property
    def available(self) -> bool:
        """False while the store is known to fail."""
        ...

    def claim(
        self,
        key: str,
        fingerprint: str,
        expired: bool,
        lease_s: float,
        deliver_s: float,
        keep_until: float,
        max_deliveries: int,
        /,
    ) -> ClaimResult:
        """Take the right to verify or redeem."""
        ...

    def settle(
        self,
        key: str,
        fence: int,
        proof: str,
        payment_id: str,
        amount: int,
        currency: str,
        record: str,
        deliver_s: float,
        keep_until: float,
        refund_due: bool,
        events: tuple[EventRow, ...],
        /,
    ) -> SettleResult:
        """Record a payment as taken."""
        ...

    def deliver(self, key: str, fence: int, events: tuple[EventRow, ...], answer: StoredAnswer | None, /) -> bool:
        """Record a completed delivery, and its answer."""
        ...

    def fail(self, key: str, fence: int, events: tuple[EventRow, ...], refund_due: bool, /) -> bool:
        """Record a failed delivery."""
        ...

    def end_later(
        self,
        key: str,
        fence: int,
        delivered: bool,
        events: tuple[EventRow, ...],
        refund_due: bool,
        answer: StoredAnswer | None,
        /,
    ) -> None:
        """Record the end of a delivery when the store answers again."""
        ...

    def find_answer(self, key: str, /) -> StoredAnswer | None:
        """Look up the answer that was delivered for a payment."""
        ...

    def release(self, key: str, fence: int, park: bool, events: tuple[EventRow, ...], /) -> bool:
        """Give a claim back."""
        ...

    def renew(self, key: str, fence: int, deliver_s: float, /) -> bool:
        """Extend a delivery."""
        ...

    def late(
        self,
        key: str,
        proof: str,
        payment_id: str,
        amount: int,
        currency: str,
        keep_until: float,
        events: tuple[EventRow, ...],
        /,
    ) -> bool:
        """Record money that can buy nothing, with its refund due."""
        ...

    def find(self, key: str, /) -> PaymentView | None:
        """Look at one payment."""
        ...

    def find_paid(self, proof: str, /) -> PaidView | None:
        """Look a payment up by its proof."""
        ...

    def note_refund(
        self, key: str, proof: str, amount: int, currency: str, events: tuple[EventRow, ...], /
    ) -> NoteResult:
        """Record a refund that was made elsewhere."""
        ...

    def append(self, events: Iterable[EventRow], /) -> None:
        """Take events of no payment."""
        ...


@attrs.frozen(kw_only=True)
class Services:
    """What every guard of one app shares.

    ``clock`` gives Unix seconds, ``monotonic`` seconds for durations, ``tokens`` 22 characters of base64url
    each time (128 random bits). ``known_methods`` is filled by the guards: a credential for a method in it
    belongs to another route of the app, one that is not in it to nobody here.
    """

    ledger: LedgerVerbs
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    tokens: Callable[[], str]
    realm: str
    keyring: Keyring | None = None
    origin: Origin | None = None
    limiter: Limiter | None = None
    client_of: Callable[[HttpRequest], str] | None = None
    payer_of: Callable[[HttpRequest], str | None] | None = None
    known_methods: set[str] = attrs.field(factory=set[str])


def as_payer(name: str | None) -> str | None:
    """Who paid, as a client or a provider says, cut to what an event should hold."""
    return name[:MAX_PAYER] if name else None


class Guard:
    """Base of Gate and Observer."""

    def __init__(self, services: Services, *, rail: str, name: str | None) -> None:
        self.services = services
        self.rail = rail
        self.name = name
        self._tokens = services.tokens
        self._clock = services.clock
        self._monotonic = services.monotonic
        self._ledger = services.ledger

    def _trace(self, request: HttpRequest) -> Trace:
        headers = request.headers
        rare = headers.has_any(_RARE)
        trace = Trace(
            request.request_id or (request_id(headers, self._tokens()) if rare else "req_" + self._tokens()),
            (self.name or request.route or request.path)[:MAX_ENDPOINT],
            request.http_method[:MAX_METHOD],
            self.rail,
            self._monotonic(),
            declared_workflow(headers) if rare else None,
        )
        if rare:
            trace.idempotency = tuple(headers.get_all(KEY_FIELD))
        if self.services.payer_of is not None:
            trace.payer = trace.declared = self._declared(self.services.payer_of, request)
        return trace

    def _declared(self, payer_of: Callable[[HttpRequest], str | None], request: HttpRequest) -> str | None:
        """Who the app says is asking. It is for events alone, so nobody is turned away if the app fails to say it."""
        try:
            found = cast("object", payer_of(request))
            if not isinstance(found, str | None):
                raise TypeError(f"payer_of returned {type(found).__name__}, and a payer is a str or None")
            return as_payer(found)
        except Exception:
            _log.exception("payer_of raised for a request; its events name no payer")
            return None

    def _latency_ms(self, trace: Trace) -> float:
        # To the microsecond; round() with digits takes ten times as long.
        return int((self._monotonic() - trace.started) * 1e6 + 0.5) / 1000.0

    def _client(self, request: HttpRequest) -> str:
        client_of = self.services.client_of
        return client_of(request) if client_of else request.client
