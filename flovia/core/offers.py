"""What a route asks for: one offer or several, each a provider with a price, and how each becomes a challenge.

A fixed price with fixed terms is encoded once, when the route is set up; a 402 then costs one MAC. Whatever
is assembled here from prepared pieces is, by test, what :func:`flovia.core.challenge.format_challenge` writes.
"""

from collections.abc import Callable
from typing import Final, cast

import attrs

from flovia.core.binding import Keyring, Prefix, slots
from flovia.core.challenge import MAX_DESCRIPTION, clean_description
from flovia.core.encoding import encode_param
from flovia.core.errors import ParseError, WiringError
from flovia.core.fields import quote
from flovia.core.http import Headers, HttpRequest
from flovia.core.money import Price
from flovia.core.provider import AmountReading, LateRedeeming, PriceChecking, Provider, Quote, Terms

PriceFunction = Callable[[HttpRequest], "Price | str"]
HEADER_FIELD: Final = "Payment-Authorization"
MAX_CHALLENGE: Final = 4096
"""Characters of one challenge: a credential echoes it in base64, and servers cap a request's head at 8 KB."""
CLAIM_MARGIN_S: Final = 5.0
"""A claim's lease outlives the provider's deadline by this much, seconds."""
_CACHED_PRICES: Final = 256
_NO_REQUEST: Final = HttpRequest("GET", "", "", Headers.of(()))


@attrs.frozen(kw_only=True)
class Offer:
    """One way to pay for a route.

    ``price`` is fixed, or a function of the request. ``description`` is for people, at most 255 characters.

    Raises:
        WiringError: a description that is longer.
    """

    provider: Provider
    price: Price | PriceFunction
    description: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.description is not None and len(self.description) > MAX_DESCRIPTION:
            raise WiringError(
                f"the description {self.description[:40]!r}… has {len(self.description)} characters, more than"
                f" {MAX_DESCRIPTION}: shorten it, every credential has to carry it back"
            )


@attrs.define
class Issued:
    """A challenge that was just made: its id, the WWW-Authenticate value, and what it asks for.

    Read-only by agreement: one is made for every 402, and freezing costs as much as making it.
    """

    id: str
    field: str
    price: Price
    offer: "OfferPlan"
    terms: Terms | None = None


class OfferPlan:
    """An offer with everything about it that does not change between requests."""

    def __init__(self, offer: Offer, *, realm: str, keyring: Keyring) -> None:
        self.offer = offer
        self.provider = offer.provider
        self.method = offer.provider.method
        self.intent = offer.provider.intent
        self.price = offer.price if isinstance(offer.price, Price) else None
        self.name = f"{self.method}/{self.intent}"
        self.lease_s = offer.provider.deadline_s + CLAIM_MARGIN_S
        self.late_s = offer.provider.redeem_late_s if isinstance(offer.provider, LateRedeeming) else 0.0
        self.amount_asked = offer.provider.amount_asked if isinstance(offer.provider, AmountReading) else None
        if self.price is not None and isinstance(offer.provider, PriceChecking):
            offer.provider.check_price(self.price)
        self._realm = realm
        self._keyring = keyring
        self._quoted_realm = quote(realm)
        self.description = None if offer.description is None else clean_description(offer.description)
        self._description = "" if offer.description is None else f", description={quote(offer.description)}"
        self._pieces: dict[str, tuple[Prefix, str]] = {}
        self._fixed: dict[Price, str] = {}
        self.fixed_request = self.encoded(self.price) if self.price and self.provider.fixed_terms else None

    def price_for(self, request: HttpRequest) -> Price:
        """Today's price for this request.

        Raises:
            WiringError: the price function did not return a price.
        """
        price = self.offer.price
        if isinstance(price, Price):
            return price
        # Not trusted to be what its annotation says: a price function that returns None must not open the route.
        found = cast("object", price(request))
        if isinstance(found, str):
            return Price.parse(found)
        if not isinstance(found, Price):
            raise WiringError(f"the price function returned {type(found).__name__}; return a Price or '1.00 SGD'")
        return found

    def encoded(self, price: Price) -> str:
        """The request parameter of a provider with fixed terms."""
        found = self._fixed.get(price)
        if found is None:
            if len(self._fixed) >= _CACHED_PRICES:
                self._fixed.clear()
            terms = self._fixed_terms(price)
            try:
                found = self._fixed[price] = encode_param(terms.request)
            except ParseError as error:
                raise WiringError(
                    f"what provider {self.provider.name!r} asks for cannot be sent ({error}); is there a control"
                    " character in the description?"
                ) from error
        return found

    def _fixed_terms(self, price: Price) -> Terms:
        flow = self.provider.quote(
            Quote(
                price=price,
                description=self.offer.description,
                realm=self._realm,
                request=_NO_REQUEST,
                nonce="",
                expires_at=0.0,
            )
        )
        try:
            flow.send(None)
        except StopIteration as stop:
            terms: Terms = stop.value
            return terms
        raise WiringError(
            f"provider {self.provider.name!r} says fixed_terms but its quote() asks for an effect: set it to False"
        )

    def render(self, request: str, price: Price, expires: str, digest: str | None, opaque: str, header: bool) -> Issued:
        """Make the challenge: bind it and write the field value. All parameters are safe wire strings."""
        pieces = self._pieces.get(request)
        if pieces is None:
            if len(self._pieces) >= _CACHED_PRICES:
                self._pieces.clear()
            bound = slots(self._realm, self.method, self.intent, request, None, None, None, None)
            # The last three slots are empty: cut their separators off, and what stays does not change.
            pieces = self._pieces[request] = (
                Prefix(self._keyring, bound[: -len("||")]),
                f'Payment method="{self.method}", request="{request}", id="',
            )
        rest = f"{expires}|{digest or ''}|{opaque}"
        challenge_id = pieces[0].sign((f"{rest}|{HEADER_FIELD}" if header else rest).encode())
        digest_param = "" if digest is None else f', digest="{digest}"'
        header_param = f', header="{HEADER_FIELD}"' if header else ""
        field = (
            f'{pieces[1]}{challenge_id}", realm={self._quoted_realm}, intent="{self.intent}", expires="{expires}"'
            f'{digest_param}{self._description}, opaque="{opaque}"{header_param}'
        )
        return Issued(challenge_id, field, price, self)
