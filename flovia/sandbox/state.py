"""The whole state of a sandbox, and the working copy that one call changes."""

import bisect
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import attrs

from flovia.core.errors import WiringError
from flovia.sandbox.faults import LIMITS, Fault
from flovia.sandbox.records import (
    Charge,
    Delivery,
    Endpoint,
    Entry,
    Merchant,
    Nonce,
    Payment,
    PaymentRequest,
    Recurring,
    Refund,
    SavedMethod,
    Timer,
)
from flovia.sandbox.signing import Key, new_key
from flovia.sandbox.wire import Post, Side, is_local, is_loopback

BROKER: Final = "http://127.0.0.1:4010"
API: Final = "http://127.0.0.1:4011"
START_MS: Final = 1_893_456_000_000
"""2030-01-01T00:00:00Z: where the clock of a sandbox stands that nobody told the time."""

JOURNAL: Final = 5_000
"""Most journal lines kept; the oldest are dropped."""


@attrs.frozen(kw_only=True)
class State:
    """Everything a sandbox knows. Never changed: :func:`flovia.sandbox.core.handle` returns a new one.

    Maps are by id; ``merchants`` by the SHA-256 of the API key, which is itself not kept. ``waiting``: when each
    webhook is due that is. ``timers`` are in the order in which they are due. ``webhook``: where every merchant's
    events go, as to an endpoint of theirs; None for nowhere.
    """

    seed: bytes = attrs.field(repr=False)
    broker: str
    api: str
    now: int
    limits: Mapping[str, float]
    keys: tuple[Key, ...]
    webhook: str | None = attrs.field(default=None, repr=False)
    counter: int = 0
    merchants: Mapping[str, Merchant] = attrs.field(factory=dict[str, Merchant], repr=False)
    requests: Mapping[str, PaymentRequest] = attrs.field(factory=dict[str, PaymentRequest])
    payments: Mapping[str, Payment] = attrs.field(factory=dict[str, Payment])
    charges: Mapping[str, Charge] = attrs.field(factory=dict[str, Charge])
    recurring: Mapping[str, Recurring] = attrs.field(factory=dict[str, Recurring])
    saved: Mapping[str, SavedMethod] = attrs.field(factory=dict[str, SavedMethod])
    refunds: Mapping[str, Refund] = attrs.field(factory=dict[str, Refund])
    endpoints: Mapping[str, Endpoint] = attrs.field(factory=dict[str, Endpoint])
    nonces: Mapping[tuple[str, str], Nonce] = attrs.field(factory=dict[tuple[str, str], Nonce], repr=False)
    deliveries: Mapping[str, Delivery] = attrs.field(factory=dict[str, Delivery])
    waiting: Mapping[str, int] = attrs.field(factory=dict[str, int], repr=False)
    timers: tuple[Timer, ...] = ()
    faults: tuple[Fault, ...] = ()
    journal: tuple[Entry, ...] = attrs.field(default=(), repr=False)

    @property
    def next_due(self) -> int | None:
        """The next instant at which something happens by itself, in ms; None if nothing will."""
        return min([*(timer.due for timer in self.timers[:1]), *self.waiting.values()], default=None)


def initial(
    *,
    seed: int = 0,
    broker: str = BROKER,
    api: str = API,
    now: int = START_MS,
    limits: Mapping[str, float] | None = None,
    webhook: str | None = None,
) -> State:
    """A sandbox in which nothing has happened yet.

    Raises:
        WiringError: an origin or a webhook that is not this machine: test receipts must never verify anywhere else.
    """
    for origin in (broker, api):
        check_origin(origin)
    unknown = set(limits or {}) - set(LIMITS)
    if unknown:
        raise WiringError(f"limits of the sandbox are {', '.join(LIMITS)}; there is no {', '.join(sorted(unknown))}")
    if webhook is not None and not is_local(webhook):
        raise WiringError(
            "the sandbox sends webhooks to loopback addresses only, such as http://127.0.0.1:5000/hooks/hitpay"
        )
    raw = f"flovia sandbox|{seed}".encode()
    return State(
        seed=raw,
        broker=broker,
        api=api,
        now=now,
        limits={**LIMITS, **(limits or {})},
        keys=(new_key(raw, 1),),
        webhook=webhook,
    )


def check_origin(origin: str) -> None:
    """Refuse what is not ``http://`` with a loopback host and a port.

    Raises:
        WiringError: it is not.
    """
    scheme, _, rest = origin.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "http" or not is_loopback(host) or not (port.isascii() and port.isdigit()):
        raise WiringError(
            "the sandbox signs receipts with keys of its own, so it only ever is this machine: "
            f"its origins look like {BROKER}, not like {origin!r}"
        )


class Draft:
    """A working copy of the state for one call: handlers replace records in it and queue webhooks."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.now = state.now
        self.keys = state.keys
        self.counter = state.counter
        self.merchants = dict(state.merchants)
        self.requests = dict(state.requests)
        self.payments = dict(state.payments)
        self.charges = dict(state.charges)
        self.recurring = dict(state.recurring)
        self.saved = dict(state.saved)
        self.refunds = dict(state.refunds)
        self.endpoints = dict(state.endpoints)
        self.nonces = dict(state.nonces)
        self.deliveries = dict(state.deliveries)
        self.waiting = dict(state.waiting)
        self.timers = list(state.timers)
        self.faults = list(state.faults)
        self.entries: list[Entry] = []
        self.posts: list[Post] = []
        self.applied: list[str] = []
        self.wiped = False
        """Forget everything at the end, but how it was started, the clock, and the counter that keeps ids unique."""

    def commit(self) -> State:
        """The new state."""
        if self.wiped:
            fresh = initial(broker=self._state.broker, api=self._state.api, now=self.now, limits=self._state.limits)
            return attrs.evolve(
                fresh,
                seed=self.seed,
                keys=(new_key(self.seed, 1),),
                counter=self.counter,
                webhook=self._state.webhook,
            )
        copied = ("merchants", "requests", "payments", "charges", "recurring", "saved", "refunds", "endpoints")
        journal = (*self._state.journal, *self.entries) if self.entries else self._state.journal
        return attrs.evolve(
            self._state,
            now=self.now,
            keys=self.keys,
            counter=self.counter,
            timers=tuple(self.timers),
            faults=tuple(self.faults),
            journal=journal[-JOURNAL:] if len(journal) > JOURNAL else journal,
            nonces=self.nonces,
            deliveries=self.deliveries,
            waiting=self.waiting,
            **{name: getattr(self, name) for name in copied},
        )

    @property
    def before(self) -> State:
        """The state as it was when the call came."""
        return self._state

    @property
    def seed(self) -> bytes:
        """What every id and key follows from."""
        return self._state.seed

    def origin(self, side: Side) -> str:
        """Scheme, host and port of one side."""
        return self._state.broker if side == "broker" else self._state.api

    # --- ids, times -------------------------------------------------------------------------------

    def digest(self, purpose: str) -> str:
        """64 hex digits that follow from the seed and a counter: unguessable without the seed, the same with it."""
        self.counter += 1
        return hashlib.sha256(self.seed + f"|{purpose}|{self.counter}".encode()).hexdigest()

    def new_id(self, prefix: str) -> str:
        """``mpp_ch_`` and 24 hex digits."""
        return f"{prefix}_{self.digest(prefix)[:24]}"

    def new_uuid(self) -> str:
        """A version 4 UUID."""
        text = self.digest("uuid")
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:32]}"

    def after(self, seconds: float) -> int:
        """The instant so many seconds from now, in ms."""
        return self.now + round(seconds * 1000)

    def at(self, due: int, action: str, target: str, amount: int | None = None) -> None:
        """Let something happen later."""
        self.counter += 1
        timer = Timer(due=due, number=self.counter, action=action, target=target, amount=amount)
        bisect.insort(self.timers, timer, key=lambda found: (found.due, found.number))

    def put_delivery(self, delivery: Delivery) -> None:
        """Replace a webhook's record, and know whether it is due."""
        self.deliveries[delivery.id] = delivery
        if delivery.due is None or delivery.sending:
            self.waiting.pop(delivery.id, None)
        else:
            self.waiting[delivery.id] = delivery.due

    def merchant(self, api_key: str) -> Merchant:
        """Whoever holds this key: made at its first use, with salts that follow from seed and key."""
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        if (found := self.merchants.get(digest)) is None:
            own = [
                hashlib.sha256(self.seed + f"|{purpose}|{digest}".encode()).hexdigest()
                for purpose in ("merchant", "salt", "api salt")
            ]
            found = Merchant(
                id=f"mer_{own[0][:16]}", salt=f"test_salt_{own[1][:32]}", api_salt=f"test_api_salt_{own[2][:32]}"
            )
            self.merchants[digest] = found
        return found

    def put_merchant(self, merchant: Merchant) -> None:
        """Replace a merchant's record."""
        digest = next(digest for digest, found in self.merchants.items() if found.id == merchant.id)
        self.merchants[digest] = merchant

    def merchant_by_id(self, merchant_id: str) -> Merchant:
        """A merchant that something in the state belongs to."""
        return next(found for found in self.merchants.values() if found.id == merchant_id)

    @property
    def signing_key(self) -> Key:
        """The key that signs."""
        return next(key for key in self.keys if key.state == "current")

    # --- faults -----------------------------------------------------------------------------------

    def fault(self, knob: str, routes: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> Fault | None:
        """The fault in force for this knob here, counted as used; the one set last wins."""
        for index in range(len(self.faults) - 1, -1, -1):
            found = self.faults[index]
            if found.matches(knob, routes, ids):
                if found.left is not None:
                    self.faults[index] = attrs.evolve(found, left=found.left - 1)
                self.applied.append(found.label)
                return found
        return None

    def is_set(self, knob: str, value: str, routes: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> bool:
        """Whether the fault in force has this value; does not count as a use unless it has."""
        for found in reversed(self.faults):
            if found.matches(knob, routes, ids):
                return found.value == value and self.fault(knob, routes, ids) is not None
        return False

    def limit(self, name: str) -> float:
        """A limit, as set by the knob or at start."""
        value = self._state.limits[name]
        for found in self.faults:
            if found.knob == "limits":
                value = found.option(name, value)
        return value


def iso(ms: int) -> str:
    """``2030-01-01T00:15:00Z``."""
    return datetime.fromtimestamp(ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
