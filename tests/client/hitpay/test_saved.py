"""A saved wallet: approved once by a person, then charged by a real flovia server within the grant's limits."""

import json
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import cast

import attrs
import pytest

from flovia.client import (
    Budget,
    CannotResume,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentRefused,
    PendingFiles,
    Policy,
)
from flovia.client.hitpay import Checkout, GrantFiles, HitPayWallet, Pins, SavedMethodWallet
from flovia.client.hitpay.grants import Grant, GrantInfo
from flovia.client.hitpay.terminal import checkout_text
from flovia.core.errors import WiringError
from flovia.core.money import Price
from flovia.sandbox import Sandbox, serving
from tests.client.agent import WAYS, Agent, Reply
from tests.client.hitpay.app import selling

KEY = bytes(range(32))
ASK = {"x-mpp-payment-method": "grabpay_direct", "x-user-email": "agent@example.test"}


@attrs.frozen(kw_only=True)
class Market:
    """The sandbox, and a real app over it that lets wallets be saved."""

    sandbox: Sandbox
    url: str


@pytest.fixture
def market(tmp_path: Path) -> Generator[Market]:
    """One of each."""
    with serving(seed=11) as sandbox, selling(sandbox, tmp_path, saved=True) as url:
        yield Market(sandbox=sandbox, url=url)


def wallet(market: Market, folder: Path, verb: str = "approve", **more: object) -> SavedMethodWallet:
    """A wallet whose person does what ``verb`` says as soon as they see the page."""

    def act(shown: Checkout) -> None:
        assert shown.setup
        assert shown.limits
        assert "at most" in checkout_text(shown, 0.0)
        if verb:
            market.sandbox.saved_method(shown.charge_id, verb)

    return SavedMethodWallet(
        grants=GrantFiles(folder / "grants", key=KEY),
        pins=Pins(broker=market.sandbox.broker_url),
        show=act,
        poll_s=0.05,
        **more,  # type: ignore[arg-type]  # a table
    )


def get(agent: Agent, market: Market) -> Reply:
    """Ask for the goods, with a wallet to be saved."""
    return agent.get(market.url + "/report", headers=ASK)


@pytest.mark.parametrize("way", WAYS)
def test_approved_once_charged_silently_after_that(way: str, tmp_path: Path, market: Market) -> None:
    """One setup, many charges, each with a receipt that holds; what was spent is counted."""
    saved = wallet(market, tmp_path)
    agent = Agent(way, tmp_path / "pending", wallet=saved, budget=Budget("20.00 SGD"))
    for _ in range(3):
        reply = get(agent, market)
        assert (200, b"goods") == (reply.status, reply.body)
        assert reply.payment is not None
        assert (True, None) == (reply.payment.receipt_verified, reply.payment.receipt_problem)
    (info,) = saved.grants.all()
    assert (market.url, "sgd", "grabpay_direct", 300, 3) == (
        info.origin,
        info.currency,
        info.payment_method,
        info.spent,
        info.uses,
    )
    (found,) = [each for each in market.sandbox.saved_methods() if each["uses"]]
    assert ("3.00", info.saved_method_id) == (found["spent"], found["id"])
    assert [] == agent.pending.references()


def test_the_grant_is_used_without_asking_for_a_setup(tmp_path: Path, market: Market) -> None:
    """Once there is a grant, an ordinary call is charged to it: no page, no person."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path))
    get(agent, market)
    agent.wallet = wallet(market, tmp_path, verb="fail-if-shown")
    assert b"goods" == agent.get(market.url + "/report").body


def test_the_cap_for_all_charges_stops_here(tmp_path: Path) -> None:
    """8.00 in all at 3.00 each: two charges, and the third never leaves."""
    with serving(seed=12) as sandbox, selling(sandbox, tmp_path, saved=True, price="3.00 SGD") as url:
        market = Market(sandbox=sandbox, url=url)
        agent = Agent("httpx", tmp_path / "p", wallet=wallet(market, tmp_path), budget=Budget("20.00 SGD"))
        for _ in range(2):
            assert b"goods" == get(agent, market).body
        before = len(sandbox.journal("B7"))
        with pytest.raises(PaymentDeclined, match="all charges together"):
            agent.get(url + "/report")
        assert before == len(sandbox.journal("B7"))
        assert "6.00" == cast("dict[str, str]", sandbox.money()["sgd"])["in"]
        assert 600 == agent.budget.spent()


@pytest.mark.parametrize("verb", ["detach", "revoke"])
def test_a_wallet_that_is_no_longer_bound_is_forgotten_and_can_be_saved_anew(
    verb: str, tmp_path: Path, market: Market
) -> None:
    """The broker is asked first: nothing is presented that cannot be charged."""
    saved = wallet(market, tmp_path)
    agent = Agent("httpx", tmp_path / "pending", wallet=saved)
    get(agent, market)
    (info,) = saved.grants.all()
    market.sandbox.saved_method(info.saved_method_id, verb)
    with pytest.raises(PaymentDeclined, match="offers no setup"):
        agent.get(market.url + "/report")
    assert [] == saved.grants.all()
    assert b"goods" == get(agent, market).body
    assert info.saved_method_id != saved.grants.all()[0].saved_method_id


def test_without_asking_first_the_server_tells(tmp_path: Path, market: Market) -> None:
    """ask_first=False saves a call; then a detached wallet is a refused payment, and nothing was charged."""
    saved = wallet(market, tmp_path, ask_first=False)
    agent = Agent("httpx", tmp_path / "pending", wallet=saved)
    get(agent, market)
    (info,) = saved.grants.all()
    market.sandbox.saved_method(info.saved_method_id, "detach")
    with pytest.raises(PaymentRefused) as caught:
        agent.get(market.url + "/report")
    assert "payment-expired" == caught.value.problem
    assert saved.grants.revoke(info.name)
    assert not saved.grants.revoke(info.name)


def test_a_rejected_setup_is_certainly_not_paid(tmp_path: Path, market: Market) -> None:
    """No grant, no charge, and the budget has its money back."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path, verb="reject"))
    with pytest.raises(PaymentDeclined):
        get(agent, market)
    assert (0, []) == (agent.budget.spent(), agent.pending.references())


def test_nobody_approves_in_time(tmp_path: Path, market: Market) -> None:
    """No money moves by a setup, so giving up is a plain refusal."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path, verb="", timeout_s=0.2))
    with pytest.raises(PaymentDeclined, match="in time"):
        get(agent, market)


@pytest.mark.parametrize("spoilt", ["bad_signature", "typ_swapped", "alg_none", "wrong_iss", "wrong_kid"])
def test_a_spoilt_grant_is_not_kept(spoilt: str, tmp_path: Path, market: Market) -> None:
    """What the broker's keys do not sign as a grant is none."""
    market.sandbox.fault("jws", spoilt, route="B6")
    saved = wallet(market, tmp_path)
    with pytest.raises(PaymentDeclined, match="does not hold"):
        get(Agent("httpx", tmp_path / "pending", wallet=saved), market)
    assert [] == saved.grants.all()


def test_keys_that_cannot_be_had(tmp_path: Path, market: Market) -> None:
    """Then no grant is believed either."""
    market.sandbox.fault("jwks", "down")
    with pytest.raises(PaymentDeclined, match="cannot be verified now"):
        get(Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path)), market)


def test_an_unknown_outcome_is_resumed_and_charged_once(tmp_path: Path, market: Market) -> None:
    """The broker charges and its answer is lost: the same credential brings the same receipt, one debit."""
    saved = wallet(market, tmp_path)
    agent = Agent("httpx", tmp_path / "pending", wallet=saved)
    get(agent, market)
    market.sandbox.fault("http", "reset", route="B7", next=1)
    try:
        reply = agent.get(market.url + "/report")
    except OutcomeUnknown as error:
        reply = agent.resume(error.reference or "")
    assert b"goods" == reply.body
    assert "2.00" == cast("dict[str, str]", market.sandbox.money()["sgd"])["in"]


def test_one_wallet_for_both(tmp_path: Path, market: Market) -> None:
    """With ``once`` a server without a saved wallet is paid by a person; a foreseen credential is kept meanwhile."""
    once = HitPayWallet(pins=Pins(broker=market.sandbox.broker_url), auto_pay=True, show=None, poll_s=0.05)
    saved = wallet(market, tmp_path, once=once)
    agent = Agent("httpx", tmp_path / "pending", wallet=saved)
    reply = agent.get(market.url + "/report")
    assert reply.payment is not None
    assert (b"goods", True) == (reply.body, reply.payment.receipt_verified)
    assert [] == saved.grants.all()
    assert b"goods" == get(agent, market).body
    assert 1 == saved.grants.all()[0].uses
    with pytest.raises(PaymentDeclined, match="offers no setup"):
        Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path / "other")).get(market.url + "/report")


# --- at rest ------------------------------------------------------------------------------------------------


def grant(name: str = "a" * 32, jws: str = "test-grant-token") -> Grant:
    """A grant of 10.00 at once."""
    info = GrantInfo(
        name=name,
        origin="https://api.test",
        issuer="https://mpp.test",
        currency="sgd",
        payment_method="grabpay_direct",
        saved_method_id="mpp_spm_1",
        max_amount_per_charge=1000,
        total_amount_cap=2000,
        max_uses=2,
        expires_at=2e9,
    )
    return Grant(info=info, jws=jws)


def test_grants_are_encrypted_and_private(tmp_path: Path) -> None:
    """Neither the token nor the id stands in any file or repr; files are for their owner alone."""
    files = GrantFiles(tmp_path / "grants", key=KEY)
    files.keep(grant())
    for path in (tmp_path / "grants").iterdir():
        assert b"test-grant-token" not in path.read_bytes()
        assert b"mpp_spm_1" not in path.read_bytes()
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE((tmp_path / "grants").stat().st_mode)
    found = files.load("a" * 32)
    assert grant() == found
    assert "test-grant-token" not in repr(found) + repr(files)
    assert "test-grant-token" not in repr(SavedMethodWallet(grants=files))


def test_another_key_a_damaged_or_a_swapped_file_is_no_grant(tmp_path: Path) -> None:
    """Whatever cannot be opened is not there."""
    files = GrantFiles(tmp_path, key=KEY)
    files.keep(grant())
    assert None is GrantFiles(tmp_path, key=bytes(32)).load("a" * 32)
    sealed = (tmp_path / f"{'a' * 32}.grant").read_bytes()
    (tmp_path / f"{'b' * 32}.grant").write_bytes(sealed)
    assert None is files.load("b" * 32)
    for damaged in (b"", sealed[:11], sealed[:-1], sealed[:-1] + b"\0"):
        (tmp_path / f"{'c' * 32}.grant").write_bytes(damaged)
        assert None is files.load("c" * 32)
    assert ["a" * 32] == [info.name for info in files.all()]
    assert None is files.load("d" * 32)
    files.spend("d" * 32, Price(amount=1, currency="sgd"))
    for name in ("../x", "", "a/b"):
        with pytest.raises(WiringError):
            files.load(name)


def test_the_key_comes_from_the_environment_or_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOVIA_GRANT_KEY, else a key file of mode 0600 that is made once; a key others may read is refused."""
    monkeypatch.delenv("FLOVIA_GRANT_KEY", raising=False)
    GrantFiles(tmp_path).keep(grant())
    key = tmp_path / "grants.key"
    assert 0o600 == stat.S_IMODE(key.stat().st_mode)
    assert grant() == GrantFiles(tmp_path).load("a" * 32)
    text = key.read_text()
    monkeypatch.setenv("FLOVIA_GRANT_KEY", text)
    key.unlink()
    assert grant() == GrantFiles(tmp_path).load("a" * 32)
    assert not key.exists()
    for bad in ("", "short", "!" * 43):
        monkeypatch.setenv("FLOVIA_GRANT_KEY", bad)
        with pytest.raises(WiringError, match="32 random bytes"):
            GrantFiles(tmp_path)
    monkeypatch.delenv("FLOVIA_GRANT_KEY")
    key.write_text(text)
    os.chmod(key, 0o640)
    with pytest.raises(WiringError, match="chmod 600"):
        GrantFiles(tmp_path)
    os.chmod(key, 0o600)
    key.write_text("damaged")
    with pytest.raises(WiringError, match="32 random bytes"):
        GrantFiles(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, with the way out."""
    monkeypatch.delenv("FLOVIA_GRANT_KEY", raising=False)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WiringError, match="FLOVIA_GRANT_KEY"):
        GrantFiles(file / "grants")
    with pytest.raises(WiringError, match="writable"):
        GrantFiles(file / "grants", key=KEY).keep(grant())


def test_limits_are_checked_before_each_use() -> None:
    """Currency, end, caps and number: each by itself."""
    info = grant().info
    one = Price(amount=1000, currency="sgd")
    assert None is info.refusal(one, 1e9)
    for other, price, now in [
        (info, Price(amount=1, currency="usd"), 1e9),
        (info, one, 2e9),
        (info, Price(amount=1001, currency="sgd"), 1e9),
        (attrs.evolve(info, spent=1001), one, 1e9),
        (attrs.evolve(info, uses=2), Price(amount=1, currency="sgd"), 1e9),
    ]:
        assert isinstance(other.refusal(price, now), str)


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    """At start."""
    for wrong in ({"timeout_s": 0.0}, {"poll_s": 0.0}):
        with pytest.raises(WiringError):
            SavedMethodWallet(grants=GrantFiles(tmp_path, key=KEY), **wrong)  # type: ignore[arg-type]  # a table


def test_the_default_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the kept credentials."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert tmp_path / "flovia" / "grants" == GrantFiles(key=KEY).folder
    assert tmp_path / "flovia" / "pending" == PendingFiles().folder


def test_credentials_that_hold_a_grant_can_be_sealed_too(tmp_path: Path, market: Market) -> None:
    """A kept credential is as good as its grant: sealed it resumes all the same, and shows nothing on the disk."""
    agent = Agent("httpx", tmp_path / "pending", wallet=wallet(market, tmp_path))
    agent.pending = PendingFiles(tmp_path / "pending", sealed=True)
    get(agent, market)
    market.sandbox.fault("http", 503, route="B7")
    agent.policy = Policy(max_tries=1)
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(market.url + "/report")
    reference = caught.value.reference or ""
    text = (tmp_path / "pending" / f"{reference}.flovia").read_text()
    assert ["sealed"] == list(json.loads(text))
    assert (agent.pending.load(reference).credential or "").startswith("Payment ")
    (tmp_path / "pending" / f"{reference[::-1]}.flovia").write_text(text)
    with pytest.raises(CannotResume):
        agent.pending.load(reference[::-1])
    market.sandbox.clear()
    agent.pending = PendingFiles(tmp_path / "pending")  # opens what was sealed, with the key beside it
    assert b"goods" == agent.resume(reference).body
