"""The promises of providers whose charges can be asked about; part of the contract of a provider.

Each check does nothing for a provider that is no :class:`~flovia.providers.base.ReconcilingProvider`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, cast

import attrs

from flovia.core.awaited import CHECKS_S
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import JsonObject
from flovia.core.money import Price
from flovia.core.provider import Paid, Provider
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved, ReconcilingProvider
from flovia.testing.flows import drive
from flovia.testing.provider_steps import FAULTS, LIFE_S, Ask, Bench, Failing, logged

State = ChargeState | ChargeUnknown | None
NOBODYS: Final = "test-no-such-charge"


class ReconcilePromises(ABC):
    """What became of a charge; mixed into :class:`flovia.testing.providers.ProviderContract`."""

    price: Price
    not_paid_statuses: frozenset[int]

    @abstractmethod
    def provider(self) -> Provider:
        """A provider."""
        ...

    @abstractmethod
    def pays(self, ask: Ask) -> JsonObject:
        """Pay what is asked."""
        ...

    @abstractmethod
    def idempotent(self, call: HttpCall) -> bool:
        """Whether the backend does nothing new when it gets this call twice."""
        ...

    @abstractmethod
    def secrets(self, payload: JsonObject) -> Iterable[str]:
        """The texts of a payload that nobody else may read."""
        ...

    @abstractmethod
    def _bench(self) -> Bench: ...

    @abstractmethod
    def _backend(self, call: HttpCall) -> HttpReply: ...

    @abstractmethod
    def _paid(self, bench: Bench, ask: Ask, payload: JsonObject) -> Paid: ...

    # --- checks ---------------------------------------------------------------------------------------------

    def test_reconcile_attributes(self) -> None:
        """The times have the forms that a run needs, and a charge is known as long as it is looked at."""
        provider = self._reconciling()
        if provider is None:
            return
        for name in ("redeem_late_s", "reconcile_pause_s"):
            value: object = getattr(provider, name)
            assert isinstance(value, int | float), f"{name} is a number of seconds, not {value!r}"
            assert math.isfinite(value), f"{name} is infinite"
            assert value >= 0, f"{name} is negative"
        bench = self._bench()
        kept = bench.asked[self._charge(bench)[0].challenge.id].handle_kept_s
        least = LIFE_S + CHECKS_S[-1] + provider.redeem_late_s
        assert kept >= least, f"handle_kept_s={kept}: the charge is looked at until {least:.0f} s from now"

    def test_reconcile_unpaid(self) -> None:
        """A charge that nobody has paid yet is open, and asks for what was asked for."""
        if self._reconciling() is None:
            return
        bench = self._bench()
        state = self._state(bench, self._charge(bench)[1])
        assert not state.payments, "nobody has paid, and there are payments"
        assert not state.redeemable, "nobody has paid, and its credential would be taken"
        assert not state.over, "it can still be paid, and is said to be over"

    def test_reconcile_paid(self) -> None:
        """A payment that nobody presented is found as verify would find it, however often; asking moves nothing."""
        if self._reconciling() is None:
            return
        bench = self._bench()
        ask, charge = self._charge(bench)
        payload, before = self.pays(ask), len(bench.world.calls)
        first = self._state(bench, charge)
        again = [self._state(bench, charge, keep=keep) for keep in (False, True)]
        orders = [call for call in bench.world.calls[before:] if not self.idempotent(call)]
        assert not orders, f"asking what became of a charge ordered something: {orders[0].http_method}"
        assert len(first.payments) == 1, f"one payment was made, and {len(first.payments)} are found"
        assert all(one.payments == first.payments for one in again), "asked again, the payments are others"
        assert first.redeemable, "its payer has not come yet, and its credential would not be taken"
        paid = self._paid(bench, ask, payload)
        assert first.payments[0] == _moved(paid), "verify finds another reference, or other money"
        assert first.paid is not None, "it can be redeemed, and `paid` does not say with what"
        assert _moved(first.paid) == _moved(paid), "`paid` is another payment than verify finds"
        after = self._state(bench, charge)
        assert after.payments == first.payments, "once it is verified the payment is another one"

    def test_reconcile_elsewhere(self) -> None:
        """Of a charge that the backend does not know nobody says that it was paid."""
        provider = self._reconciling()
        if provider is None:
            return
        bench = self._bench()
        ask, charge = self._charge(bench)
        self.pays(ask)
        state = self._become(bench, attrs.evolve(charge, handle=NOBODYS))
        assert not isinstance(state, ChargeState) or not state.payments, "another charge's payment is found for it"

    def test_reconcile_failures(self) -> None:
        """However the backend fails, what was paid is not said to be unpaid; afterwards it is found."""
        if self._reconciling() is None:
            return
        bench = self._bench()
        self._state(bench, self._paid_charge(bench))
        for first in range(self._count_reconcile_calls()):
            for fault in FAULTS:
                bench = self._bench()
                charge = self._paid_charge(bench)
                true = self._state(bench, charge)
                failing = bench.world.backend = Failing(self._backend, fault, first)
                state = self._become(bench, charge)
                if failing.same:
                    continue
                if isinstance(state, ChargeState) and state.payments:
                    assert state.payments == true.payments, f"{fault.name}: other payments than were made"
                elif not isinstance(state, ChargeUnknown):
                    certain = fault.status in self.not_paid_statuses
                    assert certain, f"{fault.name}: a paid charge is said to be {'unpaid' if state else 'none'}"
                failing.healed = True
                assert self._state(bench, charge).payments == true.payments, f"{fault.name}: not found afterwards"

    def test_reconcile_shows_no_secret(self) -> None:
        """No proof stands in a log line or in what is said of a charge (S37)."""
        if self._reconciling() is None:
            return
        shown: list[str] = []
        secrets: list[str] = []
        with logged() as lines:
            for fault in (None, *FAULTS):
                bench = self._bench()
                ask, charge = self._charge(bench)
                secrets += self.secrets(self.pays(ask))
                if fault is not None:
                    bench.world.backend = Failing(self._backend, fault, 0)
                shown.append(repr(self._become(bench, charge)))
        for text in shown + lines:
            assert not any(secret in text for secret in secrets), "a proof is shown"

    # --- steps ----------------------------------------------------------------------------------------------

    def _reconciling(self) -> ReconcilingProvider | None:
        provider: object = self.provider()
        return provider if isinstance(provider, ReconcilingProvider) else None

    def _charge(self, bench: Bench) -> tuple[Ask, Charge]:
        """A fresh charge, as a gate puts it on its index."""
        ask = bench.ask(self.price)
        terms = bench.asked[ask.challenge.id]
        assert terms.handle, "a charge is asked about by Terms.handle: name it in quote()"
        return ask, Charge(method=bench.provider.method, handle=terms.handle, challenge=ask.challenge)

    def _paid_charge(self, bench: Bench) -> Charge:
        ask, charge = self._charge(bench)
        self.pays(ask)
        return charge

    def _become(self, bench: Bench, charge: Charge, *, keep: bool = False) -> State:
        """What becomes of a charge as flovia takes it: an exception counts as unknown."""
        provider = cast("ReconcilingProvider", bench.provider)
        try:
            return drive(provider.reconcile(charge, keep=keep), bench.world)
        except AssertionError:
            raise
        except Exception:
            return ChargeUnknown(reason="it raised")

    def _state(self, bench: Bench, charge: Charge, *, keep: bool = False) -> ChargeState:
        state = cast("object", self._become(bench, charge, keep=keep))
        assert isinstance(state, ChargeState), f"reconcile() was answered with {type(state).__name__}"
        asked = (state.asked, state.currency.lower())
        assert asked == (self.price.amount, self.price.currency), f"it asked for {asked[0]} {asked[1]}"
        for moved in state.payments:
            assert type(moved.amount) is int, f"amounts are whole base units, not {moved.amount!r}"
        return state

    def _count_reconcile_calls(self) -> int:
        bench = self._bench()
        charge = self._paid_charge(bench)
        before = len(bench.world.calls)
        self._become(bench, charge)
        return len(bench.world.calls) - before


def _moved(paid: Paid) -> Moved:
    return Moved(reference=paid.reference, amount=paid.amount, currency=paid.currency)
