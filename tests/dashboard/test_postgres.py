"""The same over PostgreSQL: every page, and the same numbers as over a file."""

from pathlib import Path

from flovia.ledger.opening import open_ledger
from tests.dashboard.shop import fresh, page, served, story, write
from tests.dashboard.test_pages import PAGES
from tests.postgres.server import Server

REPORTS = ("funnel", "latency", "revenue", "pricing", "workflows", "integrity")


def test_the_same_over_postgresql(tmp_path: Path, postgres: Server, ledger_template: str) -> None:
    """Each report, each page, and the events page after page, whatever keeps them."""
    url = postgres.url(postgres.database(ledger_template))
    file = fresh(tmp_path)
    open_ledger(file).close()
    for one in (url, file):
        write(one, story(1, "settle", "deliver"), story(2, "settle"), story(3, "late"), story(4), story(5, "refuse"))
    with served(url) as there, served(file) as here:
        for name in REPORTS:
            assert here.get(f"/api/{name}").json() == there.get(f"/api/{name}").json(), name
        events = here.get("/api/events").json()["events"]
        assert 5 == len(events)
        found: list[dict[str, object]] = []
        following = ""
        while following is not None:
            answer = there.get(
                "/api/events", params={"limit": "2", **({"before": following} if following else {})}
            ).json()
            found += answer["events"]
            following = answer["next"]
        assert [one["attemptId"] for one in events] == [one["attemptId"] for one in found]
        for path in PAGES:
            assert "As of" in page(there, path)
        assert 200 == there.get(f"/attempts/{events[0]['requestId']}").status_code
