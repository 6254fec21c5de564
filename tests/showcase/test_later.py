"""The dashboard that is made when somebody asks for it, or once the first page is out."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import flovia
from flovia.core.errors import LedgerError, WiringError
from flovia.showcase.later import LaterDashboard
from flovia.testing.servers import serve_asgi
from tests.patience import PATIENT_S

SECRET = "test-secret-of-32-characters-000"


@contextmanager
def later(folder: Path, prepare: Callable[[], None]) -> Generator[tuple[LaterDashboard, str]]:
    """One over an empty ledger, and where it is served."""
    flo = flovia.Flovia(secret=SECRET, public_origin="http://127.0.0.1:1", ledger=f"sqlite:///{folder}/ledger.db")
    made = LaterDashboard(flo, prepare)
    with serve_asgi(Starlette(routes=[Mount("/dashboard", made)])) as url:
        yield made, f"{url}/dashboard"
    made.close()
    flo.close()


def test_many_ask_at_once(tmp_path: Path) -> None:
    """All wait for one that is made once, after what has to be there before it."""
    times, about_to = list[int](), threading.Event()

    def prepare() -> None:
        about_to.wait(PATIENT_S)
        times.append(1)

    with later(tmp_path, prepare) as (made, url):
        answers = list[int]()

        def ask() -> None:
            answers.append(httpx.get(f"{url}/api/openapi.json", timeout=PATIENT_S).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert [] == answers
        about_to.set()
        for thread in threads:
            thread.join()
        assert ([200] * 8, [1]) == (answers, times)
        assert made.make() is made.make()
        assert [1] == times


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    """A ledger that did not answer once is asked again by the next one who comes."""
    failing = [True]

    def prepare() -> None:
        if failing:
            failing.pop()
            raise LedgerError("test: the disk is full")

    with later(tmp_path, prepare) as (made, url):
        with pytest.raises(LedgerError):
            made.make()
        assert 200 == httpx.get(f"{url}/api/openapi.json", timeout=PATIENT_S).status_code


def test_after_the_end_there_is_none(tmp_path: Path) -> None:
    """Who comes late is told, and nothing is made any more that nobody would close."""
    with later(tmp_path, lambda: pytest.fail("it was prepared")) as (made, url):
        made.close()
        assert 503 == httpx.get(f"{url}/", timeout=PATIENT_S).status_code
        assert made.make() is None


def test_a_ledger_in_memory_is_refused_at_once() -> None:
    """And not when somebody opens it."""
    flo = flovia.Flovia(secret=SECRET, ledger="memory://")
    with pytest.raises(WiringError, match="lives in memory"):
        LaterDashboard(flo, lambda: None)
    flo.close()
