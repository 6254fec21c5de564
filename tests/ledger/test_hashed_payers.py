"""Payers are hashed unless somebody says otherwise: in events and reports, and nowhere where their names are needed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import flovia
from flovia.cli.app import run
from flovia.core.errors import WiringError
from flovia.core.hiding import hider
from flovia.insights.attempt import attempts
from flovia.ledger.opening import open_ledger
from flovia.settings import read_settings
from tests.core.world import challenges, deliver, pay, request

SECRET, OLD = "test-secret-of-at-least-32-bytes!!", "test-old-secret-of-at-least-32-bytes"
BOB = "did:example:bob"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOVIA_LEDGER", "FLOVIA_SECRET", "FLOVIA_HASH_PAYERS", "FLOVIA_PAYER_KEY"):
        monkeypatch.delenv(name, raising=False)


def sell(
    secret: str | Sequence[str] | None = SECRET, status: int = 200, proof: str = "ok1", **settings: object
) -> flovia.Grant:
    """One paid call of an app that is opened and closed for it; what its handler knows."""
    flo = flovia.Flovia(secret=secret, ledger="sqlite:///flovia.db", realm="api.example.com", **settings)  # type: ignore[arg-type]
    gate = flo.paid_api(provider="mock", price="1.00 USD", name="r")
    asked = request(headers={"flovia-workflow": "nightly"})
    (challenge,) = challenges(gate.enter(asked).response)
    credential = pay(challenge, proof, source=BOB)
    passage = gate.enter(request(credential, headers={"flovia-workflow": "nightly"}))
    grant = passage.grant
    assert grant is not None
    deliver(gate, passage, status)
    flo.close()
    return grant


def named() -> set[tuple[str | None, str | None]]:
    """Payer and workflow of each attempt."""
    ledger = open_ledger("sqlite:///flovia.db")
    found = attempts(event for _, event in ledger.read_events(limit=10_000))
    ledger.close()
    return {(one.payer, one.workflow) for one in found}


def test_by_default() -> None:
    """Events have a keyed hash of the payer, and the workflow as the agent declares it; the handler knows who paid."""
    assert BOB == sell().payer
    assert {(hider(SECRET)(BOB), "nightly")} == named()


@pytest.mark.parametrize(
    ("said", "payer", "workflow"), [(True, hider(SECRET)(BOB), hider(SECRET)("nightly")), (False, BOB, "nightly")]
)
def test_as_one_wishes(said: bool, payer: str, workflow: str) -> None:
    """Neither in clear, or both."""
    sell(hash_payers=said)
    assert {(payer, workflow)} == named()


def test_without_a_secret() -> None:
    """There is no key that another process would have, too."""
    sell(None)
    assert {(BOB, "nightly")} == named()


def test_a_new_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key that was used before every name stays the same text."""
    sell(OLD)
    monkeypatch.setenv("FLOVIA_PAYER_KEY", OLD)
    sell([SECRET, OLD], proof="ok2")
    sell(SECRET, proof="ok3")
    assert {(hider(OLD)(BOB), "nightly")} == named()


def test_keys() -> None:
    """The one in use first; one that is too short is none."""
    found = read_settings({"FLOVIA_SECRET": f"{SECRET},{OLD}", "FLOVIA_PAYER_KEY": OLD})
    assert ((OLD, SECRET), True, False) == (found.hiding_keys, found.hash_payers, found.hash_workflows)
    assert OLD not in repr(found)
    with pytest.raises(WiringError, match="FLOVIA_PAYER_KEY has less than 32 bytes"):
        read_settings({"FLOVIA_PAYER_KEY": "test"})
    with pytest.raises(WiringError, match="set FLOVIA_SECRET"):
        read_settings({"FLOVIA_HASH_PAYERS": "true"})
    assert not read_settings({}).hash_payers
    assert read_settings({"FLOVIA_PAYER_KEY": OLD}).hash_payers


def test_forgotten_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks to be forgotten gives a name, not a hash; each key that may have hashed it is tried."""
    sell(OLD)
    sell([SECRET, OLD], proof="ok2")
    monkeypatch.setenv("FLOVIA_SECRET", f"{SECRET},{OLD}")
    assert 0 == run(["ledger", "forget", "--payer", BOB])
    assert {(None, None)} == named()


def test_a_ledger_from_before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its payers are hashed by a command, so that reports take each for one again; a redelivery knows its payer."""
    sell(hash_payers=False, status=500)
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    assert 0 == run(["report", "workflows", "--test"])
    sell(proof="ok2")
    assert {(BOB, "nightly"), (hider(SECRET)(BOB), "nightly")} == named()
    capsys.readouterr()
    assert 0 == run(["ledger", "hash-payers"])
    assert "5 events changed, 1 attempt changed\n" == capsys.readouterr().out
    assert {(hider(SECRET)(BOB), "nightly")} == named()
    assert 0 == run(["report", "retention", "--test"])
    assert BOB not in capsys.readouterr().out
    assert BOB.encode() in Path("flovia.db").read_bytes()  # of the payment that is still to be delivered
    assert 0 == run(["ledger", "hash-payers", "--json"])
    assert '{"events": 0, "attempts": 0}\n' == capsys.readouterr().out
    monkeypatch.delenv("FLOVIA_SECRET")
    assert 1 == run(["ledger", "hash-payers"])
    assert "set FLOVIA_SECRET" in capsys.readouterr().err


def test_before_any_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There are no attempts to change, and an empty ledger is fine."""
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    open_ledger("sqlite:///flovia.db").close()
    assert 0 == run(["ledger", "hash-payers"])
    assert "0 events changed, 0 attempts changed\n" == capsys.readouterr().out


def test_nobody_is_no_name() -> None:
    """An empty text is not hashed to a payer that all who say nothing would share."""
    flo = flovia.Flovia(secret=SECRET, ledger="sqlite:///flovia.db", realm="api.example.com")
    gate = flo.paid_api(provider="mock", price="1.00 USD")
    (challenge,) = challenges(gate.enter(request()).response)
    deliver(gate, gate.enter(request(pay(challenge, source=""))))
    flo.close()
    assert {(None, None)} == named()
