"""The parts of the showcase: what is kept of an exchange, where a past is read from, who takes the payments."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from flovia.cli.demo_showcase import hitpay
from flovia.core.errors import WiringError
from flovia.ledger.memory import MemoryLedger
from flovia.showcase.exchanges import Log, masked
from flovia.showcase.joining import Deciding
from tests.showcase.conftest import open_site


def test_secret_fields_are_masked() -> None:
    """Of a credential, a receipt and a cookie the length is kept; everything else as it came."""
    fields = [("Authorization", "Payment abc"), ("Payment-Receipt", "a.b.c"), ("cookie", "s=1"), ("Accept", "*/*")]
    assert (
        ("authorization", "Payment (3 characters, not shown)"),
        ("payment-receipt", "(5 characters, not shown)"),
        ("cookie", "(3 characters, not shown)"),
        ("accept", "*/*"),
    ) == masked(fields)


def test_questions_that_are_answered_alike_are_counted() -> None:
    """A wallet that asks ten times is one line; another answer is another one, and the agent's calls stay apart."""
    changes: list[int] = []
    log = Log(lambda: changes.append(1), clock=lambda: 5.0)
    for status in ("pending", "pending", "pending", "paid"):
        log.end(log.begin("wallet", "GET", "http://127.0.0.1/v1/charges/x"), 1.0, status=200, body=status)
    for _ in range(2):
        log.end(log.begin("agent", "GET", "http://127.0.0.1/paid"), 1.0, status=402, body="{}")
    assert [("pending", 3), ("paid", 1), ("{}", 1), ("{}", 1)] == [(one.body, one.times) for one in log.exchanges]
    assert [0, 3] == [log.exchanges[0].number, log.begin("agent", "GET", "http://127.0.0.1/paid") - 1]
    assert log.exchanges[-1].open
    assert changes


def test_a_ledger_in_memory_has_no_decisions() -> None:
    """And says so, instead of being read for ever."""
    deciding = Deciding(MemoryLedger)
    assert (False, None) == (deciding.possible, deciding.now())


def test_a_key_means_its_sandbox() -> None:
    """With HITPAY_API_KEY nothing is started here, and HitPay's own sandbox is asked."""
    with ExitStack() as stack:
        sandbox, config = hitpay(stack, {"HITPAY_API_KEY": "test_of_somebody"})
    assert (None, "sandbox") == (sandbox, config.broker_endpoint.environment)


def test_without_a_key_a_sandbox_is_started() -> None:
    """Other variables of HitPay's change nothing then."""
    with ExitStack() as stack:
        sandbox, config = hitpay(stack, {})
        assert sandbox is not None
        assert sandbox.broker_url == config.broker_endpoint.origin


def test_production_is_refused() -> None:
    """The demo takes no real money, and says what to unset."""
    environ = {"HITPAY_API_KEY": "live_for_a_test_only", "HITPAY_MPP_ENDPOINT": "https://mpp.hitpay.dev"}
    with ExitStack() as stack, pytest.raises(WiringError, match="HITPAY_MPP_ENDPOINT"):
        hitpay(stack, environ)


def test_a_trouble_that_nobody_knows(tmp_path: Path) -> None:
    """A form turns the knobs that are listed and no others; one that is too long is not read."""
    with open_site(tmp_path) as site:
        for status, form in (
            (400, "trouble=http"),
            (400, "trouble=down&trouble=http"),
            (400, "trouble=" + "x" * 5000),
            (303, "trouble="),
            (303, "knob=payer&value=auto_pay"),
        ):
            answer = site.http.post(
                "/showcase/hitpay-mpp/runs",
                content=form,
                headers={"content-type": "application/x-www-form-urlencoded", "origin": site.url},
            )
            assert status == answer.status_code
            assert status == 303 or "trouble" in answer.text or "at most 1000 bytes" in answer.text
        assert [] == site.sandbox.control("GET", "faults")["faults"]
