"""What the sandbox remembers: one frozen record per thing. Amounts in base units, times in ms since 1970 (UTC)."""

from typing import Literal

import attrs

ChargeState = Literal["pending", "core_paid", "paid", "verified", "expired", "expired_paid", "refunded"]
SavedState = Literal["pending", "active", "detached", "revoked", "expired"]
RequestStatus = Literal["pending", "completed", "failed", "expired", "canceled"]
PaymentStatus = Literal["succeeded", "failed", "refunded", "partially_refunded"]


@attrs.frozen(kw_only=True)
class Merchant:
    """Whoever holds one API key. Two salts: one signs form callbacks, one the merchant's event endpoints.

    ``pinned``: ``salt`` was set by hand, so the broker's events are signed with it, whatever salt a charge named.
    """

    id: str
    api_salt: str = attrs.field(repr=False)
    salt: str = attrs.field(repr=False)
    pinned: bool = False
    creations: tuple[int, ...] = attrs.field(default=(), repr=False)
    calls: tuple[int, ...] = attrs.field(default=(), repr=False)


@attrs.frozen(kw_only=True)
class Payment:
    """Money that moved, or an attempt that failed. ``owner``: the payment request or recurring billing."""

    id: str
    merchant: str
    owner: str
    amount: int
    currency: str
    status: PaymentStatus
    rail: str
    at: int
    refunded: int = 0


@attrs.frozen(kw_only=True)
class PaymentRequest:
    """A payment request of the core API. ``completes_at``: when the top-level status follows the payment."""

    id: str
    merchant: str
    amount: int
    currency: str
    status: RequestStatus = "pending"
    completes_at: int | None = None
    payments: tuple[str, ...] = ()
    reference: str = ""
    charge: str | None = None
    purpose: str = ""
    email: str = attrs.field(default="", repr=False)
    name: str = attrs.field(default="", repr=False)
    phone: str = attrs.field(default="", repr=False)
    methods: tuple[str, ...] = ()
    redirect_url: str = attrs.field(default="", repr=False)
    webhook: str = attrs.field(default="", repr=False)
    repeated: bool = False
    qr: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    expires_at: int | None = None
    created_at: int = 0
    updated_at: int = 0


@attrs.frozen(kw_only=True)
class Charge:
    """A one-time charge of the broker."""

    id: str
    merchant: str
    request: str
    amount: int
    currency: str
    nonce: str = attrs.field(repr=False)
    request_hash: str
    salt: str = attrs.field(repr=False)
    state: ChargeState = "pending"
    expires_at: int = 0
    paid_at: int | None = None
    payment: str | None = None
    receipt: str | None = attrs.field(default=None, repr=False)
    verified_at: int | None = None


@attrs.frozen(kw_only=True)
class Recurring:
    """A recurring billing of the core API: under it lies every saved method."""

    id: str
    merchant: str
    amount: int
    currency: str
    methods: tuple[str, ...]
    status: Literal["scheduled", "active", "canceled"] = "scheduled"
    name: str = attrs.field(default="", repr=False)
    email: str = attrs.field(default="", repr=False)
    redirect_url: str = attrs.field(default="", repr=False)
    reference: str = ""
    saved: str | None = None
    payments: tuple[str, ...] = ()
    expires_at: int = 0
    created_at: int = 0


@attrs.frozen(kw_only=True)
class SavedMethod:
    """A saved payment method of the broker, with the counters that its grant cannot carry."""

    id: str
    merchant: str
    recurring: str
    wallet: str
    currency: str
    max_per_charge: int
    total_cap: int | None
    max_uses: int | None
    valid_until: int
    salt: str = attrs.field(repr=False)
    state: SavedState = "pending"
    setup_expires_at: int = 0
    grant: str | None = attrs.field(default=None, repr=False)
    spent: int = 0
    uses: int = 0


@attrs.frozen(kw_only=True)
class Refund:
    """Money given back: at most one refund per payment."""

    id: str
    payment: str
    amount: int
    at: int


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a merchant wants events."""

    id: str
    merchant: str
    name: str
    url: str = attrs.field(repr=False)
    salt: str = attrs.field(repr=False)
    events: tuple[str, ...]
    created_at: int = 0


@attrs.frozen(kw_only=True)
class Nonce:
    """A nonce that was used: by which call with which body, and what was answered."""

    route: str
    fingerprint: str
    status: int
    body: bytes = attrs.field(repr=False)


Target = Literal["broker", "endpoint", "callback"]
DeliveryStatus = Literal["queued", "delivered", "failed", "lost"]


@attrs.frozen(kw_only=True)
class Delivery:
    """One webhook on its way to one receiver.

    ``due``: when the next attempt is made, None if there is none. ``held``: it waits until another event about
    the same object has gone out. ``sending``: an attempt is out and its outcome is not known yet.
    """

    id: str
    merchant: str
    event: str
    about: str
    target: Target
    url: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    due: int | None
    held: bool = False
    sending: bool = False
    status: DeliveryStatus = "queued"
    answers: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Timer:
    """Something that happens by itself at ``due``; ``number`` keeps timers of one instant in order."""

    due: int
    number: int
    action: str
    target: str
    amount: int | None = None


@attrs.frozen(kw_only=True)
class Entry:
    """A line of the journal: one call or one webhook attempt. ``sent`` and ``got`` are masked."""

    number: int
    at: int
    kind: Literal["call", "webhook"]
    where: str
    what: str
    route: str
    status: int
    sent: tuple[tuple[str, object], ...] = ()
    got: tuple[tuple[str, object], ...] = ()
    faults: tuple[str, ...] = ()
