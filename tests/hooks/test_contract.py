"""The contract of a provider, for one with webhooks and refunds; and that it finds the mistakes it is there to find."""

import io
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import urlsplit

import attrs
import pytest

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject
from flovia.providers.base import Flow, Headers, Heard, HttpError, NotRefunded, Refunded, RefundOrder, RefundVerdict
from flovia.testing.provider_owed import OwedPromises, Webhook
from flovia.testing.providers import Ask, ProviderContract
from tests.hooks.bank import Bank, HookBankProvider, event, sign


class HookBankContract(ProviderContract):
    """Pays with payment ids."""

    make: type[HookBankProvider] = HookBankProvider
    not_paid_statuses = frozenset({404, 409})

    @cached_property
    def bank(self) -> Bank:
        """This test's own."""
        return Bank()

    def provider(self) -> HookBankProvider:
        """A new one."""
        return self.make("https://bank.test")

    def pays(self, ask: Ask) -> JsonObject:
        """Pay."""
        name = f"testpayment{len(self.bank.payments)}"
        amount, currency = int(str(ask.charge["amount"])), str(ask.charge["currency"])
        return {"payment": self.bank.pay(name, ask.challenge.id, amount, currency)}

    def refused(self, ask: Ask) -> JsonObject:
        """Name a payment that nobody made."""
        return {"payment": "testnosuchpayment"}

    def secrets(self, payload: JsonObject) -> Iterable[str]:
        """The ids are public here: they are the references."""
        return ()

    def webhooks(self) -> Iterable[Webhook]:
        """A late payment, one that went back, and one that is fine."""
        names = [self.bank.pay(f"h{state}", "challenge", 100, "usd", state) for state in ("late", "paid", "back")]
        self.bank.payments["hback"]["returned"] = 40
        for name in names:
            yield Headers.of([("bank-signature", sign(event(name))), ("user-agent", "bank")]), event(name)

    def backend(self, call: HttpCall) -> HttpReply:
        """The bank's answer."""
        parts, found = urlsplit(call.url), list[str]()
        environ = {
            "REQUEST_METHOD": call.http_method,
            "PATH_INFO": parts.path,
            "CONTENT_LENGTH": str(len(call.body)),
            "wsgi.input": io.BytesIO(call.body),
            **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in call.headers},
        }
        body = b"".join(self.bank(environ, lambda status, headers, exc_info=None, /: found.append(status)))  # type: ignore[arg-type,func-returns-value]  # nobody writes
        return HttpReply(status=int(found[0][:3]), body=body)


class TestHookBank(HookBankContract):
    """The provider of these tests keeps the contract."""


# --- mistakes ------------------------------------------------------------------------------------------------------


class NoSignature(HookBankProvider):
    """Believes everybody."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Sign it ourselves."""
        return (yield from super().webhook(Headers.of([("bank-signature", sign(body))]), body))


class AsksFirst(HookBankProvider):
    """Asks the bank before it looks at the signature."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Ask."""
        yield from self._find("hlate")
        return (yield from super().webhook(headers, body))


class StripsSpaces(HookBankProvider):
    """Signs something else than the bytes that came."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Tidy up."""
        return (yield from super().webhook(headers, body.strip() + b"\r\n"))


class NeverAgain(HookBankProvider):
    """Says that all is well when the bank does not answer."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Swallow it."""
        try:
            return (yield from super().webhook(headers, body))
        except HttpError:
            return Heard()


class Raises(HookBankProvider):
    """Cannot read what is no JSON."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Read it."""
        body.decode("ascii")
        return (yield from super().webhook(headers, body))


class OwnWords(HookBankProvider):
    """Answers with a text of its own."""

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Answer."""
        return attrs.evolve((yield from super().webhook(headers, body)), code="thanks")


class NoKey(HookBankProvider):
    """Orders each refund under another key."""

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it."""
        self.orders = getattr(type(self), "orders", 0) + 1
        type(self).orders = self.orders
        return (yield from super().refund(attrs.evolve(order, nonce=f"key-{self.orders}")))


class Certain(HookBankProvider):
    """Takes no answer for a no."""

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it."""
        verdict = yield from super().refund(order)
        return verdict if isinstance(verdict, Refunded) else NotRefunded(reason="no")


class Optimist(HookBankProvider):
    """Takes no answer for a yes."""

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it."""
        verdict = yield from super().refund(order)
        if isinstance(verdict, Refunded | NotRefunded):
            return verdict
        return Refunded(refund_id="r", amount=order.amount, currency=order.currency)


class AllOfIt(HookBankProvider):
    """Gives everything back, whatever was ordered."""

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it."""
        return (yield from super().refund(attrs.evolve(order, amount=order.paid)))


class Talks(HookBankProvider):
    """Prints what it does."""

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Order it."""
        import logging

        logging.getLogger("bank").info("refund %s", order.nonce)
        return (yield from super().refund(order))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (NoSignature, {"test_forged_webhooks"}),
        (AsksFirst, {"test_forged_webhooks"}),
        (StripsSpaces, {"test_forged_webhooks"}),
        (NeverAgain, {"test_webhooks_without_a_backend"}),
        (Raises, {"test_no_webhooks"}),
        (OwnWords, {"test_webhooks", "test_forged_webhooks", "test_no_webhooks"}),
        (NoKey, {"test_refund", "test_refund_failures"}),
        (Certain, {"test_refund_failures"}),
        (Optimist, {"test_refund_failures"}),
        (AllOfIt, {"test_refund"}),
        (Talks, {"test_no_secret_is_shown_outside_of_requests"}),
    ],
)
def test_a_mistake_is_found(make: type[HookBankProvider], expected: set[str]) -> None:
    """Each mistake fails the check that is about it."""

    class Broken(HookBankContract):
        pass

    Broken.make = make
    found: set[str] = set()
    for name in [name for name in dir(OwedPromises) if name.startswith("test_")]:
        try:
            getattr(Broken(), name)()
        except (AssertionError, UnicodeDecodeError):
            found.add(name)
    assert expected <= found


def test_webhooks_have_to_be_given() -> None:
    """Who writes a provider with webhooks and gives the contract none is told so."""

    class Forgetful(HookBankContract):
        webhooks = ProviderContract.webhooks

    with pytest.raises(AssertionError, match=r"override webhooks\(\)"):
        Forgetful().test_webhooks()
