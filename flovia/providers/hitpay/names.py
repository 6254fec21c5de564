"""What the broker's words are, where HitPay has not published them: names of members, and what a refusal looks like.

All of it is our choice, so that the day HitPay's documents say otherwise one argument changes. Names that HitPay's
pages or samples show stand where they are used. The names of claims are in :mod:`flovia.signed.names`.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final, Literal

import attrs

from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError

Meaning = Literal[
    "not_paid",
    "already_verified",
    "expired",
    "refunded",
    "unknown_charge",
    "hash_mismatch",
    "charge_failed",
    "scope_exceeded",
    "nonce_reused",
    "method_inactive",
    "unknown_method",
]

OF_VERIFY: Final[tuple[Meaning, ...]] = (
    "not_paid",
    "already_verified",
    "expired",
    "refunded",
    "unknown_charge",
    "hash_mismatch",
)
"""What the broker may say instead of a receipt when a charge is verified."""
OF_SILENT: Final[tuple[Meaning, ...]] = (
    "charge_failed",
    "scope_exceeded",
    "nonce_reused",
    "method_inactive",
    "unknown_method",
)
"""What the broker may say instead of a receipt when a saved wallet is charged."""


def _choice(why: str) -> dict[str, str]:
    """What it is for; its name nobody says."""
    return {"source": "choice", "why": why}


def member(members: JsonValue, name: str) -> JsonValue:
    """A member of an object by its name, or by its path: ``error.code`` is ``code`` within ``error``."""
    for part in name.split("."):
        members = members.get(part) if isinstance(members, dict) else None
    return members


def first(members: Mapping[str, JsonValue], names: Iterable[str]) -> JsonValue:
    """The member that is there of several names, the first if there are more; None if none is."""
    return next((members[name] for name in names if name in members), None)


@attrs.frozen(kw_only=True)
class BrokerNames:
    """What members are called. In answers a name may be a path, ``error.code`` say.

    Raises:
        WiringError: a name is empty, or one member of a credential would mean two things.
    """

    # --- POST /v1/charges, the answer ------------------------------------------------------------------------
    created_id: str = attrs.field(default="challenge_id", metadata=_choice("a new charge's id"))
    created_checkout: str = attrs.field(default="checkout_url", metadata=_choice("a new charge's page to pay on"))
    created_polling: str = attrs.field(default="polling_url", metadata=_choice("a new charge's address for agents"))
    created_expiry: str = attrs.field(default="expires_at", metadata=_choice("when a new charge expires, RFC 3339"))

    # --- POST /v1/charges/{id}/verify ------------------------------------------------------------------------
    verify_key: str = attrs.field(default="api_key", metadata=_choice("sent to verify: your key"))
    verify_hash: str = attrs.field(default="request_hash", metadata=_choice("sent to verify: the request's hash"))
    verify_nonce: str = attrs.field(default="nonce", metadata=_choice("sent to verify: the nonce of the charge"))

    # --- GET /v1/saved-payment-methods/options ---------------------------------------------------------------
    options_currency: str = attrs.field(
        default="currency", metadata=_choice("query name of the currency whose wallets are asked for")
    )
    options_list: str = attrs.field(default="options", metadata=_choice("the list of wallets"))
    option_wallet: str = attrs.field(
        default="payment_method", metadata=_choice("a wallet's name in an item of that list, unless items are texts")
    )

    # --- POST /v1/saved-payment-methods/{id}/charges ---------------------------------------------------------
    silent_grant: str = attrs.field(
        default="saved_method_jws", metadata=_choice("the grant in a silent charge, with send_grant")
    )

    # --- refusals --------------------------------------------------------------------------------------------
    error_code: str = attrs.field(
        default="error", metadata=_choice("the code in a refusal's body; its text for people is never read")
    )

    # --- credentials of agents -------------------------------------------------------------------------------
    payload_charge: tuple[str, ...] = attrs.field(
        default=("challenge_id",), metadata=_choice("a credential's payload: the charge that was paid")
    )
    payload_grant: tuple[str, ...] = attrs.field(
        default=("saved_method_jws",),
        metadata=_choice("a credential's payload, or base64url JSON without a challenge: a grant"),
    )
    payload_setup: tuple[str, ...] = attrs.field(
        default=("saved_method_id",), metadata=_choice("a credential's payload: the saved method that was set up")
    )
    native_charge: tuple[str, ...] = attrs.field(
        default=("challenge_id", "challengeId", "charge_id"),
        metadata=_choice("base64url JSON without a challenge, with charge_id_json: the charge that was paid"),
    )

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(BrokerNames):
            value: str | tuple[str, ...] = getattr(self, field.name)
            if not value or (isinstance(value, tuple) and not all(value)):
                raise WiringError(f"BrokerNames({field.name}={value!r}): a member has a name; it cannot be empty")
        for one, other in combinations((self.payload_charge, self.payload_grant, self.payload_setup), 2):
            if both := set(one) & set(other):
                raise WiringError(f"BrokerNames: {sorted(both)} of a credential's payload would mean two things")


@attrs.frozen(kw_only=True)
class Sign:
    """How a refusal is told: by its status, and by the code in its body where several share a status.

    ``codes``: any of them; none takes the status whatever the body says, and "" is a body that names no code.

    Raises:
        WiringError: a status that is no refusal: 4xx is, but for 429.
    """

    status: int
    codes: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not 400 <= self.status < 500 or self.status == 429:
            raise WiringError(f"Sign(status={self.status}): a refusal is 4xx and not 429; others say nothing for sure")


@attrs.frozen(kw_only=True)
class BrokerRefusals:
    """By which status and code the broker says what. Any other refusal says nothing about the money.

    Raises:
        WiringError: one answer would mean two things.
    """

    not_paid: Sign = attrs.field(default=Sign(status=402), metadata=_choice("verify: nobody has paid yet"))
    already_verified: Sign = attrs.field(
        default=Sign(status=409), metadata=_choice("verify: paid, and its receipt was handed out before")
    )
    expired: Sign = attrs.field(default=Sign(status=410), metadata=_choice("verify: it cannot be paid any more"))
    refunded: Sign = attrs.field(
        default=Sign(status=410, codes=("refunded",)), metadata=_choice("verify: paid, and given back since")
    )
    unknown_charge: Sign = attrs.field(default=Sign(status=404), metadata=_choice("verify: there is no such charge"))
    hash_mismatch: Sign = attrs.field(
        default=Sign(status=422, codes=("request_hash_mismatch", "")),
        metadata=_choice("verify: the hash is not the one that the charge was created with"),
    )
    charge_failed: Sign = attrs.field(
        default=Sign(status=402), metadata=_choice("silent charge: the wallet declined, no money moved")
    )
    scope_exceeded: Sign = attrs.field(
        default=Sign(status=403), metadata=_choice("silent charge: beyond what the grant allows")
    )
    nonce_reused: Sign = attrs.field(
        default=Sign(status=409), metadata=_choice("silent charge: its nonce was used for one that is not told")
    )
    method_inactive: Sign = attrs.field(
        default=Sign(status=410), metadata=_choice("silent charge: the wallet is bound no more, for good")
    )
    unknown_method: Sign = attrs.field(
        default=Sign(status=404), metadata=_choice("silent charge: there is no such saved method")
    )

    def __attrs_post_init__(self) -> None:
        for group in (OF_VERIFY, OF_SILENT):
            for one, other in combinations(group, 2):
                if _clash(self._sign(one), self._sign(other)):
                    raise WiringError(f"BrokerRefusals: {one} and {other} cannot be told apart; give them codes")

    def meaning(self, status: int, code: str, among: tuple[Meaning, ...]) -> Meaning | None:
        """What a refusal says; None if nothing that is known. A sign with codes counts before one without."""
        found: Meaning | None = None
        for name in among:
            sign = self._sign(name)
            if sign.status == status and code in sign.codes:
                return name
            if sign.status == status and not sign.codes:
                found = name
        return found

    def _sign(self, name: Meaning) -> Sign:
        sign: Sign = getattr(self, name)
        return sign


def _clash(one: Sign, other: Sign) -> bool:
    """Whether an answer could be both, and neither is the closer description."""
    if one.status != other.status:
        return False
    return bool(set(one.codes) & set(other.codes)) or one.codes == other.codes == ()


DEFAULT_NAMES: Final = BrokerNames()
DEFAULT_REFUSALS: Final = BrokerRefusals()
