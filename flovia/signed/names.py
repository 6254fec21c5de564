"""The names of the claims, each a setting. HitPay says what its receipts and grants are about and names no claim.

So these are our choice: registered names (RFC 7519 section 4.1) and the broker's own field names. The names of a
grant's limits are read in camelCase as well.
"""

from typing import Final

import attrs

from flovia.core.errors import WiringError


def _choice(why: str) -> dict[str, str]:
    """What a claim says; which name it has nobody says."""
    return {"source": "choice", "why": why}


@attrs.frozen(kw_only=True)
class ClaimNames:
    """What the claims of receipts and grants are called.

    Raises:
        WiringError: a name is empty.
    """

    # --- both ------------------------------------------------------------------------------------------------
    issuer: str = attrs.field(default="iss", metadata=_choice("who signed it"))
    audience: str = attrs.field(default="aud", metadata=_choice("who it is for, a text or a list"))
    issued_at: str = attrs.field(default="iat", metadata=_choice("when it was signed, Unix seconds"))
    expires_at: str = attrs.field(default="exp", metadata=_choice("when it ends, Unix seconds; a grant has to say"))
    token_id: str = attrs.field(default="jti", metadata=_choice("the token's own id"))
    currency: str = attrs.field(default="currency", metadata=_choice("ISO 4217 code of the amounts"))
    saved_method_id: str = attrs.field(default="saved_method_id", metadata=_choice("the saved method, in a receipt"))

    # --- receipts --------------------------------------------------------------------------------------------
    amount: str = attrs.field(default="amount", metadata=_choice("what was paid, decimal text"))
    status: str = attrs.field(default="status", metadata=_choice("a receipt that says it has to say that it is paid"))
    paid: str = attrs.field(default="paid", metadata=_choice("the word by which a receipt's status says paid"))
    subject: str = attrs.field(default="sub", metadata=_choice("what a receipt is about; not compared"))
    challenge_id: str = attrs.field(default="challenge_id", metadata=_choice("the charge that was paid"))
    charge_id: str = attrs.field(default="charge_id", metadata=_choice("the payment's name at the broker"))
    payment_id: str = attrs.field(default="payment_id", metadata=_choice("the payment at HitPay; refunds need it"))
    payment_request_id: str = attrs.field(
        default="payment_request_id", metadata=_choice("the payment request at HitPay")
    )
    reference: str = attrs.field(default="reference", metadata=_choice("a name for people; not compared"))
    method: str = attrs.field(default="method", metadata=_choice("how it was paid; not compared"))
    paid_at: str = attrs.field(default="paid_at", metadata=_choice("when it was paid; not compared"))
    request_hash: str = attrs.field(default="request_hash", metadata=_choice("the request that it was paid for"))
    nonce: str = attrs.field(default="nonce", metadata=_choice("the nonce of the call that created the charge"))

    # --- grants ----------------------------------------------------------------------------------------------
    granted_id: tuple[str, ...] = attrs.field(
        default=("sub", "saved_method_id", "savedMethodId"),
        metadata=_choice("the saved method that a grant is for: the first of these that is there"),
    )
    max_amount_per_charge: str = attrs.field(
        default="max_amount_per_charge", metadata=_choice("a grant's cap for one charge, decimal text")
    )
    total_amount_cap: str = attrs.field(
        default="total_amount_cap", metadata=_choice("a grant's cap for all charges, decimal text")
    )
    max_uses: str = attrs.field(default="max_uses", metadata=_choice("how many charges a grant allows"))
    payment_method: str = attrs.field(default="payment_method", metadata=_choice("the wallet of a grant"))

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(ClaimNames):
            value: str | tuple[str, ...] = getattr(self, field.name)
            if not value or (isinstance(value, tuple) and not all(value)):
                raise WiringError(f"ClaimNames({field.name}={value!r}): a claim has a name; it cannot be empty")


DEFAULT_NAMES: Final = ClaimNames()


def camel(name: str) -> str:
    """The camelCase form of a snake_case name."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
