"""A process that is killed in the middle: the next one goes on with the same order, and records it once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flovia import RefundError
from flovia.ledger.opening import open_ledger
from tests.core.world import Clock, problem, request
from tests.hooks.bank import event, sign
from tests.hooks.conftest import Shop
from tests.patience import PROGRAM_S

CRASH = """
import os, signal, sys
import flovia
from flovia.ledger.opening import open_ledger
from tests.core.world import REALM, SECRET, Clock
from tests.hooks.bank import HookBankProvider, event, sign

url, ledger_url, point, payment = sys.argv[1:]
clock = Clock()
ledger = open_ledger(ledger_url, clock=clock)
flo = flovia.Flovia(provider=HookBankProvider(url), ledger=ledger, secret=SECRET, realm=REALM, clock=clock)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(name):
    inner = getattr(ledger, name)
    setattr(ledger, name, lambda *arguments: (inner(*arguments), die()))

{"ordered": lambda: dies_after("open_refund"),
 "answered": lambda: setattr(ledger, "close_refund", die),
 "recorded": lambda: dies_after("close_refund"),
 "heard": lambda: setattr(ledger, "late", die),
 "written": lambda: dies_after("late")}[point]()
body = event(payment)
flo.refund(payment, "0.40 USD") if point in ("ordered", "answered", "recorded") else flo.webhook(
    {"bank-signature": sign(body)}, body)
print("alive")
"""


def crash(shop_url: str, ledger: str, point: str, payment: str) -> None:
    """Let a process die at a point."""
    command = [sys.executable, "-c", CRASH, shop_url, ledger, point, payment]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, check=False, env=environment)
    assert (-signal.SIGKILL, "") == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(("point", "asked"), [("ordered", 0), ("answered", 1), ("recorded", 1)])
def test_killed_during_a_refund(
    open_shop: Callable[..., Shop], bank_url: str, tmp_path: Path, point: str, asked: int
) -> None:
    """Whenever it dies: one refund at the bank, one nonce, one event, and nothing delivered in between."""
    url, clock = f"sqlite:///{tmp_path}/crash.db", Clock()
    shop = open_shop(open_ledger(url, clock=clock), clock)
    payment, credential = shop.buy(status=500)
    crash(bank_url, url, point, payment)
    assert asked == shop.bank.calls["POST"]
    if point == "recorded":
        with pytest.raises(RefundError, match="given back already"):
            shop.flo.refund(payment, "0.40 USD")
    else:
        assert "in-flight" == problem(shop.paid.enter(request(credential)).response)
        with pytest.raises(RefundError, match="another call is asking"):
            shop.flo.refund(payment, "0.40 USD")
        clock.advance(10.0)
        assert "in-flight" == problem(shop.paid.enter(request(credential)).response)
        assert "refunded" == shop.flo.refund(payment, "0.40 USD").status
    assert 1 == len(shop.bank.refunds) == len(set(shop.bank.keys))
    assert asked + (point != "recorded") == len(shop.bank.keys)
    assert [40] == [one.amount for one in shop.events("payment.refunded")]
    assert "payment-refunded" == problem(shop.paid.enter(request(credential)).response)
    shop.ledger.close()


@pytest.mark.parametrize(("point", "before"), [("heard", 0), ("written", 1)])
def test_killed_during_a_webhook(
    open_shop: Callable[..., Shop], bank_url: str, tmp_path: Path, point: str, before: int
) -> None:
    """The sender comes back, and it is recorded once."""
    url, clock = f"sqlite:///{tmp_path}/crash.db", Clock()
    shop = open_shop(open_ledger(url, clock=clock), clock)
    payment = shop.bank.pay("late", shop.challenge(), state="late")
    crash(bank_url, url, point, payment)
    assert before == len(shop.flo.refunds_due())
    body = event(payment)
    assert 200 == shop.flo.webhook({"bank-signature": sign(body)}, body).status
    assert 1 == len(shop.flo.refunds_due()) == len(shop.events("payment.late"))
    shop.ledger.close()
