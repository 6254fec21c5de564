"""What a gate and a provider say to each other: plain records, four verdicts, and the protocol itself.

Re-exported with a worked example by :mod:`flovia.providers.base`, which is the page for authors.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

import attrs

from flovia.core.challenge import Challenge
from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.errors import FloviaError
from flovia.core.http import HttpRequest
from flovia.core.money import Price
from flovia.core.problems import ProblemType
from flovia.core.scope import read_opaque

_NOTHING: Final[JsonObject] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Quote:
    """What a provider is told when a challenge is made.

    ``expires_at``: Unix seconds at which the challenge will expire unless the provider wants it sooner.
    ``nonce``: 128 random bits, base64url, which the gate binds into the challenge; it comes back in
    :attr:`Presented.nonce`. ``client``: who is asking, as the app's limits count clients. Providers with
    ``fixed_terms`` must look at ``price`` and ``description`` only.
    """

    price: Price
    description: str | None
    realm: str
    request: HttpRequest
    nonce: str = attrs.field(repr=False)
    expires_at: float
    client: str = ""


@attrs.frozen(kw_only=True)
class Look:
    """What else a 402 says, beside the challenge and the members of its problem.

    ``headers`` and ``body`` are added to the response and to its JSON body; the problem's own members win, unless
    ``whole_body``: then ``body`` is all of it. ``content_type`` replaces ``application/problem+json``.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: JsonObject = attrs.field(factory=dict[str, JsonValue], repr=False)
    whole_body: bool = False
    content_type: str | None = None


@attrs.frozen(kw_only=True)
class Terms:
    """What the challenge shall say.

    ``request`` becomes the challenge's ``request`` parameter: at least ``amount`` (base units, a digit
    string) and ``currency`` (lower case), see :func:`charge_request`. ``opaque`` is added to the bound
    opaque map (flat, text to text; the names ``n`` and ``s`` are the gate's). ``expires_at`` (Unix seconds) may
    shorten the challenge's life; with ``own_expiry`` it is the payment's own deadline and counts as it stands.
    ``headers`` and ``body`` are added to the 402 response and to its JSON body; ``look`` says more about both.
    ``handle``: the provider's own name of what was asked for. The gate keeps the challenge under it for
    ``handle_kept_s`` seconds, for credentials that name nothing else (:class:`AdoptingProvider`).
    """

    request: JsonObject = attrs.field(repr=False)
    opaque: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    expires_at: float | None = None
    own_expiry: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    body: JsonObject = attrs.field(factory=dict[str, JsonValue], repr=False)
    look: Look | None = attrs.field(default=None, repr=False)
    handle: str | None = None
    handle_kept_s: float = 0.0


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
    _nonce: str | None = attrs.field(alias="nonce")
    attempt: int
    request: HttpRequest

    @property
    def nonce(self) -> str:
        """128 random bits, base64url; read from the challenge when somebody asks for them."""
        if self._nonce is None:
            self._nonce = read_opaque(self.challenge.opaque or "").nonce
        return self._nonce


@attrs.define(kw_only=True)
class Paid:
    """The money has moved. The gate still compares amount, currency and recipient with the challenge.

    ``reference`` identifies the payment at the provider, canonically (one payment, one spelling): it is the
    unique key against using one payment twice, the receipt's reference and the event's payment id.
    ``amount`` in base units. ``receipt_extra`` joins the receipt's members, ``receipt_headers`` the response.
    ``receipt``: the whole value of ``Payment-Receipt`` in place of the protocol's own form, for a credential that
    was not in the protocol's form either. ``data``: what the provider wants to find again with the payment. All of
    it is kept, so that a redelivery says the same. Read-only by agreement, like :class:`Presented`.
    """

    reference: str
    amount: int
    currency: str
    recipient: str | None = None
    payer: str | None = None
    receipt_extra: JsonObject = attrs.field(default=_NOTHING, repr=False)
    receipt_headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    receipt: str | None = attrs.field(default=None, repr=False)
    data: JsonObject = attrs.field(default=_NOTHING, repr=False)


@attrs.frozen(kw_only=True)
class NotPaid:
    """The money has certainly not moved, and nothing that is under way will move it.

    ``problem`` is the code of a 402 problem type (``verification-failed``, ``invalid-payload``,
    ``payment-insufficient`` …). ``same_challenge``: the payer has yet to act, so the same challenge is presented
    again with ``retry_after_s``; otherwise, and once that one has expired, a fresh one is. So for a payment that
    was made and is merely not confirmed yet answer :class:`Unknown`, or it would be asked for twice. ``look``: what
    the 402 with the same challenge says besides (a fresh one has :attr:`Terms.look`).
    """

    problem: str = "verification-failed"
    retry_after_s: int | None = None
    same_challenge: bool = False
    look: Look | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Unknown:
    """Nobody can say whether money moved: time-out, 5xx, garbage. The client gets 503 and no challenge.

    The claim is parked; the same credential re-enters with the same nonce. Never answer ``NotPaid`` when in
    doubt: the payer would be asked to pay twice.
    """

    retry_after_s: int = 2


@attrs.frozen(kw_only=True)
class PaidBack:
    """The money had moved and has been given back, so it buys nothing. The client gets 403 and no challenge.

    ``reference`` as :attr:`Paid.reference`. ``amount``: what went back, base units of ``currency``; it is put on record
    unless that was done before. None where the backend does not say how much: then nothing is recorded.
    """

    reference: str
    amount: int | None
    currency: str


class Refusal(FloviaError):
    """Raise it in ``quote``, ``adopt`` or ``verify`` to refuse with a problem of the provider's own: no challenge.

    ``problem``: a code of :data:`~flovia.core.problems.PROBLEMS` or a type of the provider's, of any status but 402.
    ``retry_after_s``: whole seconds. ``body``: members added to the problem's. ``open_outcome``: raised in ``verify``,
    whether money may have moved; then the claim is parked and the same credential may come back, else it is given
    back. A refusal is no bug and is not logged as one; the text of the exception is for people and says no secret.
    """

    def __init__(
        self,
        problem: str | ProblemType,
        *,
        retry_after_s: int | None = None,
        body: JsonObject = _NOTHING,
        open_outcome: bool = True,
    ) -> None:
        super().__init__(f"refused: {problem if isinstance(problem, str) else problem.code}")
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.body = body
        self.open_outcome = open_outcome


Verdict = Paid | NotPaid | Unknown | PaidBack


@attrs.frozen(kw_only=True)
class Adopted:
    """What a credential in a provider's own form stands for.

    ``handle``: it pays what was asked for under this :attr:`Terms.handle`; the gate takes the challenge it has kept.
    ``terms``: it pays without having been asked; the gate makes the challenge it would have been asked with, and finds
    that one again when the same credential comes back for the same request before its payment has been delivered, and
    under the same Idempotency-Key also after that. One of the two. ``payload``: the proof, as
    :attr:`Presented.payload`; the same for every form in which one credential may come.

    ``check``: with ``terms``, what to find out about a credential before anything is written down for it. A flow that
    returns None if it may pay, or why not; it may raise :class:`Refusal`. Not asked where a payment is under way.
    """

    payload: JsonObject = attrs.field(repr=False)
    handle: str | None = None
    terms: Terms | None = None
    check: Callable[[], Flow[NotPaid | None]] | None = attrs.field(default=None, repr=False, eq=False)


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


@runtime_checkable
class AdoptingProvider(Protocol):
    """A provider that also takes credentials which are not in the protocol's form, because its own SDK sends such.

    MAC, scope, expiry and single use hold for them as for any other: they are checked on the challenge that the
    credential stands for.
    """

    def adopt(self, token: str, quote: Quote) -> Flow[Adopted | None]:
        """What the token after ``Payment`` stands for; None if it is nothing of this provider's.

        ``quote``: what a challenge for this request would be made from. The token is not to be trusted, and nothing
        may be charged here.
        """
        ...


@runtime_checkable
class PriceChecking(Protocol):
    """A provider that cannot take every price."""

    def check_price(self, price: Price) -> None:
        """Refuse, when a route is set up, a price that could never be paid.

        Raises:
            WiringError: it says which prices can.
        """
        ...


@runtime_checkable
class AmountReading(Protocol):
    """A provider whose challenges may say the amount in another way than in base units under ``amount``."""

    def amount_asked(self, charge: JsonObject) -> int:
        """What a challenge's request asks for, in base units. It may be anybody's words: the MAC is checked later.

        Raises:
            ParseError: it says no amount.
        """
        ...


@runtime_checkable
class LateRedeeming(Protocol):
    """A provider whose payments can be made in time and presented late."""

    @property
    def redeem_late_s(self) -> float:
        """Seconds after its expiry for which a challenge is still verified.

        ``verify`` then says whether the payment was made while it could be; what was not is asked for afresh.
        """
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
