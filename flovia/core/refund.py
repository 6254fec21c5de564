"""Giving money back: what a provider is asked, and its three-valued answer."""

from typing import Protocol, runtime_checkable

import attrs

from flovia.core.effects import Flow


@attrs.frozen(kw_only=True)
class RefundOrder:
    """One refund. ``payment_id``: the provider's reference of the payment, as the ledger has it.

    ``challenge_id``: the challenge it paid. ``amount`` in base units of ``currency``, at most ``paid``, what was
    paid in all. ``nonce``: 128 random bits, base64url, the same however often this refund is tried, so use it as
    the idempotency key towards the backend.
    """

    method: str
    payment_id: str
    challenge_id: str
    amount: int
    paid: int
    currency: str
    nonce: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Refunded:
    """The money is on its way back. ``refund_id`` is the backend's name for the refund."""

    refund_id: str
    amount: int
    currency: str


@attrs.frozen(kw_only=True)
class NotRefunded:
    """The backend refused, and nothing has moved. ``reason`` is a fixed text for people, no secret in it."""

    reason: str


@attrs.frozen(kw_only=True)
class RefundUnknown:
    """Nobody can say whether it moved. The order stays open and is tried again with the same nonce."""


RefundVerdict = Refunded | NotRefunded | RefundUnknown


@runtime_checkable
class RefundingProvider(Protocol):
    """A provider that can give money back."""

    @property
    def name(self) -> str:
        """As :attr:`flovia.core.provider.Provider.name`."""
        ...

    @property
    def method(self) -> str:
        """As :attr:`flovia.core.provider.Provider.method`."""
        ...

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Give back. An exception counts as :class:`RefundUnknown`."""
        ...


@runtime_checkable
class CheckedRefunds(Protocol):
    """A :class:`RefundingProvider` that may lack what refunds need, such as a key where only events are read."""

    def refunds_lack(self) -> str | None:
        """What is missing and what to do about it, for people; None if refunds can be asked for.

        It is asked before an order is put on record: a setting that is missing here is no word of the backend's.
        """
        ...
