"""A ledger with attempts in it, and a dashboard over it on a real server."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
import httpx

import flovia
from flovia.core.events import Event
from flovia.dashboard import Dashboard
from flovia.dashboard.access import Authorize
from flovia.ledger.opening import open_ledger
from flovia.testing.servers import serve_asgi
from tests.insights.test_attempts import gated
from tests.insights.test_join import scenario
from tests.patience import eventually
from tests.world.__main__ import opened
from tests.world.clock import Clock
from tests.world.world import live

WHOLE = bool(os.environ.get("FLOVIA_WHOLE"))
"""Whether to look at everything, which takes minutes; otherwise at some of what is alike."""
SECRET = "test-secret-of-32-characters-000"
NOW = 1_750_000_000.0
ODD = "/<script>alert(1)</script>&\"'\u202egnp\u05d0" + "x" * 600
"""Somebody's name for an endpoint: markup, text that turns round, and very long."""


def populate(url: str, attempts: int = 400) -> None:
    """Let a small world live in a ledger."""
    clock = Clock()
    with closing(opened(url, clock)) as ledger:
        live(ledger, clock, attempts, 1)


def write(url: str, *stories: Sequence[Event], provider: str = "hitpay", at: float = NOW, **more: object) -> None:
    """Put events into a ledger, as a gate with a provider writes them."""
    with closing(open_ledger(url)) as ledger:
        for events in stories:
            changed = [attrs.evolve(one, provider=one.provider and provider, at=one.at + at, **more) for one in events]
            ledger.append([one.to_row() for one in changed])


def story(number: int, *steps: str) -> list[Event]:
    """A whole attempt."""
    return gated(scenario(number, list(steps)))


def populate_oddly(url: str) -> None:
    """Names that mean harm, in every place where names are."""
    odd = ODD
    write(
        url,
        *(story(number, "settle", "deliver") for number in range(1, 4)),
        story(4, "settle"),
        story(5, "late"),
        endpoint=odd,
        payer=odd,
        workflow=odd[:100],
        recipient=odd,
    )


@contextmanager
def dashboard(
    url: str, *, authorize: Authorize | None = None, clock: Callable[[], float] | None = None
) -> Generator[Dashboard]:
    """A dashboard of an app whose ledger is there."""
    flo = flovia.Flovia(ledger=url, secret=SECRET)
    found = Dashboard(flo, authorize=authorize, clock=clock)
    try:
        yield found
    finally:
        found.close()
        flo.close()


@contextmanager
def served(url: str, *, authorize: Authorize | None = None) -> Generator[httpx.Client]:
    """The same on uvicorn, with a client for it."""
    with (
        dashboard(url, authorize=authorize) as app,
        serve_asgi(app) as base,
        httpx.Client(base_url=base, timeout=120) as client,
    ):
        yield client


def page(client: httpx.Client, path: str, status: int = 200) -> str:
    """A page, once its answer is there."""
    found = eventually(lambda: client.get(path), lambda one: "flovia-waiting" not in one.headers)
    assert status == found.status_code, found.text
    return found.text


def fresh(tmp_path: Path, name: str = "ledger") -> str:
    """The URL of a ledger that is not there yet."""
    return f"sqlite:///{tmp_path}/{name}.db"
