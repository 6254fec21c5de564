"""The provider itself: which of its parts answers what. Flows only; nothing here opens a connection."""

import logging
from typing import Final

from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject
from flovia.core.errors import WiringError
from flovia.core.http import Headers
from flovia.core.money import Price
from flovia.core.provider import Adopted, NotPaid, Presented, Quote, Refusal, Terms, Verdict
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown
from flovia.core.refund import RefundOrder, RefundVerdict
from flovia.core.webhook import Heard
from flovia.providers.hitpay import wire
from flovia.providers.hitpay.amounts import check_price
from flovia.providers.hitpay.broker import Broker
from flovia.providers.hitpay.charges import Charges, same
from flovia.providers.hitpay.config import HitPayConfig, from_environ
from flovia.providers.hitpay.core_api import CoreApi
from flovia.providers.hitpay.names import first
from flovia.providers.hitpay.native import read_native
from flovia.providers.hitpay.observed import HitPayReading
from flovia.providers.hitpay.problems import NOT_CONFIGURED, WALLET_UNSUPPORTED
from flovia.providers.hitpay.reconciling import Reconciler
from flovia.providers.hitpay.refunds import NO_KEY, Refunds
from flovia.providers.hitpay.saved import SavedMethods, SavedWallets
from flovia.providers.hitpay.silent import SilentCharges
from flovia.providers.hitpay.webhooks import Webhooks
from flovia.signed import Jwks

_log = logging.getLogger("flovia")

METHOD: Final = "hitpay"
SAVE_METHOD: Final = "hitpay-save"


class HitPayProvider:
    """Takes payments through HitPay's MPP broker.

    Args:
        config: how; default: what the environment says (``HITPAY_API_KEY`` and so on).
        saved: let customers bind a wallet and be charged silently. An agent that names a wallet gets a page to bind
            it, one that names none pays once.
        save_only: offer nothing but the binding of ``wallet``.
        wallet: the wallet that ``save_only`` offers where the agent names none.

    Raises:
        WiringError: settings that cannot work, or the library for signatures is missing.
    """

    name = "hitpay"
    rail = "mpp"
    intent = "charge"
    fixed_terms = False
    receipt_header = wire.MPP_RECEIPT

    def __init__(
        self,
        config: HitPayConfig | None = None,
        *,
        saved: SavedMethods | None = None,
        save_only: bool = False,
        wallet: str | None = None,
    ) -> None:
        self.config = from_environ() if config is None else config
        if save_only and saved is None:
            raise WiringError("save_only needs saved=SavedMethods(…): say what customers may bind a wallet for")
        self._saved_methods = saved
        self._save_only = save_only
        self._wallet = wallet
        self.method = SAVE_METHOD if save_only and self.config.profile == "hitpay" else METHOD
        broker, api = Broker(self.config), CoreApi(self.config)
        jwks = Jwks(origin=self.config.broker_endpoint.origin, limits=self.config.signed)
        self._charges = Charges(self.config, broker, api, jwks)
        self._saved = SavedWallets(self.config, broker, saved)
        self._silent = SilentCharges(self.config, broker, jwks)
        self._webhooks = Webhooks(self.config, broker, api, self.method)
        self._refunds = Refunds(self.config, api)
        self._reconciler = Reconciler(self.config, broker, api)

    def __repr__(self) -> str:
        return f"<HitPayProvider {self.config.broker_endpoint.environment}>"

    @property
    def live(self) -> bool:
        """Whether HitPay itself is asked: in production or in its sandbox, which behaves alike and needs the same care.

        False for a sandbox on this machine, and while there is no key: then nothing can be charged.
        """
        return self.config.api_key is not None and self.config.broker_endpoint.environment != "local"

    @property
    def deadline_s(self) -> float:
        """Seconds for a verification in all."""
        return self.config.verify_s

    @property
    def redeem_late_s(self) -> float:
        """Seconds for which an expired challenge is still verified: its charge may have been paid in time."""
        return float(self.config.redeem_late_s)

    @property
    def max_webhook(self) -> int:
        """Bytes of a webhook that are read."""
        return self.config.max_webhook

    @property
    def reading(self) -> HitPayReading:
        """How an Observer reads what HitPay's own SDK writes, under the names of these settings."""
        return HitPayReading(claims=self.config.signed.names, names=self.config.names)

    def check_price(self, price: Price) -> None:
        """Refuse a price that HitPay does not take.

        Raises:
            WiringError: it says why.
        """
        check_price(price, self.config)
        if self._saved_methods is not None:
            self._saved_methods.check(price)

    def amount_asked(self, charge: JsonObject) -> int:
        """What a challenge of ours asks for, whichever form its amount has."""
        return wire.amount_asked(charge)

    def quote(self, quote: Quote) -> Flow[Terms]:
        """A charge, or the binding of a wallet, and the challenge that leads to it."""
        self._configured()
        check_price(quote.price, self.config)
        wallet = self._saved.wallet_asked(quote.request)
        if wallet is None:
            wallet = self._saved.wallet_again(quote.request, quote.price.currency)
        if wallet is None and self._save_only:
            wallet = self._wallet
        if wallet is None and self._save_only:
            raise Refusal(WALLET_UNSUPPORTED, body={"allowed": []}, open_outcome=False)
        if wallet is not None:
            return (yield from self._saved.quote(quote, wallet))
        return (yield from self._charges.quote(quote))

    def adopt(self, token: str, quote: Quote) -> Flow[Adopted | None]:
        """What a credential in HitPay's own form stands for."""
        yield from ()
        native = read_native(token, self.config)
        if native is None:
            return None
        self._configured()
        if native.charge_id is not None:
            return Adopted(payload={self.config.names.payload_charge[0]: native.charge_id}, handle=native.charge_id)
        if native.grant is None or self._saved_methods is None:
            return None
        check_price(quote.price, self.config)
        grant, price = native.grant, quote.price
        # Whoever makes up grants leaves nothing in the ledger.
        return self._saved.adopt(grant, quote, check=lambda: self._silent.check(grant, price))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Whether the payment was made; a silent charge is made here."""
        self._configured()
        asked = wire.read_asked(presented.charge)
        if asked is None:
            return NotPaid(problem="invalid-challenge")
        if not self._is_silent(asked, presented.payload):
            return (yield from self._charges.verify(presented, asked))
        if self._saved_methods is None:
            return NotPaid(problem="invalid-payload")
        return (yield from self._silent.verify(presented, asked))

    def _is_silent(self, asked: wire.Asked, payload: JsonObject) -> bool:
        """Whether a credential has a saved wallet charged, so that its challenge's own charge is not what it shows."""
        names = self.config.names
        return bool(asked.mode) or any(name in payload for name in (*names.payload_grant, *names.payload_setup))

    def own_charge(self, charge: JsonObject, payload: JsonObject) -> str | None:
        """The charge of a challenge, if that is what the credential says was paid."""
        asked = wire.read_asked(charge)
        if asked is None or self._is_silent(asked, payload):
            return None
        named = first(payload, self.config.names.payload_charge)
        return asked.ident if isinstance(named, str) and same(named, asked.ident) else None

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Check a webhook, over its raw bytes, and ask HitPay what is true."""
        return (yield from self._webhooks.hear(headers, body))

    def refunds_lack(self) -> str | None:
        """Refunds need the key."""
        return NO_KEY if self.config.api_key is None else None

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Give a payment back."""
        return (yield from self._refunds.refund(order))

    @property
    def reconcile_pause_s(self) -> float:
        """Seconds between two charges that are looked at: HitPay takes 400 calls a minute, and payers come first."""
        return 0.0 if self.config.broker_endpoint.environment == "local" else 0.4

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """What became of a charge, whoever has told or not told of it."""
        return (yield from self._reconciler.reconcile(charge, keep=keep))

    def _configured(self) -> None:
        if self.config.api_key is None:
            _log.error("a paid route was asked for and HITPAY_API_KEY is not set: set it (and HITPAY_WEBHOOK_SALT)")
            raise Refusal(NOT_CONFIGURED, body={"error": NOT_CONFIGURED.code})
