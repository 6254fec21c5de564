"""``flovia report``: reads what is new, answers from what is kept, and says what it left out."""

import csv
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

import attrs
import pytest

from flovia.cli.app import run
from flovia.core import events as ev
from flovia.core.events import Event
from flovia.core.hiding import hider
from flovia.ledger.opening import open_ledger
from flovia.reports.parts import Line
from flovia.reports.tables import milliseconds
from tests.core.world import SECRET
from tests.insights.test_attempts import gated
from tests.insights.test_join import event, late, scenario, unpaid

URL = "sqlite:///flovia.db"
NOW = 1_750_000_000.0


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOVIA_LEDGER", "FLOVIA_OWN_PAYERS", "FLOVIA_SECRET"):
        monkeypatch.delenv(name, raising=False)


def write(*stories: Sequence[Event], provider: str = "hitpay", at: float = NOW, **more: object) -> None:
    """Put events into the ledger, as a gate with a provider writes them."""
    ledger = open_ledger(URL)
    for events in stories:
        changed = [attrs.evolve(one, provider=one.provider and provider, at=one.at + at, **more) for one in events]
        ledger.append([one.to_row() for one in changed])
    ledger.close()


def story(number: int, *steps: str) -> list[Event]:
    """A whole attempt."""
    return gated(scenario(number, list(steps)))


def report(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[list[str], str]:
    """Lines on standard output, and what was complained about."""
    assert status == run(["report", *arguments])
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """The answer as JSON."""
    (line,), _ = report(capsys, *arguments, "--json", status=status)
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_funnel_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each route, rail and price, with intervals, and nothing that could steer a terminal."""
    write(story(1), story(2, "settle", "deliver"), story(3, "settle", "deliver"), story(4, "refuse"))
    lines, complaint = report(capsys, "funnel")
    names = (
        "endpoint rail price attempts presented paid delivered conversion gave up to pay p50 p95 not delivered because"
    )
    assert names == " ".join(lines[0].split())
    assert lines[1] == (
        "/reports/{id}  mpp   1.00 USD         4          3     2          2  50.0 % (15.0–85.0)"
        "  25.0 % (4.6–69.9)       9.9 s  9.9 s"
    )
    assert ("", 2) == (complaint, len(lines))


def test_only_what_is_new_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A second report finds what the first one kept, and adds what has come."""
    write(story(1, "settle", "deliver"))
    assert 1 == answer(capsys, "funnel")["rows"][0]["delivered"]
    with closing(sqlite3.connect("flovia.db")) as raw:
        raw.execute("DELETE FROM flovia_events")
        raw.commit()
    write(story(2, "settle", "deliver"))
    assert 2 == answer(capsys, "funnel")["rows"][0]["delivered"]


def test_sparklines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are several days, how many attempts each had is drawn."""
    for day in range(3):
        write(*(story(10 * day + number) for number in range(1 + 3 * (day % 2))), at=NOW + 86400.0 * day)
    lines, _ = report(capsys, "funnel")
    assert "by day" in lines[0]
    assert "▂▇▂" in lines[1]
    by_day, _ = report(capsys, "funnel", "--by", "day")
    assert ["2025-06-15", "2025-06-16", "2025-06-17"] == [line.split()[0] for line in by_day[1:]]


def test_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers in both; what is left out is in the JSON, and beside the CSV."""
    write(story(1, "settle", "deliver"), [attrs.evolve(one, http_method="HEAD") for one in unpaid("h", 1.0, "h")])
    found = answer(capsys, "funnel", "--by", "endpoint")
    assert ("funnel", ["endpoint"], 0.95, 0.01) == tuple(
        found[name] for name in ("report", "by", "confidence", "percentileError")
    )
    assert 1 == found["leftOut"]["probes"]
    assert 1.0 == found["rows"][0]["conversion"]["value"]
    lines, complaint = report(capsys, "funnel", "--csv", "--by", "endpoint")
    (row,) = csv.DictReader(StringIO("\n".join(lines)))
    assert ("/reports/{id}", "1", "1.0") == (row["endpoint"], row["attempts"], row["conversion.value"])
    assert "left out: 1 probe (HEAD)" in complaint
    assert "choose one of" in report(capsys, "funnel", "--csv", "--json", status=2)[1]


def test_a_csv_is_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    """A spreadsheet must not take a path for a formula."""
    write(story(1, "settle", "deliver"), endpoint="=cmd()")
    lines, _ = report(capsys, "revenue", "--csv")
    assert lines[1].startswith("'=cmd(),usd,1,100,0,0,100,0")


@pytest.mark.parametrize("command", ["funnel", "latency", "revenue", "pricing", "integrity", "workflows", "retention"])
def test_a_csv_steers_no_terminal(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A path, a method or a name of anybody's is escaped as in the tables; the line ends are ours alone."""
    odd = "/\x1b[2J\x9b\x07\r\n\u202e"
    write(story(1, "settle", "deliver"), story(2, "settle"), story(3, "late"), endpoint=odd, payer=odd, workflow=odd)
    write(unpaid("u", 1.0, "u"), endpoint=odd, problem=odd)
    assert 0 == run(["report", command, "--csv", "--least", "1"][: 5 if command in ("pricing", "workflows") else 3])
    out = capsys.readouterr().out
    assert all(one.isprintable() for one in out.replace("\n", ""))
    assert "{" not in out
    if command not in ("integrity", "retention"):
        assert r"/\x1b[2J\x9b\x07\r\n\u202e" in out


def test_revenue(capsys: pytest.CaptureFixture[str]) -> None:
    """Money in its own form, each currency by itself."""
    write(story(1, "settle", "deliver"), story(2, "settle", "deliver", "part"))
    write(story(3, "settle", "deliver"), currency="jpy")
    lines, _ = report(capsys, "revenue")
    assert [
        "/reports/{id}  JPY              1   100 JPY        0         0   100 JPY           0",
        "/reports/{id}  USD              2  2.00 USD        1  0.40 USD  1.60 USD           0",
    ] == lines[1:]


def test_pricing(capsys: pytest.CaptureFixture[str]) -> None:
    """Each price with what it brought, and the advice in words."""
    for number in range(20):
        write(story(number, *(["settle", "deliver"] if number % 2 else [])))
        write(story(100 + number, "settle", "deliver"), amount=300, at=NOW + 86400)
    lines, _ = report(capsys, "pricing", "--least", "20")
    assert lines[0] == "/reports/{id}  mpp"
    assert "3.00 USD  now" in lines[3]
    assert lines[4].startswith("leave: every other price that enough have seen brought less than 3.00 USD")
    few, _ = report(capsys, "pricing")
    assert few[4] == "no advice: too few have seen 3.00 USD: 20 of 100"


def test_prices_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """Where more than one price is shown day after day it is said that the price may depend on the request."""
    for day in range(3):
        write(story(day, "settle", "deliver"), at=NOW + 86400 * day)
        write(story(10 + day, "settle", "deliver"), amount=300, at=NOW + 86400 * day)
    lines, _ = report(capsys, "pricing")
    assert lines[5].startswith("more than one price was shown on 3 of 3 days: ")
    beside = {"endpoint": "/reports/{id}", "rail": "mpp", "currency": "usd", "days": 3, "of": 3}
    assert [beside] == answer(capsys, "pricing")["sideBySide"]


def test_a_price_that_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """On the day on which the price changes both are shown, and nothing has to be said about it."""
    for day in range(3):
        write(story(day, "settle", "deliver"), at=NOW + 86400 * day)
        write(story(10 + day, "settle", "deliver"), amount=300, at=NOW + 86400 * (day + 2))
    report_, _ = report(capsys, "pricing")
    assert not any("more than one price" in line for line in report_)
    assert [] == answer(capsys, "pricing")["sideBySide"]


def test_a_late_refund_shows_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    """The price of now is the one that was shown last, whatever happens to older payments."""
    write(story(1, "settle", "deliver"))
    write(story(2, "settle", "deliver"), amount=300, at=NOW + 86400)
    assert "300" == answer(capsys, "pricing")["rows"][0]["current"]
    write([one for one in story(1, "settle", "deliver", "refund") if one.type == ev.PAYMENT_REFUNDED], at=NOW + 172800)
    assert "300" == answer(capsys, "pricing")["rows"][0]["current"]


def test_pricing_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each price that was shown, with the numbers that JSON has."""
    write(*(story(number, "settle", "deliver") for number in range(3)), unpaid("u", 1.0, "u"))
    write(story(9, "settle", "deliver"), amount=300, at=NOW + 86400)
    (route,) = answer(capsys, "pricing", "--least", "1")["rows"]
    lines, _ = report(capsys, "pricing", "--least", "1", "--csv")
    rows = list(csv.DictReader(StringIO("\n".join(lines))))
    assert [("100", "4"), ("300", "1")] == [(row["price"], row["attempts"]) for row in rows]
    for row, price in zip(rows, route["prices"], strict=True):
        for name in ("price", "attempts", "revenuePerAttempt", "low", "high", "shownAt"):
            assert str(price[name]) == row[name]
        for name, value in price["paid"].items():
            assert str(value) == row[f"paid.{name}"]
        for name in set(route) - {"prices"}:
            assert ("" if route[name] is None else str(route[name])) == row[name]
        assert (len(route) - 1) + (len(price) - 1) + len(price["paid"]) == len(row)


def test_integrity(capsys: pytest.CaptureFixture[str]) -> None:
    """How many of each state, and what to do about each that needs somebody."""
    write(story(1, "settle", "deliver"), story(2, "settle", "fail"), story(3, "late"), story(4))
    lines, _ = report(capsys, "integrity", "--limit", "1")
    assert {"paid and delivered": "1", "paid not delivered": "1", "late": "1", "expired": "1"}.items() <= dict(
        line.rsplit(None, 1) for line in lines[1:13]
    ).items()
    assert "challenge-2  pay-1-2" in lines[15]
    assert "flovia ledger redeliver pay-1-2" in lines[16]
    assert "… and 1 more: --limit 2" == lines[17]
    assert "flovia ledger explain ID --note TEXT" in lines[18]
    found = answer(capsys, "integrity")
    assert (2, ["paid_not_delivered", "late"]) == (found["waiting"], [row["state"] for row in found["rows"]])
    assert "challenge-3" == found["rows"][1]["challengeId"]


def test_the_queue_of_a_provider_that_no_command_has(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that could not work is told to nobody: not as words, not as JSON, not as CSV."""
    in_doubt = [*story(2), event(ev.PAYMENT_UNKNOWN, "req-2", 3, at=110.0, challenge="challenge-2")]
    write(story(1, "settle", "fail"), in_doubt, story(3, "late"), provider="bank")
    lines, _ = report(capsys, "integrity")
    rows = answer(capsys, "integrity")["rows"]
    remedies = [row["remedy"] for row in rows]
    assert "ask bank what became of challenge-2: no command here has this provider" == remedies[1]
    assert "Only an app that has the provider bank can give pay-1-3 back" == remedies[-1]
    assert "flovia ledger redeliver pay-1-1. Only an app that has the provider bank can give pay-1-1" in remedies[0]
    out = report(capsys, "integrity", "--csv")[0]
    for text in (*remedies, *lines[13:], *out):
        assert "flovia refund" not in text
        assert "reconcile" not in text


def test_nothing_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """That is a report, too."""
    write(story(1, "settle", "deliver"))
    lines, _ = report(capsys, "integrity")
    assert "nothing waits for anybody" == lines[-1]


def test_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """Each part of the work in columns of its own."""
    write(story(1, "settle", "deliver"))
    lines, _ = report(capsys, "latency")
    assert "challenge p50" in lines[0]
    assert lines[1].startswith("/reports/{id}         1  12.5 ms  12.5 ms        12.5 ms")


def test_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Attempts that began in it, also where it begins and ends within a day."""
    write(story(1), story(2, "settle", "deliver"))
    begin = NOW + 100
    for since, until, count in ((begin - 1, begin + 1, 1), (begin, begin + 101, 2), (begin + 1, begin + 99, 0)):
        written = [f"{_moment(one)}" for one in (since, until)]
        found = answer(capsys, "funnel", "--since", written[0], "--until", written[1], status=int(not count))
        assert count == sum(row["attempts"] for row in found["rows"])
    assert 2 == answer(capsys, "funnel", "--since", "520w")["rows"][0]["attempts"]
    _, complaint = report(capsys, "funnel", "--since", "1h", status=1)
    assert "no attempt since" in complaint
    assert "no time is between them" in report(capsys, "funnel", "--since", "1h", "--until", "2h", status=2)[1]
    assert "is no time" in report(capsys, "funnel", "--since", "yesterday", status=2)[1]


def _moment(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat()


def test_an_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """Only one of them."""
    write(story(1))
    write(story(2), endpoint="/b")
    assert ["/b"] == [row["endpoint"] for row in answer(capsys, "funnel", "--endpoint", "/b")["rows"]]
    assert "no attempt of /c" in report(capsys, "funnel", "--endpoint", "/c", status=1)[1]
    assert "nothing that rows can be told apart by" in report(capsys, "funnel", "--by", "color", status=2)[1]


def test_test_money(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no business: left out unless it is asked for, and that is said."""
    write(story(1, "settle", "deliver"), provider="mock")
    _, complaint = report(capsys, "funnel", status=1)
    assert "1 attempt with the mock provider: --test counts them" in complaint
    assert 1 == answer(capsys, "funnel", "--test")["rows"][0]["attempts"]
    write(story(2, "settle", "deliver"))
    lines, _ = report(capsys, "funnel")
    assert "left out: 1 attempt with the mock provider (--test counts them)" == lines[-1]


def test_own_payers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The merchant's own do not count, by name, by beginning, or as they are hashed."""
    write(story(1, "settle", "deliver"))
    write(story(2, "settle", "deliver"), payer="did:example:me")
    write(story(3, "settle", "deliver"), payer=hider(SECRET)("did:example:me"))
    assert 3 == answer(capsys, "funnel")["rows"][0]["attempts"]
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    found = answer(capsys, "funnel", "--own", "did:example:me")
    assert (1, 2) == (found["rows"][0]["attempts"], found["leftOut"]["own"])
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "did:example:p*, did:example:me")
    assert "no attempt but 3 attempts of your own payers" in report(capsys, "funnel", status=1)[1]


def test_an_empty_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    """No table of zeros: what is missing, and where to look."""
    open_ledger(URL).close()
    for name in ("funnel", "latency", "revenue", "pricing", "integrity"):
        lines, complaint = report(capsys, name, status=1)
        assert [] == lines
        assert f"no attempt in {URL} yet; is it the ledger that the app writes" in complaint


def test_a_foreign_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A database of something else is left as it is."""
    with closing(sqlite3.connect("flovia.db")) as raw:
        raw.execute("CREATE TABLE songs (name TEXT)")
    assert "holds no ledger" in report(capsys, "funnel", status=1)[1]
    with closing(sqlite3.connect("flovia.db")) as raw:
        assert [("songs",)] == raw.execute("SELECT name FROM sqlite_master").fetchall()
    (tmp_path / "flovia.db").write_text("no database at all, but long enough to look at" * 100)
    assert "cannot be used as a ledger" in report(capsys, "funnel", status=1)[1]
    assert "there is no ledger at" in report(capsys, "funnel", "--ledger", "sqlite:///other.db", status=1)[1]
    assert "memory ledger" in report(capsys, "funnel", "--ledger", "memory://", status=1)[1]


def test_one_event(capsys: pytest.CaptureFixture[str]) -> None:
    """It is enough for a report."""
    write(unpaid()[:1])
    assert "left out: " not in report(capsys, "integrity")[1]
    _, complaint = report(capsys, "funnel", status=1)
    assert "no attempt in" in complaint


def test_a_row_written_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """An event that no flovia wrote is named, with what to do; no traceback."""
    write(story(1, "settle", "deliver"))
    with closing(sqlite3.connect("flovia.db")) as connection, connection:
        connection.execute("UPDATE flovia_events SET amount = 'test-junk' WHERE position = 2")
    for command in ("report funnel", "events", "events export --joined out.ndjson"):
        assert 2 >= run(command.split()) > 0, command
        captured = capsys.readouterr()
        assert "event 2 cannot be read: its amount is 'test-junk'" in captured.err, command
        assert "Traceback" not in captured.err


@pytest.mark.parametrize("at", [inf, -inf, 1e300])
@pytest.mark.parametrize("name", ["funnel", "latency", "revenue", "pricing", "integrity", "retention", "workflows"])
def test_a_clock_that_is_beside_itself(capsys: pytest.CaptureFixture[str], name: str, at: float) -> None:
    """Its attempts are no reason for a report to fail."""
    write(story(1, "settle", "deliver"), [attrs.evolve(one, at=at) for one in story(2, "settle", "deliver")])
    found = answer(capsys, name)
    if name in ("funnel", "latency"):
        assert 2 == found["rows"][0]["attempts"]


def test_a_later_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Its events are counted and left out; its tables are left alone."""
    write(story(1, "settle", "deliver"), [attrs.evolve(late()[0], type="payment.teleported")])
    assert 1 == answer(capsys, "funnel")["leftOut"]["unknownEvents"]
    with closing(sqlite3.connect("flovia.db")) as raw:
        raw.execute("UPDATE flovia_insights SET value = '99' WHERE name = 'version'")
        raw.commit()
    assert "made by a newer version of flovia (version 99" in report(capsys, "funnel", status=1)[1]


@pytest.mark.parametrize("policy", ["--events-days", "--unpaid-events-days"])
def test_events_that_were_pruned_unread(capsys: pytest.CaptureFixture[str], policy: str) -> None:
    """Nobody knows how many attempts they were; that some are missing is said from then on."""
    write(story(1), story(2))
    assert 0 == run(["ledger", "prune", policy, "2"])
    write(story(3, "settle", "deliver"))
    capsys.readouterr()
    for _ in range(2):
        assert "events that were pruned before any report had read them" in report(capsys, "funnel")[0][-1]


def test_pruning_lets_reports_read_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are reports, nothing is pruned that they have not read."""
    write(story(1))
    report(capsys, "funnel")
    write(story(2), story(3, "settle", "deliver"))
    assert 0 == run(["ledger", "prune", "--events-days", "2"])
    capsys.readouterr()
    lines, complaint = report(capsys, "funnel")
    assert ("3", "", 2) == (lines[1].split()[4], complaint, len(lines))


def test_old_days(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the attempts were pruned, the days still answer, whole."""
    write(story(1, "settle", "deliver"))
    before = answer(capsys, "funnel")
    assert 0 == run(["ledger", "prune", "--attempts-days", "30"])
    assert "1 row" in capsys.readouterr().out
    assert before == answer(capsys, "funnel")
    found = answer(capsys, "funnel", "--since", _moment(NOW + 300))
    assert 1 == found["rows"][0]["attempts"]
    assert 0 == found["since"] % 86400


def test_words_for_numbers() -> None:
    """Times as people say them; no bars where there is one day."""
    assert ["", "5.0 ms", "1.5 s", "3.0 min"] == [milliseconds(ms) for ms in (None, 5.0, 1500.0, 180_000.0)]
    assert ["", "▁▁", "▁█"] == [Line(counts, "").bars for counts in ((3,), (0, 0), (0, 9))]
    assert "▁▁▅" == Line((0, 0, 1), "").bars
