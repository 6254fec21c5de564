"""``flovia refund`` and ``flovia refunds``, run in this process on a file that a shop wrote."""

import json
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

import flovia
from flovia.cli.app import run
from flovia.core import events as ev
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_schema import EVENTS
from flovia.providers.base import NotRefunded, RefundUnknown
from flovia.providers.mock import MockProvider
from flovia.testing.ledger_refunds import record_late
from flovia.testing.ledger_steps import ManualClock
from tests.core.world import SECRET, buy, deliver


@attrs.frozen
class Shop:
    """A ledger file with one delivered payment."""

    url: str
    ledger: Ledger
    payment: str


@pytest.fixture
def shop(tmp_path: Path) -> Generator[Shop]:
    """A shop that has sold once."""
    url = f"sqlite:///{tmp_path}/shop.db"
    ledger = open_ledger(url)
    gate = flovia.Flovia(ledger=ledger, secret=SECRET).paid_api(provider="mock", price="1.00 USD")
    _, passage = buy(gate)
    deliver(gate, passage)
    assert passage.grant is not None
    yield Shop(url, ledger, passage.grant.payment_id)
    ledger.close()


def test_a_part(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A part goes back; the same again is done already, and anything else is refused, in one line."""
    arguments = ["refund", shop.payment, "--provider", "mock", "--ledger", shop.url, "--amount", "0.40 USD"]
    assert 0 == run(arguments)
    assert f"refunded  0.40 USD  {shop.payment}  mock_refund_" in capsys.readouterr().out
    assert 0 == run(arguments)
    told = f"refunded before, nothing was asked for now  0.40 USD  {shop.payment}  mock_refund_"
    assert told in capsys.readouterr().out
    for other in (["--amount", "0.50 USD"], ["--amount", "0.40 SGD"], []):
        assert 1 == run([*arguments[:6], *other])
        assert "was given back already (0.40 USD of 1.00 USD); there is one refund" in capsys.readouterr().err


def test_all_of_it_twice(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 both times, in JSON with the same refund: a script may repeat it until it is 0."""
    arguments = ["refund", shop.payment, "--ledger", shop.url, "--json"]
    told: list[dict[str, object]] = []
    for _ in range(2):
        assert 0 == run(arguments)
        told.append(json.loads(capsys.readouterr().out))
    assert ["it was given back before", None] == [told[1].pop("reason"), told[0].pop("reason")]
    assert told[0] == told[1]


def test_after_an_unknown_outcome(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer got lost and a webhook told of the refund: the same command again says so, with exit status 0."""

    def lose(self: object, order: object) -> object:
        yield from ()
        return RefundUnknown()

    arguments = ["refund", shop.payment, "--ledger", shop.url, "--amount", "0.40 USD"]
    with monkeypatch.context() as patched:
        patched.setattr(MockProvider, "refund", lose)
        assert 1 == run(arguments)
    assert "unknown: the provider gave no clear answer" in capsys.readouterr().err
    proof = f"mock|{shop.payment}"
    found = shop.ledger.find_paid(proof)
    assert found is not None
    assert "noted" == shop.ledger.note_refund(found.key, proof, 40, "usd", ())
    assert 0 == run(arguments)
    assert f"refunded before, nothing was asked for now  0.40 USD  {shop.payment}" in capsys.readouterr().out
    assert 1 == run(arguments[:4])
    assert "(0.40 USD of 1.00 USD)" in capsys.readouterr().err


def test_as_json(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The result for programs; the ledger from the environment."""
    monkeypatch.setenv("FLOVIA_LEDGER", shop.url)
    assert 0 == run(["refund", shop.payment, "--provider", "mock", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ("refunded", "100", "usd", shop.payment) == (
        found["status"],
        found["amount"],
        found["currency"],
        found["payment_id"],
    )


def test_the_ledger_knows_the_provider(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --provider it is the one that took the payment, also once its events are gone; another one is told."""
    assert 1 == run(["refund", shop.payment, "--provider", "hitpay", "--ledger", shop.url])
    assert "was paid by mock, not by hitpay: leave --provider out" in capsys.readouterr().err
    assert isinstance(shop.ledger, SqlLedger)
    challenge = next(event.challenge_id for _, event in shop.ledger.read_events() if event.challenge_id)
    assert 1 == run(["refund", challenge, "--ledger", shop.url])
    assert f"is no payment's id; it leads to: {shop.payment}. Refund that" in capsys.readouterr().err
    with shop.ledger.database.write() as connection:
        connection.execute(EVENTS.delete())
    assert 0 == run(["refund", shop.payment, "--ledger", shop.url])
    assert f"refunded  1.00 USD  {shop.payment}" in capsys.readouterr().out


def test_two_providers(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """One id at two providers: say which."""
    told = next(event for _, event in shop.ledger.read_events() if event.type == ev.PAYMENT_SETTLED)
    shop.ledger.append((attrs.evolve(told, request_id="other", provider="hitpay").to_row(),))
    shop.ledger.flush()
    assert 1 == run(["refund", shop.payment, "--ledger", shop.url])
    assert "was paid by hitpay and by mock: say which with --provider" in capsys.readouterr().err
    assert 0 == run(["refund", shop.payment, "--provider", "mock", "--ledger", shop.url])


def test_refused(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider says is told, with exit status 1, in JSON too."""

    def refuse(self: object, order: object) -> object:
        yield from ()
        return NotRefunded(reason="not today")

    monkeypatch.setattr(MockProvider, "refund", refuse)
    for more in ([], ["--json"]):
        assert 1 == run(["refund", shop.payment, "--provider", "mock", "--ledger", shop.url, *more])
        shown = capsys.readouterr()
        assert "refused: not today" in shown.err
        assert ("refused" in shown.out) == bool(more)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "--provider", "mock"], "no payment 'nobody' is in this ledger"),
        (["nobody"], "Is it the ledger that the app writes (FLOVIA_LEDGER, --ledger)?"),
        (["x", "--provider", "nobody"], "no provider 'nobody'"),
        (["x", "--provider", "mock", "--amount", "much"], "the amount to give back"),
        (["x", "--provider", "mock", "--ledger", "memory://"], "gone with its process"),
        (["x", "--provider", "mock", "--ledger", "sqlite:////nowhere/x.db"], "nowhere"),
    ],
)
def test_what_cannot_be(shop: Shop, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Each mistake is one line that says what to do."""
    ledger = [] if "--ledger" in arguments else ["--ledger", shop.url]
    assert 1 == run(["refund", *arguments, *ledger])
    assert message in capsys.readouterr().err


def test_what_is_due(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Late money and refunds that were begun, oldest first; nothing if nothing is due."""
    assert 0 == run(["refunds", "--ledger", shop.url])
    assert ("", "flovia: nothing is to be given back\n") == capsys.readouterr()
    assert 0 == run(["refunds", "--ledger", shop.url, "--json"])
    assert ("", "") == capsys.readouterr()
    record_late(shop.ledger, ManualClock(2e9))
    shop.ledger.open_refund(f"mock|{shop.payment}", 40, "usd", "test-nonce", 1.0)
    assert 0 == run(["refunds", "--ledger", shop.url])
    lines = capsys.readouterr().out.splitlines()
    assert ["mock  pay-2  1.00 USD", f"mock  {shop.payment}  1.00 USD  refund of 0.40 USD begun"] == sorted(lines)[::-1]
    assert 0 == run(["refunds", "--ledger", shop.url, "--json", "--limit", "1"])
    found = json.loads(capsys.readouterr().out)
    assert ("pay-2", "challenge-1", "100", None) == (
        found["payment_id"],
        found["challenge_id"],
        found["amount"],
        found["ordered"],
    )
