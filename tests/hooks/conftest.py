"""A bank for each test, and a shop with it on every kind of ledger."""

from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path

import attrs
import pytest

import flovia
from flovia.core.challenge import Challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.events import Event
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from tests.core.world import REALM, SECRET, Clock, challenges, request
from tests.hooks.bank import Bank, HookBankProvider, event, serve_bank, sign

_NUMBERS = count(1)


def credential_of(challenge: Challenge, payment: str) -> str:
    """The credential of a payment."""
    return format_credential(Credential(challenge=challenge, payload={"payment": payment}))


@attrs.define(kw_only=True)
class Shop:
    """A Flovia with one route, its bank and its ledger."""

    bank: Bank
    provider: HookBankProvider
    clock: Clock
    ledger: Ledger
    flo: flovia.Flovia
    paid: flovia.PaidApi

    def challenge(self) -> str:
        """The id of a fresh challenge."""
        return challenges(self.paid.enter(request()).response)[0].id

    def credential(self, cents: int = 100) -> tuple[str, str]:
        """Ask and pay; the payment's id and the credential."""
        (challenge,) = challenges(self.paid.enter(request()).response)
        name = self.bank.pay(f"p{next(_NUMBERS)}", challenge.id, cents)
        return name, credential_of(challenge, name)

    def buy(self, status: int = 200) -> tuple[str, str]:
        """Ask, pay, come back, and be served with a status; the payment's id and the credential."""
        name, credential = self.credential()
        passage = self.paid.enter(request(credential))
        assert passage.response is None
        passage.start(status, flovia.Headers.of(()))
        self.paid.leave(passage, completed=True)
        return name, credential

    def hook(self, payment: str, kind: str = "payment", signature: str | None = None) -> flovia.HttpResponse:
        """Let the bank tell of a payment."""
        body = event(payment, kind)
        return self.flo.webhook({"Bank-Signature": signature or sign(body)}, body)

    def events(self, type_: str) -> list[Event]:
        """All events of one type."""
        self.ledger.flush()
        return [one for _, one in self.ledger.read_events(limit=10_000) if one.type == type_]

    def state(self, payment: str) -> str | None:
        """The state of a payment."""
        found = self.ledger.find_paid(f"hookbank|{payment}")
        return None if found is None else found.state


@pytest.fixture(scope="session")
def bank_server() -> Generator[tuple[Bank, str]]:
    """One bank for all tests of the folder."""
    with serve_bank() as served:
        yield served


@pytest.fixture(scope="session")
def bank_url(bank_server: tuple[Bank, str]) -> str:
    """Where it is."""
    return bank_server[1]


@pytest.fixture
def bank(bank_server: tuple[Bank, str]) -> Bank:
    """It, without a past."""
    found = bank_server[0]
    found.payments.clear()
    found.refunds.clear()
    found.faults.clear()
    found.calls.clear()
    found.keys.clear()
    found.hold = None
    found.held = 0
    return found


@pytest.fixture
def open_shop(bank: Bank, bank_url: str) -> Callable[..., Shop]:
    """How to open a shop on a ledger."""

    def open_it(ledger: Ledger, clock: Clock, provider: HookBankProvider | None = None) -> Shop:
        provider = provider or HookBankProvider(bank_url)
        flo = flovia.Flovia(provider=provider, ledger=ledger, secret=SECRET, realm=REALM, clock=clock)
        paid = flo.paid_api(price="1.00 USD", max_deliveries=3)
        return Shop(bank=bank, provider=provider, clock=clock, ledger=ledger, flo=flo, paid=paid)

    return open_it


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, open_shop: Callable[..., Shop]) -> Generator[Shop]:
    """A shop on each kind of ledger."""
    clock = Clock()
    ledger: Ledger = MemoryLedger(clock=clock)
    if request.param == "sqlite":
        ledger = open_ledger(f"sqlite:///{tmp_path}/shop.db", clock=clock)
    yield open_shop(ledger, clock)
    ledger.close()
