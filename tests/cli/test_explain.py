"""``flovia ledger explain``, and who does what: the queue is worked on the command line, with an audit trail."""

import json
from pathlib import Path

import attrs
import pytest

from flovia.cli.app import run
from flovia.core import events as ev
from flovia.core.errors import WiringError
from flovia.core.events import Event
from flovia.core.owed import late_key
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.remedies import find_attempts, with_database
from flovia.testing.ledger_steps import DAY_S, ManualClock
from tests.cli.test_ledger import Shop, shop, shown

__all__ = ["shop"]


def queue(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], dict[str, int]]:
    """The payments in the integrity queue, and how many attempts are in each state."""
    run(["report", "integrity", "--test", "--json"])
    (found,) = shown(capsys)
    rows: list[dict[str, str]] = found["rows"]  # type: ignore[assignment]  # JSON
    states: dict[str, int] = found["states"]  # type: ignore[assignment]  # JSON
    return [one["paymentId"] for one in rows], states


def acts(ledger: SqlLedger) -> list[tuple[str, str | None, str | None, str | None]]:
    """The audit trail: what was done, by whom, why, and with what result or reason."""
    return [(one.type, one.operator, one.note, one.reason) for one in every(ledger) if one.operator is not None]


def every(ledger: SqlLedger) -> list[Event]:
    """All events."""
    return [event for _, event in ledger.read_events()]


def test_explained(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """It leaves the queue and is counted as explained; the history says who, when and why; doctor agrees."""
    assert ([shop.failed], 0) == ((before := queue(capsys))[0], before[1]["explained"])
    assert 0 == run(["ledger", "explain", shop.failed, "--note", "sent by mail", "--by", "alice"])
    assert f"explained by alice: {shop.failed}" in capsys.readouterr().out
    after, states = queue(capsys)
    assert ([], 1, 0) == (after, states["explained"], states["paid_not_delivered"])
    assert [(ev.PAYMENT_EXPLAINED, "alice", "sent by mail", "undelivered")] == acts(shop.ledger)
    assert 0 == run(["ledger", "show", shop.failed])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "payment.explained" in one]
    assert line.endswith("by alice  sent by mail")
    run(["doctor", "--offline"])
    told = capsys.readouterr().out
    assert "no payments are paid and not delivered" in told
    assert "1 payment is explained, and left out above" in told


def test_explained_twice(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """The second of two operators is told who was there first, and nothing is written."""
    assert 0 == run(["ledger", "explain", shop.failed, "--note", "one", "--by", "alice", "--json"])
    (told,) = shown(capsys)
    assert ("explained", "alice") == (told["outcome"], told["by"])
    assert 1 == run(["ledger", "explain", shop.failed, "--note", "two", "--by", "bob"])
    assert "alice explained it before: one" in capsys.readouterr().err
    assert ["alice"] == [by for _, by, _, _ in acts(shop.ledger)]


def test_due_again(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever lets it be delivered again takes the explanation back; each is on record under its own name."""
    run(["ledger", "explain", shop.failed, "--note", "one", "--by", "alice"])
    assert 0 == run(["ledger", "redeliver", shop.failed, "--by", "bob", "--note", "fixed"])
    capsys.readouterr()
    assert [shop.failed] == queue(capsys)[0]
    run(["doctor", "--offline"])
    assert "1 payment is paid and not delivered" in capsys.readouterr().out
    assert 0 == run(["refund", shop.failed, "--by", "carol", "--note", "enough"])
    assert [("alice", "one"), ("bob", "fixed"), ("carol", "enough"), ("carol", "enough")] == [
        (by, why) for _, by, why, _ in acts(shop.ledger)
    ]
    done = [ev.PAYMENT_EXPLAINED, ev.PAYMENT_REOPENED, ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED]
    assert done == [what for what, *_ in acts(shop.ledger)]
    capsys.readouterr()
    assert [] == queue(capsys)[0]


def test_who_runs_the_command(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --by it is the system's user; one without a name goes by its number."""
    monkeypatch.setattr("getpass.getuser", lambda: "operator-test")
    assert 0 == run(["ledger", "redeliver", shop.failed])
    monkeypatch.setattr("getpass.getuser", lambda: {}["nobody"])
    monkeypatch.setattr("os.getuid", lambda: 4711, raising=False)
    assert 0 == run(["ledger", "explain", shop.failed, "--note", "known"])
    assert ["operator-test", "uid 4711"] == [by for _, by, _, _ in acts(shop.ledger)]


def test_nobody_knows_who(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the system has no users, a name has to be given."""
    monkeypatch.setattr("getpass.getuser", lambda: {}["nobody"])
    monkeypatch.delattr("os.getuid", raising=False)
    assert 1 == run(["ledger", "explain", shop.failed, "--note", "known"])
    assert "--by NAME" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "told"), [
    (["x"], "flovia ledger explain ID --note TEXT"),
    (["x", "--note", "  "], "flovia ledger explain ID --note TEXT"),
    (["nobody", "--note", "why"], "nothing in this ledger has the id 'nobody'"),
    ([" ", "--note", "why"], "the id is empty"),
    (["x", "--note", "why", "--by", " "], "the name is empty"),
])  # fmt: skip
def test_nothing_to_explain(shop: Shop, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    """What is missing is said."""
    assert 1 == run(["ledger", "explain", *words])
    assert told in capsys.readouterr().err
    assert [] == acts(shop.ledger)


def test_what_is_not_due(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A delivered call needs nobody."""
    assert 1 == run(["ledger", "explain", shop.delivered, "--note", "why"])
    assert "nothing is to be done about" in capsys.readouterr().err


def test_by_any_id(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A challenge, a request and the attempt's own lead to it as well as the payment; one of several is to be named."""
    request_id = next(one.request_id for one in every(shop.ledger) if one.type == ev.PAYMENT_DELIVERY_FAILED)
    for ident in (shop.failed, shop.challenge, request_id, f"c|{shop.challenge}"):
        assert [shop.failed] == [one.payment_id for one in find_attempts(shop.ledger, ident)]
    event = next(one for one in every(shop.ledger) if one.type == ev.PAYMENT_DELIVERY_FAILED)
    second = attrs.evolve(
        event,
        type=ev.PAYMENT_LATE,
        request_id="webhook_1",
        endpoint="",
        http_method="",
        payment_id="second",
        reason=ev.DUPLICATE,
    )
    shop.ledger.append([second.to_row()])
    shop.ledger.flush()
    assert 1 == run(["ledger", "explain", shop.challenge, "--note", "why"])
    assert "leads to 2 that need somebody; name one of " in capsys.readouterr().err
    assert 0 == run(["ledger", "explain", "second", "--note", "why"])
    assert 0 == run(["ledger", "explain", shop.challenge, "--note", "why"])


def test_doctor_leaves_out_what_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refund that is due and one that is explained: the one is counted, the other is not, and both stay due."""
    url = f"sqlite:///{tmp_path}/shop.db"
    monkeypatch.setenv("FLOVIA_LEDGER", url)
    ledger, clock = open_ledger(url), ManualClock()
    for number, payment in enumerate(("pay-2", "pay-3")):
        challenge, proof = f"challenge-{number}", f"mock|{payment}"
        told = Event(ev.PAYMENT_LATE, 1.0, f"webhook_{number}", 1, "", "", "mock", "mpp", 70, "usd", challenge, payment)
        key = late_key("realm.test", challenge, proof)
        assert ledger.late(key, proof, payment, 70, "usd", clock() + 7 * DAY_S, (told.to_row(),))
    ledger.close()
    assert 0 == run(["ledger", "explain", "pay-2", "--note", "known"])
    run(["doctor", "--offline"])
    told_now = capsys.readouterr().out
    assert "1 payment has a refund that is due" in told_now
    assert "1 payment is explained, and left out above" in told_now
    assert 0 == run(["refunds"])
    listed = capsys.readouterr().out
    assert [True, True] == [payment in listed for payment in ("pay-2", "pay-3")]


def test_a_ledger_in_memory() -> None:
    """Nobody can look after it."""
    with pytest.raises(WiringError, match="not in a database"):
        with_database(open_ledger("memory://"))


def test_in_the_joined_event(shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whoever gets joined events gets the explanation, and whoever gets single ones gets who and why."""
    run(["ledger", "explain", shop.failed, "--note", "known", "--by", "alice"])
    capsys.readouterr()
    assert 0 == run(["events", "export", "--joined", str(tmp_path / "calls.ndjson")])
    rows = [json.loads(line) for line in (tmp_path / "calls.ndjson").read_text(encoding="utf-8").splitlines()]
    assert [("alice", "known", False)] == [
        (one["explainedBy"], one["explanation"], one["due"]) for one in rows if one["explainedAt"] is not None
    ]
    capsys.readouterr()
    run(["events", "--raw", "--json", "--limit", "1"])
    (raw,) = shown(capsys)
    assert ("payment.explained", "alice", "known") == (raw["type"], raw["operator"], raw["note"])
