"""What tests of ledgers do all the time: a clock that stands still, an event, a claim and a settlement."""

from typing import Final

from flovia.core import events as ev
from flovia.core.effects import ClaimResult, SettleResult
from flovia.core.events import Event, EventRow
from flovia.ledger.base import Ledger

KEY: Final = "realm.test|challenge-1"
LEASE_S: Final = 15.0
DELIVER_S: Final = 60.0
DAY_S: Final = 86400.0
MAX_DELIVERIES: Final = 3


class ManualClock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def event_row(type_: str = ev.REQUEST_STARTED, request_id: str = "req-1", seq: int = 1) -> EventRow:
    """A whole event with recognisable values."""
    return Event(
        type=type_,
        at=1_700_000_000.25,
        request_id=request_id,
        seq=seq,
        endpoint="/reports/{id}",
        http_method="GET",
        provider="mock",
        rail="mpp",
        amount=100,
        currency="usd",
        challenge_id="challenge-1",
        payment_id="pay-1",
        payer="did:example:payer",
        recipient="acct-1",
        status=200,
        latency_ms=12.5,
        workflow="nightly",
        problem=None,
    ).to_row()


def claim(
    ledger: Ledger,
    clock: ManualClock,
    key: str = KEY,
    *,
    fingerprint: str = "fingerprint-1",
    expired: bool = False,
) -> ClaimResult:
    """A claim with the usual times."""
    return ledger.claim(key, fingerprint, expired, LEASE_S, DELIVER_S, clock() + 360.0, MAX_DELIVERIES)


def settle(
    ledger: Ledger,
    clock: ManualClock,
    fence: int,
    key: str = KEY,
    *,
    proof: str = "mock|pay-1",
    amount: int = 100,
    refund_due: bool = False,
    events: tuple[EventRow, ...] = (),
) -> SettleResult:
    """A settlement with the usual values."""
    return ledger.settle(
        key,
        fence,
        proof,
        "pay-1",
        amount,
        "usd",
        '{"receipt":"test"}',
        DELIVER_S,
        clock() + 7 * DAY_S,
        refund_due,
        events,
    )
