"""A provider that flovia does not ship: the example, served and paid, as an object and as an entry point."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import cast
from wsgiref.types import WSGIApplication

import httpx
import pytest

from flovia.client import (
    Budget,
    Payment,
    PaymentContext,
    PaymentRefused,
    PendingFiles,
    WalletVerdict,
)
from flovia.client.httpx import PayingTransport, payment_info
from flovia.core.challenge import Challenge
from flovia.core.effects import Flow
from flovia.testing.servers import serve_wsgi
from tests.patience import PATIENT_S
from tests.tree import ROOT

EXAMPLE = ROOT / "examples" / "third_party_provider.py"


class VoucherWallet:
    """Pays with one voucher, however often it is asked."""

    methods = ("voucher/charge",)

    def __init__(self, code: object) -> None:
        self.code = code

    def can_pay(self, challenge: Challenge) -> bool:
        """True for vouchers."""
        return challenge.method == "voucher"

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Hand the voucher over."""
        yield from ()
        return Payment(payload={"voucher": cast("str", self.code)})


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WSGIApplication:
    """The example's app, with its ledger in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return cast("WSGIApplication", runpy.run_path(str(EXAMPLE))["make_app"]())


def call(url: str, code: object, pending: Path) -> httpx.Response:
    """A paid call with a voucher."""
    transport = PayingTransport(VoucherWallet(code), budget=Budget("5.00 USD"), pending=PendingFiles(pending))
    with httpx.Client(transport=transport, trust_env=False, timeout=PATIENT_S) as agent:
        return agent.get(url)


def test_a_voucher_pays_once(app: WSGIApplication, tmp_path: Path) -> None:
    """A voucher opens the route once; the same voucher for another challenge is not verified (S44)."""
    with serve_wsgi(app) as url:
        paid = call(url, "TEST-VOUCHER-0001", tmp_path)
        assert (200, "paid with voucher_") == (paid.status_code, paid.text[:18])
        info = payment_info(paid)
        assert info is not None
        assert info.receipt is not None
        with pytest.raises(PaymentRefused) as refused:
            call(url, "TEST-VOUCHER-0001", tmp_path)
    assert "verification-failed" == refused.value.problem


@pytest.mark.parametrize(
    ("code", "problem"),
    [("TEST-VOUCHER-0002", "payment-insufficient"), ("made up", "verification-failed"), (7, "invalid-payload")],
)
def test_what_is_no_good_voucher_is_refused(app: WSGIApplication, code: object, problem: str, tmp_path: Path) -> None:
    """A voucher of another worth, an unknown one and something that is none: each 402 says which (S06)."""
    with serve_wsgi(app) as url, pytest.raises(PaymentRefused) as refused:
        call(url, code, tmp_path)
    assert problem == refused.value.problem


def test_an_installed_provider_is_found_by_name(tmp_path: Path) -> None:
    """A package that registers an entry point makes its provider available under that name."""
    (tmp_path / "voucher_for_flovia.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    metadata = tmp_path / "voucher_for_flovia-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: voucher-for-flovia\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[flovia.providers]\nvoucher = voucher_for_flovia:VoucherProvider\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import flovia\n"
        "flo = flovia.Flovia(secret='test-secret-test-secret-test-secret-', ledger='memory://')\n"
        "print(flo.paid_api(provider='voucher', price='0.50 USD', name='rows'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "<PaidApi gate rows>" == done.stdout.strip()
