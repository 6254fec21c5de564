"""What a gate and a provider say to each other: plain records, three verdicts, and the protocol itself.

Re-exported with a worked example by :mod:`flovia.providers.base`, which is the page for authors.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs

from flovia.core.challenge import Challenge
from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.http import HttpRequest
from flovia.core.money import Price

_NOTHING: Final[JsonObject] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Quote:
    """What a provider is told when a challenge is made.

    ``expires_at``: Unix seconds at which the challenge will expire unless the provider wants it sooner.
    ``nonce``: 128 random bits, base64url, which the gate binds into the challenge; it comes back in
    :attr:`Presented.nonce`. Providers with ``fixed_terms`` must look at ``price`` and ``description`` only.
    """

    price: Price
    description: str | None
    realm: str
    request: HttpRequest
    nonce: str
    expires_at: float


@attrs.frozen(kw_only=True)
class Terms:
    """What the challenge shall say.

    ``request`` becomes the challenge's ``request`` parameter: at least ``amount`` (base units, a digit
    string) and ``currency`` (lower case), see :func:`charge_request`. ``opaque`` is added to the bound
    opaque map (flat, text to text; the names ``n`` and ``s`` are the gate's). ``expires_at`` may shorten
    the challenge's life. ``headers`` and ``body`` are added to the 402 response and to its JSON body.
    """

    request: JsonObject
    opaque: Mapping[str, str] = attrs.field(factory=dict[str, str])
    expires_at: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: JsonObject = attrs.field(factory=dict[str, JsonValue])


@attrs.define
class Presented:
    """A credential whose challenge is authentic, unexpired (or already claimed) and claimed by this request.

    ``charge`` is the decoded request of the challenge: what was asked for, under the MAC. ``payload`` is the
    proof, from the client, not trusted. ``nonce`` stays the same however often this credential comes back,
    so use it as the idempotency key towards the backend. ``opaque`` is what :attr:`Terms.opaque` added.
    ``attempt`` counts from 1. Read-only by agreement: one is made for every paid request, and freezing costs as
    much as making it.
    """

    challenge: Challenge
    charge: JsonObject = attrs.field(repr=False)
    payload: JsonObject = attrs.field(repr=False)
    source: str | None
    opaque: JsonObject = attrs.field(repr=False)
    nonce: str
    attempt: int
    request: HttpRequest


@attrs.define(kw_only=True)
class Paid:
    """The money has moved. The gate still compares amount, currency and recipient with the challenge.

    ``reference`` identifies the payment at the provider, canonically (one payment, one spelling): it is the
    unique key against using one payment twice, the receipt's reference and the event's payment id.
    ``amount`` in base units. ``receipt_extra`` joins the receipt's members, ``receipt_headers`` the response.
    Read-only by agreement, like :class:`Presented`.
    """

    reference: str
    amount: int
    currency: str
    recipient: str | None = None
    payer: str | None = None
    receipt_extra: JsonObject = attrs.field(default=_NOTHING, repr=False)
    receipt_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)


@attrs.frozen(kw_only=True)
class NotPaid:
    """The money has certainly not moved, and nothing that is under way will move it.

    ``problem`` is the code of a 402 problem type (``verification-failed``, ``invalid-payload``,
    ``payment-insufficient`` …). ``same_challenge``: the payer has yet to act, so the same challenge is presented
    again with ``retry_after_s``; otherwise, and once that one has expired, a fresh one is. So for a payment that
    was made and is merely not confirmed yet answer :class:`Unknown`, or it would be asked for twice.
    """

    problem: str = "verification-failed"
    retry_after_s: int | None = None
    same_challenge: bool = False


@attrs.frozen(kw_only=True)
class Unknown:
    """Nobody can say whether money moved: time-out, 5xx, garbage. The client gets 503 and no challenge.

    The claim is parked; the same credential re-enters with the same nonce. Never answer ``NotPaid`` when in
    doubt: the payer would be asked to pay twice.
    """

    retry_after_s: int = 2


Verdict = Paid | NotPaid | Unknown


class Provider(Protocol):
    """A payment provider. Attributes are read once, when a route is set up."""

    @property
    def name(self) -> str:
        """What people write in ``provider=``."""
        ...

    @property
    def rail(self) -> str:
        """What people write in ``rail=``; ``mpp`` for all that flovia ships."""
        ...

    @property
    def method(self) -> str:
        """The payment method id in challenges and credentials: ``[a-z][a-z0-9:_-]*``."""
        ...

    @property
    def intent(self) -> str:
        """The intent; ``charge``."""
        ...

    @property
    def live(self) -> bool:
        """False only if no real money can be involved. A live provider demands a configured secret."""
        ...

    @property
    def fixed_terms(self) -> bool:
        """True if ``quote`` asks for no effect and depends on price and description alone.

        Then its answer is encoded once per route.
        """
        ...

    @property
    def deadline_s(self) -> float:
        """Seconds ``verify`` may take in all; after that the outcome counts as unknown."""
        ...

    @property
    def receipt_header(self) -> str:
        """The header, in lower case, by which an Observer recognises a paid answer of this provider's own SDK."""
        ...

    def quote(self, quote: Quote) -> Flow[Terms]:
        """What to ask the client for.

        Raise :class:`~flovia.core.errors.HttpError` or return normally; an error becomes 503 with no challenge.
        """
        ...

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Whether this credential's payment was made. An exception counts as :class:`Unknown`."""
        ...


def charge_request(
    price: Price,
    *,
    recipient: str | None = None,
    description: str | None = None,
    external_id: str | None = None,
    method_details: JsonObject | None = None,
) -> JsonObject:
    """The request object of the charge intent (draft-payment-intent-charge-00): amounts as base-unit digits."""
    request: dict[str, JsonValue] = {"amount": str(price.amount), "currency": price.currency}
    if recipient is not None:
        request["recipient"] = recipient
    if description is not None:
        request["description"] = description
    if external_id is not None:
        request["externalId"] = external_id
    if method_details is not None:
        request["methodDetails"] = method_details
    return request
