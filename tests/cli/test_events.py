"""``flovia events`` prints what a ledger joined, and never makes a ledger."""

import json
from pathlib import Path

import pytest

from flovia.cli.app import run
from flovia.core import events as ev
from flovia.core.events import Event
from flovia.ledger.opening import open_ledger

URL = "sqlite:///ledger.db"


def call(number: int, *, currency: str = "usd", amount: int = 100) -> list[Event]:
    """The events of an unpaid request and the paid one that follows."""
    at = 1_900_000_000.0 + number

    def event(type_: str, request: str, seq: int, status: int | None = None, **more: str) -> Event:
        return Event(
            type=type_,
            at=at,
            request_id=f"{request}-{number}",
            seq=seq,
            endpoint="/reports/\x1b[31m{id}",
            http_method="GET",
            provider="mock",
            rail="mpp",
            amount=amount,
            currency=currency,
            challenge_id=f"challenge-{number}",
            status=status,
            latency_ms=12.34 if status else None,
            **more,
        )

    return [
        event(ev.CHALLENGE_ISSUED, "unpaid", 1),
        event(ev.REQUEST_COMPLETED, "unpaid", 2, 402),
        event(ev.PAYMENT_SETTLED, "paid", 1, payment_id=f"pay-{number}", payer="mock:agent"),
        event(ev.PAYMENT_DELIVERED, "paid", 2, 200),
        event(ev.REQUEST_COMPLETED, "paid", 3, 200),
    ]


def write(*calls: list[Event]) -> None:
    """Put events into the ledger."""
    ledger = open_ledger(URL)
    for events in calls:
        ledger.append([event.to_row() for event in events])
    ledger.close()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOVIA_LEDGER", raising=False)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[list[str], str]:
    """Lines on standard output, and what was complained about."""
    assert status == run(["events", *arguments])
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for a paid call, money in the currency's own form, nothing that could steer a terminal."""
    write(call(1))
    lines, complaint = printed(capsys, "--ledger", URL)
    assert lines == [
        "2030-03-17 17:46:41Z  GET /reports/\\x1b[31m{id}  200  1.00 USD  pay-1  by mock:agent  12.3 ms"
        "  payment converted into paid API demand"
    ]
    assert complaint == ""


def test_money_of_a_method_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A currency that is no ISO 4217 code is shown in base units; an unknown one not at all."""
    unknown = [Event(type=ev.REQUEST_FAILED, at=2e9, request_id="r", seq=1, endpoint="/", http_method="GET")]
    write(call(1, currency="0xToken", amount=10**20), unknown)
    lines, _ = printed(capsys, "--ledger", URL)
    assert "  100000000000000000000 0xToken  " in lines[0]
    assert lines[1] == "2033-05-18 03:33:20Z  GET /  -  request without a payment"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line, with at least the members that were promised."""
    write(call(1), call(2))
    lines, _ = printed(capsys, "--ledger", URL, "--json")
    first, second = (json.loads(line) for line in lines)
    assert (first["requestId"], second["requestId"]) == ("paid-1", "paid-2")
    promised = {"requestId", "provider", "rail", "endpoint", "paymentId", "responseStatus", "latencyMs", "insight"}
    assert promised <= set(first)
    assert (first["amount"], first["latencyMs"]) == ("100", 12.34)


def test_the_newest(capsys: pytest.CaptureFixture[str]) -> None:
    """With a limit the newest are shown, in their order; that there are more is said."""
    write(*[call(number) for number in range(30)])
    lines, said = printed(capsys, "--ledger", URL, "--json", "--limit", "2")
    assert [json.loads(line)["paymentId"] for line in lines] == ["pay-28", "pay-29"]
    assert said == "flovia: 2 attempts, the newest of more: --limit 20 looks further back\n"
    lines, said = printed(capsys, "--ledger", URL, "--json")
    assert len(lines) == 20
    assert "20 attempts, the newest of more" in said
    _, said = printed(capsys, "--ledger", URL, "--limit", "30")
    assert said == ""
    _, said = printed(capsys, "--ledger", URL, "--raw", "--limit", "1")
    assert said == "flovia: 1 event, the newest of more: --limit 10 looks further back\n"


def test_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """The events themselves, one JSON object a line or a block each."""
    write(call(1))
    lines, _ = printed(capsys, "--ledger", URL, "--raw", "--json", "--limit", "3")
    assert [json.loads(line)["type"] for line in lines] == [
        ev.PAYMENT_SETTLED,
        ev.PAYMENT_DELIVERED,
        ev.REQUEST_COMPLETED,
    ]
    assert json.loads(lines[0])["amount"] == "100"
    lines, _ = printed(capsys, "--ledger", URL, "--raw", "--limit", "1")
    assert lines[0] == ev.REQUEST_COMPLETED
    assert "  status        200" in lines
    assert "  challenge_id  challenge-1" in lines


def test_only_what_was_paid(capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--paid`` attempts that ended before a delivery are left out, and the limit counts what is left."""
    write(call(1), call(2)[:2], call(3), call(4)[:2], call(5)[:3])
    lines, _ = printed(capsys, "--ledger", URL, "--json", "--paid")
    assert ["pay-1", "pay-3"] == [json.loads(line)["paymentId"] for line in lines]
    lines, _ = printed(capsys, "--ledger", URL, "--json", "--paid", "--limit", "1")
    assert ["pay-3"] == [json.loads(line)["paymentId"] for line in lines]
    lines, _ = printed(capsys, "--ledger", URL)
    assert 5 == len(lines)


def test_nothing_was_paid(capsys: pytest.CaptureFixture[str]) -> None:
    """Events without a paid call are said to be there, with the option that looks further; raw ones are not joined."""
    write(call(1)[:2])
    lines, complaint = printed(capsys, "--ledger", URL, "--paid", "--limit", "3", status=1)
    assert [] == lines
    assert f"flovia: no paid call among the newest 2 events of {URL}; --limit 30 looks further back\n" == complaint
    _, complaint = printed(capsys, "--ledger", URL, "--paid", "--raw", status=1)
    assert "leave it or --raw out" in complaint


def test_where_the_ledger_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an option: FLOVIA_LEDGER, and without that flovia.db, which is not made by looking for it."""
    write(call(1))
    _, complaint = printed(capsys, status=1)
    assert "there is no ledger at " in complaint
    assert "flovia.db; name the one that the app writes (FLOVIA_LEDGER, or --ledger)" in complaint
    assert not Path("flovia.db").exists()
    monkeypatch.setenv("FLOVIA_LEDGER", URL)
    lines, _ = printed(capsys)
    assert len(lines) == 1


def test_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty ledger is said to be empty; a memory ledger has nothing to show to another process."""
    write()
    assert printed(capsys, "--ledger", URL, status=1) == ([], f"flovia: no events in {URL} yet\n")
    _, complaint = printed(capsys, "--ledger", "memory://", status=1)
    assert "gone with its process" in complaint
