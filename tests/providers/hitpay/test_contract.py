"""The one-time charge keeps every promise of a provider."""

from collections.abc import Iterable

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject
from flovia.core.money import Price
from flovia.core.provider import Provider
from flovia.providers.hitpay import HitPayProvider
from flovia.testing.ledger_steps import ManualClock
from flovia.testing.providers import Ask, ProviderContract
from tests.providers.hitpay.fake import FakeHitPay, config


class TestHitPay(ProviderContract):
    """See :class:`ProviderContract`."""

    price = Price(amount=100, currency="sgd")

    def setup_method(self) -> None:
        """A backend for each test; every bench starts its clock at the same second."""
        self.hitpay = FakeHitPay(ManualClock())

    def provider(self) -> Provider:
        """As an app makes it."""
        return HitPayProvider(config())

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
