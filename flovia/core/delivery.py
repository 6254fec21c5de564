"""What was paid and not delivered, as the ledger shows it."""

import attrs

from flovia.core.owed import challenge_of


@attrs.frozen(kw_only=True)
class Undelivered:
    """A payment that was taken and that nobody is being served for at the moment: its credential still redeems.

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
