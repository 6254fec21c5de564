"""What members are called that the wallets write and read, where HitPay has not published them.

All of it is our choice, and fits what a flovia server writes. The names of claims are in :mod:`flovia.signed.names`,
the server's side is ``flovia.providers.hitpay.BrokerNames``. Names that HitPay's pages or samples show, and those of
flovia's own challenges and receipts, stand where they are used.
"""

from typing import Final

import attrs

from flovia.core.errors import WiringError


def _choice(why: str) -> dict[str, str]:
    """What it is for; its name nobody says."""
    return {"source": "choice", "why": why}


@attrs.frozen(kw_only=True)
class WalletNames:
    """What members are called.

    Raises:
        WiringError: a name is empty, or one member of a credential would mean two things.
    """

    # --- credentials -----------------------------------------------------------------------------------------
    payload_charge: str = attrs.field(
        default="challenge_id", metadata=_choice("a credential's payload: the charge that was paid")
    )
    payload_grant: str = attrs.field(default="saved_method_jws", metadata=_choice("a credential's payload: a grant"))

    # --- challenges, in methodDetails ------------------------------------------------------------------------
    asked_charge: str = attrs.field(default="challenge_id", metadata=_choice("a challenge: the charge to be paid"))
    asked_setup: str = attrs.field(
        default="saved_method_id", metadata=_choice("a challenge: the saved method to be approved")
    )

    # --- GET /v1/charges/{id}, the answer --------------------------------------------------------------------
    polled_charge: str = attrs.field(default="challenge_id", metadata=_choice("the broker's answer: which charge"))
    polled_amount: str = attrs.field(
        default="amount", metadata=_choice("the broker's answer: the charge's amount, decimal text")
    )
    polled_currency: str = attrs.field(
        default="currency", metadata=_choice("the broker's answer: the charge's currency, ISO 4217")
    )

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(WalletNames):
            if not getattr(self, field.name):
                raise WiringError(f"WalletNames({field.name}=''): a member has a name; it cannot be empty")
        if self.payload_charge == self.payload_grant:
            raise WiringError(f"WalletNames: {self.payload_charge!r} of a credential's payload would mean two things")


DEFAULT_WALLET_NAMES: Final = WalletNames()
