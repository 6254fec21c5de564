"""A file that an earlier version made: brought forward when it is opened, whole, and still good for that version.

``version1.sql`` is a dump of a file that the code of schema version 1 wrote, ``version3.sql`` and ``version4.sql`` what
that of these versions makes in an empty database of each kind.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

import flovia
from flovia.core.effects import PaymentView
from flovia.core.errors import WiringError
from flovia.core.exchange import DELIVERED, DELIVERING, PARKED, REFUNDED, SETTLED
from flovia.ledger.base import Ledger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql_schema import METADATA, OLDEST_READER, SCHEMA_VERSION
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, ManualClock, claim, settle
from tests.patience import PROGRAM_S

DUMP = Path(__file__).with_name("version1.sql")


def column_names(path: Path, table: str) -> list[str]:
    """The columns that a table of the file has."""
    with closing(sqlite3.connect(path)) as raw:
        return [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]


def meta(path: Path) -> dict[str, str]:
    """What the file says about its version."""
    with closing(sqlite3.connect(path)) as raw:
        return dict(raw.execute("SELECT name, value FROM flovia_meta"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file as version 1 left it."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(DUMP.read_text(encoding="utf-8"))
    return path


@pytest.fixture
def clock() -> ManualClock:
    """The time at which it was left."""
    return ManualClock()


@pytest.fixture
def ledger(path: Path, clock: ManualClock) -> Generator[Ledger]:
    """The file, opened by this version."""
    with closing(open_ledger(f"sqlite:///{path}", clock=clock)) as ledger:
        yield ledger


def test_what_was_there_is_there(ledger: Ledger, path: Path) -> None:
    """Every payment, event and text is as it was; the tables have what was added; the file says both versions."""
    states = {
        name: found.state for name in ["owed", "due", "running", "delivered", "parked"] if (found := view(ledger, name))
    }
    assert {
        "owed": SETTLED,
        "due": SETTLED,
        "running": DELIVERING,
        "delivered": DELIVERED,
        "parked": PARKED,
    } == states
    assert 6 == len(ledger.read_events())
    assert "one" == ledger.recall("nonces", "a")
    assert {"schema": str(OLDEST_READER), "version": str(SCHEMA_VERSION)} == meta(path)
    assert ["proof", "first_fence"] == column_names(path, "flovia_payments")[-2:]
    assert ["amount", "currency"] == column_names(path, "flovia_proofs")[-2:]
    assert "nonce" in column_names(path, "flovia_refunds")
    assert "until" in column_names(path, "flovia_answers")


def made(dialect: Dialect) -> str:
    """What makes the tables and indexes in an empty database, in an order of its own, without needless space."""
    parts: list[str] = []
    for table in METADATA.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        parts += [str(one.compile(dialect=dialect)) for one in (CreateTable(table), *map(CreateIndex, indexes))]
    return "".join("\n".join(line.rstrip() for line in part.strip().splitlines()) + ";\n" for part in parts)


def test_the_tables_of_a_version_never_change() -> None:
    """Files of it exist, and other processes of it run: whoever changes a table adds a version, and its file here."""
    expected = Path(__file__).with_name(f"version{SCHEMA_VERSION}.sql").read_text(encoding="utf-8")
    assert expected == f"-- SQLite\n{made(sqlite.dialect())}-- PostgreSQL\n{made(postgresql.dialect())}"


def test_a_file_that_was_brought_forward_is_like_a_new_one(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    """It has the same tables with the same columns, and the same indexes."""
    open_ledger(f"sqlite:///{tmp_path}/new.db").close()
    shapes: list[dict[str, object]] = []
    for file in (tmp_path / "new.db", path):
        with closing(sqlite3.connect(file)) as raw:
            shape: dict[str, object] = dict(raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'"))
            names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in names:
                # All of a column but the place it stands at.
                shape[name] = {row[1]: row[2:] for row in raw.execute(f"PRAGMA table_info({name})")}
            shapes.append(shape)
    assert "flovia_payments_unsettled" in shapes[0]
    assert shapes[0] == shapes[1]


def view(ledger: Ledger, name: str) -> PaymentView | None:
    """A payment of the dump."""
    return ledger.find(f"realm.test|{name}")


def test_old_payments_go_on(ledger: Ledger, clock: ManualClock) -> None:
    """A paid one is redeemed, a used proof stays used, an unknown one re-enters."""
    owed = claim(ledger, clock, "realm.test|owed")
    assert ("redeem", "pay-owed") == (owed.outcome, owed.payment_id)
    assert ledger.deliver("realm.test|owed", owed.fence, ())
    fence = claim(ledger, clock, "realm.test|new").fence
    assert "proof_used" == settle(ledger, clock, fence, "realm.test|new", proof="mock|pay-forgotten")
    assert "claimed" == claim(ledger, clock, "realm.test|parked").outcome


@pytest.mark.parametrize("name", ["owed", "due", "delivered", "running"])
def test_old_payments_can_go_back(ledger: Ledger, clock: ManualClock, name: str) -> None:
    """A refund finds what version 1 settled, and keeps it from being delivered meanwhile."""
    clock.advance(DELIVER_S)
    opening = ledger.open_refund(f"mock|pay-{name}", 40, "usd", "nonce-1", 15.0)
    assert ("open", 40, 100) == (opening.outcome, opening.amount, opening.paid)
    if name in ("owed", "running"):
        assert "busy" == claim(ledger, clock, f"realm.test|{name}").outcome
    assert ledger.close_refund(f"mock|pay-{name}", opening.fence, "refunded", 40, "refund-1", "", ())
    found = ledger.find_paid(f"mock|pay-{name}")
    assert found is not None
    assert (REFUNDED, 40) == (found.state, found.refunded)


def test_an_old_refund_that_is_due(ledger: Ledger) -> None:
    """It is found although its row does not know its proof."""
    (due,) = ledger.find_due(10)
    assert ("mock", "pay-due", "due", 100) == (due.method, due.payment_id, due.challenge_id, due.amount)


def test_an_old_payment_that_was_forgotten(ledger: Ledger) -> None:
    """Version 1 kept its proof and not its amount: nobody guesses one."""
    found = ledger.find_paid("mock|pay-forgotten")
    assert found is not None
    assert (DELIVERED, None) == (found.state, found.amount)
    assert "no_amount" == ledger.open_refund("mock|pay-forgotten", None, None, "n", 15.0).outcome
    flo = flovia.Flovia(provider="mock", ledger=ledger)
    with pytest.raises(flovia.RefundError, match="no longer on record") as caught:
        flo.refund("pay-forgotten")
    assert "no_amount" == caught.value.code
    assert "noted" == ledger.note_refund("realm.test|forgotten", "mock|pay-forgotten", 70, "usd", ())


def test_a_new_payment_that_was_forgotten(ledger: Ledger, clock: ManualClock) -> None:
    """Since version 2 a refund is possible after a delivered payment was forgotten."""
    fence = claim(ledger, clock, "realm.test|new").fence
    settle(ledger, clock, fence, "realm.test|new", proof="mock|pay-new")
    ledger.deliver("realm.test|new", fence, ())
    clock.advance(8 * DAY_S)
    assert ledger.prune()  # type: ignore[attr-defined]  # a SQL ledger's own
    assert view(ledger, "new") is None
    opening = ledger.open_refund("mock|pay-new", None, None, "nonce-1", 15.0)
    assert ("open", 100, "usd") == (opening.outcome, opening.amount, opening.currency)
    assert ledger.close_refund("mock|pay-new", opening.fence, "refunded", 100, "refund-1", "", ())
    assert "refunded" == ledger.open_refund("mock|pay-new", None, None, "nonce-2", 15.0).outcome


# --- old code beside new code: the very statements of version 1 -------------------------------------------------

OLD_CLAIM = (
    "INSERT INTO flovia_payments (key, state, fence, fingerprint, deliveries, lease_until, keep_until, refund_due,"
    " created_at, updated_at) VALUES (?, 'claimed', 1, ?, 0, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING RETURNING fence"
)
OLD_PROOF = "INSERT INTO flovia_proofs (proof, key, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING proof"
OLD_SETTLE = (
    "UPDATE flovia_payments SET state='delivering', payment_id=?, amount='100', currency='usd', record='{}',"
    " deliveries=1, lease_until=?, keep_until=?, refund_due=0, updated_at=? WHERE key=? AND fence=1 AND state='claimed'"
)


def test_old_code_beside_new_code(ledger: Ledger, path: Path, clock: ManualClock) -> None:
    """A process of version 1 goes on settling in the same file, and this version takes its payments back."""
    now = clock()
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        key = "realm.test|beside"
        assert [(1,)] == old.execute(OLD_CLAIM, (key, "fingerprint-1", now + 15, now + 360, now, now)).fetchall()
        assert [("mock|beside",)] == old.execute(OLD_PROOF, ("mock|beside", key, now)).fetchall()
        assert 1 == old.execute(OLD_SETTLE, ("beside", now + 60, now + 7 * DAY_S, now, key)).rowcount
    found = ledger.find_paid("mock|beside")
    assert found is not None
    assert (DELIVERING, 100, "usd") == (found.state, found.amount, found.currency)
    clock.advance(60.0)
    assert "open" == ledger.open_refund("mock|beside", None, None, "nonce-1", 15.0).outcome
    with closing(sqlite3.connect(path)) as old:
        # What version 1 looks at: with this flag it delivers nothing.
        assert [(1,)] == old.execute("SELECT refund_due FROM flovia_payments WHERE key = ?", (key,)).fetchall()


def test_the_old_check_still_passes(ledger: Ledger, path: Path) -> None:
    """Version 1 opens a file if this row says 1: a step back is possible."""
    assert "1" == meta(path)["schema"]
    assert ledger.available


# --- opening ------------------------------------------------------------------------------------------------------


def test_opened_twice(path: Path, clock: ManualClock) -> None:
    """The second time there is nothing to do."""
    for _ in range(2):
        with closing(open_ledger(f"sqlite:///{path}", clock=clock)) as ledger:
            assert 1 == len(ledger.find_due(10))
    assert 1 == column_names(path, "flovia_payments").count("proof")


OPEN = "import sys; from flovia.ledger.opening import open_ledger; open_ledger(sys.argv[1]).close()"


def test_opened_by_many_at_once(path: Path) -> None:
    """Workers that start together bring the file forward once, and all of them start."""

    def start(_: int) -> int:
        command = [sys.executable, "-c", OPEN, f"sqlite:///{path}"]
        return subprocess.run(command, check=False, timeout=PROGRAM_S).returncode

    with ThreadPoolExecutor(4) as pool:
        assert [0] * 4 == list(pool.map(start, range(4)))
    assert 1 == column_names(path, "flovia_payments").count("proof")


def test_a_later_version_that_has_only_added(path: Path, clock: ManualClock) -> None:
    """Tables of a version that this one may still use are used, and keep their number."""
    open_ledger(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE flovia_meta SET value = '7' WHERE name = 'version'")
        raw.commit()
    with closing(open_ledger(f"sqlite:///{path}", clock=clock)) as ledger:
        assert 1 == len(ledger.find_due(10))
    assert "7" == meta(path)["version"]


def test_the_version_before(path: Path, clock: ManualClock) -> None:
    """A file of version 2 says this one's version afterwards, and that code of version 1 may still use it."""
    open_ledger(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as raw:
        for column in ("reason", "operator", "note"):
            raw.execute(f"ALTER TABLE flovia_events DROP COLUMN {column}")
        raw.execute("ALTER TABLE flovia_payments DROP COLUMN first_fence")
        raw.execute("UPDATE flovia_meta SET value = '2' WHERE name = 'version'")
        raw.commit()
    for _ in range(2):
        with closing(open_ledger(f"sqlite:///{path}", clock=clock)) as ledger:
            assert 1 == len(ledger.find_due(10))
        assert {"schema": str(OLDEST_READER), "version": str(SCHEMA_VERSION)} == meta(path)


@pytest.mark.parametrize("found", [str(SCHEMA_VERSION + 1), "999", "0", "two"])
def test_a_version_that_is_not_known(path: Path, found: str) -> None:
    """Then nothing is touched."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE flovia_meta SET value = ?", (found,))
        raw.commit()
    before = path.read_bytes()
    with pytest.raises(WiringError, match=f"version {found}, this flovia knows {SCHEMA_VERSION}"):
        open_ledger(f"sqlite:///{path}")
    assert "proof" not in column_names(path, "flovia_payments")
    assert before[:16] == path.read_bytes()[:16]
