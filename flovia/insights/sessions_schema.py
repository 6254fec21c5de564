"""The tables of sessions, beside those of attempts; :mod:`flovia.insights.sessions` says what they mean.

"" stands for what is not known, because it is part of keys. Whoever changes an attempt notes its lane as stale, in the
same transaction (:mod:`flovia.insights.lanes`).
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text, literal_column

from flovia.insights.schema import METADATA

NO_TIME: Final = -1e300
END_OF_TIME: Final = 1e300
LIMB: Final = 10**12
"""Sums of numbers below this fit into 64 bits; amounts have up to 78 digits, so several make an amount."""
LIMBS: Final = tuple(f"net_{number}" for number in range(7))


def _about() -> tuple[Column[Any], ...]:
    """What questions choose sessions by, in every table, so that none has to be joined to another."""
    return (
        Column("payer", Text, nullable=False),
        Column("test", Integer, nullable=False),
        Column("started_at", Double, nullable=False),
    )


SESSIONS: Final = Table(
    "flovia_sessions",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    *_about(),
    Column("ended_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("last_key", Text, nullable=False),
    Column("last_endpoint", Text, nullable=False),
    Column("last_paid", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("paid", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("amountless", Integer, nullable=False),
    Column("unnamed", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    Column("signature", Text, nullable=False),  # JSON
    Column("paid_at", Double),
    Column("paid_week", Integer),
    Column("endpoint", Text),  # that was paid first
    Index("flovia_sessions_key", "key", unique=True),
    Index("flovia_sessions_lane", "workflow", "payer", "test", "started_at"),
    Index("flovia_sessions_at", "started_at"),
    # Whole for the questions about payers, and about paths, so that they read nothing else.
    Index("flovia_sessions_payer", "payer", "paid_week", "paid_at", "key", "endpoint", "test", "paid", "amountless"),
    Index("flovia_sessions_path", "signature", "payer", "test", "started_at", "paid", "last_paid"),
)

ENDED_UNPAID: Final = SESSIONS.c.last_paid == literal_column("0")
"""Few do, so they have an index of their own."""
Index(
    "flovia_sessions_unpaid",
    SESSIONS.c.last_endpoint,
    SESSIONS.c.payer,
    SESSIONS.c.test,
    SESSIONS.c.started_at,
    sqlite_where=ENDED_UNPAID,
    postgresql_where=ENDED_UNPAID,
)

STEPS: Final = Table(
    "flovia_steps",
    METADATA,
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    *_about(),
    Column("key", Text, nullable=False),  # of the session
    Column("endpoint", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("paid", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("amountless", Integer, nullable=False),
    Column("paid_at", Double),
    Column("paid_week", Integer),
    Index("flovia_steps_endpoint", "endpoint", "payer", "paid_week", "paid_at", "key", "test", "started_at", "paid"),
    sqlite_with_rowid=False,
)

MOVES: Final = Table(
    "flovia_moves",
    METADATA,
    Column("origin", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    *_about(),
    Column("times", Integer, nullable=False),
    Index("flovia_moves_session", "session"),
    sqlite_with_rowid=False,
)

MONEY: Final = Table(
    "flovia_session_money",
    METADATA,
    Column("currency", Text, primary_key=True),
    Column("payer", Text, primary_key=True),
    Column("session", BigInteger, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    *(one for one in _about() if one.name != "payer"),
    Column("endpoint", Text, nullable=False),
    Column("paid_at", Double, nullable=False),  # the session's
    Column("step_paid_at", Double, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in LIMBS),  # the lowest first
    Index("flovia_session_money_session", "session"),
    sqlite_with_rowid=False,
)

STALE_LANES: Final = Table(
    "flovia_stale_lanes",
    METADATA,
    Column("workflow", Text, primary_key=True),
    Column("payer", Text, primary_key=True),
    Column("test", Integer, primary_key=True, autoincrement=False),
    # The sessions are right for attempts up to this one, and for those of sessions that begin after ``until``.
    Column("since", Double, nullable=False),
    Column("since_key", Text, nullable=False),
    Column("until", Double, nullable=False),
)

OWNERS: Final = Table(
    "flovia_workflow_owners",
    METADATA,
    Column("workflow", Text, primary_key=True),
    Column("payer", Text, nullable=False),
)
"""The one payer that is known of a declared workflow's name, whose its attempts without a payer count as."""

CHILDREN: Final = (STEPS, MOVES, MONEY)
