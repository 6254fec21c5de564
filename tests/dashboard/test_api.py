"""The JSON of the dashboard: the same numbers as the command line gives, with every filter."""

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import httpx
import jsonschema
import pytest

from flovia.cli.app import run
from flovia.dashboard import guard
from flovia.dashboard.questions import WITH_BY
from flovia.insights.joined import schema
from tests.dashboard.shop import WHOLE, fresh, page, served, story, write
from tests.patience import eventually

REPORTS = ("funnel", "latency", "revenue", "pricing", "retention", "workflows", "integrity")
CHOICES = (
    ("", ()),
    ("?test=1", ("--test",)),
    ("?endpoint=/search", ("--endpoint", "/search")),
    (
        "?since=2024-02-01&until=2024-03-01T12:00:00Z",
        ("--since", "2024-02-01", "--until", "2024-03-01T12:00:00Z"),
    ),
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOVIA_LEDGER", "FLOVIA_OWN_PAYERS", "FLOVIA_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("query", "options"), CHOICES)
@pytest.mark.parametrize("name", REPORTS)
def test_the_same_numbers_as_the_command(
    url: str, client: httpx.Client, capsys: pytest.CaptureFixture[str], name: str, query: str, options: tuple[str, ...]
) -> None:
    """Every member of every report, as JSON and as CSV."""
    run(["report", name, "--json", "--ledger", url, *options])
    expected = json.loads(capsys.readouterr().out)
    answer = client.get(f"/api/{name}{query}")
    assert (200, expected) == (answer.status_code, answer.json())
    assert int(answer.headers["flovia-position"]) > 0
    run(["report", name, "--csv", "--ledger", url, *options])
    assert capsys.readouterr().out == client.get(f"/api/{name}.csv{query}").text


@pytest.mark.parametrize(
    ("name", "query", "options"),
    [
        ("funnel", "by=day", ("--by", "day")),
        ("latency", "by=endpoint,rail", ("--by", "endpoint,rail")),
        ("revenue", "by=price", ("--by", "price")),
        ("pricing", "least=10", ("--least", "10")),
        ("retention", "by=endpoint", ("--by", "endpoint")),
        ("workflows", "least=2", ("--least", "2")),
        ("integrity", "limit=3", ("--limit", "3")),
        ("integrity", "pending=0.5", ("--pending", "0.5")),
        ("integrity", "pending=1e9", ("--pending", "1e9")),
        ("funnel", "own=agent-1&own=agent:*", ("--own", "agent-1", "--own", "agent:*")),
        ("retention", "own=p*", ("--own", "p*")),
        ("workflows", "by=pair", ("--by", "pair")),
        ("workflows", "by=step", ("--by", "step")),
    ],
)
def test_options(
    url: str, client: httpx.Client, capsys: pytest.CaptureFixture[str], name: str, query: str, options: tuple[str, ...]
) -> None:
    """What a command takes, the API takes."""
    run(["report", name, "--json", "--ledger", url, *options])
    assert json.loads(capsys.readouterr().out) == client.get(f"/api/{name}?{query}").json()
    run(["report", name, "--csv", "--ledger", url, *options])
    assert capsys.readouterr().out == client.get(f"/api/{name}.csv?{query}").text


def test_own_payers_are_left_out(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the settings of the app name them."""
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "own:*")
    run(["report", "funnel", "--json", "--ledger", url])
    expected = json.loads(capsys.readouterr().out)
    assert expected["leftOut"]["own"] > 0
    with served(url) as client:
        assert expected == client.get("/api/funnel").json()
        assert not any(
            str(one["payer"]).startswith("own:") for one in client.get("/api/events?limit=500").json()["events"]
        )


def test_overview_adds_up(client: httpx.Client) -> None:
    """The first page's numbers are those of the reports, and of its days."""
    overview = client.get("/api/overview").json()
    rows = client.get("/api/funnel").json()["rows"]
    assert (
        sum(row["attempts"] for row in rows) == overview["attempts"] == sum(one["attempts"] for one in overview["days"])
    )
    assert sum(row["delivered"] for row in rows) == overview["conversion"]["count"]
    gross: dict[str, int] = {}
    for row in client.get("/api/revenue").json()["rows"]:
        gross[row["currency"]] = gross.get(row["currency"], 0) + int(row["gross"])
    assert gross == {row["currency"]: int(row["gross"]) for row in overview["revenue"]}
    by_day = {one: sum(int(day["gross"].get(one, 0)) for day in overview["days"]) for one in gross}
    assert gross == by_day
    assert client.get("/api/integrity").json()["waiting"] == overview["waiting"]


def test_what_is_new_is_counted(tmp_path: Path) -> None:
    """An answer is about the ledger as it is when it is asked for."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with served(url) as client:
        assert 1 == client.get("/api/funnel").json()["rows"][0]["delivered"]
        write(url, story(2, "settle", "deliver"))
        assert 2 == client.get("/api/funnel").json()["rows"][0]["delivered"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/funnel?since=banana", 400, "is no time"),
        ("/api/funnel?since=2024-02-01&until=2024-01-01", 400, "no time is between them"),
        ("/api/funnel?by=colour", 400, "told apart by"),
        ("/api/retention?by=day", 400, "week or endpoint"),
        ("/api/workflows?by=day", 400, "endpoint or pair"),
        ("/api/workflows?by=path,pair", 400, "endpoint or pair"),
        ("/api/workflows?gap=60", 400, "knows no gap; it takes since, until, endpoint, test, own, by, least"),
        ("/api/integrity?pending=0", 400, "more than 0"),
        ("/api/integrity?pending=nan", 400, "more than 0"),
        ("/api/integrity?pending=soon", 400, "seconds"),
        ("/api/events?next=1,2", 400, "knows no next; it takes"),
        ("/api/overview?by=day", 400, "it takes since, until, endpoint, test"),
        ("/api/attempts/x?since=7d", 400, "it takes none"),
        ("/api/pricing?by=day", 400, "knows no by"),
        ("/api/pricing?least=0", 400, "whole number"),
        ("/api/integrity?limit=x", 400, "whole number"),
        ("/api/events?step=sideways", 400, "step is one of"),
        ("/api/events?before=x", 400, "before is"),
        (f"/api/events?endpoint={'x' * 5000}", 400, "5000 characters"),
        ("/api/events?endpoint=a%00b", 400, "characters that nothing is named with"),
        ("/api/banana", 404, "There is"),
        ("/api/overview.csv", 404, "There is"),
        ("/api/attempts/nobody", 404, "has this name"),
    ],
)
def test_what_cannot_be_answered(client: httpx.Client, path: str, status: int, says: str) -> None:
    """A problem for programs says what to write instead."""
    answer = client.get(path)
    assert (status, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert says in answer.json()["detail"]


def test_joined_events(client: httpx.Client) -> None:
    """Page after page they are all attempts there are, once each, the newest first, by the published schema."""
    found: list[dict[str, object]] = []
    before = ""
    while True:
        answer = client.get(f"/api/events?limit=150&test=1{before}").json()
        found += answer["events"]
        if answer["next"] is None:
            break
        before = f"&before={quote(answer['next'])}"
    assert len(found) == len({str(one["attemptId"]) for one in found})
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)  # type: ignore[type-var] # numbers
    shown = sum(one["kind"] == "attempt" for one in found)
    assert client.get("/api/overview?test=1").json()["attempts"] == shown
    validator = jsonschema.Draft202012Validator(schema())
    assert [] == [error.message for one in found for error in validator.iter_errors(one)]


@pytest.mark.parametrize(
    ("step", "member"),
    [("shown", "attempts"), ("presented", "presented"), ("paid", "verified"), ("delivered", "delivered")],
)
def test_the_events_behind_a_number(client: httpx.Client, step: str, member: str) -> None:
    """A row of the funnel leads to as many events as it counts."""
    row = max(client.get("/api/funnel").json()["rows"], key=lambda one: one["attempts"])
    about = {"endpoint": row["endpoint"], "rail": row["rail"], "price": row["price"], "price_currency": row["currency"]}
    answer = client.get("/api/events", params={**about, "step": step, "limit": "500"}).json()
    assert (None, row[member]) == (answer["next"], len(answer["events"]))


def test_the_events_behind_other_numbers(client: httpx.Client) -> None:
    """Those of a path, a workflow, a payer, a currency, and of the queue."""
    workflows = client.get("/api/workflows").json()
    path = next(one for one in workflows["paths"] if " → " in one["name"])
    signature = json.dumps(path["name"].split(" → "), ensure_ascii=False, separators=(",", ":"))
    events = client.get("/api/events", params={"path": signature, "limit": "500"}).json()["events"]
    assert path["sessions"] == len({one["session"] for one in events})
    declared = workflows["workflows"][0]["name"]
    assert {declared} == {
        one["workflow"] for one in client.get("/api/events", params={"workflow": declared}).json()["events"]
    }
    payer = client.get("/api/retention").json()["concentration"][0]["top"][0]["payer"]
    events = client.get("/api/events", params={"payer": payer}).json()["events"]
    assert {payer} == {one["payer"] for one in events}
    waiting = client.get("/api/integrity").json()["waiting"]
    assert waiting == len(client.get("/api/events", params={"step": "due", "limit": "500"}).json()["events"])
    rows = client.get("/api/revenue").json()["rows"]
    payments = sum(row["payments"] for row in rows if row["currency"] == "sgd")
    money = client.get("/api/events", params={"step": "money", "currency": "sgd", "limit": "500"}).json()["events"]
    assert payments == len(money)


def test_one_attempt_by_any_of_its_names(client: httpx.Client) -> None:
    """Its key, its challenge, its payment and each of its requests lead to it, with the events it was made from."""
    events = client.get("/api/events?step=delivered&limit=500").json()["events"]
    one = next(event for event in events if event["requests"] > 1)
    names = [one["attemptId"], one["challengeId"], one["paymentId"], *one["requestIds"]]
    for name in names:
        answer = client.get(f"/api/attempts/{quote(name, safe='')}").json()
        assert one in answer["attempts"], name
    types = [event["type"] for event in answer["events"]]
    assert "payment.settled" in types
    assert set(one["requestIds"]) == {event["request_id"] for event in answer["events"]}
    assert 200 == client.get(f"/attempts/{quote(one['attemptId'], safe='')}").status_code


def test_openapi(client: httpx.Client) -> None:
    """The document names every answer, and every answer it names is there."""
    found = client.get("/api/openapi.json").json()
    assert "3.1.0" == found["openapi"]
    paths = [one for one in found["paths"] if "{" not in one]
    assert {f"/api/{name}" for name in REPORTS} | {"/api/overview", "/api/events"} < set(paths)
    assert [] == [path for path in paths if client.get(path).status_code != 200]
    idents = [one["get"]["operationId"] for one in found["paths"].values()]
    assert len(idents) == len(set(idents))


SAMPLES = {
    "since": "2024-02-01",
    "until": "2024-03-01",
    "endpoint": "/search",
    "test": "1",
    "own": "me",
    "least": "2",
    "limit": "2",
    "pending": "60",
    "step": "paid",
    "state": "late",
    "price": "50",
    "before": "1,x",
}


def test_the_document_lists_what_is_taken(client: httpx.Client) -> None:
    """Each member that it lists is accepted, and any other is refused with those that there are."""
    paths = client.get("/api/openapi.json").json()["paths"]
    every = {one["name"] for path in paths.values() for one in path["get"]["parameters"] if one["in"] == "query"}
    assert set(SAMPLES) < every
    # Each report is asked in the same way; where nobody looks for long two of them, and what is no report.
    alike = "/api/(latency|revenue|pricing|retention)|csv$"
    some = [one for one in paths if WHOLE or not re.search(alike, one)]
    for path in some:
        about, address = paths[path], path.replace("{id}", "nobody")
        known = {one["name"] for one in about["get"]["parameters"] if one["in"] == "query"}
        name = path.removeprefix("/api/").removesuffix(".csv")
        for member in sorted(known):
            value = WITH_BY[name][0] if member == "by" else SAMPLES.get(member, "x")
            assert 200 == client.get(address, params={member: value}).status_code, (path, member)
        for member in [*sorted(every - known), "next", "page"]:
            answer = client.get(address, params={member: SAMPLES.get(member, "x")})
            assert 400 == answer.status_code, (path, member)
            assert all(one in answer.json()["detail"] for one in known) or member == "workflow"


def test_pages_ignore_what_they_do_not_know(client: httpx.Client) -> None:
    """A link of tomorrow's leads to the page all the same, and what the API does not take is in no link to it."""
    text = page(client, "/workflows?limit=3&utm_source=mail&by=pair")
    assert "/api/workflows.csv?by=pair" in text
    assert 'value="3"' not in text


def test_nobody_waits_for_the_patience_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask while the ledger is locked, each has an answer in time; later it is the one."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with served(url) as client, ThreadPoolExecutor(6) as pool:
        assert 1 == client.get("/api/overview").json()["attempts"]
        monkeypatch.setattr(guard, "ANSWER_S", 0.5)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            write(url, story(2, "settle", "deliver"))
            other.execute("BEGIN EXCLUSIVE")
            paths = ("/api/overview", "/api/funnel", "/api/retention", "/api/events", "/api/attempts/x", "/api/latency")
            for path, answer in zip(paths, pool.map(client.get, paths), strict=True):
                assert (503, "1") == (answer.status_code, answer.headers.get("retry-after")), path
                assert "no answer in 0.5 s" in answer.json()["detail"]
            other.execute("ROLLBACK")
        found = eventually(lambda: client.get("/api/overview"), lambda one: one.status_code == 200)
        assert 2 == found.json()["attempts"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("funnel?endpoint=/a&endpoint=/b", "endpoint is there more than once"),
        ("funnel?by=endpoint&by=price", "by is there more than once"),
        ("overview?test=maybe", "test is 1 or 0"),
        ("events?state=nope", "state is one of paid_and_delivered"),
        ("events?price=abc", "price is a whole number of base units"),
        ("events?before=nan,x", "before is what the page before said"),
        ("events?before=1.0", "before is what the page before said"),
    ],
)
def test_what_cannot_be_meant(client: httpx.Client, query: str, words: str) -> None:
    """Half of what was asked, or nothing at all, would look like an answer."""
    answer = client.get(f"/api/{query}")
    assert (400, True) == (answer.status_code, words in answer.json()["detail"])
    assert 200 == client.get("/api/funnel?own=a&own=b").status_code
    assert 200 == client.get("/api/overview?test=no").status_code
