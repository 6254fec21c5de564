"""Saved wallets (``hitpay-save``): bind one once, then charge it silently under a signed grant.

Here is what they are asked with: who may bind which wallet, and the page to do it on. The charges are in
:mod:`~flovia.providers.hitpay.silent`.
"""

import logging
import re
from collections.abc import Callable
from typing import Final

import attrs

from flovia.core.challenge import format_expires
from flovia.core.effects import Flow, now, recall, remember
from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.http import HttpRequest
from flovia.core.money import Price
from flovia.core.provider import Adopted, NotPaid, Quote, Refusal, Terms
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.amounts import to_hitpay
from flovia.providers.hitpay.broker import Broker, Setup
from flovia.providers.hitpay.calls import NAMESPACE, HitPayDown
from flovia.providers.hitpay.charges import HASH, terms_for
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.limits import take_creation
from flovia.providers.hitpay.native import grant_in, peek
from flovia.providers.hitpay.picking import picked, picked_in_body
from flovia.providers.hitpay.problems import NO_CUSTOMER, WALLET_UNSUPPORTED
from flovia.providers.hitpay.request_hash import request_hash
from flovia.signed import camel

_log = logging.getLogger("flovia")

WALLETS: Final[dict[str, frozenset[str]]] = {
    "grabpay_direct": frozenset({"sgd", "myr"}),
    "shopee_pay": frozenset({"sgd", "myr", "php"}),
    "touch_n_go": frozenset({"myr"}),
}
"""The wallets that can be saved and their currencies (HitPay docs: embedded recurring billing). HitPay's MPP samples
name more currencies; the broker's own list decides about those."""

_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?", re.ASCII).fullmatch
METHOD_ID: Final = "saved_method_id"
MAX_EMAIL: Final = 254


@attrs.frozen(kw_only=True)
class SavedMethods:
    """What customers may bind a wallet for.

    The amounts have no currency of their own: ``"10.00"`` is 10.00 SGD on a route priced in SGD, and 10.00 MYR on one
    in MYR. Routes in currencies of another size want a provider of their own.

    Args:
        customer_email: of the customer who asks; None if the request does not say.
        max_amount_per_charge: ``"10.00"``, in the currency of the price; HitPay's sample takes ten times the price.
        total_amount_cap: of all charges together, in the currency of the price.
        max_uses: how many charges.
        valid_for_s: how long, seconds.

    Raises:
        WiringError: an amount with a currency, or that is none.
    """

    customer_email: Callable[[HttpRequest], str | None]
    max_amount_per_charge: str
    total_amount_cap: str | None = None
    max_uses: int | None = None
    valid_for_s: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("max_amount_per_charge", "total_amount_cap"):
            value: object = getattr(self, name)
            if value is None and name == "total_amount_cap":
                continue
            if not isinstance(value, str) or not _AMOUNT(value) or not value.strip("0."):
                raise WiringError(
                    f"SavedMethods({name}={value!r:.40}) is no amount: write digits as text, '10.00', more than 0 and"
                    " without a currency; it is in the currency of each route's price"
                )

    def check(self, price: Price) -> None:
        """Whether a grant within these limits could pay the price at all.

        Raises:
            WiringError: it could not.
        """
        most = Price.parse(f"{self.max_amount_per_charge} {price.currency}")
        to_hitpay(most)
        if self.total_amount_cap is not None:
            to_hitpay(Price.parse(f"{self.total_amount_cap} {price.currency}"))
        if price.amount > most.amount:
            raise WiringError(
                f"a saved wallet is charged at most {most} at once, and the price is {price}. Raise"
                " SavedMethods(max_amount_per_charge=…), which is in the currency of each route's price, or leave saved"
                " wallets out of this route: paid_api(provider='hitpay', price=…)"
            )


def _limits(setup: Setup) -> dict[str, JsonValue]:
    """What a setup asks to be allowed, under the names of the grant's claims."""
    asked: dict[str, JsonValue] = {
        "max_amount_per_charge": setup.max_amount_per_charge,
        "total_amount_cap": setup.total_amount_cap,
        "max_uses": setup.max_uses,
        "valid_until": setup.valid_until,
    }
    return {name: value for name, value in asked.items() if value is not None}


def customer_from_header(request: HttpRequest) -> str | None:
    """The customer's e-mail from ``x-user-email`` (HitPay docs: MPP landing page). Trust it only behind your login."""
    return request.headers.get("x-user-email")


class SavedWallets:
    """What an agent is asked for that wants to bind a wallet, or brings a grant."""

    def __init__(self, config: HitPayConfig, broker: Broker, saved: SavedMethods | None) -> None:
        self._config = config
        self._broker = broker
        self._saved = saved

    # --- asking -----------------------------------------------------------------------------------------------

    def wallet_asked(self, request: HttpRequest) -> str | None:
        """The wallet that the agent wants to save, by header, query or body.

        A body is the app's too, which may have a word of its own there: it counts only if it is one of our wallets.
        """
        if self._saved is None:
            return None
        if wallet := picked(request, self._config):
            return wallet
        named = picked_in_body(request, self._config)
        return named if named in WALLETS else None

    def wallet_again(self, request: HttpRequest, currency: str) -> str | None:
        """The wallet of a grant that is of no use any more, if it can be bound anew; else paying once is offered."""
        claims = peek(grant_in(request, self._config))
        name = self._config.signed.names.payment_method
        hint = claims.get(name, claims.get(camel(name)))
        if self._saved is None or not isinstance(hint, str) or currency not in WALLETS.get(hint, ()):
            return None
        return None if self._email(self._saved, request) is None else hint

    def quote(self, quote: Quote, wallet: str) -> Flow[Terms]:
        """A page on which the customer binds the wallet, as a challenge.

        Raises:
            Refusal: a wallet that cannot be saved, no customer, too many setups, or HitPay gives none.
        """
        saved, config = self._saved, self._config
        if saved is None:
            raise Refusal(WALLET_UNSUPPORTED, body={"allowed": []}, open_outcome=False)
        saved.check(quote.price)
        currency = quote.price.currency
        email = self._email(saved, quote.request)
        if email is None:
            raise Refusal(NO_CUSTOMER, open_outcome=False)
        rh = request_hash(quote.request, config)
        try:
            allowed = yield from self._allowed(currency)
            if wallet not in allowed:
                # What the broker says, and nothing of the client's.
                raise Refusal(WALLET_UNSUPPORTED, body={"allowed": list(allowed)}, open_outcome=False)
            if wait := (yield from take_creation(config, quote.client)):
                raise Refusal("rate-limited", retry_after_s=wait)
            nonce = yield from store.nonce_for(config, "setup", quote.nonce)
            setup = yield from self._setup(saved, wallet, email, currency)
            created = yield from self._broker.set_up(setup, nonce=nonce, request_hash=rh)
        except HitPayDown as down:
            _log.warning("no saved method was set up: %s", down)
            raise Refusal("provider-unavailable", retry_after_s=down.retry_after_s) from None
        form = wire.form_of(quote.request, config)
        request = wire.challenge_request(
            quote.price, created, description=quote.description, form=form, wallet=wallet, limits=_limits(setup)
        )
        return terms_for(config, request, created, quote.price, opaque={METHOD_ID: created.id, HASH: rh}, form=form)

    @staticmethod
    def _email(saved: SavedMethods, request: HttpRequest) -> str | None:
        """The customer's address, if the request says one that can be one."""
        found = (saved.customer_email(request) or "").strip()
        return found if found and len(found) <= MAX_EMAIL and "@" in found and found.isprintable() else None

    def adopt(self, grant: str, quote: Quote, *, check: Callable[[], Flow[NotPaid | None]]) -> Adopted | None:
        """A grant that comes without a challenge: it pays today's price for this request."""
        claimed = peek(grant).get(self._config.signed.names.currency)
        if isinstance(claimed, str) and claimed.lower() != quote.price.currency:
            return None  # perhaps another offer of the route
        request = wire.challenge_request(quote.price, None, description=quote.description, wallet="")
        return Adopted(
            payload={self._config.names.payload_grant[0]: grant},
            terms=Terms(request=request, opaque={HASH: request_hash(quote.request, self._config)}),
            check=check,
        )

    def _setup(self, saved: SavedMethods, wallet: str, email: str, currency: str) -> Flow[Setup]:
        until = None if saved.valid_for_s is None else format_expires(int((yield from now()) + saved.valid_for_s))
        total = saved.total_amount_cap
        return Setup(
            payment_method=wallet,
            customer_email=email,
            currency=currency,
            max_amount_per_charge=to_hitpay(Price.parse(f"{saved.max_amount_per_charge} {currency}")),
            total_amount_cap=None if total is None else to_hitpay(Price.parse(f"{total} {currency}")),
            valid_until=until,
            max_uses=saved.max_uses,
        )

    def _allowed(self, currency: str) -> Flow[tuple[str, ...]]:
        """The wallets of our table that the broker offers for the currency; its list is kept for a while.

        A wallet that the table does not have for the currency counts if the broker names it: it knows better.
        """
        kept = yield from recall(NAMESPACE, f"wallets {currency}")
        if kept is not None:
            return tuple(kept.split())
        offered = yield from self._broker.options(currency)
        found = tuple(name for name in offered if name in WALLETS)
        yield from remember(NAMESPACE, f"wallets {currency}", " ".join(found), ttl_s=float(self._config.options_kept_s))
        return found
