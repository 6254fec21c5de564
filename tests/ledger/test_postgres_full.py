"""A PostgreSQL whose disk is full: nothing free, nobody is asked to pay twice, and well again without a restart."""

import os
import signal
import subprocess
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import psycopg
import pytest

import flovia
from flovia.core.http import HttpResponse
from flovia.core.passage import Passage
from flovia.ledger import postgres as module
from flovia.ledger.opening import open_ledger
from flovia.testing.ledger_steps import ManualClock
from tests import require
from tests.core.world import SECRET, challenges, deliver, header, pay, request
from tests.patience import PATIENT_S, eventually
from tests.postgres.server import Server

SIZE_MB = 24
"""An empty database takes 8 of them."""


@contextmanager
def small_disk() -> Generator[tuple[Server, Callable[[], None]]]:
    """A server of its own with a tablespace ``small`` on a small file system in memory, and what makes that larger.

    Of its own, because a server that could not write a page tries again at every checkpoint, whoever asks for that.
    """
    programs = require.postgres()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    server = Server(programs)
    folder = server.folder / "small"
    folder.mkdir()

    def mount(*options: str) -> str:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT_S, check=False)
        return done.stderr.strip() if done.returncode != 0 else ""

    if failure := mount(f"size={SIZE_MB}m", "mode=777"):
        server.close()
        pytest.skip(f"a small file system cannot be mounted here: {failure}")

    def grow() -> None:
        assert mount("remount", f"size={4 * SIZE_MB}m") == ""

    try:
        server.make()
        inside = folder / "space"
        inside.mkdir()
        os.chown(inside, server.folder.stat().st_uid, server.folder.stat().st_gid)
        with server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{inside}'")
        yield server, grow
    finally:
        server.stop(signal.SIGQUIT)
        subprocess.run(["umount", "-l", str(folder)], timeout=PATIENT_S, check=True)
        server.close()


def fill(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Write until nothing can be written any more, in large pieces and then in pages."""
    connection.execute("CREATE TABLE filler (content text)")
    connection.execute("ALTER TABLE filler ALTER COLUMN content SET STORAGE PLAIN")
    for pages in (64, 1):
        with pytest.raises(psycopg.errors.DiskFull):
            for _ in range(SIZE_MB * 128):
                connection.execute("INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, %s)", (pages,))


def refused(response: HttpResponse | None) -> tuple[int, bool, bool]:
    """Status, whether it asks for money, whether it says when to come again."""
    assert response is not None
    return response.status, challenges(response) != [], (header(response, "retry-after") or "").isdecimal()


def again(enter: Callable[[], Passage]) -> Passage:
    """The same request until it is let in."""
    passage = eventually(enter, lambda found: found.response is None)
    assert isinstance(passage, Passage)
    return passage


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential is answered 503 and kept by nobody; once there is room again, the same one is taken."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    with small_disk() as (server, grow):
        with server.connect() as administrator:
            administrator.execute("CREATE DATABASE on_small TABLESPACE small")
        with closing(open_ledger(server.url("on_small"))) as ledger, server.connect("on_small") as connection:
            gate = flovia.Flovia(ledger=ledger, secret=SECRET).paid_api(provider="mock", price="1.00 USD")
            (challenge,) = challenges(gate.enter(request()).response)
            credential = pay(challenge, "ok1")
            fill(connection)
            assert refused(gate.enter(request(credential)).response) == (503, False, True)
            grow()
            deliver(gate, again(lambda: gate.enter(request(credential))))
            assert refused(gate.enter(request(credential)).response)[0] == 402
            ledger.flush()
            assert ledger.dropped_events == 0


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END $$
"""


@pytest.mark.parametrize("table", ["flovia_payments", "flovia_proofs", "flovia_events"])
def test_full_in_the_middle(
    postgres: Server, ledger_template: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever row does not fit, nothing of the step stays: 503, no challenge, and later one delivery for it."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    database, clock = postgres.database(ledger_template), ManualClock()
    with closing(open_ledger(postgres.url(database), clock=clock)) as ledger, postgres.connect(database) as connection:
        flo = flovia.Flovia(ledger=ledger, secret=SECRET, clock=clock)
        gate = flo.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges(gate.enter(request()).response)
        credential = pay(challenge, "ok1")
        ledger.flush()
        connection.execute(FULL)
        connection.execute(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()")
        assert refused(gate.enter(request(credential)).response) == (503, False, True)
        connection.execute(f"DROP TRIGGER full_disk ON {table}")
        clock.advance(30.0)  # whatever lease was taken has run out
        deliver(gate, again(lambda: gate.enter(request(credential))))
        assert refused(gate.enter(request(credential)).response)[0] == 402
        assert len(ledger.read_events()) > 0
