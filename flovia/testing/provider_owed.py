"""The promises of providers that hear webhooks and give money back; part of the contract of a provider.

Each check does nothing for a provider without the method that it is about.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, cast

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject
from flovia.core.http import Headers
from flovia.core.listening import TEXTS
from flovia.core.money import Price
from flovia.core.provider import Paid, Provider
from flovia.core.refund import NotRefunded, Refunded, RefundingProvider, RefundOrder, RefundUnknown, RefundVerdict
from flovia.core.webhook import Heard, WebhookProvider
from flovia.testing.flows import ByHand, drive
from flovia.testing.provider_steps import FAULTS, READING, Ask, Bench, Failing, Fault, logged

Webhook = tuple[Headers, bytes]
NO_WEBHOOKS: Final = (b"", b"{", b"\xff\xfe", b"[" * 5000, b"null", b'{"id":' + b"9" * 5000 + b"}", b"\0" * 100)


class OwedPromises(ABC):
    """Webhooks and refunds; mixed into :class:`flovia.testing.providers.ProviderContract`."""

    price: Price
    not_paid_statuses: frozenset[int]

    def webhooks(self) -> Iterable[Webhook]:
        """Genuine webhooks, fields and body, with good signatures, about payments that :meth:`backend` knows.

        Give at least one of each kind that leads to a notice.
        """
        raise AssertionError("this provider hears webhooks: override webhooks() to send it some")

    @abstractmethod
    def provider(self) -> Provider:
        """A provider."""
        ...

    @abstractmethod
    def pays(self, ask: Ask) -> JsonObject:
        """Pay what is asked."""
        ...

    @abstractmethod
    def _bench(self) -> Bench: ...

    @abstractmethod
    def _backend(self, call: HttpCall) -> HttpReply: ...

    @abstractmethod
    def _paid(self, bench: Bench, ask: Ask, payload: JsonObject) -> Paid: ...

    # --- webhooks -------------------------------------------------------------------------------------------

    def test_webhooks(self) -> None:
        """A genuine webhook is understood, as often as it comes, and some of them lead to a notice."""
        hearing = self._hearing()
        if hearing is None:
            return
        limit = cast("object", hearing.max_webhook)
        assert type(limit) is int, f"max_webhook is a number of bytes, not {limit!r}"
        assert limit > 0, "max_webhook is a number of bytes above 0"
        notices = 0
        for headers, body in self.webhooks():
            assert len(body) <= hearing.max_webhook, "a genuine webhook is larger than max_webhook"
            for _ in range(2):
                heard = self._hear(headers, body)
                assert heard.status == 200, f"a genuine webhook was answered {heard.status} {heard.code}"
                notices += len(heard.notices)
                for notice in heard.notices:
                    assert type(notice.amount) is int, f"amounts are whole base units, not {notice.amount!r}"
                    assert notice.amount > 0, "a notice is about money"
        assert notices, "none of webhooks() leads to a notice"

    def test_forged_webhooks(self) -> None:
        """Other bytes, other fields, no fields: 401 before anything else, no notice, and nobody is asked."""
        if self._hearing() is None:
            return
        for headers, body in self.webhooks():
            flipped = bytes([body[0] ^ 1]) + body[1:]
            unsigned = [(name, value) for name, value in headers.items() if len(value) < 16]
            strange = [(name, "é" * len(value)) for name, value in headers.items()]
            forged = [(headers, body + b" "), (headers, flipped), (headers, body[:-1])]
            forged += [(Headers.of(fields), body) for fields in ((), unsigned, strange)]
            for fields, data in forged:
                world = ByHand(self._backend)
                heard = self._hear(fields, data, world)
                assert heard.status == 401, f"a forged webhook was answered {heard.status} {heard.code}"
                assert not heard.notices, "a forged webhook led to a notice"
                assert not world.calls, "the backend is asked before the signature was checked"

    def test_no_webhooks(self) -> None:
        """What is no webhook at all is refused without an exception."""
        if self._hearing() is None:
            return
        for body in NO_WEBHOOKS:
            heard = self._hear(Headers.of(()), body)
            assert heard.status in (400, 401), f"{body[:20]!r} was answered {heard.status} {heard.code}"

    def test_webhooks_without_a_backend(self) -> None:
        """Whatever goes wrong while the truth is asked for, there is no notice, and it is to be sent again."""
        if self._hearing() is None:
            return
        for fault in FAULTS:
            for headers, body in self.webhooks():
                world = ByHand(self._backend)
                failing = world.backend = Failing(self._backend, fault, 0)
                try:
                    heard = self._hear(headers, body, world)
                except AssertionError:
                    raise
                except Exception:  # noqa: S112 - counts as 503
                    continue
                if failing.same:
                    continue
                assert not heard.notices, f"{fault.name}: a notice without the backend's word"
                certain = fault.status in self.not_paid_statuses
                assert heard.status == 503 or (certain and heard.status == 200), (
                    f"{fault.name}: answered {heard.status} {heard.code}, so it never comes again"
                )

    # --- refunds --------------------------------------------------------------------------------------------

    def test_refund(self) -> None:
        """A payment is given back, in full or in part; the same order twice is one refund."""
        if not isinstance(self.provider(), RefundingProvider):
            return
        for part in (self.price.amount, max(1, self.price.amount // 2)):
            order = self._order(part)
            first, second = self._refund(order), self._refund(order)
            assert isinstance(first, Refunded), f"refund() was answered with {type(first).__name__}"
            assert isinstance(second, Refunded), f"the same order again was answered with {type(second).__name__}"
            assert second.refund_id == first.refund_id, "the same order twice is two refunds: send order.nonce"
            assert (first.amount, first.currency.lower()) == (part, order.currency), "other money than was ordered"

    def test_refund_failures(self) -> None:
        """However the backend fails, nobody says Refunded, nor NotRefunded while money may have moved."""
        if not isinstance(self.provider(), RefundingProvider):
            return
        for first in range(self._count_refund_calls()):
            for fault in FAULTS:
                order, world = self._order(self.price.amount), ByHand(self._backend)
                failing = world.backend = Failing(self._backend, fault, first)
                verdict = self._refund(order, world)
                if failing.same:
                    continue
                assert isinstance(verdict, NotRefunded | RefundUnknown), f"{fault.name}: {type(verdict).__name__}"
                if isinstance(verdict, NotRefunded):
                    assert self._certainly_not(fault, failing), f"{fault.name}: NotRefunded, but it may have moved"
                    continue
                failing.healed = True
                again = self._refund(order, world)
                assert isinstance(again, Refunded), f"{fault.name}, then the same order: {type(again).__name__}"

    def test_no_secret_is_shown_outside_of_requests(self) -> None:
        """No body of a webhook and no nonce of a refund stands in a log line, an answer or a verdict (S37)."""
        shown: list[str] = []
        secrets: list[str] = []
        with logged() as lines:
            if self._hearing() is not None:
                for headers, body in self.webhooks():
                    secrets += [body.decode("latin-1"), *(value for _, value in headers.items() if len(value) >= 16)]
                    shown.append(repr(self._hear(headers, body)))
            if isinstance(self.provider(), RefundingProvider):
                for fault in FAULTS:
                    order, world = self._order(self.price.amount), ByHand(self._backend)
                    secrets.append(order.nonce)
                    world.backend = Failing(self._backend, fault, 0)
                    shown.append(repr(self._refund(order, world)))
        for text in shown + lines:
            assert not any(secret in text for secret in secrets), "a webhook or a nonce is shown"

    # --- steps ----------------------------------------------------------------------------------------------

    def _hearing(self) -> WebhookProvider | None:
        provider: object = self.provider()
        return provider if isinstance(provider, WebhookProvider) else None

    def _hear(self, headers: Headers, body: bytes, world: ByHand | None = None) -> Heard:
        hearing = self._hearing()
        assert hearing is not None
        heard: object = drive(hearing.webhook(headers, body), world or ByHand(self._backend))
        assert isinstance(heard, Heard), f"webhook() returned {type(heard).__name__}"
        assert heard.status in (200, 400, 401, 503), f"{heard.status} is no answer to a webhook"
        assert heard.code in TEXTS, f"there is no code {heard.code!r}"
        return heard

    def _order(self, amount: int) -> RefundOrder:
        """An order for a fresh payment."""
        bench = self._bench()
        ask = bench.ask(self.price)
        paid = self._paid(bench, ask, self.pays(ask))
        return RefundOrder(
            method=bench.provider.method,
            payment_id=paid.reference,
            challenge_id=ask.challenge.id,
            amount=amount,
            paid=paid.amount,
            currency=paid.currency.lower(),
            nonce=bench.world.token(),
        )

    def _refund(self, order: RefundOrder, world: ByHand | None = None) -> RefundVerdict:
        """The verdict as flovia takes it: an exception counts as unknown."""
        provider = cast("RefundingProvider", self.provider())
        try:
            return drive(provider.refund(order), world or ByHand(self._backend))
        except AssertionError:
            raise
        except Exception:
            return RefundUnknown()

    def _count_refund_calls(self) -> int:
        world = ByHand(self._backend)
        self._refund(self._order(self.price.amount), world)
        return len(world.calls)

    def _certainly_not(self, fault: Fault, failing: Failing) -> bool:
        if failing.acted or failing.failed is None:
            return False
        if not fault.sent:
            return failing.failed.http_method not in READING
        return fault.status in self.not_paid_statuses
