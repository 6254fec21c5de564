"""Which addresses in a challenge are HitPay's, and which are a stranger's.

A challenge comes from the server that wants the money. Its checkout address is shown to a person who will pay there,
and its polling address is called by this program: so both are held against a list before either happens.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs

from flovia.client.hitpay.names import DEFAULT_WALLET_NAMES, WalletNames
from flovia.client.wallet import PaymentContext, description_of
from flovia.core.challenge import Challenge
from flovia.core.encoding import JsonObject
from flovia.core.errors import WiringError
from flovia.core.fields import printable
from flovia.core.money import Price, exponent, to_base_units
from flovia.core.origin import is_loopback
from flovia.signed import issuer_origin

BROKER: Final = "https://sandbox.mpp.hitpay.dev"
"""HitPay's broker; production is announced, without an address (HitPay docs: MPP landing page)."""

CHECKOUT_HOSTS: Final = ("securecheckout.hit-pay.com", "securecheckout.sandbox.hit-pay.com")
"""Where HitPay has people pay (HitPay docs: payment requests; HitPay's MPP samples)."""

MAX_URL: Final = 2048
_PLAIN: Final = re.compile(r"[!#-;=?-Z\[\]_a-z~]+", re.ASCII).fullmatch  # no space, quote, < > \ ^
_ID: Final = re.compile(r"[A-Za-z0-9_-]{4,128}", re.ASCII).fullmatch


class Unpayable(Exception):  # not an error: it only carries a reason to decline
    """The challenge cannot be paid by this wallet; the text says why, for people."""


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if not host or "/" in host or ":" in host or host != host.lower():
            raise WiringError(f"Pins(checkout_hosts=…): {host!r} is no host name: write pay.example.com")
    return tuple(hosts)


@attrs.frozen(kw_only=True)
class Pins:
    """What is HitPay's.

    ``broker``: the origin of the broker, where charges are polled and whose keys sign receipts. ``checkout_hosts``:
    the hosts a person may be sent to, over https on port 443. Besides, everything on this machine is allowed if the
    paid server is on this machine too: that is how the local sandbox is used.

    Raises:
        WiringError: the broker is no https origin (or loopback), or a host is none.
    """

    broker: str = attrs.field(default=BROKER, converter=issuer_origin)
    checkout_hosts: tuple[str, ...] = attrs.field(default=CHECKOUT_HOSTS, converter=_hosts)

    def local(self, url: SplitResult, server: str) -> bool:
        """Whether an address is on this machine and may be: because the server is, or the configured broker."""
        here = any(is_loopback(urlsplit(origin).hostname or "") for origin in (server, self.broker))
        return here and url.scheme in ("http", "https") and is_loopback(url.hostname or "")

    def checkout(self, text: object, server: str) -> str:
        """A checkout address that a person may be shown.

        Raises:
            Unpayable: it is not HitPay's.
        """
        url = _split(text)
        if url is None or not (
            self.local(url, server)
            or (url.scheme == "https" and url.hostname in self.checkout_hosts and url.port in (None, 443))
        ):
            raise Unpayable("the challenge's checkout address is not HitPay's")
        return url.geturl()

    def polling(self, text: object, server: str, ident: str, path: str) -> tuple[str, str]:
        """A polling address that may be called, and its origin, which signs the receipts.

        Raises:
            Unpayable: it is not the broker's, or not that of ``path`` and ``ident``.
        """
        url = _split(text)
        origin = "" if url is None else f"{url.scheme}://{url.netloc.lower()}"
        if url is None or not (origin == self.broker or self.local(url, server)):
            raise Unpayable("the challenge's polling address is not the configured broker's")
        if url.path != f"{path}/{ident}" or url.query or url.fragment:
            raise Unpayable("the challenge's polling address is not that of its charge")
        return url.geturl(), origin


def _split(text: object) -> SplitResult | None:
    if not isinstance(text, str) or len(text) > MAX_URL or not _PLAIN(text):
        return None
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    return None if url.username is not None or url.password is not None or not url.hostname else url


@attrs.frozen(kw_only=True)
class Checkout:
    """What a person needs to pay, or to approve a saved wallet (``setup``).

    ``limits``: what a setup asks to be allowed, for people, as the server says it; the page has the last word.
    ``url`` is where they do it: whoever has it can pay, so it is in no repr and belongs in no log. ``reference`` is
    what ``resume`` takes; ``expires_at`` in Unix seconds. ``description`` is a stranger's text, made printable.
    """

    url: str = attrs.field(repr=False)
    reference: str
    origin: str
    price: Price
    charge_id: str
    expires_at: float | None
    description: str | None = None
    setup: bool = False
    limits: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ChargeTerms:
    """A one-time charge as the challenge describes it, its addresses checked. ``issuer`` signs its receipt."""

    charge_id: str
    checkout_url: str = attrs.field(repr=False)
    polling_url: str = attrs.field(repr=False)
    issuer: str


def details(challenge: Challenge) -> JsonObject:
    """The challenge's ``methodDetails``, or nothing."""
    found = challenge.request_json.get("methodDetails")
    return found if isinstance(found, dict) else {}


def is_saved(challenge: Challenge) -> bool:
    """Whether a challenge is for a saved wallet: by its mode, or by HitPay's own method name."""
    return challenge.method == "hitpay-save" or details(challenge).get("mode") == "saved-method"


def identifier(members: JsonObject, name: str) -> str:
    """An id in the challenge.

    Raises:
        Unpayable: there is none, or it could not stand in a URL.
    """
    found = members.get(name)
    if not isinstance(found, str) or not _ID(found):
        raise Unpayable(f"the challenge has no usable {name}")
    return found


def check_money(challenge: Challenge, price: Price) -> None:
    """Hold HitPay's own spelling of the amount against ``price``, what the challenge asks in base units.

    ``amount_decimal`` and ``exponent`` stand beside it for readers that take base units for whole units; a challenge
    without them says nothing else (HitPay's own has none), but one that says two things is not shown to anybody.

    Raises:
        Unpayable: they disagree, or are none.
    """
    members = details(challenge)
    decimal, digits = members.get("amount_decimal"), members.get("exponent")
    if digits is not None and str(digits) != str(exponent(price.currency)):
        raise Unpayable(f"the challenge's exponent is not that of {price.currency.upper()}")
    if decimal is None:
        return
    try:
        found = to_base_units(decimal, price.currency) if isinstance(decimal, str) else None
    except WiringError:
        found = None
    if found is None:
        raise Unpayable(f"the challenge asks {price}, and its amount_decimal is no amount of {price.currency.upper()}")
    if found != price.amount:
        said = f"{printable(str(decimal))} {price.currency.upper()}"
        raise Unpayable(f"the challenge contradicts itself: it asks {price}, and its amount_decimal is {said}")


def asked_limits(members: JsonObject, currency: str) -> tuple[str, ...]:
    """What a setup asks to be allowed, as its challenge says it: a line each, for people."""
    found: list[str] = []
    for name, words in (("max_amount_per_charge", "per charge"), ("total_amount_cap", "in total")):
        text = members.get(name)
        if isinstance(text, str):
            try:
                amount = Price(amount=to_base_units(text, currency), currency=currency)
            except WiringError:
                continue  # no amount: the page says it
            found.append(f"at most {amount} {words}")
    uses, until = members.get("max_uses"), members.get("valid_until")
    if type(uses) is int and uses > 0:
        found.append("at most one charge" if uses == 1 else f"at most {uses} charges")
    if isinstance(until, str):
        found.append(f"until {printable(until[:40])}")
    return tuple(found)


def charge_terms(
    challenge: Challenge, server: str, pins: Pins, price: Price, names: WalletNames = DEFAULT_WALLET_NAMES
) -> ChargeTerms:
    """The one-time charge of a challenge for ``price`` by ``server`` (its origin).

    Raises:
        Unpayable: it is for a saved wallet, incomplete, names two amounts, or an address is not HitPay's.
    """
    if is_saved(challenge):
        raise Unpayable("the challenge is for a saved wallet: use SavedMethodWallet")
    check_money(challenge, price)
    members = details(challenge)
    charge_id = identifier(members, names.asked_charge)
    polling_url, issuer = pins.polling(members.get("polling_url"), server, charge_id, "/v1/charges")
    checkout_url = pins.checkout(members.get("checkout_url"), server)
    return ChargeTerms(charge_id=charge_id, checkout_url=checkout_url, polling_url=polling_url, issuer=issuer)


def checkout(terms: ChargeTerms, challenge: Challenge, context: PaymentContext) -> Checkout:
    """What to show for a charge."""
    return Checkout(
        url=terms.checkout_url,
        reference=context.reference,
        origin=context.origin,
        price=context.price,
        charge_id=terms.charge_id,
        expires_at=context.expires_at,
        description=description_of(challenge),
    )
