"""Runs beside each other: a trouble is its own run's, what waits is bounded, and what is said of each is true."""

import asyncio
import logging
from pathlib import Path
from typing import NoReturn

import attrs
import pytest

import flovia
from flovia.client.hitpay import Checkout
from flovia.core.money import Price
from flovia.insights import join
from flovia.insights.join import JoinedEvent
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.showcase import runs, troubles
from flovia.showcase.exchanges import SLOW_S, Log
from flovia.showcase.runs import AT_ONCE, Ended, Run
from flovia.showcase.shop import Shop
from flovia.showcase.telling import state_of
from tests.patience import eventually
from tests.showcase.conftest import SECRET, Site


def charge_of(site: Site, run: str) -> str:
    """The charge of a run that waits for its payment."""
    site.until(run, "pending")
    page = site.page(run)
    (found,) = (str(one["id"]) for one in site.sandbox.charges() if str(one["id"]) in page)
    return found


def faults(site: Site) -> list[dict[str, object]]:
    """The sandbox's knobs that are turned."""
    found = site.sandbox.control("GET", "faults")["faults"]
    assert isinstance(found, list)
    return found


MISSED = "It did not come to that"

# --- troubles --------------------------------------------------------------------------------------------------


def test_down_for_one_run_alone(site: Site) -> None:
    """HitPay fails for the call that chose so, and for no other that comes at the same time; nothing stays turned."""
    site.sandbox.fault("http", "slow", route="B1", ms=300)  # so that the calls are on their way together
    down, others = site.start("down"), [site.start() for _ in range(2)]
    assert 402 == site.http.get("/showcase/hitpay-mpp/paid").status_code
    site.until(down, "down")
    for other in others:
        site.until(other, "pending")
    eventually(lambda: faults(site), lambda found: len(found) == 1)
    assert ["slow"] == [one["value"] for one in faults(site)]


def test_unknown_for_one_run_alone(site: Site) -> None:
    """Whoever pays first: the verification that fails is that of the run that chose so."""
    unknown, other = site.start("unknown"), site.start()
    first, second = charge_of(site, unknown), charge_of(site, other)
    assert [first] == [one["id"] for one in faults(site)]
    site.sandbox.pay(second)
    site.until(other, "delivered")
    assert "outcome-unknown" not in site.page(other)
    site.sandbox.pay(first)
    site.until(unknown, "delivered")
    assert "outcome-unknown" in site.page(unknown)
    assert [] == faults(site)


@pytest.mark.parametrize(
    ("trouble", "state"), [("declined", "declined"), ("twice", "twice"), ("amount", "refused"), ("expired", "expired")]
)
def test_a_payer_of_one_run_alone(site: Site, trouble: str, state: str) -> None:
    """What the payer does is done to the charge of the run that chose so; the one beside it still waits."""
    chosen, other = site.start(trouble), site.start()
    charge_of(site, other)
    site.until(chosen, state)
    assert "pending" == site.state(other)
    assert [] == faults(site)
    assert MISSED not in site.page(chosen)


@pytest.mark.parametrize("trouble", ["declined", "amount", "expired"])
def test_the_visitor_is_quicker_than_the_trouble(site: Site, trouble: str) -> None:
    """Paid before the payer was to do something: it does not happen, and the page says so."""
    run = site.start(trouble)
    site.sandbox.pay(charge_of(site, run))
    site.until(run, "delivered")
    assert MISSED in eventually(lambda: site.page(run), lambda found: MISSED in found)


def test_the_visitor_is_the_first_of_two_payers(site: Site) -> None:
    """Paid before somebody else was to pay it twice: that one still pays, at once."""
    run = site.start("twice")
    site.sandbox.pay(charge_of(site, run))
    site.until(run, "twice")


def test_a_trouble_ends_with_its_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stops waiting takes its trouble along: nothing stays turned, and no payer acts any more."""
    monkeypatch.setattr(troubles, "SOON_S", 3600.0)
    left = [site.start("unknown"), site.start("twice")]
    charges = [charge_of(site, one) for one in left]
    for _ in range(AT_ONCE):
        site.start()
    for one in left:
        site.until(one, "stopped")
    assert [] == eventually(lambda: faults(site), lambda found: not found)
    for charge in charges:
        site.sandbox.pay(charge)
    for one in left:
        site.http.post(f"{one}/again", headers={"origin": site.url})
        site.until(one, "delivered")
    assert "outcome-unknown" not in site.page(left[0])


# --- how many, and that they end -------------------------------------------------------------------------------------


def test_what_is_presented_again_is_one_of_those_that_wait(site: Site) -> None:
    """With it there is one too many, so the oldest stops waiting."""
    every = [site.start() for _ in range(AT_ONCE + 1)]
    site.until(every[0], "stopped")
    for one in every[1:]:
        site.until(one, "pending")
    site.http.post(f"{every[0]}/again", headers={"origin": site.url})
    site.until(every[1], "stopped")
    assert {"pending"} == {site.state(one) for one in every[2:]}


def test_an_error_that_nobody_expected(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends, says that it is not known whether anything was paid, and the log says what happened."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(runs, "AsyncPayingTransport", fail)
    with caplog.at_level(logging.ERROR):
        run = site.start()
        site.until(run, "broken")
    assert "not known here" in site.page(run)
    assert "of the test" not in site.page(run)
    assert "of the test" in caplog.text


def test_after_the_checkout_its_credential_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever broke, what was asked for can be paid and presented."""

    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError("of the test")

    result = runs.Runs._result
    monkeypatch.setattr(runs.Runs, "_result", fail)
    run = site.start()
    site.sandbox.pay(charge_of(site, run))
    site.until(run, "broken")
    monkeypatch.setattr(runs.Runs, "_result", result)
    assert "Present the same credential again" in site.page(run)


def test_stopped_before_it_began(tmp_path: Path) -> None:
    """A run that is cancelled before its first step ends as stopped, and does not seem to work for ever."""
    flo = flovia.Flovia(secret=SECRET, realm="test", ledger=f"sqlite:///{tmp_path}/ledger.db")
    provider = HitPayProvider(HitPayConfig(api_key=None))
    shop = Shop(flovia=flo, provider=provider, url="http://127.0.0.1:1", folder=tmp_path)

    async def stopped() -> Ended | None:
        run = runs.Runs(shop).start()
        task = run.stop("of the test")
        assert task is not None
        await asyncio.wait([task])
        return run.ended

    ended = asyncio.run(stopped())
    flo.close()
    assert ended is not None
    assert "stopped" == ended.how


# --- the time to pay -----------------------------------------------------------------------------------------------


def test_paid_too_late(site: Site) -> None:
    """The broker says expired, and the ledger has the money: it is told as late, never as nobody having paid."""
    run = site.start()
    site.sandbox.late_pay(charge_of(site, run))
    site.until(run, "late")
    assert "refund due" in site.page(run)
    assert "no payment is known" not in site.page(run)
    assert 1 == len(site.flo.refunds_due())


def test_paid_and_not_on_record_yet(site: Site) -> None:
    """HitPay has the money, and its message about it has not come: that is said, and then what became of it."""
    site.sandbox.fault("webhook", "lost", target="endpoint")
    run = site.start()
    site.sandbox.late_pay(charge_of(site, run))
    site.until(run, "settling")
    page = site.page(run)
    assert "Do not pay again" in page
    assert "open-checkout" not in page
    site.sandbox.clear("webhook")
    for one in site.sandbox.webhooks():
        if one["target"] == "endpoint":
            site.sandbox.redeliver(str(one["id"]))
    site.until(run, "late")


def joined(insight: str) -> JoinedEvent:
    """An attempt of which a ledger says this."""
    return JoinedEvent(
        request_id="r",
        request_ids=("r",),
        at=1.0,
        provider="hitpay",
        rail="mpp",
        endpoint="/paid",
        http_method="GET",
        challenge_id="c",
        payment_id="p",
        amount=100,
        currency="sgd",
        payer=None,
        recipient=None,
        workflow=None,
        response_status=402,
        latency_ms=1.0,
        insight=insight,
        refunded=None,
    )


def expired() -> Run:
    """A run whose broker said that the time is over."""
    run = Run("x", lambda: 5.0)
    run.log.end(run.log.begin("wallet", "GET", "http://b/v1/charges/c"), 1.0, status=200, body='{"status": "expired"}')
    run.ended = Ended(how="declined")
    return run


@pytest.mark.parametrize("insight", join.INSIGHTS)
def test_expired_is_said_only_where_no_money_is_known(insight: str) -> None:
    """Whatever the ledger says of the charge, the page says the same."""
    expected = {
        **dict.fromkeys((join.NOT_PAID, join.NOT_ACCEPTED, join.NO_PAYMENT), "expired"),
        **dict.fromkeys((join.REFUNDED, join.PARTLY_REFUNDED), "back"),
        **dict.fromkeys((join.NOT_DELIVERED, join.EXHAUSTED), "taken"),
        join.CONVERTED: "elsewhere",
        join.UNKNOWN: "settling",
    }.get(insight, "late")
    assert expected == state_of(expired(), joined(insight)).name
    assert expected == state_of(expired(), joined(join.NOT_PAID), joined(insight)).name


def test_a_payment_that_hitpay_knows_is_no_expiry() -> None:
    """Neither where its API lists it, nor where the broker had called the charge paid."""
    run = expired()
    assert "expired" == state_of(run).name
    run.payments = attrs.evolve(run.payments, made=1)
    assert "settling" == state_of(run).name
    run = expired()
    run.log.end(run.log.begin("wallet", "GET", "http://b/v1/charges/c"), 1.0, status=200, body='{"status": "paid"}')
    body = '{"type": "https://paymentauth.org/problems/payment-expired"}'
    run.log.end(run.log.begin("agent", "GET", "http://a/paid", paid=True), 1.0, status=402, body=body)
    run.ended = Ended(how="refused")
    assert "settling" == state_of(run).name


def test_nobody_is_asked_to_pay_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """HitPay is asked for a while longer; the page says so, and offers no checkout."""
    monkeypatch.setattr(Run, "expires_at", 100.0)
    run = Run("x", lambda: 5.0)
    price = Price(amount=100, currency="sgd")
    run.checkout = Checkout(
        url="http://x", charge_id="c", price=price, origin="http://a", expires_at=100.0, reference="r"
    )
    assert ("pending", True) == (state_of(run, now=99.0).name, state_of(run, now=99.0).payable)
    assert ("ending", False) == (state_of(run, now=100.0).name, state_of(run, now=100.0).payable)


def test_a_second_payment_that_went_back() -> None:
    """Is not said to be due any more."""
    run = expired()
    run.ended = Ended(how="delivered")
    assert "refund due" in state_of(run, None, joined(join.PAID_TWICE)).does
    assert "went back" in state_of(run, None, joined(join.REFUNDED)).does


# --- what is new -----------------------------------------------------------------------------------------------------


def test_asking_the_same_once_more_is_no_news() -> None:
    """A wallet that waits asks every second: told is the first answer, that it is asked again, and another answer."""
    at = [0.0]
    changes: list[float] = []
    log = Log(lambda: changes.append(at[0]), clock=lambda: at[0])
    url = "http://127.0.0.1/v1/charges/x"

    def ask(body: str, takes: float = 0.1) -> None:
        number = log.begin("wallet", "GET", url)
        at[0] += takes
        log.end(number, 1.0, status=200, body=body)
        at[0] += 1

    for _ in range(2):
        ask("pending")
    before = len(changes)
    for _ in range(20):
        ask("pending")
    assert before == len(changes)
    assert (22, 0) == (log.exchanges[0].times, log.repeated)
    log.begin("wallet", "GET", url)
    assert (1, 2) == (len(log.shown(at[0])), len(log.shown(at[0] + SLOW_S)))
    log.end(1, 1.0, status=200, body="pending")
    ask("pending", SLOW_S + 1)  # shown on its way, so its end is news
    assert before + 1 == len(changes)
    ask("paid")
    assert (before + 2, None) == (len(changes), log.repeated)


def test_a_page_is_not_sent_again_while_nothing_is_new(site: Site) -> None:
    """The mark stays for as many questions as the wallet asks."""
    run = site.start()
    site.until(run, "pending")

    def polls() -> int:
        return len(site.sandbox.journal("B2"))

    def quiet() -> bool:
        before, count = site.http.get(f"{run}/state").json()["mark"], polls()
        eventually(polls, lambda found: found >= count + 3)
        return bool(before == site.http.get(f"{run}/state").json()["mark"])

    # The ledger's decisions may still be worked out at first.
    assert eventually(quiet, lambda found: found)
    assert "again and again" in site.page(run)
