"""``flovia events export --joined``: every joined event in a file that is there whole, or not at all."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from flovia.cli.app import run
from flovia.cli.parquet import connect, write_parquet
from flovia.cli.whole_file import whole_file
from flovia.core.errors import CallerError
from flovia.core.events import Event
from flovia.insights.joined import SCHEMA
from flovia.ledger.opening import open_ledger
from tests.cli.test_tail import URL, story, write
from tests.insights.test_joined import strict
from tests.patience import PROGRAM_S
from tests.postgres.server import Server

VALIDATOR = jsonschema.Draft202012Validator(strict())


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FLOVIA_") and name != "FLOVIA_TREE"]:
        monkeypatch.delenv(name)


def exported(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[str, str]:
    """What is printed, and what is complained about."""
    capsys.readouterr()
    assert status == run(["events", "export", *words])
    captured = capsys.readouterr()
    return captured.out, captured.err


def lines(path: Path | str) -> list[dict[str, Any]]:
    """The events of a file, each valid."""
    found = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    for one in found:
        VALIDATOR.validate(one)
    return found


def queried(sql: str) -> list[tuple[Any, ...]]:
    """What DuckDB answers."""
    with closing(connect()) as connection:
        return connection.execute(sql).fetchall()


def paid(number: int, **changed: object) -> list[Event]:
    """A paid call with other facts."""
    return [attrs.evolve(one, **changed) for one in story(number, "settle", "deliver")]


@pytest.mark.parametrize("name", ["flovia.db", "flovia.db-journal", "flovia.db-in-use", "link"])
def test_the_ledger_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger's own files are no place for an export, not by another name either."""
    write(URL, story(1, "settle", "deliver"))
    Path("link").symlink_to("flovia.db")
    assert "is the ledger's own file" in exported(capsys, "--joined", name, status=1)[1]
    assert ("1 joined event in good.ndjson\n", "") == exported(capsys, "--joined", "good.ndjson")


def test_a_terminal_is_told_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger wrote into a path cannot steer a terminal, nor end a line early: JSON's own escapes are used."""
    write(URL, paid(1, endpoint="/\u009b2J\u2028\u202e"))
    out, _ = exported(capsys, "--joined", "-")
    assert out.isascii()
    assert "/\u009b2J\u2028\u202e" == json.loads(out)["endpoint"]


def test_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each attempt, the oldest first, with its session; the second time as it is by then."""
    whole = story(2, "settle", "deliver", "refund")
    write(URL, story(3), whole[:-1], story(1, "settle", "fail"))
    assert ("3 joined events in all.ndjson\n", "") == exported(capsys, "--joined", "all.ndjson")
    found = lines("all.ndjson")
    assert ["undelivered", "delivered", "not_paid"] == [one["outcome"] for one in found]
    assert {"c|challenge-1"} == {one["session"] for one in found}
    write(URL, whole[-1:])
    exported(capsys, "--joined", "all.ndjson")
    assert ["undelivered", "refunded", "not_paid"] == [one["outcome"] for one in lines("all.ndjson")]
    assert stat.S_IRUSR | stat.S_IWUSR == stat.S_IMODE(Path("all.ndjson").stat().st_mode)
    assert ["all.ndjson", "flovia.db"] == sorted(one for one in os.listdir() if not one.startswith("flovia.db-"))


def test_some_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that began in a time, or of one endpoint."""
    write(URL, story(1), story(2, endpoint="/b"), story(3, endpoint="/b"))
    exported(capsys, "--joined", "b.ndjson", "--endpoint", "/b", "--until", "2025-06-15T15:11:40Z")
    assert ["r|req-2-0"] == [one["attemptId"] for one in lines("b.ndjson")]
    exported(capsys, "--joined", "c.ndjson", "--since", "2025-06-15T15:11:40Z")
    assert ["r|req-3-0"] == [one["attemptId"] for one in lines("c.ndjson")]
    assert ("0 joined events in d.ndjson\n", "") == exported(capsys, "--joined", "d.ndjson", "--since", "1h")
    assert b"" == Path("d.ndjson").read_bytes()


def test_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but the events."""
    write(URL, story(1), story(2, "settle", "deliver"))
    out, err = exported(capsys, "--joined", "-")
    assert (["not_paid", "delivered"], "") == ([json.loads(line)["outcome"] for line in out.splitlines()], err)


def test_in_envelopes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudEvents, one a line; whose they are is what is said, or the realm, or anybody."""
    whole = story(1, "settle", "deliver", "refund")
    write(URL, whole[:-1])

    def told(*words: str) -> dict[str, Any]:
        out, _ = exported(capsys, "--joined", "-", "--format", "cloudevents", *words)
        found: dict[str, Any] = json.loads(out)
        VALIDATOR.validate(found["data"])
        return found

    first = told()
    assert ("1.0", SCHEMA, "urn:flovia") == (first["specversion"], first["dataschema"], first["source"])
    assert first == told()
    write(URL, whole[-1:])
    then = told()
    assert first["subject"] == then["subject"]
    assert (first["id"] != then["id"], first["sequence"] < then["sequence"]) == (True, True)
    monkeypatch.setenv("FLOVIA_REALM", "the api")
    assert "the%20api" == told()["source"]
    monkeypatch.setenv("FLOVIA_EXPORT_SOURCE", "https://api.example.com")
    assert "https://api.example.com" == told()["source"]
    assert "urn:me" == told("--source", "urn:me")["source"]
    assert then["id"] == told()["id"]


def test_parquet(capsys: pytest.CaptureFixture[str]) -> None:
    """Typed columns: amounts are exact, lists are lists, what is not known is null."""
    pytest.importorskip("duckdb", reason="needs DuckDB: the extra warehouse")
    write(URL, paid(1, amount=10**37), paid(2, amount=10**37 + 1), story(3))
    assert ("3 joined events in all.parquet\n", "") == exported(capsys, "--joined", "all.parquet")
    assert [(2 * 10**37 + 1, 2, 2, "verified")] == queried(
        "SELECT sum(amount), count(verifiedAt), max(len(requestIds)), max(provenance.price) FROM 'all.parquet'"
        " WHERE outcome = 'delivered'"
    )
    exported(capsys, "--joined", "other", "--format", "parquet")
    assert queried("FROM 'all.parquet'") == queried("FROM read_parquet('other')")
    exported(capsys, "--joined", "none.parquet", "--endpoint", "/nowhere")
    assert [(0,)] == queried("SELECT count(*) FROM 'none.parquet'")


def test_what_parquet_cannot_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """An amount beyond 38 digits: it says so, what was there stays, and NDJSON has it."""
    pytest.importorskip("duckdb", reason="needs DuckDB: the extra warehouse")
    write(URL, story(1))
    exported(capsys, "--joined", "all.parquet")
    before = Path("all.parquet").read_bytes()
    write(URL, paid(2, amount=10**40))
    _, complaint = exported(capsys, "--joined", "all.parquet", status=1)
    assert "amounts have 38 digits at most" in complaint
    assert "--format ndjson takes them" in complaint
    assert before == Path("all.parquet").read_bytes()
    assert not [name for name in os.listdir() if name.startswith(".all")]
    exported(capsys, "--joined", "all.ndjson")
    assert str(10**40) == lines("all.ndjson")[1]["amount"]


def test_without_duckdb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the extra, before anything is read; the other formats need nothing."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    write(URL, story(1))
    _, complaint = exported(capsys, "--joined", "all.parquet", status=1)
    assert "flovia: Parquet needs DuckDB: pip install 'flovia[warehouse]'\n" == complaint
    exported(capsys, "--joined", "all.ndjson")


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["--joined", "-", "--format", "parquet"], "name a file, --joined calls.parquet", 2),
        (["--joined", "x", "--to", "file:///tmp/y"], "leave --to, --name", 2),
        (["--joined", "x", "--once"], "leave --to, --name", 2),
        (["--joined", "x", "--batch", "3"], "leave --to, --name", 2),
        (["--joined", "x", "--source", "urn:me"], "--format cloudevents", 2),
        (["--joined", "x", "--since", "1h", "--until", "2h"], "no time is between them", 2),
        (["--joined", "x", "--since", "soon"], "is no time", 2),
        (["--joined", "nowhere/x"], "name a file in a folder that exists", 1),
        (["--joined", "."], "name a file in a folder that exists", 1),
        (["--joined", "/dev/null"], "name a file in a folder that exists", 1),
        (["--joined", "x", "--ledger", "sqlite:///other.db"], "there is no ledger at", 1),
        (["--to", "file:///tmp/x", "--name", "a", "--since", "1h"], "choose joined events: --joined FILE", 2),
        (["--format", "parquet"], "choose joined events: --joined FILE", 2),
        (["--joined", "x", "--format", "cloudevents", "--source", "not a uri"], "is no source: it is a URI", 2),
    ],
)
def test_misused(capsys: pytest.CaptureFixture[str], words: Sequence[str], said: str, status: int) -> None:
    """Each says what to do, and writes nothing."""
    write(URL, story(1))
    out, complaint = exported(capsys, *words, status=status)
    assert said in complaint
    assert ("", False) == (out, Path("x").exists())


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails leaves the old file as it was; a new one has its mode, also behind a link."""
    path, link = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with pytest.raises(ZeroDivisionError), whole_file(path) as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert "old" == path.read_text()
    with whole_file(link) as new:
        new.write_text("new")
        assert "old" == path.read_text()
    assert ("new", True, 0o640) == (path.read_text(), link.is_symlink(), stat.S_IMODE(path.stat().st_mode))
    full = "cannot be written: No space left on device; nothing was changed"
    with pytest.raises(CallerError, match=full), whole_file(path):
        raise OSError(28, "No space left on device")
    assert ["a", "b"] == sorted(os.listdir(tmp_path))


def test_a_file_that_duckdb_cannot_write(tmp_path: Path) -> None:
    """A readable word, and none of its own."""
    pytest.importorskip("duckdb", reason="needs DuckDB: the extra warehouse")
    rows = tmp_path / "rows.ndjson"
    rows.write_text("")
    with pytest.raises(CallerError, match="the Parquet file cannot be written"):
        write_parquet(rows, tmp_path / "nowhere" / "x.parquet")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle(number: signal.Signals, tmp_path: Path) -> None:
    """On a signal what was begun is removed, what was there stays, and the status is that of Ctrl-C."""
    write(URL, *(story(one) for one in range(3)))
    Path("all.ndjson").write_text("old\n")
    program = (
        "import os, sys, flovia.cli.joined_export as module\n"
        "true = module._write\n"
        "def slow(*words):\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.read()\n"
        "    return true(*words)\n"
        "module._write = slow\n"
        "from flovia.cli.app import run\n"
        "sys.exit(run(['events', 'export', '--joined', 'all.ndjson']))\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "begun\n" == process.stdout.readline()
        process.send_signal(number)
        out, complaint = process.communicate(timeout=PROGRAM_S)
    assert (130, "", "flovia: ended; all.ndjson is as it was\n") == (process.returncode, out, complaint)
    assert "old\n" == Path("all.ndjson").read_text()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".all")]


def test_a_reader_that_goes_away() -> None:
    """``… --joined - | head -n 1``: no complaint."""
    write(URL, *(story(one) for one in range(400)))
    command = [sys.executable, "-m", "flovia.cli", "events", "export", "--joined", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (1, "") == (process.wait(PROGRAM_S), process.stderr.read())


def test_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Events of a later version are counted, as reports count them."""
    write(URL, [*story(1), attrs.evolve(story(2)[0], type="payment.teleported")])
    _, told = exported(capsys, "--joined", "all.ndjson")
    assert "flovia: left out: 1 event of a type this version does not know\n" == told


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed as JSON, for a program to read; ``flovia events --json`` follows it as well."""
    assert 0 == run(["events", "schema"])
    printed = json.loads(capsys.readouterr().out)
    assert SCHEMA == printed["$id"]
    write(URL, story(1), story(2, "settle", "deliver"))
    assert 0 == run(["events", "--json"])
    found = capsys.readouterr().out.splitlines()
    assert 2 == len(found)
    for line in found:
        jsonschema.Draft202012Validator(printed).validate(json.loads(line))
        VALIDATOR.validate(json.loads(line))


def test_on_postgres(postgres: Server, ledger_template: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same where the ledger is there, many pages of it."""
    url = postgres.url(postgres.database(ledger_template))
    write(url, *(story(one, "settle", "deliver") for one in range(600)))
    exported(capsys, "--joined", "all.ndjson", "--ledger", url)
    found = lines("all.ndjson")
    assert 600 == len({one["attemptId"] for one in found}) == len(found)
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)


def test_a_ledger_is_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to export is no ledger."""
    open_ledger(URL).close()
    assert ("0 joined events in all.ndjson\n", "") == exported(capsys, "--joined", "all.ndjson")
