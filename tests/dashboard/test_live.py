"""What is live: one reader for all who watch, by a stream or by asking again, in each process its own."""

import json
import re
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from flovia.core.errors import LedgerError
from flovia.dashboard import api, live
from flovia.dashboard.keeper import MOST_REST_S, NEWEST, REST, Keeper, Known, Seen
from flovia.insights.asking import LeftOut
from flovia.insights.store import values_of, write_rows
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.dashboard.failing import plant
from tests.dashboard.shop import dashboard, fresh, page, served, story, write
from tests.insights.living import attempt
from tests.patience import PATIENT_S, eventually


@pytest.fixture(autouse=True)
def _streams_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher here reads one stream: on a busy machine eight seconds are over before all of them have begun."""
    monkeypatch.setattr(live, "LASTS_S", PATIENT_S)


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


def position_of(base: str) -> int:
    """How far the ledger is read: where a page that is opened now begins to listen."""
    return int(httpx.get(f"{base}/api/funnel", timeout=120).headers["flovia-position"])


@contextmanager
def keeping(url: str, **how: object) -> Generator[Keeper]:
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
        after = position_of(base)
        everything = Watcher(base, f"/events/stream?after={after}")
        other = Watcher(base, f"/events/stream?after={after}&endpoint=/other")
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
        told = ident.removeprefix("id: ")
        found = eventually(lambda: httpx.get(f"{base}/events/new?after={told}").json(), lambda one: bool(one["rows"]))
        assert 1 == len(found["rows"])
        again = Watcher(base, **{"last-event-id": told})
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
        after = position_of(base)
        keeper = app._desks.here().keeper
        watchers = [Watcher(base, f"/events/stream?after={after}") for _ in range(50)]
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
    url = fresh(tmp_path)
    write(url, story(1))
    failing = plant(monkeypatch)
    with closing(open_ledger(url)) as mine:
        assert isinstance(mine, SqlLedger)
        failing.only = mine
        with closing(Keeper(mine, poll_s=0.01)) as keeper:
            keeper.catch_up()
            failing.now.set()
            keeper.look()
            eventually(lambda: failing.tries, lambda one: one > 3)
            write(url, story(2))
            failing.now.clear()
            assert 2 == len(eventually(lambda: keeper.since(0)[1], lambda seen: len(seen) > 1))
    assert 1 == sum("the disk is full" in record.message for record in caplog.records)


def test_while_somebody_else_has_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader waits for it; those who watch are told long before its patience is at an end, and so is who ends."""
    from flovia.dashboard import desk
    from flovia.dashboard import keeper as module

    monkeypatch.setattr(module, "SILENT_S", 0.5)
    monkeypatch.setattr(desk, "PATIENCE_S", 600.0)
    url = fresh(tmp_path)
    write(url, story(1))
    with dashboard(url) as app, serve_asgi(app) as base, httpx.Client(base_url=base, timeout=PATIENT_S) as client:
        asked = f"/events/new?after={position_of(base)}"
        assert 200 == client.get(asked).status_code
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert 503 == eventually(lambda: client.get(asked), lambda one: one.status_code != 200).status_code
        keeper = app._desks.here().keeper
        app.close()
        assert not keeper.running
        other.close()


def test_who_watches_is_told_that_the_ledger_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would look like no sales: streams end, the next are refused, as is who asks again; then it goes on."""
    from flovia.dashboard import keeper as module

    failing = plant(monkeypatch)
    monkeypatch.setattr(module, "SILENT_S", 0.5)
    url = fresh(tmp_path)
    write(url, story(1))
    with served(url) as client:
        after = position_of(str(client.base_url))
        watcher = Watcher(str(client.base_url), f"/events/stream?after={after}")
        asked = f"/events/new?after={after}"
        assert 200 == client.get(asked).status_code
        failing.now.set()
        refused = eventually(lambda: client.get(asked), lambda one: one.status_code != 200)
        assert (503, "1") == (refused.status_code, refused.headers.get("retry-after"))
        assert 503 == client.get(f"/events/stream?after={after}").status_code
        watcher._thread.join(PATIENT_S)
        assert not watcher._thread.is_alive()
        watcher.close()
        write(url, story(2))
        failing.now.clear()
        eventually(lambda: client.get(asked).status_code, lambda one: one == 200)
        found = eventually(lambda: client.get(asked).json()["rows"], lambda rows: len(rows) > 0)
        assert 1 == len(found)


def test_much_at_once_shows_its_end(tmp_path: Path) -> None:
    """Who watches while ten thousand come sees the newest of them; nothing grows without bound."""
    url = fresh(tmp_path)
    with keeping(url) as keeper:
        keeper.catch_up()
        with closing(open_ledger(url)) as ledger:
            for number in range(NEWEST + 100):
                ledger.append([one.to_row() for one in story(number)])
                ledger.flush()
        known = keeper.catch_up()
        position, seen = keeper.since(0)
        assert NEWEST == len(seen)
        assert known.position == position == seen[-1].kept.position
        assert (position, []) == keeper.since(position)


def test_a_busy_day_is_counted_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting a day takes the longer the later it is: those who watch are told at once all the same, and what was
    counted says how far it goes. Who reads to the end has everything counted.
    """
    from flovia.insights import rollup

    url, now, counts = fresh(tmp_path), [100.0], list[bool]()
    real = rollup.roll_up

    def slowly(*arguments: object, **how: object) -> int:
        counts.append(True)
        now[0] += 2.0
        return real(*arguments, **how)  # type: ignore[arg-type] # what it is called with

    monkeypatch.setattr(rollup, "roll_up", slowly)
    with closing(open_ledger(url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        keeper = Keeper(ledger, monotonic=lambda: now[0])
        write(url, story(1))
        first = keeper.read_on()
        for number in range(2, 4):
            now[0] += (REST * 2.0) / 2 - 0.5
            write(url, story(number))
            assert first == keeper.read_on()
        assert (1, 2) == (len(counts), len(keeper.since(first.position)[1]))
        now[0] += 1.0
        second = keeper.read_on()
        assert (2, keeper.since(0)[0]) == (len(counts), second.position)
        write(url, story(4))
        assert second.position < keeper.catch_up().position
        assert 3 == len(counts)
        keeper.close()


def test_who_waited_for_the_file_does_not_rest_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that took long, because somebody else had the file, is followed by the next one within seconds."""
    from flovia.dashboard import keeper as module

    now, waits = [100.0], list[float]()
    real = module.fold_on

    def waiting(*arguments: object) -> int:
        now[0] += 30.0
        return real(*arguments)  # type: ignore[arg-type] # what it is called with

    def wait(timeout: float | None = None) -> bool:
        waits.append(timeout or 0.0)
        if len(waits) == 3:
            keeper._closed = True
        return True

    monkeypatch.setattr(module, "fold_on", waiting)
    with keeping(fresh(tmp_path), monotonic=lambda: now[0], idle_s=1e9) as keeper:
        keeper.catch_up()
        monkeypatch.setattr(keeper._wake, "wait", wait)
        keeper._run()
    assert [MOST_REST_S] * 3 == waits


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


def test_what_is_known_is_told_while_the_ledger_is_read(tmp_path: Path) -> None:
    """Whoever is content with it need not wait until whoever reads the ledger to its end is there."""
    with keeping(fresh(tmp_path)) as keeper, ThreadPoolExecutor(1) as pool, keeper._folding:
        waiting = pool.submit(keeper.first)
        keeper.known = Known(position=3, behind=True, epoch=0, left_out=LeftOut(), floor=None)
        assert keeper.known == waiting.result(60) == keeper.first()


def keys(seen: Sequence[Seen]) -> list[str]:
    """The attempts, in their order."""
    return [one.kept.attempt.key for one in seen]


def test_whoever_asks_one_worker_after_the_other_sees_all_once(tmp_path: Path) -> None:
    """Two processes on one ledger, each as far as it happens to be: a poll that goes to this one and that one brings
    each attempt once, and in its last form.
    """
    url = fresh(tmp_path)
    with keeping(url) as first, keeping(url) as second:
        after = first.catch_up().position
        brought: list[str] = []
        for number in range(12):
            write(url, story(number, "settle", "deliver"))
            ahead, late = (first, second) if number % 3 else (second, first)
            ahead.catch_up()
            for keeper in (late, ahead, late, ahead):
                after, seen = keeper.since(after)
                brought += keys(seen)
        assert [f"c|challenge-{number}" for number in range(12)] == brought
        second.catch_up()
        assert [after] * 2 == [keeper.since(after)[0] for keeper in (first, second)]


def test_a_worker_that_has_just_begun_knows_what_came_before(tmp_path: Path) -> None:
    """It asks the ledger for what it has not seen, of very much the end, and each attempt once."""
    url = fresh(tmp_path)
    write(url, story(1))
    with keeping(url) as first:
        after = first.catch_up().position
        write(url, story(2), story(3))
        first.catch_up()
        write(url, story(3, "settle")[2:])
        first.catch_up()
        with keeping(url) as second:
            assert (after, []) == second.since(after)
            position = second.catch_up().position
            assert second.at_hand(after) is None
            assert (position, keys(first.since(after)[1])) == (second.since(after)[0], keys(second.since(after)[1]))
            with closing(open_ledger(url)) as ledger:
                for number in range(10, NEWEST + 20):
                    ledger.append([one.to_row() for one in story(number)])
            second.catch_up()
            with keeping(url) as third:
                third.catch_up()
                assert NEWEST == len(third.since(after)[1])
                assert keys(second.since(after)[1]) == keys(third.since(after)[1])


def test_attempts_that_share_their_newest_event(tmp_path: Path) -> None:
    """They are told together: whoever was told of one of them goes on behind all."""
    url = fresh(tmp_path)
    rows = [values_of(attempt(name, 1.0), 1, 1) for name in "abc"]
    with keeping(url) as keeper, closing(open_ledger(url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        keeper.catch_up()
        with ledger.database.write() as connection:
            write_rows(connection, {str(row["key"]) for row in rows}, rows)
        write(url, story(9))
        keeper.catch_up()
        assert ["c|a", "c|b", "c|c", "r|req-9-0"] == keys(keeper.since(0)[1])
        assert ["r|req-9-0"] == keys(keeper.since(1)[1])


def test_a_ledger_that_was_put_in_the_place_of_another(tmp_path: Path) -> None:
    """A number that the ledger has not reached is of another one: it is followed from where it is. Its tables of
    reports may have to be made anew.
    """
    url, path = fresh(tmp_path), tmp_path / "ledger.db"
    with closing(open_ledger(url)):
        pass
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(":memory:")) as kept:
        live.backup(kept)
        with keeping(url) as keeper:
            write(url, *(story(number) for number in range(5)))
            after = keeper.catch_up().position
            kept.backup(live)
            with pytest.raises(LedgerError):
                keeper.catch_up()
            write(url, story(7))
            here = keeper.catch_up().position
            assert here < after
            assert (here, []) == keeper.since(after)
            assert [] == keeper.since(here)[1]
            write(url, story(8))
            position = keeper.catch_up().position
            assert (position, ["r|req-8-0"]) == (position, keys(keeper.since(here)[1]))


def test_a_number_that_no_ledger_has_reached(tmp_path: Path) -> None:
    """It brings nothing, and the right one to go on with."""
    url = fresh(tmp_path)
    with served(url) as client:
        write(url, story(1))
        here = int(client.get("/api/funnel").headers["flovia-position"])
        found = {"after": here, "rows": [], "gone": []}
        assert found == client.get("/events/new?after=77777").json()
        assert found == client.get(f"/events/new?after={here}").json()
        assert 1 == len(client.get("/events/new?after=0").json()["rows"])


def test_the_page_listens_from_where_its_table_ends(tmp_path: Path) -> None:
    """Whichever process it asks then."""
    url = fresh(tmp_path)
    write(url, story(1))
    with served(url) as client:
        text = page(client, "/events")
        here = re.search(r'data-after="(\d+)"', text)
        assert here is not None
        assert int(here[1]) == int(client.get("/api/funnel").headers["flovia-position"])
        write(url, story(2))
    with served(url) as other:
        found = eventually(lambda: other.get(f"/events/new?after={here[1]}").json(), lambda one: bool(one["rows"]))
        assert ["r|req-2-0"] == [row["id"] for row in found["rows"]]


def test_a_stream_without_rows_moves_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next one would begin where the first did, and have ever more to look through."""
    monkeypatch.setattr(live, "LASTS_S", 0.5)
    url = fresh(tmp_path)
    write(url, story(1), provider="mock")
    with served(url) as client:
        here = client.get("/api/funnel").headers["flovia-position"]
        assert f"id: {here}\n" in client.get("/events/stream?after=0&endpoint=/nowhere").text
        assert "id:" not in client.get(f"/events/stream?after={here}").text


def test_what_does_not_belong_any_more_goes(tmp_path: Path) -> None:
    """An attempt that a filter shows, and that then changes, leaves the page."""
    url = fresh(tmp_path)
    with served(url) as client:
        client.get("/api/funnel")
        whole = story(1, "settle", "deliver")
        write(url, whole[:4])
        after = int(client.get("/api/funnel").headers["flovia-position"])
        before = client.get("/events/new?after=0&step=undelivered").json()
        write(url, whole[4:])
        client.get("/api/funnel")
        (row,) = before["rows"]
        assert row["id"] not in before["gone"]
        then = client.get(f"/events/new?after={after}&step=undelivered").json()
        assert [] == then["rows"]
        assert row["id"] in then["gone"]


def test_an_attempt_that_is_part_of_another_goes(tmp_path: Path) -> None:
    """An unpaid request has a row of its own, which leaves the page when its challenge is answered."""
    url = fresh(tmp_path)
    with served(url) as client:
        whole = story(1, "settle", "deliver")
        asked = [one for one in whole if one.request_id == whole[0].request_id]
        write(url, asked)
        after = int(client.get("/api/funnel").headers["flovia-position"])
        (row,) = client.get("/events/new?after=0").json()["rows"]
        write(url, [one for one in whole if one not in asked])
        client.get("/api/funnel")
        for since in (0, after):
            then = client.get(f"/events/new?after={since}").json()
            assert ["c|challenge-1"] == [one["id"] for one in then["rows"]]
            assert row["id"] in then["gone"]
        assert [one["attemptId"] for one in client.get("/api/events").json()["events"]] == ["c|challenge-1"]


def test_by_path_nothing_moves_by_itself(tmp_path: Path) -> None:
    """An attempt's path is known when its session is made, so the page says so, and shows what is on it."""
    url = fresh(tmp_path)
    with served(url) as client:
        write(url, story(1, "settle", "deliver"), payer="did:example:one")
        query = {"path": '["/reports/{id}"]'}
        text = page(client, f"/events?{httpx.QueryParams(query)}")
        assert "do not move by themselves" in text
        assert "data-stream" not in text
        assert "live.js" not in text
        assert 1 == len(client.get("/api/events", params=query).json()["events"])
        for address in ("/events/new", "/events/stream"):
            answer = client.get(address, params=query)
            assert 400 == answer.status_code
            assert "leave path out" in answer.json()["detail"]


def test_test_money_and_own_payers_stay_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere else, unless they are wanted."""
    monkeypatch.setenv("FLOVIA_OWN_PAYERS", "did:example:me")
    url = fresh(tmp_path)
    with served(url) as client:
        client.get("/api/funnel")
        write(url, story(1, "settle", "deliver"), provider="mock")
        write(url, story(2, "settle", "deliver"), payer="did:example:me")
        write(url, story(3, "settle", "deliver"), payer="did:example:other")
        found = eventually(lambda: client.get("/events/new?after=0").json(), lambda one: bool(one["rows"]))
        assert ["did:example:other"] == [row["payer"] for row in found["rows"]]
        assert 2 == len(client.get("/events/new?after=0&test=1").json()["rows"])
        assert ["did:example:other"] == [
            row["payer"] for row in client.get("/events/new?after=0&payer=did:example:other").json()["rows"]
        ]
