"""Whatever rows are told apart by, there is a page of them."""

import re
from itertools import combinations

import httpx
import pytest

from flovia.dashboard.questions import BY_ONE, WITH_BY
from tests.dashboard.shop import WHOLE, page

PAGE = {"funnel": "/endpoints"}
PAGES = [(name, PAGE.get(name, f"/{name}")) for name in ("funnel", "latency", "revenue", "retention", "workflows")]


def test_every_report_with_rows_to_choose_is_looked_at() -> None:
    """So that a new one is not forgotten here."""
    assert set(WITH_BY) == {name for name, _ in PAGES}


@pytest.mark.parametrize(("name", "path"), PAGES)
def test_a_page_of_whatever_the_api_takes(client: httpx.Client, name: str, path: str) -> None:
    """All of what rows can be told apart by, together and alone: a column for each, as many rows as the API has."""
    takes = WITH_BY[name]
    most = 1 if name in BY_ONE else len(takes) if WHOLE else 2
    for by in (one for count in range(1, most + 1) for one in combinations(takes, count)):
        query = f"?by={','.join(by)}"
        found = client.get(f"/api/{name}{query}")
        text = page(client, f"{path}{query}")
        if name == "workflows":  # a page has all of them
            continue
        rows = found.json()["rows"]
        tables = re.findall("<table.*?</table>", text, re.DOTALL)
        if name == "retention":
            table = next(one for one in tables if "Who came back" in one)
        else:
            table = tables[-1]
            assert list(by) == re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)[: len(by)]
        assert rows, by
        assert min(len(rows), 50) == table.count('<th scope="row">'), by
        assert not re.search(r"\b1 (rows|cohorts)\b", text)


@pytest.mark.parametrize("path", ["/pricing", "/integrity"])
def test_rows_that_are_what_they_are(client: httpx.Client, path: str) -> None:
    """Said so, and no page of something else."""
    assert "leave by out" in page(client, f"{path}?by=day", 400)


@pytest.mark.parametrize("path", [path for _, path in PAGES])
def test_nothing_to_tell_rows_apart_by(client: httpx.Client, path: str) -> None:
    """The page says what there is."""
    assert re.search(
        "told apart by; choose from|by is week or endpoint|by is workflow, path", page(client, f"{path}?by=colour", 400)
    )


def test_cohorts_by_a_list_of_one(client: httpx.Client) -> None:
    """A comma too many is no other question."""
    assert "first endpoint" in page(client, "/retention?by=endpoint,")


@pytest.mark.parametrize("by", ["provider", "day", "provider,rail", "day,endpoint,price"])
def test_a_number_leads_to_as_many_events(client: httpx.Client, by: str) -> None:
    """Also where rows are told apart by what only their address says."""
    table = re.findall("<table.*?</table>", page(client, f"/latency?by={by}"), re.DOTALL)[-1]
    found = re.findall(r'<td class="n" data-name="attempts"><a href="([^"]+)">([\d,]+)</a>', table)
    assert found
    for link, count in found[: 20 if WHOLE else 5]:
        address = "/api" + link.replace("&amp;", "&") + "&limit=500"
        assert int(count.replace(",", "")) == len(client.get(address).json()["events"]), address
