"""The pages, as a server sends them: what they say, where they lead, and that nobody's text can do anything."""

import re
from collections import Counter
from contextlib import closing
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import attrs
import httpx
import pytest

from flovia.dashboard import pages, questions
from flovia.ledger.opening import open_ledger
from flovia.testing.servers import serve_asgi
from tests.dashboard.shop import NOW, WHOLE, dashboard, fresh, page, populate, populate_oddly, served, story, write
from tests.patience import eventually

PAGES = ("/", "/endpoints", "/revenue", "/pricing", "/latency", "/retention", "/workflows", "/integrity", "/events")
MANY = 10_000 if WHOLE else 1_000
MOST_BYTES = 150_000
"""Transferred for one page, with all that it loads: what was promised."""


class Parts(HTMLParser):
    """What of a page matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.tables = 0
        self.data: list[str] = []
        self.current = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.inline += [f"{tag} {name}" for name in found if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in found and found.get("type") != "application/json"):
            self.inline.append(tag)
        if tag == "a":
            self.links.append(found.get("href") or "")
            if "aria-current" in found:
                self.current = found.get("href") or ""
        if tag in ("script", "img") and "src" in found:
            self.loads.append(found["src"] or "")
        if tag == "link":
            self.loads.append(found.get("href") or "")
        self.tables += tag == "table"


def shown(text: str) -> str:
    """A page without what is in its form: there a name stays what it is, or it would find nothing."""
    return re.sub(r' value="[^"]*"', "", text)


@pytest.mark.parametrize("path", PAGES)
def test_each_page(client: httpx.Client, path: str) -> None:
    """It says of how many and as of when, has its table, leads to the events, and lets nothing in from elsewhere."""
    text = page(client, path)
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    parts = Parts(text)
    assert [] == parts.inline
    assert parts.tables > 0
    assert re.search(r"As of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ, event [\d,]+\.", text)
    assert any("/events?" in link or "/attempts/" in link for link in parts.links), "the events behind it"
    assert path in [link.partition("?")[0] for link in parts.links]
    assert all(link.startswith("/") for link in parts.loads)
    bodies = [client.get(link) for link in parts.loads]
    assert [200] * len(bodies) == [one.status_code for one in bodies]
    assert len(answer.content) + sum(len(one.content) for one in bodies) < MOST_BYTES


def test_every_link_leads_somewhere(client: httpx.Client) -> None:
    """From each page to each other, to the events behind each number, to each export."""
    seen: dict[str, int] = {}
    shapes: Counter[str] = Counter()
    for path in PAGES:
        for link in Parts(page(client, path)).links:
            if link.startswith("/") and link not in seen:
                shapes[re.sub("=[^&]*", "", link)] += 1
                if WHOLE or shapes[re.sub("=[^&]*", "", link)] <= 1:
                    seen[link] = client.get(link).status_code
    assert len(seen) > (100 if WHOLE else 30)
    assert {} == {link: status for link, status in seen.items() if status != 200}


def test_filters_are_kept_across_pages(client: httpx.Client) -> None:
    """What is chosen on one page is in the links to the others, in the form, and in the exports."""
    query = "since=2024-02-01&until=2024-04-01&endpoint=%2Fsearch&test=1"
    text = page(client, f"/endpoints?{query}")
    links = Parts(text).links
    for path in PAGES:
        assert f"{path}?{query}" in links
    assert f"/api/funnel.csv?{query}" in links
    assert 'value="2024-02-01"' in text
    assert 'name="test" value="1" checked' in text
    assert "/read/{id}" not in re.sub("<datalist.*?</datalist>", "", text, flags=re.DOTALL), "another endpoint"


def test_how_a_page_is_shown_stays(client: httpx.Client) -> None:
    """Who narrows a page keeps its rows and order: the form says them, and so do the times, "Clear" and the exports;
    what a page does not heed is dropped.
    """
    told = {
        "/endpoints": {"by": "rail", "sort": "conversion"},
        "/pricing": {"least": "7"},
        "/retention": {"by": "endpoint"},
        "/integrity": {"limit": "9", "pending": "600"},
    }
    for path, shown in told.items():
        text = page(client, f"{path}?{urlencode({'since': '2024-02-01', **shown, 'by_nobody': 'x'})}")
        for name, value in shown.items():
            assert f'<input type="hidden" name="{name}" value="{value}">' in text, path
        assert "by_nobody" not in text
        links = Parts(text).links
        assert f"{path}?{urlencode({'since': '7d', **shown})}" in links
        assert f"{path}?{urlencode(shown)}" in links, "Clear, and all times"
        of_api = {name: value for name, value in shown.items() if name != "sort"}
        api = "funnel" if path == "/endpoints" else path[1:]
        assert f"/api/{api}?{urlencode({'since': '2024-02-01', **of_api})}" in links
    assert 'name="sort"' not in page(client, "/latency?sort=name")


def test_who_cannot_be_meant_is_led_back(client: httpx.Client) -> None:
    """A misspelt time costs what was chosen, and not the way back."""
    answer = client.get("/endpoints?endpoint=/search&since=foo")
    assert (400, True) == (answer.status_code, "/endpoints" in Parts(answer.text).links)
    assert "without any choice" in answer.text
    assert "without any choice" not in client.get("/nowhere?since=foo").text


def test_a_number_is_that_of_the_api(client: httpx.Client) -> None:
    """What a page shows in words is what the API says."""
    overview = client.get("/api/overview").json()
    text = page(client, "/")
    assert f">{overview['attempts']:,}</a>" in text
    assert f"{overview['conversion']['value'] * 100:.1f} %" in text
    funnel = client.get("/api/funnel").json()
    text = page(client, "/endpoints")
    for row in funnel["rows"]:
        value, low, high = (row["conversion"][name] * 100 for name in ("value", "low", "high"))
        assert f"{value:.1f} % ({low:.1f}–{high:.1f})" in text
    for one in client.get("/api/pricing").json()["rows"]:
        assert one["reason"] in page(client, "/pricing")


def test_test_money_is_offered(tmp_path: Path) -> None:
    """A shop that only tries things out is told where its attempts are."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"), provider="mock")
    with served(url) as client:
        text = page(client, "/")
        assert "There is nothing to show yet" in text
        assert "1 attempt with the mock provider" in text
        assert "/?test=1" in Parts(text).links
        assert "100.0 %" in page(client, "/?test=1")


def test_an_empty_ledger(tmp_path: Path) -> None:
    """Every page says so, and none fails."""
    with served(fresh(tmp_path)) as client:
        for path in PAGES:
            assert re.search("There is nothing|Nothing waits|No event", page(client, path)), path


@pytest.mark.parametrize("path", [*PAGES, "/events?step=due", f"/endpoints?endpoint={'x' * 4000}"])
def test_names_that_mean_harm(tmp_path: Path, path: str) -> None:
    """Markup is text, nothing unseen is left in, very long names are cut, and the page stays small."""
    url = fresh(tmp_path)
    populate_oddly(url)
    with served(url) as client:
        text = page(client, path)
        assert "<script>alert" not in text
        assert "\u202e" not in shown(text)
        assert len(text) < MOST_BYTES
        if path in ("/endpoints", "/events", "/integrity"):
            assert "&lt;script&gt;alert(1)" in text
            assert r"\u202e" in text
            assert "characters)" in text
        for link in Parts(text).links:
            if ("/attempts/" in link or "/events?" in link) and "/api/" not in link:
                further = client.get(link)
                assert 200 == further.status_code, link
                assert "<script>alert" not in further.text
                assert "\u202e" not in shown(further.text)


def test_data_for_scripts_is_no_markup(tmp_path: Path) -> None:
    """What a script reads cannot end its element."""
    url = fresh(tmp_path)
    for number, price in enumerate((100, 200)):
        stories = [story(10 * number + one, "settle", "deliver") for one in range(1, 4)]
        write(url, *stories, at=NOW + 86400 * number, endpoint="/</script><b>", amount=price)
    with served(url) as client:
        for path in ("/", "/pricing", "/events"):
            assert "</script><b>" not in page(client, path)


def test_very_many_endpoints(tmp_path: Path) -> None:
    """A page shows some, says how many there are, and leads on."""
    url = fresh(tmp_path)
    with closing(open_ledger(url)) as ledger:
        for number in range(MANY):
            changed = [attrs.evolve(one, endpoint=f"/e{number}", at=one.at + NOW) for one in story(number)]
            ledger.append([attrs.evolve(one, provider=one.provider and "hitpay").to_row() for one in changed])
            if number % 300 == 0:
                ledger.flush()  # an outbox that is full drops what comes
    with served(url) as client:
        assert MANY == client.get("/api/overview").json()["endpoints"]
        # The first answers were made while the ledger was being read.
        text = eventually(lambda: page(client, "/endpoints"), lambda text: f"of {MANY:,}" in text)
        assert f"1–50 of {MANY:,}" in text
        assert len(text) < MOST_BYTES
        last = f"{MANY - 49}–{MANY} of {MANY:,}"
        assert last in page(client, f"/endpoints?page={MANY // 50}")
        assert last in page(client, "/endpoints?page=9999")
        for path in PAGES:
            assert len(page(client, path)) < MOST_BYTES, path
        assert "datalist" not in page(client, "/")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/?since=banana", 400, "is no time"),
        ("/endpoints?page=0", 400, "page is a whole number"),
        ("/attempts/nobody", 404, "There is no such attempt"),
        (f"/attempts/{'x' * 5000}", 404, "There is no such attempt"),
        ("/events?step=sideways", 400, "step is one of"),
    ],
)
def test_what_cannot_be_shown(client: httpx.Client, path: str, status: int, says: str) -> None:
    """A page of our own says what to write instead."""
    answer = client.get(path)
    assert status == answer.status_code
    assert says in answer.text
    assert "text/html; charset=utf-8" == answer.headers["content-type"]


def test_files_are_kept_by_their_content(client: httpx.Client) -> None:
    """A browser may keep them for good; another version has another address."""
    links = [link for link in Parts(page(client, "/")).loads if link.endswith(".css")]
    answer = client.get(links[0])
    assert "immutable" in answer.headers["cache-control"]
    assert 404 == client.get(re.sub(r"/static/\w+/", "/static/000000000000/", links[0])).status_code


def test_the_time_of_an_answer_is_by_the_clock_given(tmp_path: Path) -> None:
    """Seven days ago is where the clock says."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"), at=NOW)
    with (
        dashboard(url, clock=lambda: NOW + 8 * 86400) as app,
        serve_asgi(app) as base,
        httpx.Client(base_url=base, timeout=120) as client,
    ):
        assert 0 == client.get("/api/overview?since=7d").json()["attempts"]
        assert 1 == client.get("/api/overview?since=9d").json()["attempts"]
        assert "As of 2025-06-23" in page(client, "/")


def test_a_workflow_narrows_live_alone(client: httpx.Client) -> None:
    """No other page carries it: what a number leads to would be less than it counts. A page that gets it says so."""
    (name, *_) = [one["name"] for one in client.get("/api/workflows").json()["workflows"]]
    query = f"workflow={quote(name, safe='')}"
    for path in PAGES:
        # Without the link to the page itself that one has whose numbers are old.
        address = f"{path}?{query}"
        text = eventually(lambda at=address: page(client, at), lambda found: "on their way" not in found)
        carried = [one for one in Parts(text).links if "workflow=" in one]
        assert all("/events?" in one for one in carried)
        assert ("A workflow narrows Live alone" in text) == (path != "/events")
        if path not in ("/events", "/workflows"):
            assert 1 == len(carried)
        if path == "/endpoints":
            assert 'type="hidden" name="workflow"' not in text
    answer = client.get(f"/api/funnel?{query}")
    assert 400 == answer.status_code
    assert "/api/events alone" in answer.json()["detail"]


def test_what_nobody_sees_in_a_filter(tmp_path: Path) -> None:
    """It stands in the form as everywhere, and the form asks for the very same; what is typed over it counts."""
    name = "/a\x1b[31m\u202e"
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"), endpoint=name, workflow=name, payer=name)
    write(url, story(2), endpoint="/b")
    with served(url) as client:
        text = page(client, f"/events?{urlencode({'endpoint': name, 'workflow': name, 'payer': name})}")
        assert not [one for one in text if not one.isprintable() and one != "\n"]
        form = text[text.index("<form") : text.index("</form>")]
        found = [(unescape(key), unescape(value)) for key, value in re.findall(r'name="([^"]*)" value="([^"]*)"', form)]
        members = {key: value for key, value in found if key != "test"}
        assert r"/a\x1b[31m\u202e" == members["endpoint"] == members["workflow"] == members["payer"]
        again = page(client, f"/events?{urlencode(members)}")
        assert 1 == again.count("data-id=")
        assert f"/endpoints?endpoint={quote(name, safe='')}" in Parts(again).links
        typed = {key: value for key, value in members.items() if key.startswith("endpoint")} | {"endpoint": "/b"}
        assert 1 == page(client, f"/events?{urlencode(typed)}").count("data-id=")
        assert 0 == page(client, f"/events?{urlencode({'endpoint': members['endpoint']})}").count("data-id=")


@pytest.mark.parametrize("path", ["/", "/endpoints", "/revenue", "/latency", "/integrity", "/events"])
def test_an_endpoint_that_nobody_has(client: httpx.Client, path: str) -> None:
    """It is said so, with the names that contain it, and not that there is nothing yet."""
    address = f"{path}?endpoint=/SEAR&since=2024-02-01"
    text = eventually(lambda: page(client, address), lambda found: "No attempt is of the endpoint" in found)
    assert f"{path}?since=2024-02-01&endpoint=%2Fsearch" in Parts(text).links
    assert "There is nothing to show yet" not in text
    assert "Count test money too" not in text
    address = f"{path}?endpoint=/50%25_"
    text = eventually(lambda: page(client, address), lambda found: "No attempt is of the endpoint" in found)
    assert "These names contain it" not in text
    assert "No attempt is of" not in page(client, f"{path}?endpoint=/search")


def test_how_many_there_are(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list behind a number says of how many it is a part."""
    attempts = client.get("/api/overview").json()["attempts"]
    text = page(client, "/events?step=shown")
    assert f"The newest 50 of {attempts:,} events." in text
    (older,) = [one for one in Parts(text).links if "before=" in one]
    assert f"50 of {attempts:,} events, the newest first." in page(client, unescape(older))
    monkeypatch.setattr(questions, "MOST_COUNTED", 100)
    monkeypatch.setattr(pages, "MOST_COUNTED", 100)
    assert "The newest 50 of at least 100 events." in page(client, "/events?step=shown&since=2024-01-01")


def test_numbers_are_written_one_way(tmp_path: Path) -> None:
    """Large ones have commas wherever they stand, and one thing is one thing."""
    url = fresh(tmp_path)
    populate(url, 1050)
    with served(url) as client:
        for path in ("/", "/endpoints", "/revenue", "/latency", "/pricing", "/workflows", "/integrity", "/events"):
            text = re.sub(r"<script.*?</script>|<svg.*?</svg>|<input[^>]*>", "", page(client, path), flags=re.DOTALL)
            said = re.sub("<[^>]*>", " ", text)
            large = re.findall(r"(?<![\w.,:-])\d{4,}(?![\w.-])(?! [A-Z]{3})", said)
            assert [] == large, path
            assert not re.search(r"\b1 (?:rows|events|attempts|endpoints|days)\b", said), path


def test_what_the_queue_is_part_of(client: httpx.Client) -> None:
    """The page of the queue says what it counts that the others do not."""
    turned_away = client.get("/api/integrity").json()["leftOut"]["turnedAway"]
    assert f"besides them {turned_away:,} request" in page(client, "/integrity")
    assert "nobody knows what became of it" in page(client, "/")


def test_a_chart_without_a_script_has_a_scale(client: httpx.Client) -> None:
    """From what to what it goes, in both directions."""
    days = client.get("/api/overview").json()["days"]
    most = max(one["attempts"] for one in days)
    assert f"Upwards 0 to {most:,}; sideways {days[0]['date']} to {days[-1]['date']}." in page(client, "/")


@pytest.mark.parametrize(("steps", "paid"), [(("settle", "deliver"), True), (("late",), True), ((), False)])
def test_what_came_is_on_the_page_of_its_attempt(tmp_path: Path, steps: tuple[str, ...], paid: bool) -> None:
    """Also money that came too late: it came. Where none came, none is shown."""
    url = fresh(tmp_path)
    write(url, story(1, *steps))
    with served(url) as client:
        page(client, "/events")
        (row,) = client.get("/api/events").json()["events"]
        found = re.search("<dt>Paid</dt><dd>(.*?)</dd>", page(client, f"/attempts/{row['attemptId']}"))
    assert found is not None
    assert paid == (found[1] != "–")
