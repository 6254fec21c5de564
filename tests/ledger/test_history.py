"""What a ledger tells about one payment: by whichever id, and by indexes only, in a file and in PostgreSQL."""

import logging
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Select, create_engine, literal, select
from sqlalchemy.dialects.postgresql import psycopg as postgres_dialect
from sqlalchemy.dialects.sqlite import pysqlite as sqlite_dialect

from flovia.core.awaited import AWAITED, WAITING
from flovia.core.errors import CallerError
from flovia.core.owed import late_key
from flovia.ledger import sql_migrating
from flovia.ledger.history import History, look_up, methods_of_charge
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_parts import challenge_part, last_part, reference_part
from flovia.testing.ledger_steps import DAY_S, ManualClock, claim, event_row, settle
from tests.ledger.test_migrating import DUMP

Statement = Select[*tuple[object, ...]]


@pytest.fixture
def ledger(url: str) -> Generator[SqlLedger]:
    """A payment that was delivered, one that is refused, money that came late, a refund, and charges that wait."""
    clock = ManualClock()
    ledger = open_ledger(url, clock=clock)
    assert isinstance(ledger, SqlLedger)
    with closing(ledger):
        fence = claim(ledger, clock, "realm.test|challenge-1").fence
        settle(ledger, clock, fence, "realm.test|challenge-1", proof="mock|pay-1", events=(event_row(),))
        ledger.deliver("realm.test|challenge-1", fence, ())
        opening = ledger.open_refund("mock|pay-1", None, None, "nonce-1", 15.0)
        ledger.close_refund("mock|pay-1", opening.fence, "refunded", 100, "refund-1", "", ())
        claim(ledger, clock, "realm.test|challenge-2")
        key = late_key("realm.test", "challenge-2", "mock|pay-2")
        ledger.late(key, "mock|pay-2", "pay-2", 100, "usd", clock() + DAY_S, ())
        ledger.remember(AWAITED, "000000000100|mock|charge-1", "challenge-1", DAY_S, False)
        ledger.remember(WAITING, "mock|charge-2", "challenge-2", DAY_S, False)
        ledger.remember("nonces", "mock|charge-3", "challenge-3", DAY_S, False)
        yield ledger


@pytest.mark.parametrize("ident", ["", " ", "realm.test|"])
def test_no_id(ledger: SqlLedger, ident: str) -> None:
    """An id that is empty is nobody's, though what was given back before anybody came has an empty key."""
    assert "noted" == ledger.note_refund("", "mock|pay-3", 100, "usd", ())
    if not ident.strip():
        with pytest.raises(CallerError, match="the id is empty"):
            look_up(ledger.database, ident)
    else:
        assert not look_up(ledger.database, ident).found
    (proof,) = look_up(ledger.database, "pay-3").proofs
    assert "mock|pay-3" == proof["proof"]


def keys(history: History) -> list[object]:
    """Of the payments' rows."""
    return sorted(str(row["key"]) for row in history.payments)


def test_every_id(ledger: SqlLedger) -> None:
    """A payment is found by the ids of its challenge, key, proof, refund, charge and requests, late money beside it."""
    late = late_key("realm.test", "challenge-2", "mock|pay-2")
    ones = ("challenge-1", "realm.test|challenge-1", "pay-1", "refund-1", "charge-1", "req-1")
    for ident in ones:
        history = look_up(ledger.database, ident)
        assert (["realm.test|challenge-1"], ("challenge-1",)) == (keys(history), history.challenge_ids), ident
        assert (1, 1, 1) == (len(history.proofs), len(history.refunds), len(history.events)), ident
    for ident in ("challenge-2", "realm.test|challenge-2", "charge-2", "mock|charge-2", "pay-2", late):
        assert ["realm.test|challenge-2", late] == keys(look_up(ledger.database, ident)), ident
    for ident in ("charge-3", "challenge", "pay", "1", "%", "mock|pay-3"):
        assert not look_up(ledger.database, ident).found, ident


def test_more_than_one_id(ledger: SqlLedger) -> None:
    """What else a payment is known by may be said too."""
    assert ["realm.test|challenge-1"] == keys(look_up(ledger.database, "nothing", "pay-1"))


def test_the_methods_of_a_charge(ledger: SqlLedger) -> None:
    """Whoever gives back money of a charge that nobody presented finds its provider by the charge's name."""
    for key in ("mock|charge-4", "hitpay|charge-4", "hitpay|charge-5", "mock|charge|5"):
        ledger.remember("issued", key, "Payment", DAY_S, False)
    assert {"mock", "hitpay"} == methods_of_charge(ledger.database, "charge-4")
    assert {"hitpay"} == methods_of_charge(ledger.database, "charge-5")
    # What is kept of them to look after them is not how they were issued.
    for other in ("charge-1", "charge-2", "charge-3", "charge", "mock|charge-4"):
        assert set() == methods_of_charge(ledger.database, other), other


class Asked:
    """A ledger's database that keeps the SELECTs."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._database = ledger.database
        self.statements: list[Statement] = []

    def query(self, statement: Statement, parameters: Mapping[str, object]) -> Sequence[Sequence[object]]:
        """Pass it on."""
        assert not parameters
        self.statements.append(statement)
        return self._database.query(statement, parameters)


def test_it_reads_no_table_from_end_to_end(ledger: SqlLedger, url: str) -> None:
    """The database's own plans: with a million rows a payment is found as fast as with ten."""
    asked = Asked(ledger)
    for ident in ("pay-1", "challenge-2", "realm.test|challenge-2"):
        assert look_up(asked, ident).found  # type: ignore[arg-type]  # all that it needs of one
    assert len(asked.statements) > 30
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            for statement in asked.statements:
                options = {"literal_binds": True}
                written = str(statement.compile(dialect=sqlite_dialect.dialect(), compile_kwargs=options))
                plan = "\n".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {written}"))
                assert "SCAN" not in plan, f"{written}\n{plan}"
                assert "SEARCH flovia_" in plan
    else:
        dialect = postgres_dialect.dialect()
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            # With a handful of rows reading them all is cheaper: what is shown is whether there is another way.
            connection.exec_driver_sql("SET enable_seqscan = off")
            for statement in asked.statements:
                written = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
                plan = "\n".join(str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {written}"))
                assert "Seq Scan" not in plan, f"{written}\n{plan}"
                assert "Index Cond: " in plan or "One-Time Filter: false" in plan, f"{written}\n{plan}"
        engine.dispose()


PARTS = {
    "realm|challenge": ("challenge", "challenge", "challenge"),
    "realm|challenge|m|p": ("challenge", "challenge|m|p", "p"),
    "m|a|a|": ("a", "a|a|", ""),
    "m|": ("", "", ""),
    "|": ("", "", ""),
    "m|ä%_🙂": ("ä%_🙂", "ä%_🙂", "ä%_🙂"),
}


@pytest.mark.parametrize("key", PARTS)
def test_parts_of_keys(ledger: SqlLedger, key: str) -> None:
    """Both databases cut a key at the same bars."""
    parts = select(*(part(literal(key)) for part in (challenge_part, reference_part, last_part)))
    assert [PARTS[key]] == [tuple(row) for row in ledger.database.query(parts, {})]


INDEXES = {
    "flovia_payments_unsettled",
    "flovia_proofs_challenge",
    "flovia_proofs_reference",
    "flovia_refunds_refund",
    "flovia_texts_handles",
    "flovia_texts_references",
}


def indexes(path: Path) -> set[str]:
    """The look-ups' indexes that a file has."""
    with closing(sqlite3.connect(path)) as raw:
        return INDEXES & {str(row[0]) for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}


@pytest.mark.parametrize("most", [10_000, 3])
def test_an_old_file(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Gets the indexes, but not those that would take long: then somebody is told what to run, and all is found."""
    monkeypatch.setattr(sql_migrating, "MOST_INDEXED", most)
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(DUMP.read_text(encoding="utf-8"))
    with caplog.at_level(logging.WARNING), closing(open_ledger(f"sqlite:///{path}")) as ledger:
        assert isinstance(ledger, SqlLedger)
        assert ["realm.test|owed"] == keys(look_up(ledger.database, "pay-owed"))
        assert ["realm.test|parked"] == keys(look_up(ledger.database, "parked"))
    wanted = [record.getMessage().partition("until somebody runs: ")[2] for record in caplog.records]
    assert bool(wanted) == (most == 3)
    assert len(INDEXES) == len(wanted) + len(indexes(path))
    with closing(sqlite3.connect(path)) as raw:
        for statement in wanted:
            raw.execute(statement)
    assert INDEXES == indexes(path)
