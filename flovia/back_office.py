"""What a :class:`flovia.Flovia` does outside of paid requests: webhooks and refunds."""

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from flovia import runtime
from flovia.core.errors import CallerError, WiringError
from flovia.core.hiding import PAYER, PERSONAL, hider
from flovia.core.http import HttpResponse
from flovia.core.listening import Seldom
from flovia.core.money import Price
from flovia.core.operator import Operator
from flovia.core.owed import RefundDue
from flovia.core.provider import Provider
from flovia.core.reconciling import Reconciliation, reconcile
from flovia.core.refunding import RefundResult, refunds_due
from flovia.core.unpresented import refund_anything
from flovia.core.webhook import WebhookProvider
from flovia.webhooks import HeadersLike, WebhookReceiver

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.providers.registry import Roster
    from flovia.settings import Settings


class BackOffice:
    """Webhooks and refunds, for the providers of one :class:`flovia.Flovia`."""

    settings: "Settings"
    _rail: str
    _roster: "Roster"
    _clock: Callable[[], float]
    _seldom: Seldom

    @abstractmethod
    def _world(self) -> runtime.World:
        """What flows are driven with."""

    def _open_ledger(self) -> "Ledger":
        from flovia.ledger.opening import open_ledger

        settings = self.settings
        fields = PERSONAL if settings.hash_workflows else (PAYER,)
        hide = hider(settings.hiding_keys[0], fields) if settings.hash_payers else None
        # Without a clock of the caller's the ledger goes by its store's: hosts that share one agree on it.
        clock = None if self._clock is time.time else self._clock
        return open_ledger(settings.ledger, clock=clock, retention=settings.retention, hide=hide)

    # --- webhooks -------------------------------------------------------------------------------------------

    def webhooks(self, *, provider: str | WebhookProvider | None = None) -> WebhookReceiver:
        """What receives a provider's webhooks; adapters mount it, see ``docs/guides/webhooks.md``.

        Args:
            provider: a name or a provider object; default: that of ``Flovia(provider=…)``.

        Raises:
            WiringError: there is no such provider, or it has no webhooks.
        """
        found: object = self._roster.find(provider) if isinstance(provider, str) else provider or self._roster.default
        if found is None:
            raise WiringError("say whose webhooks these are: webhooks(flo, provider='…'), or Flovia(provider='…')")
        if not isinstance(found, WebhookProvider):
            name = getattr(found, "name", type(found).__name__)
            raise WiringError(
                f"provider {name!r} has no webhooks; leave the receiver out, or name the provider that has:"
                " webhooks(flo, provider=…)"
            )
        told = self._seldom
        return WebhookReceiver(found, self._world(), realm=self.settings.realm, rail=self._rail, seldom=told)

    def webhook(
        self, headers: HeadersLike, body: bytes, *, provider: str | WebhookProvider | None = None
    ) -> HttpResponse:
        """Answer one webhook whose raw body is at hand, blocking; for a framework without an adapter.

        Raises:
            WiringError: the provider has no webhooks.
        """
        return self.webhooks(provider=provider).hear(headers, body)

    async def awebhook(
        self, headers: HeadersLike, body: bytes, *, provider: str | WebhookProvider | None = None
    ) -> HttpResponse:
        """As :meth:`webhook`, under asyncio or trio."""
        return await self.webhooks(provider=provider).ahear(headers, body)

    # --- refunds --------------------------------------------------------------------------------------------

    def refund(
        self,
        payment_id: str,
        amount: str | Price | None = None,
        *,
        provider: str | Provider | None = None,
        by: Operator | None = None,
    ) -> RefundResult:
        """Give a payment back, in full or in part, once. Blocks until the provider has answered.

        A payment that is given back, even in part, never buys anything any more. What was paid and never presented is
        refunded as well, after the provider has said that the money is there. If the outcome is ``unknown``, call
        again with the same arguments: the same refund is asked for, under the same nonce.

        Args:
            payment_id: the provider's reference of the payment, as in events, receipts and ``Grant.payment_id``.
            amount: ``"0.50 SGD"`` or a Price; None for all of it.
            provider: which provider took it, where that is not plain from the payment id.
            by: who gives it back, and why; it is in the event of what became of it.

        Raises:
            RefundError: it cannot be asked for, or not now; its ``code`` says why.
            CallerError: the amount is none.
            LedgerError: the ledger does not answer; nothing was asked for.
        """
        wanted = _amount(amount)
        flow = refund_anything(payment_id, wanted, self._asked(provider), self._rail, by)
        return runtime.run(flow, self._world())

    async def arefund(
        self,
        payment_id: str,
        amount: str | Price | None = None,
        *,
        provider: str | Provider | None = None,
        by: Operator | None = None,
    ) -> RefundResult:
        """As :meth:`refund`, under asyncio or trio."""
        wanted = _amount(amount)
        flow = refund_anything(payment_id, wanted, self._asked(provider), self._rail, by)
        return await runtime.arun(flow, self._world())

    def refunds_due(self, limit: int = 1000) -> list[RefundDue]:
        """The payments whose refund is due, oldest first: money that came too late, twice, or below today's price.

        With ``Delivery(on_failure="refund")`` also those whose answer failed. Refunds that were begun and whose
        outcome is unknown are among them.

        Raises:
            LedgerError: the ledger does not answer.
        """
        return runtime.run(refunds_due(limit), self._world())

    async def arefunds_due(self, limit: int = 1000) -> list[RefundDue]:
        """As :meth:`refunds_due`, under asyncio or trio."""
        return await runtime.arun(refunds_due(limit), self._world())

    # --- reconciling ----------------------------------------------------------------------------------------

    def reconcile(
        self,
        *,
        provider: str | Provider | None = None,
        since: float = 0.0,
        limit: int = 500,
        everything: bool = False,
        dry_run: bool = False,
    ) -> Reconciliation:
        """Ask the providers about every charge that is due a look, and account for what they say. Blocks.

        For money that nobody told of: a webhook that got lost, an agent that died after paying. Harmless whenever and
        wherever it runs, also on several machines at once; run it every few minutes. Nothing is delivered and nothing
        is given back by it: what it finds can be redeemed by its own credential, or is among :meth:`refunds_due`.

        Args:
            provider: only this one's; a name or an object.
            since: Unix seconds; charges whose challenge expired before are left alone.
            limit: charges that are asked about, at most.
            everything: every charge that is still known (30 days), whether it is due or not.
            dry_run: write nothing, and say what would be written.

        Raises:
            WiringError: there is no provider.
            LedgerError: the ledger does not answer; what was found so far is recorded.
        """
        flow = reconcile(
            self._asked(provider),
            rail=self._rail,
            since=since,
            limit=limit,
            everything=everything,
            dry_run=dry_run,
        )
        return runtime.run(flow, self._world())

    async def areconcile(
        self,
        *,
        provider: str | Provider | None = None,
        since: float = 0.0,
        limit: int = 500,
        everything: bool = False,
        dry_run: bool = False,
    ) -> Reconciliation:
        """As :meth:`reconcile`, under asyncio or trio."""
        flow = reconcile(
            self._asked(provider),
            rail=self._rail,
            since=since,
            limit=limit,
            everything=everything,
            dry_run=dry_run,
        )
        return await runtime.arun(flow, self._world())

    def has_provider(self, name: str) -> bool:
        """Whether a provider of this name is the app's: its default one, or one of a route that was made."""
        return any(one.name == name for one in self._roster.all())

    def _asked(self, provider: str | Provider | None) -> list[Provider]:
        found = self._roster.all() if provider is None else [self._roster.find(provider)]
        if not found:
            raise WiringError("no provider to ask: Flovia(provider='…'), or name it in this call: provider='…'")
        return found


def _amount(amount: str | Price | None) -> Price | None:
    try:
        price = Price.parse(amount) if isinstance(amount, str) else amount
    except WiringError as error:
        raise CallerError(f"the amount to give back: {error}") from None
    if price is not None and price.amount <= 0:
        raise CallerError("the amount to give back must be more than nothing; None gives back all of it")
    return price
