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

# PW and the like stand for parts of a password that contains them.
FORMS = (
    "u:testPW@h/db",
    "testPW",
    "testPW@h:5432/db",
    "postgresql:/u:testPW@h/db",
    "postgres//u:testPW@h/db",
    "postgresql//u:testPW@h/db?sslmode=require",
    "postgresql+testPW@h/db",
    "postgresql+testPW:/u@h/db",
    "host=h password=testPW",
    "host=h password=testPW dbname=postgresql://x",
    "postgresql://u:testPW",
    "postgresql://u:testAA@testBB/testCC@127.0.0.1/db",
    "postgresql://u:testAA@testBB@127.0.0.1:1/db",
    "postgresql://u:testAA@testBB?testCC@127.0.0.1:1/db",
    "postgresql://u:12/testPW@127.0.0.1:1/db",
    "postgresql://u:12/testAA?testBB=1@127.0.0.1:1/db",
    "postgresql://u:testAA/testBB@127.0.0.1/db",
    "postgresql://u:testAA?testBB@127.0.0.1:1/db",
    "postgresql://u:testAA#testBB@127.0.0.1:1/db",
    "postgresql://u:testPW@127.0.0.1:1/db",
    "postgresql://127.0.0.1:1/db?user=u&password=testAA@testBB",
    "postgresql+asyncpg://u:testPW@h/db",
    "mysql://u:testPW@h/db",
    "sqlite://u:testPW@h/db",
    "memory:u:testPW@h",
    "SQLite:///testPW",
)
PARTS = re.compile(r"PW|AA|BB|CC|(?<=password=)test")


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
        "FLOVIA_PUBLIC_ORIGIN": "https://api.example.com/?token=testPW",
        "HITPAY_MPP_ENDPOINT": "https://u:testAA@BB@h/?testCC",
        "FLOVIA_PRICE": "testPW",
        "FLOVIA_LIMIT": "challenges=testPW",
        "FLOVIA_WORKERS": "testPW",
        "WEB_CONCURRENCY": "testPW",
        "FLOVIA_RETENTION": "events=testPWd",
        "FLOVIA_HASH_PAYERS": "PW",
    }
    found = examine(env, offline=True)
    assert PARTS.search(repr(found)) is None, found
    assert 2 == found.status
    errors = [finding.text.partition(" ")[0] for finding in found.findings if finding.level == "error"]
    assert {name for name in env if "PRICE" in name or "LIMIT" in name or "WORKERS" in name} <= set(errors)
