"""NATS JetStream, on a real server that is killed and started again."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flovia.core.errors import WiringError
from flovia.export.base import SinkError
from flovia.export.exporter import Exporter
from flovia.export.nats import NatsSink
from tests.export.broker import Broker, broker
from tests.export.test_file import entries
from tests.export.world import Waiting, filled, ids, parsed, rows
from tests.ports import chosen_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Broker]:
    """A server with JetStream."""
    with broker(tmp_path) as found:
        yield found


def test_everything_is_stored(server: Broker) -> None:
    """In order, under a subject of its type, with its id as the message id, as a whole CloudEvent."""
    server.add_stream()
    ledger = filled(250)
    with closing(NatsSink(server.url)) as sink:
        assert 250 == Exporter(ledger, sink, "stream", wait=Waiting()).drain()
    found = server.stored()
    assert ids(ledger) == [ident for _, ident, _ in found]
    assert ids(ledger) == [parsed(body)["id"] for _, _, body in found]
    assert ["flovia." + parsed(body)["type"] for _, _, body in found] == [subject for subject, _, _ in found]


def test_what_comes_twice_is_stored_once(server: Broker) -> None:
    """The server removes doubles by their id."""
    server.add_stream()
    with closing(NatsSink(server.url)) as sink:
        for _ in range(3):
            sink.deliver(entries(50))
    assert [one.id for one in entries(50)] == [ident for _, ident, _ in server.stored()]


def test_killed_and_started_again(server: Broker) -> None:
    """With the server killed in the middle, over and over: nothing is lost, and nothing is there twice."""
    server.add_stream()
    ledger = filled(0)
    with closing(NatsSink(server.url)) as sink:
        exporter = Exporter(ledger, sink, "stream", wait=Waiting(), batch=20)
        for turn in range(3):
            ledger.append(rows(100, turn * 100))
            assert 20 == exporter.step().delivered
            server.kill()
            assert "failed" == exporter.step().state
            server.start()
            exporter.drain()
            # And an exporter that crashed before it could record anything.
            again = Exporter(ledger, sink, f"again-{turn}", wait=Waiting())
            again.drain()
    assert 4 == server.lives
    assert ids(ledger) == [ident for _, ident, _ in server.stored()]


def test_no_stream(server: Broker) -> None:
    """Events wait until somebody adds one, and the record says so."""
    ledger = filled(5)
    with closing(NatsSink(server.url, subject="shop.events")) as sink:
        exporter = Exporter(ledger, sink, "stream", wait=Waiting())
        with pytest.raises(SinkError, match=r"no stream of the NATS server takes shop\.events\.>; add one"):
            exporter.drain()
        server.add_stream("shop")
        assert 5 == exporter.drain()
    assert 5 == len(server.stored("shop"))


def test_what_is_too_large_is_refused(server: Broker) -> None:
    """By the stream's limit or the server's; the others arrive."""
    server.add_stream(max_msg_size=900)
    ledger = filled(3)
    ledger.append([(*rows(1, 3)[0][:4], "/" + "x" * 2000, *rows(1, 3)[0][5:])])
    ledger.append([(*rows(1, 4)[0][:4], "/" + "x" * 2_000_000, *rows(1, 4)[0][5:])])
    ledger.append(rows(2, 5))
    with closing(NatsSink(server.url)) as sink:
        assert 5 == Exporter(ledger, sink, "stream", wait=Waiting(), refusals=2).drain()
    dead = ledger.find_dead("stream")
    assert ids(ledger)[3:5] == [letter.event_id for letter in dead]
    assert "10054" in dead[0].reason
    assert "larger than the NATS server takes" in dead[1].reason


def test_nobody_is_there() -> None:
    """No server: the events wait, and the address is not said."""
    port = chosen_port()
    with closing(NatsSink(f"nats://test-token@127.0.0.1:{port}")) as sink:
        for _ in range(2):
            with pytest.raises(SinkError, match="does not answer: NoServersError") as caught:
                sink.deliver(entries(1))
        assert "test-token" not in repr(sink) + str(caught.value)
    sink.close()


@pytest.mark.parametrize(
    ("url", "subject"),
    [("http://127.0.0.1", "flovia"), ("nats://", "flovia"), ("nats://h", "a..b"), ("nats://h", "a.>")],
)
def test_what_cannot_work(url: str, subject: str) -> None:
    """Is refused when it is made."""
    with pytest.raises(WiringError):
        NatsSink(url, subject=subject)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgot the extra reads which line installs it."""
    for name in [name for name in sys.modules if name == "nats" or name.startswith("nats.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(WiringError, match=r"pip install 'flovia\[nats\]'"):
        NatsSink("nats://127.0.0.1")
