"""``flovia doctor``: each finding has a remedy, nothing crashes it, and no secret is shown."""

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import flovia
from flovia.cli.app import run
from flovia.core.awaited import AWAITED, WAITING
from flovia.doctor import Examination, Finding, checks, examine, ledgers, versions
from flovia.doctor.finding import guarded, without_secrets
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import DeadLetter, with_sinks
from flovia.sandbox import serving
from flovia.testing.ledger_refunds import record_late
from flovia.testing.ledger_steps import ManualClock, claim
from tests.core.world import SECRET, buy, deliver, request

GOOD = "test-secret-Kq7vWm2xR9pLz4Tn8BfY3cJd6Hg"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A setup with nothing wrong but that nobody can reach HitPay."""
    url = f"sqlite:///{tmp_path}/shop.db"
    open_ledger(url).close()
    return {
        "FLOVIA_LEDGER": url,
        "FLOVIA_SECRET": "x" + GOOD,
        "FLOVIA_PUBLIC_ORIGIN": "https://api.example.com",
        "HITPAY_API_KEY": "test_key_of_a_merchant",
        "HITPAY_WEBHOOK_SALT": "test_salt_of_a_webhook",
        "HITPAY_MPP_ENDPOINT": "http://127.0.0.1:9",
    }


def bad(found: Examination) -> list[str]:
    """What there is something to do about."""
    worth_it = [finding for finding in found.findings if finding.level in ("warning", "error")]
    assert all(finding.remedy for finding in worth_it)
    return [finding.text for finding in worth_it]


def test_all_is_well(env: dict[str, str]) -> None:
    """Exit status 0, and no secret anywhere."""
    found = examine(env, offline=True)
    assert [] == bad(found)
    assert 0 == found.status
    text = repr(found)
    assert not [value for name, value in env.items() if value in text and ("KEY" in name or "SECRET" in name)]
    assert "set, 40 characters" in text


def test_hitpay_and_its_clock(env: dict[str, str]) -> None:
    """HitPay is asked for its public keys only; its clock is compared with ours."""
    with serving() as sandbox:
        env |= sandbox.environment
        assert [] == bad(examine(env))
        assert ["B9"] == [call["route"] for call in sandbox.journal() if call["route"] != "control"]
        ahead = examine(env, clock=lambda: time.time() + 3600)
        assert ["this machine's clock and the ledger's are 3600 s apart"] == bad(ahead)[:1]
        sandbox.fault("http", 503, route="B9")
        assert "HitPay answers 503 to the question for its public keys" in bad(examine(env))
    assert f"HitPay does not answer at {sandbox.broker_url}" in bad(examine(env))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"FLOVIA_SECRET": "test-short"}, "shorter than 32 bytes"),
        ({"FLOVIA_SECRET": ""}, "FLOVIA_SECRET is set but empty"),
        ({"FLOVIA_SECRET": None}, "no FLOVIA_SECRET"),
        ({"FLOVIA_SECRET": "changeme" * 6}, "looks like one that somebody made up"),
        ({"FLOVIA_SECRET": f"{GOOD[::-1]},{GOOD}"}, "to reports each is another one than before"),
        ({"FLOVIA_PAYER_KEY": "test-short"}, "FLOVIA_PAYER_KEY has less than 32 bytes"),
        ({"FLOVIA_SECRET": f'"{GOOD}"'}, "with spaces or quotes around it"),
        ({"FLOVIA_PUBLIC_ORIGIN": None}, "no public origin"),
        ({"FLOVIA_PRICE": "free"}, ""),
        ({"FLOVIA_RETENTION": "events=1d"}, "whole number of days"),
        ({"FLOVIA_LEDGER": "memory://", "FLOVIA_WORKERS": "4"}, "4 workers"),
        ({"FLOVIA_LEDGER": "sqlite:////nowhere/at/all.db"}, "there is no ledger"),
        ({"FLOVIA_LEDGER": "postgresql://shop:hushhush@127.0.0.1:1/shop"}, "cannot answer"),
        ({"FLOVIA_LEDGER": "mysql://127.0.0.1/shop"}, "no kind of ledger"),
        ({"HITPAY_API_KEY": None}, "no HITPAY_API_KEY"),
        ({"HITPAY_WEBHOOK_SALT": None}, "no HITPAY_WEBHOOK_SALT"),
        ({"HITPAY_API_KEY": "no_such_key"}, "does not start with test_"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong(env: dict[str, str], change: dict[str, str | None], expected: str) -> None:
    """Each finding says what to do; the others go on; nothing secret is repeated."""
    changed = {name: value for name, value in {**env, **change}.items() if value is not None}
    found = examine(changed, offline=True)
    assert any(expected in text for text in bad(found)), found
    assert found.status in (1, 2)
    assert {"settings", "versions"} <= {finding.check for finding in found.findings}
    assert "hushhush" not in repr(found)
    assert GOOD not in repr(found)


@pytest.mark.parametrize(
    ("secret", "text", "told"),
    [
        ("short", "secret 1 of 1 is shorter than 32 bytes", None),
        ("secret", "secret 1 of 1 is shorter than 32 bytes", None),
        ("32", "secret 1 of 1 is shorter than 32 bytes", None),
        ("FLOVIA_SECRET", "no FLOVIA_SECRET: an app does not start", None),
        ("-", "a half-done thing", None),
        ("short", "FLOVIA_REALM from the environment: short", "FLOVIA_REALM from the environment: (not shown)"),
        ("short", "'short' is no price", "'(not shown)' is no price"),
        ("pw", "postgresql://shop:pw@db/shop is down", "postgresql://shop:(not shown)@db/shop is down"),
        ("test-a1", "the realm test-a1 is odd", "the realm (not shown) is odd"),
        ("test-a1", "the realm test-a1b is odd", None),
        (GOOD, f"x{GOOD}y", "x(not shown)y"),
    ],
)
def test_secrets_are_hidden_where_they_are_shown(secret: str, text: str, told: str | None) -> None:
    """A secret that is a word of ours, or a part of one, leaves the sentence alone; as a value it is never shown."""
    (found,) = without_secrets([Finding(check="c", level="ok", text=text)], {"HITPAY_API_KEY": secret})
    assert (text if told is None else told) == found.text


def test_a_short_secret_is_called_short(env: dict[str, str]) -> None:
    """The finding about a secret of five letters can be read."""
    found = examine(env | {"FLOVIA_SECRET": "short"}, offline=True)
    assert [text for text in bad(found) if "secret 1 of 1 is shorter than 32 bytes" in text], found


def test_what_is_missing_is_not_called_right(env: dict[str, str]) -> None:
    """A variable that is missing where it should not be has one finding, and none that says "ok"."""
    for name in ("FLOVIA_SECRET", "FLOVIA_PUBLIC_ORIGIN"):
        del env[name]
    told = [finding for finding in examine(env, offline=True).findings if finding.check == "settings"]
    assert [] == [one.text for one in told if one.level == "ok" and ("SECRET" in one.text or "ORIGIN" in one.text)]
    assert ["no FLOVIA_SECRET", "no public origin"] == [one.text.partition(":")[0] for one in told if one.level != "ok"]


def test_what_waits(env: dict[str, str]) -> None:
    """Payments that nobody knows the outcome of, undelivered and stuck ones, refunds due, charges not looked at."""
    clock = ManualClock(time.time() - 90 * 86400)
    ledger = open_ledger(env["FLOVIA_LEDGER"], clock=clock)
    gate = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock).paid_api(provider="mock", price="1.00 USD")
    deliver(gate, buy(gate, "ok1")[1], 500)
    buy(gate, "ok2")
    buy(gate, "unknown")
    claim(ledger, clock)
    record_late(ledger, clock)
    ledger.remember(AWAITED, "000000000100|hitpay|mpp_ch_1", "c", 1e9, False)
    ledger.remember(WAITING, "hitpay|mpp_ch_2", "c", 1e9, False)
    ledger.lease_sink("warehouse", "test", 1.0)  # type: ignore[attr-defined]  # of a SQL ledger
    ledger.close()
    found = examine(env, offline=True)
    texts = bad(found)
    for beginning in (
        "2 payments have an outcome that nobody knows",
        "2 payments are paid and not delivered",
        "2 payments are paid, not delivered, and cannot be redeemed any more",
        "1 payment has a refund that is due",
        "1 charge was to be looked at more than an hour ago",
        "warehouse: ",
    ):
        assert any(text.startswith(beginning) for text in texts), (beginning, texts)
    notes = {finding.text for finding in found.findings if finding.level == "note"}
    assert "1 payment has a delivery whose lease has run out" in notes
    assert "1 charge is paid, and its agent has not come yet" in notes
    assert 1 == found.status


def test_a_worker_that_died(env: dict[str, str]) -> None:
    """A delivery that runs is counted, and when its lease is over nobody is sent to look at a handler that is well."""
    clock = ManualClock(time.time() - 30)
    with closing(open_ledger(env["FLOVIA_LEDGER"], clock=clock)) as ledger:
        flo = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock)
        buy(flo.paid_api(provider="mock", price="1.00 USD"), "ok1")
        buy(flo.paid_api(provider="mock", price="1.00 USD", deliver_within=5), "ok2")
    found = {one.text: one for one in examine(env, offline=True).findings}
    running = found["1 payment is being delivered"]
    assert ("note", True) == (running.level, "flovia ledger undelivered shows" in running.remedy)
    remedy = found["1 payment is paid and not delivered"].remedy
    assert "Their agents can still come for them. List them: flovia ledger undelivered." == remedy
    with closing(open_ledger(env["FLOVIA_LEDGER"], clock=clock)) as ledger:
        gate = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock).paid_api(provider="mock", price="1.00 USD")
        deliver(gate, buy(gate, "ok3")[1], 500)
    found = {one.text: one for one in examine(env, offline=True).findings}
    assert found["2 payments are paid and not delivered"].remedy.endswith("undelivered; the handler failed for 1.")


def test_an_exporter_that_is_behind(env: dict[str, str]) -> None:
    """The commands are named, with the sink's name."""
    clock = ManualClock(time.time() - 86400)
    with closing(with_sinks(open_ledger(env["FLOVIA_LEDGER"], clock=clock))) as ledger:
        buy(flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock).paid_api(provider="mock", price="1.00 USD"))
        fence = ledger.lease_sink("ware'house", "test", 1.0).fence
        assert fence is not None
        letter = DeadLetter(position=1, event_id="evt_1", body="{}", reason="no", tries=1)
        ledger.advance_sink("ware'house", fence, 1, 1.0, dead=(letter,))
    (remedy,) = (one.remedy for one in examine(env, offline=True).findings if one.text.startswith("ware'house: "))
    for command in ("export --name {} --to …", "dead-letters --name {} lists", "sinks --forget {}"):
        assert "flovia events " + command.format("'ware'\"'\"'house'") in remedy


def test_deliveries_that_are_used_up(env: dict[str, str]) -> None:
    """A payment whose credential was told delivery-exhausted is not called redeemable, and one that may be says so."""
    with closing(open_ledger(env["FLOVIA_LEDGER"])) as ledger:
        flo = flovia.Flovia(ledger=ledger, secret=SECRET)
        for number, (allowed, tries) in enumerate([(1, 2), (5, 5), (5, 1)]):
            gate = flo.paid_api(provider="mock", price="1.00 USD", max_deliveries=allowed)
            credential, passage = buy(gate, f"ok{number}")
            for _ in range(tries - 1):
                deliver(gate, passage, 500)
                passage = gate.enter(request(credential))
            if passage.grant is not None:  # the first one is told instead
                deliver(gate, passage, 500)
    found = {one.text: one.remedy for one in examine(env, offline=True).findings if one.level == "warning"}
    assert "The agents of 1 of them can still come;" in found["3 payments are paid and not delivered"]
    remedy = found["1 payment is paid, not delivered, and cannot be redeemed any more"]
    assert "flovia ledger redeliver ID" in remedy
    assert "flovia refund ID gives the money back" in remedy
    (perhaps,) = (text for text in found if "5 deliveries" in text)
    assert "1 payment has begun 5 deliveries, all that a route allows by default, and got none" == perhaps
    assert remedy in found[perhaps]


def test_a_check_that_fails(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding like another, without the error's own words, and the others go on."""

    def fail(*_: object) -> object:
        raise RuntimeError("test-with-a-secret-in-it")

    monkeypatch.setattr(ledgers, "_latency", fail)
    monkeypatch.setattr(checks, "version_findings", fail)
    found = examine(env, offline=True)
    assert 2 == [finding.level for finding in found.findings].count("error")
    assert "test-with-a-secret-in-it" not in repr(found)
    assert "no payments have a refund that is due" in repr(found)
    assert [] == list(guarded("x", list[Finding]))


def test_slow_and_old(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk, packages that are missing, a SQLite of another age."""
    monkeypatch.setattr(ledgers, "SLOW_S", -1.0)
    monkeypatch.setattr(versions, "_version", lambda name: None)
    texts = bad(examine(env, offline=True))
    assert any(text.startswith("it can be read and written: 20 small transactions") for text in texts)
    assert "flovia is not installed as a package" in texts
    env["FLOVIA_LEDGER"] = "postgresql://127.0.0.1:1/shop"
    assert "the ledger is in PostgreSQL and psycopg is not installed" in bad(examine(env, offline=True))
    for mode, level in (("WAL", "ok"), ("TRUNCATE", "note")):
        monkeypatch.setattr("flovia.ledger.sqlite.journal_mode", lambda mode=mode: mode)
        assert level == versions._sqlite().level


def test_telemetry_without_its_package(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched on and not installed is an error, with the line that helps."""
    env["FLOVIA_OTEL"] = "true"
    assert not any("OpenTelemetry" in text for text in bad(examine(env, offline=True)))
    monkeypatch.setattr("flovia.doctor.setup.find_spec", lambda name: None)
    (found,) = (one for one in examine(env, offline=True).findings if "OpenTelemetry" in one.text)
    assert ("error", "pip install 'flovia[otel]'") == (found.level, found.remedy)


def test_printed(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As lines, and as one JSON object."""
    for name in list(os.environ):
        if name.startswith(("FLOVIA_", "HITPAY_")):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert 0 == run(["doctor", "--offline"])
    assert "ok      ledger      its tables have version" in capsys.readouterr().out
    assert 1 == run(["doctor", "--json", "--quiet"])
    found = json.loads(capsys.readouterr().out)
    assert (1, ["provider"]) == (found["status"], [one["check"] for one in found["findings"]])
    assert 1 == run(["doctor", "--quiet"])
    assert "Look at the network" in capsys.readouterr().out


def test_as_a_process(env: dict[str, str]) -> None:
    """The command itself, in a folder with nothing in it and an environment without anything."""
    started = {"PATH": os.environ["PATH"], "FLOVIA_LEDGER": "sqlite:////nowhere/at/all.db"}
    result = subprocess.run(
        [sys.executable, "-m", "flovia.cli", "doctor", "--offline"],
        env=started,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (1, "") == (result.returncode, result.stderr)
    assert "there is no ledger" in result.stdout
    assert env["FLOVIA_SECRET"] not in result.stdout
