"""Looking for money that nobody has presented: what a provider is asked, and what it may answer."""

from typing import Protocol, runtime_checkable

import attrs

from flovia.core.challenge import Challenge
from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject
from flovia.core.provider import Paid


@attrs.frozen(kw_only=True)
class Charge:
    """One charge that was shown to a payer. ``handle``: the provider's own name of it (:attr:`Terms.handle`).

    ``challenge``: the one it was asked for with, as it was issued.
    """

    method: str
    handle: str
    challenge: Challenge


@attrs.frozen(kw_only=True)
class Moved:
    """One payment that the backend has for a charge. ``amount`` in base units of ``currency``.

    ``reference``: as :attr:`flovia.core.provider.Paid.reference` spells it. ``given_back``: base units that went
    back; None if nothing did. ``partly``: some of it went back and the backend does not say how much.
    """

    reference: str
    amount: int
    currency: str
    given_back: int | None = None
    partly: bool = False


@attrs.frozen(kw_only=True)
class ChargeState:
    """What the backend says about a charge. ``payments``: those that were made, first the one that paid it.

    ``asked`` and ``currency``: what the charge asked for, in base units. ``redeemable``: its own credential would
    still be taken by the backend. ``over``: as the backend has it, it cannot be paid any more. ``paid``: what
    ``verify`` would say of the first payment; needed if that can be redeemed.
    """

    asked: int
    currency: str
    payments: tuple[Moved, ...] = ()
    redeemable: bool = False
    over: bool = False
    paid: Paid | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ChargeUnknown:
    """Nobody can say now; it is asked again. ``reason``: a fixed text for people, no secret in it.

    ``for_all``: the same goes for every charge of this provider, as without a key. Then a run asks it about no other.
    """

    reason: str
    for_all: bool = False


@runtime_checkable
class ReconcilingProvider(Protocol):
    """A provider whose charges can be paid without anybody telling us, and whose backend can be asked about them."""

    @property
    def name(self) -> str:
        """As :attr:`flovia.core.provider.Provider.name`."""
        ...

    @property
    def method(self) -> str:
        """As :attr:`flovia.core.provider.Provider.method`."""
        ...

    @property
    def deadline_s(self) -> float:
        """Seconds that ``reconcile`` may take over one charge."""
        ...

    @property
    def redeem_late_s(self) -> float:
        """As :attr:`flovia.core.provider.LateRedeeming.redeem_late_s`; 0 if nothing is taken late."""
        ...

    @property
    def reconcile_pause_s(self) -> float:
        """Seconds between two charges, so that a run leaves the backend's rate to paying customers."""
        ...

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """What became of a charge; None if it is none that could be paid. An exception counts as unknown.

        Nothing may be charged, opened or given back here. ``keep``: what a refund will need may be remembered; False
        on a dry run.
        """
        ...


@runtime_checkable
class OwnCharge(ReconcilingProvider, Protocol):
    """One whose challenges may also be paid with another proof than their own charge, such as a saved wallet."""

    def own_charge(self, charge: JsonObject, payload: JsonObject) -> str | None:
        """The charge that a credential says it paid: its handle, which is its :attr:`Paid.reference` as well.

        ``charge`` and ``payload`` as in :class:`~flovia.core.provider.Presented`. None if the credential brings another
        proof, or names another charge than its challenge's.
        """
        ...
