"""The whole flow over real HTTP: a flovia app with the HitPay provider, the sandbox, and an agent that pays."""

from collections.abc import Generator
from pathlib import Path
from typing import cast

import attrs
import pytest

from flovia.client import OutcomeUnknown, PaymentDeclined, Policy
from flovia.client.hitpay import Checkout, HitPayWallet, Pins
from flovia.sandbox import Sandbox, serving
from tests.client.agent import WAYS, Agent
from tests.client.hitpay.app import selling


@attrs.frozen(kw_only=True)
class Market:
    """The sandbox, and a real app over it."""

    sandbox: Sandbox
    url: str


@pytest.fixture
def market(tmp_path: Path) -> Generator[Market]:
    """One of each."""
    with serving(seed=21) as sandbox, selling(sandbox, tmp_path) as url:
        yield Market(sandbox=sandbox, url=url)


def wallet(market: Market, **more: object) -> HitPayWallet:
    """Asks often; nobody is there unless ``show`` says so."""
    options: dict[str, object] = {"show": None, "poll_s": 0.05, **more}
    return HitPayWallet(pins=Pins(broker=market.sandbox.broker_url), **options)  # type: ignore[arg-type]  # a table


@pytest.mark.parametrize("way", WAYS)
def test_paid_delivered_and_verified(way: str, tmp_path: Path, market: Market) -> None:
    """One charge, one debit, one delivery, and a receipt that the agent verified itself."""

    def pay(shown: Checkout) -> None:
        market.sandbox.pay(shown.charge_id)

    reply = Agent(way, tmp_path / "pending", wallet=wallet(market, show=pay)).get(market.url + "/report?day=1")
    assert (200, b"goods") == (reply.status, reply.body)
    assert reply.payment is not None
    assert (True, None, True) == (
        reply.payment.receipt_verified,
        reply.payment.receipt_problem,
        reply.payment.receipt is not None,
    )
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == market.sandbox.money()
    assert 1 == len(market.sandbox.charges())


def test_a_credential_for_one_address_buys_nothing_at_another(tmp_path: Path, market: Market) -> None:
    """What the agent keeps is for the request it was made for."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, auto_pay=True))
    assert b"goods" == agent.get(market.url + "/report?day=1").body
    assert b"goods" == agent.get(market.url + "/report?day=2").body
    assert "2.00" == cast("dict[str, str]", market.sandbox.money()["sgd"])["in"]


def test_paid_after_the_agent_gave_up(tmp_path: Path, market: Market) -> None:
    """Pending is re-presented as the same challenge; once it is paid, resume delivers it, and one charge was made."""
    agent = Agent(
        "httpx",
        tmp_path / "pending",
        wallet=wallet(market, timeout_s=0.2),
        policy=Policy(max_wait_s=3, max_tries=2),
    )
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(market.url + "/report")
    with pytest.raises(OutcomeUnknown):
        agent.resume(caught.value.reference or "")
    (charge,) = market.sandbox.charges()
    market.sandbox.pay(str(charge["id"]))
    assert b"goods" == agent.resume(caught.value.reference or "").body
    assert (1, "1.00") == (
        len(market.sandbox.charges()),
        cast("dict[str, str]", market.sandbox.money()["sgd"])["in"],
    )


def test_expired(tmp_path: Path, market: Market) -> None:
    """Nothing is paid, nothing is kept, the budget has its money back."""

    def expire(shown: Checkout) -> None:
        market.sandbox.expire(shown.charge_id)

    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, show=expire))
    with pytest.raises(PaymentDeclined):
        agent.get(market.url + "/report")
    assert (0, []) == (agent.budget.spent(), agent.pending.references())


def test_a_key_rotated_in_mid_flight(tmp_path: Path, market: Market) -> None:
    """Server and agent both find the new key."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, auto_pay=True))
    for turn in range(2):
        if turn:
            market.sandbox.fault("jws", "rotate", route="B3", next=1)
        reply = agent.get(market.url + "/report")
        assert reply.payment is not None
        assert (b"goods", True) == (reply.body, reply.payment.receipt_verified)


@pytest.mark.parametrize("way", WAYS)
def test_a_broker_whose_status_is_stuck(way: str, tmp_path: Path, market: Market) -> None:
    """The broker tells the agent for ever that nobody has paid: the server is asked, and delivers. One debit.

    Before the person has paid the server says so too, and the wallet goes on waiting without showing the page again.
    """
    market.sandbox.fault("broker_status_stuck")
    shown: list[Checkout] = []
    ticks: list[float] = []

    def tick(left: float) -> None:
        ticks.append(left)
        if len(ticks) == 12:  # the server has been asked in vain by then
            market.sandbox.pay(shown[0].charge_id)

    agent = Agent(
        way,
        tmp_path / "pending",
        wallet=wallet(market, show=shown.append, tick=tick, present_s=0.2),
    )
    reply = agent.get(market.url + "/report")
    assert (200, b"goods", 1, 1) == (reply.status, reply.body, len(shown), len(market.sandbox.charges()))
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == market.sandbox.money()
    assert 100 == agent.budget.spent()
    assert sorted(ticks, reverse=True) == ticks


def test_nobody_pays_and_the_broker_is_asked_in_turns(tmp_path: Path, market: Market) -> None:
    """When the wallet's time is over the outcome is unknown, the credential kept and the money set aside."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, timeout_s=1.0, present_s=0.2))
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(market.url + "/report")
    assert [caught.value.reference] == agent.pending.references()
