"""What a provider may hear from its backend outside of any paid request, and what follows from it.

A webhook is a hint. The provider checks its signature, asks the backend for the truth, and tells what it found
as :data:`Notice` records; the front door writes those into the ledger. No notice unlocks anything: a payment
opens a route only when its own credential is presented and verified.
"""

from typing import Literal, Protocol, runtime_checkable

import attrs

from flovia.core.effects import Flow
from flovia.core.http import Headers


@attrs.frozen(kw_only=True)
class LatePayment:
    """Money arrived that can buy nothing any more.

    It is put on record as settled with a refund due. ``challenge_id``: the MPP challenge it was meant for.
    ``payment_id``: the provider's reference, as :attr:`flovia.core.provider.Paid.reference` spells it, of *this*
    money. ``amount`` in base units of ``currency``. ``reason``: ``late``, the challenge could not be paid any more;
    ``duplicate``, it had been paid before, and that payment is the one that buys; ``unmatched``, it is another amount
    or currency than the challenge asks.
    """

    challenge_id: str
    method: str
    payment_id: str
    amount: int
    currency: str
    payer: str | None = None
    reason: Literal["late", "duplicate", "unmatched"] = "late"


@attrs.frozen(kw_only=True)
class WaitingPayment:
    """Money arrived whose own credential would still be taken.

    Nothing follows from it, unless the challenge was paid with something else meanwhile: then it is a second payment,
    and recorded as a :class:`LatePayment` with the reason ``duplicate``. Fields as there.
    """

    challenge_id: str
    method: str
    payment_id: str
    amount: int
    currency: str
    payer: str | None = None


@attrs.frozen(kw_only=True)
class RefundedPayment:
    """The backend says that a payment was given back, in full or in part. ``amount`` in base units.

    ``challenge_id``: what it was paid for, for a payment that nobody has presented here; None if that is not known.
    """

    method: str
    payment_id: str
    amount: int
    currency: str
    challenge_id: str | None = None


Notice = LatePayment | WaitingPayment | RefundedPayment


@attrs.frozen(kw_only=True)
class Heard:
    """The answer to a webhook.

    ``status``: 200 for everything understood, unknown events and duplicates included; 401 only for a bad
    signature; 400 for what is no event; 503 if the truth could not be asked for, so that it is sent again.
    ``code`` is a short fixed word for logs and the answer's body: ``accepted``, ``duplicate``, ``ignored``,
    ``bad-signature``, ``malformed``, ``not-configured``, ``try-again``. No text of the sender is ever in it.
    """

    status: int = 200
    code: str = "accepted"
    notices: tuple[Notice, ...] = ()


@runtime_checkable
class WebhookProvider(Protocol):
    """A provider that also receives webhooks."""

    @property
    def name(self) -> str:
        """As :attr:`flovia.core.provider.Provider.name`."""
        ...

    @property
    def max_webhook(self) -> int:
        """Bytes of body that are read; above that, 413."""
        ...

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Check one webhook, over its raw bytes. An exception counts as 503, so that it is sent again."""
        ...
