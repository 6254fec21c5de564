"""An exporter in the app's own process: in nobody's way, and gone when the app is."""

import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

import flovia.export
from flovia.core.errors import WiringError
from flovia.core.events import PAYMENT_DELIVERED
from flovia.export import SinkError, SinkGone, start
from flovia.export.base import Entry
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import backlog, with_sinks
from tests.core.world import Clock, Shop, challenges, deliver, pay, request
from tests.export.world import ListSink, ids, rows
from tests.patience import PATIENT_S, PROGRAM_S, eventually


class BlockedSink(ListSink):
    """Takes a batch and gives no answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()

    def deliver(self, batch: Sequence[Entry]) -> None:
        """Wait, then take it."""
        self.entered.set()
        assert self.go.wait(PATIENT_S)
        super().deliver(batch)


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Shop]:
    """An app on each ledger."""
    clock = Clock()
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    with closing(open_ledger(url, clock=clock)) as ledger:
        yield Shop(ledger, clock)


def test_no_paid_answer_waits_for_a_sink(shop: Shop) -> None:
    """While the sink is stuck in the middle of a batch, every call is paid, answered and recorded as ever."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD")
    sink = BlockedSink()
    with start(shop.flovia, sink, name="warehouse", poll_s=0.01) as running:
        paid.enter(request())
        shop.ledger.flush()
        assert sink.entered.wait(PATIENT_S)
        for number in range(20):
            (challenge,) = challenges(paid.enter(request()).response)
            passage = paid.enter(request(pay(challenge, f"ok-{number}")))
            assert passage.response is None
            deliver(paid, passage)
        shop.ledger.flush()
        assert [] == sink.batches
        delivered = [one for _, one in shop.ledger.read_events(0, 10_000) if one.type == PAYMENT_DELIVERED]
        assert 20 == len(delivered)
        found = backlog(with_sinks(shop.ledger), "warehouse", shop.clock())
        assert found is not None
        assert found.events == len(ids(shop.ledger))
        assert found.fed
        sink.go.set()
        assert ids(shop.ledger) == eventually(lambda: sink.ids, lambda got: len(got) >= len(ids(shop.ledger)))
        assert running.alive
    assert not running.alive
    assert sink.closed
    assert running.stop()


def test_stopped_while_its_sink_is_down(shop: Shop) -> None:
    """It ends at once, whatever it waits for, and lets the next one in."""
    shop.ledger.append(rows(5))
    shop.ledger.flush()
    sink = ListSink()
    sink.errors = [SinkError("503", retry_after_s=500.0)]
    running = start(shop.flovia, sink, name="warehouse")
    eventually(lambda: sink.offered, bool)
    assert running.stop(PATIENT_S)
    assert "ended" in repr(running)
    other = ListSink()
    with start(shop.flovia, other, name="warehouse"):
        eventually(lambda: other.ids, lambda got: len(got) == 5)
    assert ids(shop.ledger) == other.ids


def test_a_sink_that_is_gone(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The thread ends and says why; the app goes on."""
    shop.ledger.append(rows(1))
    shop.ledger.flush()
    sink = ListSink()
    sink.errors = [SinkGone("410 Gone")]
    running = start(shop.flovia, sink, name="warehouse")
    eventually(lambda: running.alive, lambda alive: not alive)
    assert "410 Gone" == str(running.error)
    assert "has ended: 410 Gone" in caplog.text
    assert sink.closed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_inside_an_event_loop(shop: Shop, backend: str) -> None:
    """Started and stopped inside asyncio or trio it needs nothing of the loop."""

    async def app() -> None:
        shop.ledger.append(rows(3))
        shop.ledger.flush()
        sink = ListSink()
        running = start(shop.flovia, sink, name="warehouse")
        await anyio.to_thread.run_sync(eventually, lambda: sink.ids, lambda got: len(got) == 3)
        assert await anyio.to_thread.run_sync(running.stop)

    anyio.run(app, backend=backend)


def test_a_ledger_without_cursors() -> None:
    """Is refused before anything starts."""

    class App:
        ledger = object()

    with pytest.raises(WiringError, match="keeps no cursors"):
        start(cast("Any", App()), ListSink(), name="warehouse")


FORKS = """
import os, sys, time
from flovia.export import FileSink, start
from flovia.ledger.opening import open_ledger
from tests.export.world import ids, rows
from tests.patience import eventually

class App:
    ledger = open_ledger("sqlite:///{folder}/ledger.db")

App.ledger.append(rows(50))
running = start(App, FileSink("{folder}/parent.ndjson"), name="warehouse", poll_s=0.01)
child = os.fork()
if not child:
    ok = not running.alive
    with start(App, FileSink("{folder}/child.ndjson"), name="child", poll_s=0.01):
        App.ledger.append(rows(50, 100))
        App.ledger.flush()
        written = eventually(lambda: open("{folder}/child.ndjson").read().count("\\n"), lambda n: n >= 100)
    App.ledger.close()
    os._exit(0 if ok and running.stop() else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
eventually(lambda: open("{folder}/parent.ndjson").read().count("\\n"), lambda n: n >= 100)
assert running.alive
assert running.stop()
assert len(set(ids(App.ledger))) == 100
"""


def test_a_fork(tmp_path: Path) -> None:
    """The parent's exporter stays the parent's; the child may start one of its own, and both get everything."""
    for name in ("parent", "child"):
        (tmp_path / f"{name}.ndjson").touch()
    code = FORKS.replace("{folder}", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=PROGRAM_S)
    assert 0 == done.returncode, done.stderr
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        for name in ("parent", "child"):
            text = (tmp_path / f"{name}.ndjson").read_text()
            assert all(one in text for one in ids(ledger))


def test_names_are_loaded_when_used() -> None:
    """Sinks that need a package of their own do not make everybody need it."""
    assert flovia.export.OtelSink.label == "otel"
    assert set(dir(flovia.export)) >= set(flovia.export.__all__) - {"NatsSink", "OtelSink"}
    with pytest.raises(AttributeError):
        flovia.export.NoSuchSink  # type: ignore[attr-defined]  # noqa: B018  # it must not be there
    code = "import sys, flovia.export; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set() == {"httpx", "nats", "opentelemetry", "sqlalchemy", "asyncio", "anyio"} & set(done.stdout.split())
