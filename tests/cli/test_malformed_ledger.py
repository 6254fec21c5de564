"""A setting that is no ledger's URL may hold a password, wherever it stands in it: nobody repeats it."""

import logging
import re
from pathlib import Path

import pytest

import flovia
from flovia.cli.app import run
from flovia.core.errors import FloviaError
from flovia.doctor import examine
from flovia.ledger.opening import open_ledger, shown

# PWQX and the like stand for parts of a password that contains them; no folder of a test is called so by chance.
FORMS = (
    "u:testPWQX@h/db",
    "testPWQX",
    "testPWQX@h:5432/db",
    "postgresql:/u:testPWQX@h/db",
    "postgres//u:testPWQX@h/db",
    "postgresql//u:testPWQX@h/db?sslmode=require",
    "postgresql+testPWQX@h/db",
    "postgresql+testPWQX:/u@h/db",
    "host=h password=testPWQX",
    "host=h password=testPWQX dbname=postgresql://x",
    "postgresql://u:testPWQX",
    "postgresql://u:testAAQX@testBBQX/testCCQX@127.0.0.1/db",
    "postgresql://u:testAAQX@testBBQX@127.0.0.1:1/db",
    "postgresql://u:testAAQX@testBBQX?testCCQX@127.0.0.1:1/db",
    "postgresql://u:12/testPWQX@127.0.0.1:1/db",
    "postgresql://u:12/testAAQX?testBBQX=1@127.0.0.1:1/db",
    "postgresql://u:testAAQX/testBBQX@127.0.0.1/db",
    "postgresql://u:testAAQX?testBBQX@127.0.0.1:1/db",
    "postgresql://u:testAAQX#testBBQX@127.0.0.1:1/db",
    "postgresql://u:testPWQX@127.0.0.1:1/db",
    "postgresql://127.0.0.1:1/db?user=u&password=testAAQX@testBBQX",
    "postgresql+asyncpg://u:testPWQX@h/db",
    "mysql://u:testPWQX@h/db",
    "sqlite://u:testPWQX@h/db",
    "memory:u:testPWQX@h",
    "SQLite:///testPWQX",
)
PARTS = re.compile(r"PWQX|AAQX|BBQX|CCQX|(?<=password=)test")


@pytest.mark.parametrize("form", FORMS)
def test_nobody_repeats_it(
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not flovia doctor, flovia events, an app's error or its log; each says something all the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOVIA_LEDGER", form)
    caplog.set_level(logging.DEBUG)
    said = [repr(examine({"FLOVIA_LEDGER": form}, offline=True)), shown(form)]
    assert run(["doctor", "--offline"]) > 0
    assert run(["events", "--raw"]) > 0
    assert run(["events", "--ledger", form]) > 0
    with pytest.raises(FloviaError) as caught:
        open_ledger(form).find("doctor|nothing")
    said.append(str(caught.value))
    with pytest.raises(FloviaError) as caught:
        flovia.Flovia(provider="mock", price="1.00 USD").ledger.find("doctor|nothing")
    captured = capsys.readouterr()
    for text in (*said, str(caught.value), captured.out, captured.err, caplog.text):
        assert PARTS.search(text) is None, text
    assert captured.err


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", "memory://"),
        ("sqlite:////var/lib/app/a b@c.db", "sqlite:////var/lib/app/a b@c.db"),
        ("postgresql://u:test@db.example.com:5432/shop?sslmode=require", "postgresql://db.example.com:5432/shop"),
        ("postgresql://db1:5432,[::1]:5433/shop", "postgresql://db1:5432,[::1]:5433/shop"),
        ("postgres:///shop", "postgres:///shop"),
        ("postgresql+psycopg://u@%2Frun%2Fpg/shop", "postgresql+psycopg://…"),
        ("shop.db", "a text of 7 characters that is no ledger's URL"),
    ],
)
def test_what_is_shown(url: str, expected: str) -> None:
    """Host and database where they are surely that."""
    assert expected == shown(url)


def test_other_settings() -> None:
    """A value that cannot be read is not repeated; of an address neither user nor query."""
    env = {
        "FLOVIA_PUBLIC_ORIGIN": "https://api.example.com/?token=testPWQX",
        "HITPAY_MPP_ENDPOINT": "https://u:testAAQX@BBQX@h/?testCCQX",
        "FLOVIA_PRICE": "testPWQX",
        "FLOVIA_LIMIT": "challenges=testPWQX",
        "FLOVIA_WORKERS": "testPWQX",
        "WEB_CONCURRENCY": "testPWQX",
        "FLOVIA_RETENTION": "events=testPWQXd",
        "FLOVIA_HASH_PAYERS": "PWQX",
    }
    found = examine(env, offline=True)
    assert PARTS.search(repr(found)) is None, found
    assert 2 == found.status
    errors = [finding.text.partition(" ")[0] for finding in found.findings if finding.level == "error"]
    assert {name for name in env if "PRICE" in name or "LIMIT" in name or "WORKERS" in name} <= set(errors)
