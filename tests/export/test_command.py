"""``flovia events export``, ``sinks`` and ``dead-letters``, as a person or a service manager runs them."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flovia.cli.app import run
from flovia.core.errors import WiringError
from flovia.export.file import FileSink
from flovia.export.opening import open_sink
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import with_sinks
from tests.export.endpoint import endpoint, status
from tests.export.world import WEBHOOK_SECRET, ids, parsed, rows
from tests.patience import PROGRAM_S, eventually


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's folder, with a ledger of 250 events in it, and no setting of ours."""
    for name in [name for name in os.environ if name.startswith("FLOVIA_")]:
        if name != "FLOVIA_TREE":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with closing(open_ledger("sqlite:///flovia.db")) as ledger:
        ledger.append(rows(250))
    return tmp_path


def all_ids() -> list[str]:
    """The ids in the folder's ledger."""
    with closing(open_ledger("sqlite:///flovia.db")) as ledger:
        return ids(ledger)


def file_ids(path: Path) -> list[str]:
    """The ids in a file."""
    return [parsed(line)["id"] for line in path.read_text().splitlines()]


def test_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It sends what there is and ends; a second time there is nothing."""
    words = ["events", "export", "--to", f"file://{folder}/events.ndjson", "--name", "warehouse", "--once"]
    for count in (250, 0):
        assert 0 == run([*words, "--source", "https://api.example.com", "--batch", "30"])
        assert f"{count} events sent\n" == capsys.readouterr().out
    assert all_ids() == file_ids(folder / "events.ndjson")
    assert "https://api.example.com" == parsed((folder / "events.ndjson").read_text().splitlines()[0])["source"]
    assert 0 == run(["events", "sinks"])
    assert "warehouse  up to date  no exporter at work\n" == capsys.readouterr().out


def test_a_webhook_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Address and secret are better not on a command line: others can see that. Neither is said when it fails."""
    with endpoint() as server:
        monkeypatch.setenv("FLOVIA_EXPORT_TO", server.url)
        monkeypatch.setenv("FLOVIA_EXPORT_NAME", "hook")
        monkeypatch.setenv("FLOVIA_EXPORT_SECRET", WEBHOOK_SECRET)
        server.answers = [status(500)]
        assert 1 == run(["events", "export", "--once"])
        said = capsys.readouterr()
        assert "flovia: the endpoint answered 500\n" == said.err
        assert 0 == run(["events", "sinks"])
        assert "hook  250 waiting, the oldest for " in (out := capsys.readouterr().out)
        assert "no exporter at work  the endpoint answered 500" in out
        assert 0 == run(["events", "export", "--once"])
        assert all_ids() == server.noted(all_ids())


def test_dead_letters(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Listed with their reason, sent again when asked for, and then gone."""
    with endpoint() as server:
        monkeypatch.setenv("FLOVIA_EXPORT_TO", server.url)
        monkeypatch.setenv("FLOVIA_EXPORT_NAME", "hook")
        monkeypatch.setenv("FLOVIA_EXPORT_SECRET", WEBHOOK_SECRET)
        server.answers = [status(422)] * 2
        assert 3 == run(["events", "export", "--once", "--batch", "1", "--refusals", "1"])
        out, err = capsys.readouterr()
        assert "248 events sent\n" == out
        assert "refused for good; see: flovia events dead-letters --name hook" in err
        assert 0 == run(["events", "dead-letters"])
        first, second = capsys.readouterr().out.splitlines()
        assert first.endswith("  refused 1 time: the endpoint answered 422")
        number, ident, about, *_ = first.split()
        assert (all_ids()[0], True) == (ident, number.isdecimal())
        assert 0 == run(["ledger", "show", about])
        assert "paid_api." in capsys.readouterr().out
        assert 0 == run(["events", "dead-letters", "--json", "--limit", "1"])
        letter = parsed(capsys.readouterr().out)
        assert (all_ids()[0], 1, False) == (letter["event"]["id"], letter["tries"], letter["again"])
        assert 0 == run(["events", "dead-letters", "--again", "--number", str(letter["number"])])
        assert "1 event will be sent again\n" == capsys.readouterr().out
        run(["events", "dead-letters"])
        assert "to be sent again" in capsys.readouterr().out
        assert 3 == run(["events", "export", "--once"])
        assert "1 event sent\n" == capsys.readouterr().out
        run(["events", "sinks"])
        assert "hook  up to date  1 dead  no exporter at work\n" == capsys.readouterr().out
        assert second.split()[1] == all_ids()[1]
        assert 0 == run(["events", "dead-letters", "--again"])
        assert 0 == run(["events", "export", "--once"])
        assert set(all_ids()) == set(server.noted(all_ids()))


def test_sinks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None at first; one that is no more can be forgotten, unless somebody feeds it."""
    assert 0 == run(["events", "sinks"])
    assert "no exporter was ever started" in capsys.readouterr().err
    with closing(with_sinks(open_ledger("sqlite:///flovia.db"))) as ledger:
        fence = ledger.lease_sink("old", "one", 1e6).fence
        assert fence is not None
        assert 1 == run(["events", "sinks", "--forget", "old"])
        assert "an exporter is feeding it" in capsys.readouterr().err
        ledger.release_sink("old", fence)
    assert 0 == run(["events", "sinks", "--json"])
    shown = parsed(capsys.readouterr().out)
    assert ("old", 250, False) == (shown["name"], shown["backlog"], shown["fed"])
    assert 0 == run(["events", "sinks", "--forget", "old"])
    assert "old is forgotten, with its dead letters: no event waits for it any more\n" == capsys.readouterr().out
    with closing(with_sinks(open_ledger("sqlite:///flovia.db"))) as ledger:
        ledger.lease_sink("older", "one", 0.0)
    assert 0 == run(["events", "sinks", "--forget", "older", "--json"])
    assert {"forgotten": "older"} == parsed(capsys.readouterr().out)
    assert 1 == run(["events", "sinks", "--forget", "older"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end(folder: Path, number: signal.Signals) -> None:
    """It ends with status 0, everything recorded, and the lease free."""
    words = ["events", "export", "--to", f"file://{folder}/events.ndjson", "--name", "warehouse"]
    process = subprocess.Popen([sys.executable, "-m", "flovia.cli", *words], stderr=subprocess.PIPE)
    path = folder / "events.ndjson"
    eventually(lambda: path.exists() and len(path.read_text().splitlines()), lambda count: count == 250)
    with closing(with_sinks(open_ledger("sqlite:///flovia.db"))) as ledger:
        eventually(ledger.find_sinks, lambda found: found[0].position == 250)
        process.send_signal(number)
        _, err = process.communicate(timeout=PROGRAM_S)
        assert (0, b"") == (process.returncode, err)
        assert 0.0 == ledger.find_sinks()[0].lease_until
    assert all_ids() == file_ids(path)


def test_into_the_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger's own file is refused before it is opened, which would take SQLite's locks away."""
    to = f"file://{folder.absolute()}/flovia.db"
    assert 1 == run(["events", "export", "--to", to, "--name", "a", "--once"])
    assert "is the ledger's own file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "a"], "say where events go"),
        (["--to", "file:///tmp/x"], "give the sink a name"),
        (["--to", "otel:", "--name", "a", "--lease", "0"], "above 0"),
        (["--to", "otel:", "--name", "a", "--once"], "no OpenTelemetry SDK"),
        (["--to", "otel:", "--name", "a", "--ledger", "memory://"], "a memory ledger is gone"),
        (["--to", "otel:", "--name", "a b"], "a sink's name"),
    ],
)
def test_misused(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Each says what to do."""
    assert 1 == run(["events", "export", *words])
    assert said in capsys.readouterr().err
    assert 1 == run(["events", "dead-letters"])
    assert "say which sink" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("kafka://test-host:9092", "no kind of sink"),
        ("events.ndjson", "no kind of sink"),
        ("https://test-host/", "set FLOVIA_EXPORT_SECRET"),
        ("file://test-host/x", "absolute path"),
        ("file:x", "absolute path"),
        ("file:///tmp/x?rotate=hourly", "rotated daily"),
        ("file:///tmp/x?rotate_bytes=1e6", "number of bytes"),
        ("file:///tmp/x?size=1", "knows no size; known: rotate, rotate_bytes"),
        ("nats://test-host?queue=1", "knows no queue"),
    ],
)
def test_addresses_that_name_no_sink(to: str, said: str) -> None:
    """The message says what to write, and not what was written."""
    with pytest.raises(WiringError, match=said) as caught:
        open_sink(to)
    assert "test-host" not in str(caught.value)


def test_addresses(tmp_path: Path) -> None:
    """Each kind of address opens its kind of sink, with its options."""
    found = open_sink(f"file://{tmp_path}/a%20b?rotate=daily&rotate_bytes=0")
    assert isinstance(found, FileSink)
    assert tmp_path / "a b" == found.path
    assert "<WebhookSink>" == repr(open_sink("https://example.com/?a=b", secret=WEBHOOK_SECRET))
    assert "<NatsSink>" == repr(open_sink("nats://token@h:4222?subject=shop&credentials=/c.creds"))
    assert "<OtelSink>" == repr(open_sink("otel:"))
