"""What reports say about what they cannot count, and about options that cannot be meant."""

import csv
from io import StringIO

import attrs
import pytest

from flovia.core.events import CHALLENGE_ISSUED, Event
from flovia.core.hiding import hider
from flovia.insights.asking import Asked
from flovia.insights.attempt import attempts
from flovia.insights.integrity import count_pending, exhausted
from flovia.insights.sql_integrity import count_pending_sql, exhausted_sql
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.reports.reading import catch_up
from tests.cli.test_report import (
    NOW,
    URL,
    _folder,  # noqa: F401 - a fixture
    _moment,
    answer,
    report,
    story,
    write,
)
from tests.core.world import SECRET

ME = "own:me"


def exhausted_story(number: int) -> list[Event]:
    """An attempt that paid, and was told that every delivery had failed."""
    *events, ended = story(number, "settle", "fail", "refuse")
    events = [one for one in events if one.type != CHALLENGE_ISSUED or one.challenge_id != "challenge-9"]
    challenge = f"challenge-{number}"
    told = attrs.evolve(ended, problem="delivery-exhausted", status=500, amount=100, challenge_id=challenge)
    return [*events, told]


def hashed() -> None:
    """Three attempts, of which two are the merchant's own: one payer in clear, one under a hash."""
    write(story(1, "settle", "deliver"), payer="own:clear")
    write(story(2, "settle", "deliver"), payer=hider(SECRET)(ME))
    write(story(3, "settle", "deliver"))


@pytest.mark.parametrize("name", ["funnel", "retention", "workflows", "integrity"])
def test_a_beginning_cannot_match_a_hash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is said on standard error, in what is left out, and in the JSON; a whole name is found by its hash."""
    hashed()
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    lines, complaint = report(capsys, name, "--own", "own:*")
    assert complaint.startswith(
        "flovia: own payers own:* may be counted all the same: payers are kept here under a hash"
    )
    assert lines[-1].endswith("no payer of own:*, because payers are kept under a hash")
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "own:*,own:clear")
    assert ["own:*"] == answer(capsys, name, "--own", ME)["leftOut"]["ownUnmatched"]
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "own:clear")
    found, complaint = report(capsys, name, "--own", ME)
    assert ("", False) == (complaint, "under a hash" in found[-1])


def test_a_name_without_the_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash cannot be worked out; a hash itself needs no secret."""
    hashed()
    found = answer(capsys, "funnel", "--own", ME)
    assert (3, [ME]) == (found["rows"][0]["attempts"], found["leftOut"]["ownUnmatched"])
    assert "set FLOVIA_SECRET as the app has it" in report(capsys, "funnel", "--own", ME)[1]
    found = answer(capsys, "funnel", "--own", hider(SECRET)(ME))
    assert (2, []) == (found["rows"][0]["attempts"], found["leftOut"]["ownUnmatched"])
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    found = answer(capsys, "funnel", "--own", ME)
    assert (2, []) == (found["rows"][0]["attempts"], found["leftOut"]["ownUnmatched"])


def test_names_in_clear_are_no_reason_to_say_anything(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no payer is hashed, in the time that is asked about, a beginning is all that is needed."""
    write(story(1, "settle", "deliver"), payer="own:clear")
    write(story(2, "settle", "deliver"))
    write(story(3, "settle", "deliver"), payer=hider(SECRET)(ME), at=NOW + 86400)
    found = answer(capsys, "funnel", "--own", "own:*", "--until", _moment(NOW + 80000))
    assert (1, []) == (found["rows"][0]["attempts"], found["leftOut"]["ownUnmatched"])
    assert ["own:*"] == answer(capsys, "funnel", "--own", "own:*", "--since", "2025-01-01")["leftOut"]["ownUnmatched"]


def test_pending_is_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """An unpaid attempt is pending for so many seconds, whatever its challenge says."""
    ledger = open_ledger(URL)
    now = ledger.now()
    ledger.close()
    write(story(1), at=now - 900)
    assert 0 == answer(capsys, "integrity")["states"]["pending"]
    found = answer(capsys, "integrity", "--pending", "3600")
    assert (1, 0, 3600.0) == (found["states"]["pending"], found["states"]["expired"], found["pendingS"])
    assert (
        "unpaid is pending for 3600 s, and expired then (--pending SECONDS)"
        in report(capsys, "integrity", "--pending", "3600")[0]
    )


def test_money_of_failed_deliveries() -> None:
    """In SQL and in Python the same, each currency by itself; the same of what is pending."""
    stories = [story(1, "settle", "deliver"), *(exhausted_story(number) for number in (2, 3))]
    write(*stories)
    ledger = open_ledger(URL)
    assert isinstance(ledger, SqlLedger)
    catch_up(ledger)
    rows = attempts(event for _, event in ledger.read_events())
    asked = Asked()
    assert {"usd": (2, 200)} == exhausted(rows, asked) == exhausted_sql(ledger.database, asked)
    assert {} == exhausted_sql(ledger.database, Asked(endpoint="/b"))
    for now, pending_s in ((NOW, 1e9), (NOW + 1e6, 300.0)):
        assert count_pending(rows, asked, now, pending_s) == count_pending_sql(ledger.database, asked, now, pending_s)
    ledger.close()


def test_what_nobody_has_decided_yet(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not to go back by itself, and stands beside what is."""
    write(story(1, "settle", "deliver"), exhausted_story(2))
    lines, _ = report(capsys, "revenue")
    assert lines[1].endswith("2.00 USD           0")
    assert lines[2].startswith('not in "to go back": 1 payment (1.00 USD) of which every delivery failed')
    found = answer(capsys, "revenue")
    assert ("0", [{"currency": "usd", "payments": 1, "amount": "100"}]) == (
        found["rows"][0]["owed"],
        found["exhausted"],
    )


def test_attempts_and_no_payment(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no money to report, and it is not said that there is no attempt."""
    write(story(1), story(2))
    _, complaint = report(capsys, "revenue", status=1)
    assert f"flovia: no payment in {URL}, but 2 attempts: flovia report funnel shows them\n" == complaint
    _, complaint = report(capsys, "revenue", "--since", "2025-01-01", status=1)
    assert "no payment since 2025-01-01 00:00:00Z in" in complaint
    write(story(3), provider="mock")
    _, complaint = report(capsys, "revenue", "--test", status=1)
    assert "but 3 attempts" in complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "yesterday"], "is no time; write 2026-01-31 or 2026-01-31T12:00:00Z, or 30d for so long ago"),
        (["--since", "-5d"], "'-5d' is no time; write 2026-01-31 or 2026-01-31T12:00:00Z, or 5d for so long ago"),
        (["--until=-12h"], "or 12h for so long ago"),
        (["--by", "color"], "nothing that rows can be told apart by"),
        (["--csv", "--json"], "choose one of --json, --csv and --html"),
        (["--since", "1h", "--until", "2h"], "no time is between them"),
    ],
)
def test_misused(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """The exit status is that of a command that was not understood."""
    write(story(1))
    assert said in report(capsys, "funnel", *words, status=2)[1]


def test_nothing_takes_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Zero is zero, in JSON and CSV too."""
    write([*story(1, "settle", "deliver")], latency_ms=0.0)
    assert 0 == answer(capsys, "latency")["rows"][0]["p50Ms"]
    lines, _ = report(capsys, "latency", "--csv")
    assert "0.0" == next(csv.DictReader(StringIO("\n".join(lines))))["p50Ms"]


def test_which_money_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Pricing is before refunds, and what few payers bring is of payers who are known, less refunds."""
    write(story(1, "settle", "deliver", "part"))
    assert "brought for each attempt that saw it, before refunds" in "".join(report(capsys, "pricing", "--html")[0])
    assert 100.0 == answer(capsys, "pricing")["rows"][0]["prices"][0]["revenuePerAttempt"]
    lines, _ = report(capsys, "retention")
    (head,) = [line for line in lines if line.startswith("currency")]
    assert "net of known payers" in head
    assert "0.60 USD" in lines[lines.index(head) + 1]
