"""The one-time charge keeps every promise of a provider."""

import hmac
import json
from collections.abc import Iterable
from hashlib import sha256

from flovia.core.challenge import format_challenge
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject
from flovia.core.http import Headers
from flovia.core.issued import keep_issued
from flovia.core.money import Price
from flovia.core.provider import Provider
from flovia.core.refund import RefundOrder, RefundVerdict
from flovia.core.webhook import Heard
from flovia.ledger.memory import MemoryLedger
from flovia.providers.hitpay import HitPayProvider
from flovia.testing.flows import ByHand, drive
from flovia.testing.ledger_steps import ManualClock
from flovia.testing.provider_owed import Webhook
from flovia.testing.provider_steps import Bench
from flovia.testing.providers import Ask, ProviderContract
from tests.providers.hitpay.fake import SALT, FakeHitPay, config


class TestHitPay(ProviderContract):
    """See :class:`ProviderContract`."""

    price = Price(amount=100, currency="sgd")

    def setup_method(self) -> None:
        """A backend for each test; every bench starts its clock at the same second."""
        self.hitpay = FakeHitPay(ManualClock())
        self.ledger = MemoryLedger(clock=ManualClock())
        self.sharing = False

    def provider(self) -> Provider:
        """As an app makes it."""
        return HitPayProvider(config(breaker_failures=1000))

    def backend(self, call: HttpCall) -> HttpReply:
        """The fake answers."""
        return self.hitpay(call)

    def pays(self, ask: Ask) -> JsonObject:
        """A payer pays on the checkout page."""
        ident = str(ask.opaque["challenge_id"])
        self.hitpay.pay(ident)
        return {"challenge_id": ident}

    def refused(self, ask: Ask) -> JsonObject:
        """Nobody paid in time."""
        ident = str(ask.opaque["challenge_id"])
        self.hitpay.states[ident] = "expired"
        return {"challenge_id": ident}

    def pending(self, ask: Ask) -> JsonObject:
        """Nobody has paid yet."""
        return {"challenge_id": str(ask.opaque["challenge_id"])}

    def secrets(self, payload: JsonObject) -> Iterable[str]:
        """The charge's id is public: it is in the challenge."""
        return ()

    def idempotent(self, call: HttpCall) -> bool:
        """Asking for the receipt again changes nothing, although it is a POST."""
        return call.url.endswith("/verify") or super().idempotent(call)

    # --- webhooks and refunds: what the provider noted when it was paid is still there -----------------------------

    def webhooks(self) -> Iterable[Webhook]:
        """Money for a charge that the broker has closed."""
        bench = self._shared(self._bench())
        ident = str(bench.ask(self.price).opaque["challenge_id"])
        self.hitpay.states[ident] = "expired"
        self.hitpay.pay_at_core(ident)
        charge = self.hitpay.charges[ident]
        # HitPay's terms look up the challenge by the charge: a gate keeps it, so the bench does.
        drive(keep_issued("hitpay", ident, format_challenge(bench.ask(self.price).challenge), 1e6), bench.world)
        body = json.dumps({"id": charge["uuid"], "status": "completed", "reference_number": ident}).encode()
        signature = hmac.new(SALT.encode(), body, sha256).hexdigest()
        yield Headers.of((("content-type", "application/json"), ("hitpay-signature", signature))), body

    def _shared(self, bench: Bench) -> Bench:
        bench.world.ledger = self.ledger
        return bench

    def _bench(self) -> Bench:
        return self._shared(super()._bench()) if self.sharing else super()._bench()

    def _order(self, amount: int) -> RefundOrder:
        self.sharing = True
        try:
            return super()._order(amount)
        finally:
            self.sharing = False

    def _hear(self, headers: Headers, body: bytes, world: ByHand | None = None) -> Heard:
        world = world or ByHand(self._backend)
        world.ledger = self.ledger
        return super()._hear(headers, body, world)

    def _refund(self, order: RefundOrder, world: ByHand | None = None) -> RefundVerdict:
        world = world or ByHand(self._backend)
        world.ledger = self.ledger
        return super()._refund(order, world)
