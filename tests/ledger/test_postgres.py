"""The PostgreSQL ledger when things go wrong: closed, never open; bounded; and well again without a restart."""

import logging
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from flovia.core.errors import LedgerError, WiringError
from flovia.ledger import postgres as module
from flovia.ledger import sql_migrating
from flovia.ledger.fences import FLOOR
from flovia.ledger.opening import open_ledger, shown
from flovia.ledger.postgres import PostgresDatabase
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_schema import LOOK_UPS, SCHEMA_VERSION
from flovia.testing.ledger_steps import KEY, ManualClock, claim, event_row, settle
from tests.ledger.test_sqlite import VERBS
from tests.patience import PROMISED_POSTGRES_S, eventually
from tests.postgres.proxy import Proxy
from tests.postgres.server import PASSWORD, PLAIN_USER, Server

LOOK_UP_NAMES = [index.name for index in LOOK_UPS]


@pytest.fixture
def database(postgres: Server, ledger_template: str) -> str:
    """A ledger's tables, empty."""
    return postgres.database(ledger_template)


@pytest.fixture
def ledger(postgres: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> Generator[SqlLedger]:
    """A ledger that keeps nobody waiting after a failure."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    opened = open_ledger(postgres.url(database), clock=ManualClock())
    assert isinstance(opened, SqlLedger)
    with closing(opened):
        yield opened


@pytest.fixture
def proxy(postgres: Server) -> Generator[Proxy]:
    """Between ledger and server."""
    with closing(Proxy(postgres)) as proxy:
        yield proxy


def again(call: Callable[[], object]) -> object:
    """What a call answers once the store is well again."""

    def attempt() -> object:
        try:
            return (call(),)
        except LedgerError:
            return None

    found = eventually(attempt, bool)
    assert isinstance(found, tuple)
    return found[0]


def test_a_row_that_is_forgotten_while_it_is_claimed(postgres: Server, database: str, ledger: SqlLedger) -> None:
    """The claim waits for whoever forgets the row, and then begins behind its fence, which it could not read before."""
    clock = ManualClock()
    ledger.release(KEY, claim(ledger, clock).fence, False, ())
    with postgres.connect(database) as pruning, ThreadPoolExecutor(1) as pool:
        with pruning.transaction():
            pruning.execute("DELETE FROM flovia_payments WHERE key = %s", (KEY,))
            pruning.execute("INSERT INTO flovia_meta VALUES (%s, '41')", (FLOOR,))
            waiting = pool.submit(claim, ledger, clock)
            postgres.wait_for_waiting(database, 1)
        taken = waiting.result()
    assert ("claimed", 42, 1) == (taken.outcome, taken.fence, taken.attempt)
    assert "stale" == settle(ledger, clock, 41)
    assert "settled" == settle(ledger, clock, 42)


def test_patience_fits_the_promise() -> None:
    """A call with its COMMIT, and with the moment in which undoing is tried, stays under 2 seconds."""
    assert PROMISED_POSTGRES_S + module.COMMIT_PATIENCE_S < 2


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_hangs(postgres: Server, ledger: SqlLedger, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every process of the server stopped, each verb ends in LedgerError; afterwards it works again."""
    with postgres.frozen():
        monkeypatch.setattr(module, "PATIENCE_S", 0.2)
        monkeypatch.setattr(module, "COOL_DOWN_S", 3600.0)  # so that it is not over when we look
        with pytest.raises(LedgerError, match="in time"):
            VERBS[verb](ledger)
        assert not ledger.available
    monkeypatch.setattr(module, "PATIENCE_S", 30.0)
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    again(lambda: VERBS[verb](ledger))


def test_nobody_queues_behind_a_server_that_hangs(
    postgres: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one call has waited in vain the others are told at once, for a second."""
    with closing(open_ledger(postgres.url(database))) as ledger, postgres.frozen():
        monkeypatch.setattr(module, "SILENCE_S", 0.0)
        monkeypatch.setattr(module, "PATIENCE_S", 0.2)
        monkeypatch.setattr(module, "COOL_DOWN_S", 3600.0)
        with pytest.raises(LedgerError, match="in time"):
            ledger.find(KEY)
        monkeypatch.setattr(module, "PATIENCE_S", 3600.0)
        with pytest.raises(LedgerError, match="a moment ago"):
            ledger.find(KEY)


def test_a_network_that_swallows_everything(
    postgres: Server, database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are acknowledged and go nowhere end a call, old connections and new ones alike."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    clock = ManualClock()
    with closing(open_ledger(postgres.url(database, port=proxy.port), clock=clock)) as ledger:
        claim(ledger, clock)
        proxy.silent.set()
        with monkeypatch.context() as patch:
            patch.setattr(module, "PATIENCE_S", 0.2)
            for _ in range(3):
                with pytest.raises(LedgerError):
                    ledger.find(KEY)
        proxy.silent.clear()
        assert again(lambda: ledger.find(KEY)) is not None


@pytest.mark.parametrize("verb", ["claim", "settle", "deliver"])
def test_a_commit_whose_answer_is_lost(
    postgres: Server, database: str, proxy: Proxy, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told that nobody knows; what was done is done once, and the next call finds it."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    clock = ManualClock()
    with closing(open_ledger(postgres.url(database, port=proxy.port), clock=clock)) as ledger:
        steps: dict[str, Callable[[], object]] = {
            "claim": lambda: claim(ledger, clock),
            "settle": lambda: settle(ledger, clock, 1, events=(event_row(),)),
            "deliver": lambda: ledger.deliver(KEY, 1, (event_row(seq=2),)),
        }
        for name, step in steps.items():
            if name == verb:
                proxy.cut = lambda data: b"COMMIT" in data
                with pytest.raises(LedgerError):
                    step()
                proxy.cut = lambda data: False
                break
            step()
        expected = {"claim": "claimed", "settle": "delivering", "deliver": "delivered"}[verb]
        state = eventually(
            lambda: again(lambda: ledger.find(KEY)), lambda found: getattr(found, "state", "") == expected
        )
        assert getattr(state, "state", None) == expected
        after = again(lambda: claim(ledger, clock))
        assert getattr(after, "outcome", None) == ("delivered" if verb == "deliver" else "busy")
        assert len(ledger.read_events()) == {"claim": 0, "settle": 1, "deliver": 2}[verb]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_restart(postgres: Server, ledger: SqlLedger, how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down is LedgerError, and no challenge until it is up; connections of before are replaced and nothing is lost."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    clock = ManualClock()
    fence = claim(ledger, clock).fence
    postgres.stop(how)
    try:
        with pytest.raises(LedgerError, match="cannot answer"):
            settle(ledger, clock, fence)
        assert not ledger.available
        with pytest.raises(LedgerError, match="cannot answer"):
            ledger.flush()  # what finds out whether it is over
        assert not ledger.available
    finally:
        postgres.start()
    assert eventually(lambda: ledger.available, bool)
    assert settle(ledger, clock, fence) == "settled"


def test_connections_that_were_ended_meanwhile(postgres: Server, database: str, ledger: SqlLedger) -> None:
    """A connection that the server ended while nobody used it is replaced without a failure."""
    ledger.find(KEY)
    with postgres.connect() as connection:
        for pid in postgres.backends(database):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    eventually(lambda: postgres.backends(database), lambda left: not left)
    assert claim(ledger, ManualClock()).outcome == "claimed"


def test_a_server_that_became_read_only(postgres: Server, database: str, ledger: SqlLedger) -> None:
    """A server that takes no writes is refused, and looked for anew, until one takes them."""
    clock = ManualClock()
    ledger.find(KEY)
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        for pid in postgres.backends(database):
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(LedgerError, match="read-only"):
            claim(ledger, clock)
        connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert claim(ledger, clock).outcome == "claimed"


def test_no_more_connections(postgres: Server, database: str, ledger: SqlLedger) -> None:
    """A server that has no connection left is an outage, in the server's own words."""
    with postgres.connect() as connection:
        connection.execute(f"CREATE ROLE few_{database} LOGIN CONNECTION LIMIT 0")
    with (
        closing(PostgresLimited(postgres, database)) as limited,
        pytest.raises(LedgerError, match="too many connections"),
    ):
        limited.call()


class PostgresLimited:
    """A ledger of a user who may have no connection."""

    def __init__(self, server: Server, database: str) -> None:
        self._ledger = open_ledger(server.url(database, user=f"few_{database}"))
        self.close = self._ledger.close

    def call(self) -> None:
        """One call."""
        self._ledger.find(KEY)


def test_a_deadlock_is_done_again(ledger: SqlLedger) -> None:
    """What the server undid because of a deadlock is done again, and the caller hears nothing of it."""
    database = ledger._database
    assert isinstance(database, PostgresDatabase)
    both = threading.Barrier(2)
    tries: list[str] = []

    def lock(first: int, second: int) -> str:
        def work() -> str:
            tries.append("")
            with database.write() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (first,))
                if len(tries) <= 2:
                    both.wait()
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (second,))
            return "done"

        return database.call(work)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(lock, 1, 2), pool.submit(lock, 2, 1)]
        assert [call.result() for call in calls] == ["done", "done"]
    assert len(tries) == 3


def test_down_when_the_app_starts(postgres: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app starts, every call is a LedgerError, and once the server is there it works without a restart."""
    monkeypatch.setattr(module, "COOL_DOWN_S", 0.0)
    postgres.stop()
    try:
        ledger = open_ledger(postgres.url(database), clock=ManualClock())
        with pytest.raises(LedgerError, match="refused"):
            ledger.find(KEY)
    finally:
        postgres.start()
    assert claim(ledger, ManualClock()).outcome == "claimed"
    ledger.close()


def test_events_that_are_committed_out_of_order(postgres: Server, ledger: SqlLedger, database: str) -> None:
    """Whoever reads on by position misses no event of a transaction that took longer than its followers."""
    other = open_ledger(postgres.url(database))
    assert isinstance(other, SqlLedger)
    with ledger._database.write() as connection:
        ledger._insert_events(connection, [event_row(request_id="slow")])
        other.append([event_row(request_id="quick")])
        other.flush()
        assert list(other.read_events()) == []
    assert [event.request_id for _, event in other.read_events()] == ["slow", "quick"]
    other.close()


def test_a_reader_among_many_writers(postgres: Server, ledger: SqlLedger) -> None:
    """Batches of every size from many threads, some undone, some slow: a reader that goes on by position sees all."""
    done = threading.Event()

    def write(number: int) -> list[str]:
        written: list[str] = []
        for turn in range(12):
            names = [f"{number}-{turn}-{row}" for row in range(1 + (number + turn) % 4)]
            try:
                with ledger._database.write() as connection:
                    for name in names:
                        ledger._insert_events(connection, [event_row(request_id=name)])
                        threading.Event().wait(0.001 * ((number * 7 + turn) % 3))
                    if (number + turn) % 5 == 0:
                        raise InterruptedError
                written += names
            except LedgerError:
                pass
        return written

    def read() -> list[str]:
        seen: list[str] = []
        position = 0
        while True:
            last = done.is_set()
            batch = ledger.read_events(position, 7)
            seen += [event.request_id for _, event in batch]
            position = batch[-1][0] if batch else position
            if last and not batch:
                return seen

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(write, number) for number in range(4)]
        expected = [name for writer in writers for name in writer.result()]
        done.set()
        assert sorted(expected) == sorted(reader.result())


def test_the_clock_is_the_databases(postgres: Server, database: str) -> None:
    """Leases go by one clock, whatever host a process is on, and never before it."""
    with closing(open_ledger(postgres.url(database))) as ledger, postgres.connect() as connection:
        assert isinstance(ledger, SqlLedger)
        before = ledger._clock()
        found = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert found is not None
        assert before <= float(str(found[0]))


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql+asyncpg://user:test-secret@db/app", "does not use"),
        ("postgresql://user:test-secret@db/app?pool_size=0", "1 to 100"),
        ("postgresql://user:test-secret@db/app?pool_size=many", "1 to 100"),
        ("postgresql://user:test-secret@db/app?colour=red", "does not know: colour"),
        ("postgresql://user:test-secret%zz@db/app", "%40"),
        ("postgresql://user:test-secret@db/app?schema=", "schema"),
        ("postgresql://user:test-secret@db/app?target_session_attrs=standby", "leave it out"),
    ],
)
def test_urls_that_cannot_work(url: str, remedy: str) -> None:
    """Each is refused with what to write instead, and without the password in it (S37)."""
    with pytest.raises(WiringError, match=remedy) as caught:
        open_ledger(url)
    assert "test-secret" not in str(caught.value)
    assert "test-secret" not in shown(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_forms_of_the_url(postgres: Server, database: str, scheme: str) -> None:
    """Each common form opens; libpq's parameters are passed on, ours are read."""
    url = postgres.url(database, query="?sslmode=prefer&pool_size=2&application_name=shop")
    with closing(open_ledger(url.replace("postgresql", scheme, 1), clock=ManualClock())) as ledger:
        assert claim(ledger, ManualClock()).outcome == "claimed"


@pytest.mark.parametrize("query", ["", "?client_encoding=LATIN1"])
def test_a_database_without_an_encoding(postgres: Server, query: str) -> None:
    """SQL_ASCII, as an initdb under LANG=C makes it: the ledger works, and texts are the same afterwards."""
    name = f"{postgres.database()}_ascii"
    with postgres.connect() as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    with closing(open_ledger(postgres.url(name, query=query))) as ledger:
        ledger.remember("mock", "日本", "Zoë → ₿", 60.0, False)
        assert "Zoë → ₿" == ledger.recall("mock", "日本")
    with closing(open_ledger(postgres.url(name))) as again:
        assert "Zoë → ₿" == again.recall("mock", "日本")


def test_nothing_secret_in_errors(postgres: Server, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused password is told at start, without the password, in words or tracebacks (S37)."""
    caplog.set_level(logging.DEBUG)
    secret = PASSWORD.replace("@", "%40").replace("/", "%2F").replace("?", "%3F")
    url = f"postgresql://{PLAIN_USER}:not-{secret}@127.0.0.1"
    with pytest.raises(WiringError, match="password authentication failed") as caught:
        open_ledger(f"{url}:{postgres.port}/{database}")
    assert PASSWORD not in str(caught.value) + caplog.text


def test_without_the_right_to_make_tables(postgres: Server) -> None:
    """A user who may not make tables is told what an administrator has to run, and after that it works."""
    name = postgres.database()
    secret = PASSWORD.replace("@", "%40").replace("/", "%2F").replace("?", "%3F")
    url = f"postgresql://{PLAIN_USER}:{secret}@127.0.0.1:{postgres.port}/{name}"
    with postgres.connect(name) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        with pytest.raises(WiringError, match=f"GRANT CREATE ON SCHEMA public TO {PLAIN_USER}"):
            open_ledger(url)
        open_ledger(postgres.url(name)).close()
        with pytest.raises(WiringError, match="GRANT SELECT, INSERT, UPDATE, DELETE ON flovia_payments"):
            open_ledger(url)
        with pytest.raises(WiringError, match="CREATE SCHEMA elsewhere AUTHORIZATION"):
            open_ledger(f"{url}?schema=elsewhere")
        connection.execute(f"CREATE SCHEMA elsewhere AUTHORIZATION {PLAIN_USER}")
    with closing(open_ledger(f"{url}?schema=elsewhere", clock=ManualClock())) as ledger:
        assert claim(ledger, ManualClock()).outcome == "claimed"


def test_only_to_read(postgres: Server) -> None:
    """Who only wants to read leaves no tables behind in a database that has none."""
    name = postgres.database()
    with pytest.raises(WiringError, match="there is no ledger in"):
        open_ledger(postgres.url(name), create=False)
    with postgres.connect(name) as connection:
        assert connection.execute("SELECT 1 FROM pg_tables WHERE tablename LIKE 'flovia%'").fetchall() == []


def test_opened_by_many_at_once(postgres: Server) -> None:
    """Workers that start together make the tables once, and all of them start."""
    name = postgres.database()
    with ThreadPoolExecutor(6) as pool:
        for ledger in pool.map(lambda _: open_ledger(postgres.url(name)), range(6)):
            ledger.close()


def test_a_version_that_is_not_known(postgres: Server, database: str) -> None:
    """Tables of a version this flovia does not know are not touched."""
    with postgres.connect(database) as connection:
        connection.execute("UPDATE flovia_meta SET value = '999'")
    with pytest.raises(WiringError, match=f"version 999, this flovia knows {SCHEMA_VERSION}"):
        open_ledger(postgres.url(database))


def test_tables_of_the_version_before(postgres: Server) -> None:
    """They are brought forward, whole, and code of version 1 goes on beside: columns are added and nothing else."""
    name = postgres.database()
    open_ledger(postgres.url(name)).close()
    with postgres.connect(name) as connection:
        connection.execute("ALTER TABLE flovia_payments DROP COLUMN proof, DROP COLUMN first_fence")
        connection.execute("ALTER TABLE flovia_proofs DROP COLUMN amount, DROP COLUMN currency")
        connection.execute("ALTER TABLE flovia_events DROP COLUMN reason, DROP COLUMN operator, DROP COLUMN note")
        connection.execute("DROP TABLE flovia_refunds")
        connection.execute("DELETE FROM flovia_meta WHERE name = 'version'")
        connection.execute("DROP INDEX flovia_proofs_challenge, flovia_proofs_reference, flovia_texts_handles")
        with closing(open_ledger(postgres.url(name), clock=ManualClock())) as ledger:
            connection.execute(
                "INSERT INTO flovia_payments (key, state, fence, fingerprint, deliveries, lease_until, keep_until,"
                " refund_due, created_at, updated_at)"
                " VALUES (%s, 'claimed', 1, 'fingerprint-1', 0, 0, 1e12, false, 0, 0)",
                (KEY,),
            )
            assert settle(ledger, ManualClock(), 1) == "settled"
            opening = ledger.open_refund("mock|pay-1", None, None, "nonce", 15.0)
            assert opening.outcome in ("open", "delivering")
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE indexname = ANY(%s)", (LOOK_UP_NAMES,))
        assert len(found.fetchall()) == len(LOOK_UP_NAMES)


def test_tables_of_the_version_before_that_are_large(
    postgres: Server, database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their indexes are not made while everybody waits: it is said how to make them beside an app that serves."""
    monkeypatch.setattr(sql_migrating, "MOST_INDEXED", 0)
    with closing(open_ledger(postgres.url(database), clock=ManualClock())) as ledger:
        claim(ledger, ManualClock())
    with postgres.connect(database) as connection:
        connection.execute("ALTER TABLE flovia_payments DROP COLUMN first_fence")
        connection.execute("ALTER TABLE flovia_events DROP COLUMN reason, DROP COLUMN operator, DROP COLUMN note")
        connection.execute("UPDATE flovia_meta SET value = '2' WHERE name = 'version'")
        connection.execute("DROP INDEX flovia_payments_unsettled")
        caplog.clear()
        open_ledger(postgres.url(database)).close()
        (wanted,) = [record.getMessage().partition("until somebody runs: ")[2] for record in caplog.records]
        assert wanted.startswith("CREATE INDEX CONCURRENTLY flovia_payments_unsettled ON flovia_payments ")
        connection.execute(wanted.encode())
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE indexname = ANY(%s)", (LOOK_UP_NAMES,))
        assert len(found.fetchall()) == len(LOOK_UP_NAMES)
        version = connection.execute("SELECT value FROM flovia_meta WHERE name = 'version'").fetchall()
        assert [(str(SCHEMA_VERSION),)] == version


def test_closed(postgres: Server, ledger: SqlLedger) -> None:
    """A closed ledger answers nothing and says why."""
    ledger.close()
    for verb in VERBS.values():
        with pytest.raises(LedgerError, match="was closed"):
            verb(ledger)


def test_pruning_leaves_what_others_hold(ledger: SqlLedger) -> None:
    """Forgetting counts what it forgot, and does not wait for a payment that another transaction holds."""
    clock = ledger._clock
    assert isinstance(clock, ManualClock)
    for key in ("r|held", "r|free"):
        ledger.release(key, claim(ledger, clock, key).fence, False, ())
    clock.advance(360.0)
    with ledger._database.write() as connection:
        connection.exec_driver_sql("SELECT 1 FROM flovia_payments WHERE key = 'r|held' FOR UPDATE")
        assert ledger.prune() == 1
    assert ledger.prune() == 1
