"""How a dashboard ends: at once where it is closed, and without being asked where its app ends."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from flovia.dashboard import keeper
from flovia.testing.servers import serve_asgi
from tests.dashboard.shop import dashboard, fresh, story, write
from tests.patience import PROGRAM_S, eventually

APP = """
import asyncio, sys, threading

import httpx

import flovia
from flovia.dashboard import Dashboard, keeper

reading = threading.Event()


def for_ever(*arguments):
    reading.set()
    threading.Event().wait()


keeper.fold_new = for_ever
dashboard = Dashboard(flovia.Flovia(ledger=sys.argv[1], secret="test-secret-of-32-characters-000"))


async def ask():
    transport = httpx.ASGITransport(app=dashboard)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/", "/retention", "/events", "/attempts/x"):
            try:
                answer = await asyncio.wait_for(client.get(path), 1)
                print(path, answer.headers.get("flovia-waiting"), flush=True)
            except TimeoutError:
                print(path, "waits", flush=True)


asyncio.run(ask())
reading.wait()
print("the end", flush=True)
"""


def test_an_app_that_ends_need_not_close_it(tmp_path: Path) -> None:
    """Though its ledger is being read for the first time, which here never ends."""
    program = [sys.executable, "-c", APP, fresh(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PROGRAM_S, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert ["/ 1", "/retention 1", "/events 1", "/attempts/x waits", "the end"] == done.stdout.splitlines()


def test_who_waits_when_it_is_closed_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 503, in words, and so is who comes later: pages and programs alike."""
    url = fresh(tmp_path)
    write(url, story(1))
    reading, go = threading.Event(), threading.Event()
    real = keeper.fold_new

    def slow(*arguments: object) -> int:
        reading.set()
        go.wait()
        return real(*arguments)  # type: ignore[arg-type] # what it is called with

    monkeypatch.setattr(keeper, "fold_new", slow)
    with dashboard(url) as app, serve_asgi(app) as base, ThreadPoolExecutor(4) as pool:
        paths = ("/api/funnel", "/api/retention", "/api/events", "/attempts/x")
        waiting = [pool.submit(httpx.get, f"{base}{path}", timeout=PROGRAM_S) for path in paths]
        reading.wait()
        here = app._desks.here()
        eventually(lambda: here.answers._waiting, lambda found: found[False, True] + found[True, True] == len(paths))
        closing = threading.Thread(target=app.close)
        closing.start()
        eventually(lambda: here.keeper.closed, bool)
        go.set()
        found = [one.result() for one in waiting]
        closing.join()
        found += [httpx.get(f"{base}{path}") for path in ("/", "/api/funnel", "/events/new")]
        assert [(503, "1")] * 7 == [(one.status_code, one.headers.get("retry-after")) for one in found]
        assert all("has been closed" in one.text for one in found)
