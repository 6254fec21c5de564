"""What is live: one reader for all who watch, by a stream or by asking again, in each process its own."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from flovia.dashboard import api, live
from flovia.dashboard.keeper import NEWEST, Keeper
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.dashboard.shop import dashboard, fresh, page, served, story, write
from tests.patience import eventually


class Watcher:
    """A page that watches: the rows that its stream brought."""

    def __init__(self, base: str, path: str = "/events/stream?after=0", **headers: str) -> None:
        self.rows: list[dict[str, object]] = []
        self.said: list[str] = []
        self.ended = threading.Event()
        self._client = httpx.Client(timeout=120)
        self._address, self._headers = base + path, headers
        self.status = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._address, headers=self._headers) as answer:
                self.status = answer.status_code
                for line in answer.iter_lines():
                    self.said.append(line)
                    if line.startswith("data: "):
                        self.rows += json.loads(line.removeprefix("data: "))["rows"]
                    if self.ended.is_set():
                        return
        except httpx.HTTPError:
            return

    def close(self) -> None:
        """Look away."""
        self.ended.set()
        self._client.close()


@contextmanager
def keeping(url: str, **how: float) -> Generator[Keeper]:
    """A keeper of a ledger."""
    with closing(open_ledger(url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        found = Keeper(ledger, **how)  # type: ignore[arg-type] # numbers
        try:
            yield found
        finally:
            found.close()


def test_the_stream_brings_what_is_new(tmp_path: Path) -> None:
    """Each attempt that comes or changes, and nothing that was there before; what is filtered stays away."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with dashboard(url) as app, serve_asgi(app) as base:
        httpx.get(f"{base}/api/funnel")
        everything, other = Watcher(base), Watcher(base, "/events/stream?after=0&endpoint=/other")
        eventually(lambda: everything.said, bool)
        write(url, story(2), endpoint="/other")
        write(url, story(3, "settle", "deliver"))
        rows = eventually(lambda: everything.rows, lambda rows: len(rows) >= 2)
        assert ["GET /other", "GET /reports/{id}"] == [row["what"] for row in rows]
        assert "payment converted into paid API demand" == rows[1]["insight"]
        assert ["GET /other"] == [row["what"] for row in eventually(lambda: other.rows, bool)]
        assert 200 == httpx.get(f"{base}{rows[1]['href']}").status_code
        for one in (everything, other):
            one.close()


def test_who_lost_the_connection_goes_on(tmp_path: Path) -> None:
    """The browser says how far it was, and gets what came since."""
    url = fresh(tmp_path)
    with dashboard(url) as app, serve_asgi(app) as base:
        httpx.get(f"{base}/api/funnel")
        write(url, story(1))
        first = Watcher(base)
        eventually(lambda: first.rows, bool)
        said = eventually(lambda: first.said, lambda lines: any(line.startswith("id:") for line in lines))
        ident = next(line for line in said if line.startswith("id:"))
        first.close()
        write(url, story(2))
        found = eventually(lambda: httpx.get(f"{base}/events/new?after=1").json(), lambda one: bool(one["rows"]))
        again = Watcher(base, **{"last-event-id": ident.removeprefix("id: ")})
        rows = eventually(lambda: again.rows, bool)
        assert [row["id"] for row in found["rows"]] == [row["id"] for row in rows]
        again.close()


def test_a_stream_ends_and_the_next_one_is_asked_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream outlives the right to look, or keeps a server from ending; and there are only so many."""
    monkeypatch.setattr(live, "LASTS_S", 0.5)
    with served(fresh(tmp_path)) as client:
        assert "retry:" in client.get("/events/stream?after=0").text
        monkeypatch.setattr(api, "MOST_STREAMS", 0)
        assert 503 == client.get("/events/stream?after=0").status_code


def test_fifty_watch_and_one_reads(tmp_path: Path) -> None:
    """However many watch, the ledger is asked once a second, and all see the same."""
    url = fresh(tmp_path)
    write(url, story(0))
    with dashboard(url) as app, serve_asgi(app) as base:
        httpx.get(f"{base}/api/funnel")
        keeper = app._desks.here().keeper
        watchers = [Watcher(base) for _ in range(50)]
        eventually(lambda: [one.status for one in watchers], lambda found: found == [200] * 50)
        before, began = keeper.rounds, time.monotonic()
        for number in range(1, 6):
            write(url, story(number))
        eventually(lambda: [len(one.rows) for one in watchers], lambda found: min(found) >= 5)
        passed = time.monotonic() - began
        assert [5] * 50 == [len({str(row["id"]) for row in one.rows}) for one in watchers]
        # A round a second, one for each slice of much that is new, and two at the edges.
        assert keeper.rounds - before <= 2 * passed + 3
        for one in watchers:
            one.close()


def test_nobody_looks_nothing_runs(tmp_path: Path) -> None:
    """The thread ends some time after the last look, and begins again with the next."""
    with keeping(fresh(tmp_path), poll_s=0.01, idle_s=0.05) as keeper:
        keeper.look()
        eventually(lambda: keeper.known, lambda one: one is not None)
        assert not eventually(lambda: keeper.running, lambda one: not one)
        asked = keeper.rounds
        keeper.look()
        assert eventually(lambda: keeper.rounds, lambda one: one > asked) > asked


def test_a_ledger_that_fails_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and what came meanwhile is read later."""
    from flovia.core.errors import LedgerError
    from flovia.dashboard import keeper as module

    url = fresh(tmp_path)
    write(url, story(1))
    failing, tries = threading.Event(), []
    real = module.fold_on

    def sometimes(*arguments: object) -> int:
        if failing.is_set():
            tries.append(1)
            raise LedgerError("the disk is full")
        return real(*arguments)  # type: ignore[arg-type] # what it is called with

    monkeypatch.setattr(module, "fold_on", sometimes)
    with keeping(url, poll_s=0.01) as keeper:
        keeper.catch_up()
        failing.set()
        keeper.look()
        eventually(lambda: len(tries), lambda one: one > 3)
        write(url, story(2))
        failing.clear()
        assert 1 == len(eventually(lambda: keeper.since(0), bool))
    assert 1 == sum("the disk is full" in record.message for record in caplog.records)


def test_much_at_once_shows_its_end(tmp_path: Path) -> None:
    """Who watches while ten thousand come sees the newest of them; nothing grows without bound."""
    url = fresh(tmp_path)
    with keeping(url) as keeper:
        keeper.catch_up()
        with closing(open_ledger(url)) as ledger:
            for number in range(NEWEST + 100):
                ledger.append([one.to_row() for one in story(number)])
                ledger.flush()
        keeper.catch_up()
        seen = keeper.since(0)
        assert NEWEST == len(seen)
        assert NEWEST + 100 == keeper.newest == seen[-1].number
        assert [] == list(keeper.since(keeper.newest))


def test_under_wsgi_the_page_asks_again(tmp_path: Path) -> None:
    """No stream holds a worker; the page knows where to ask."""
    url = fresh(tmp_path)
    write(url, story(1))
    with dashboard(url) as app, serve_wsgi(app.wsgi, server="waitress") as base, httpx.Client(base_url=base) as client:
        text = page(client, "/events")
        assert 'data-stream=""' in text
        assert 'data-poll="/events/new"' in text
        assert 404 == client.get("/events/stream").status_code
        write(url, story(2))
        found = eventually(lambda: client.get("/events/new?after=0").json(), lambda one: bool(one["rows"]))
        assert 1 == len(found["rows"])
        assert [] == client.get(f"/events/new?after={found['after']}").json()["rows"]


def test_a_number_of_another_process(tmp_path: Path) -> None:
    """Workers count for themselves: a number that is too large brings nothing, and the right one to go on with."""
    url = fresh(tmp_path)
    with served(url) as client:
        client.get("/api/funnel")
        write(url, story(1))
        eventually(lambda: client.get("/events/new?after=0").json(), lambda one: bool(one["rows"]))
        assert {"after": 1, "rows": []} == client.get("/events/new?after=77").json()
        assert {"after": 1, "rows": []} == client.get("/events/new?after=1").json()


def test_test_money_and_own_payers_stay_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere else, unless they are wanted."""
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "did:example:me")
    url = fresh(tmp_path)
    with served(url) as client:
        client.get("/api/funnel")
        write(url, story(1, "settle", "deliver"), provider="mock")
        write(url, story(2, "settle", "deliver"), payer="did:example:me")
        write(url, story(3, "settle", "deliver"), payer="did:example:other")
        found = eventually(lambda: client.get("/events/new?after=0").json(), lambda one: int(one["after"]) >= 3)
        assert ["did:example:other"] == [row["payer"] for row in found["rows"]]
        assert 2 == len(client.get("/events/new?after=0&test=1").json()["rows"])
        assert ["did:example:other"] == [
            row["payer"] for row in client.get("/events/new?after=0&payer=did:example:other").json()["rows"]
        ]
