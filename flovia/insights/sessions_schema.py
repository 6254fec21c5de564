"""The tables of sessions, beside those of attempts; :mod:`flovia.insights.sessions` says what they mean.

"" stands for what is not known, because it is part of keys. Whoever changes an attempt notes its lane as stale, in the
same transaction (:mod:`flovia.insights.lanes`).
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text

from flovia.insights.schema import METADATA

NO_TIME: Final = -1e300
END_OF_TIME: Final = 1e300
LIMB: Final = 10**12
"""Sums of numbers below this fit into 64 bits; amounts have up to 78 digits, so several make an amount."""
LIMBS: Final = tuple(f"net_{number}" for number in range(7))

SESSIONS: Final = Table(
    "flovia_sessions",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("test", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("last_key", Text, nullable=False),
    Column("last_endpoint", Text, nullable=False),
    Column("last_paid", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("paid", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("unnamed", Integer, nullable=False),
    Column("amountless", Integer, nullable=False),
    Column("length", Integer, nullable=False),
    Column("signature", Text, nullable=False),  # JSON
    Column("paid_at", Double),
    Column("paid_endpoint", Text),
    Column("paid_week", Integer),
    Index("flovia_sessions_lane", "workflow", "payer", "test", "started_at"),
    Index("flovia_sessions_at", "started_at"),
    # Whole for the questions about payers, so that they read nothing else.
    Index("flovia_sessions_payer", "payer", "paid_at", "key", "paid_week", "paid_endpoint", "test", "started_at"),
)

STEPS: Final = Table(
    "flovia_steps",
    METADATA,
    Column("session", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("endpoint", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("paid", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("amountless", Integer, nullable=False),
    Column("paid_at", Double),
    Column("paid_week", Integer),
    Index("flovia_steps_endpoint", "endpoint", "paid_at"),
    sqlite_with_rowid=False,
)

MOVES: Final = Table(
    "flovia_moves",
    METADATA,
    Column("session", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("times", Integer, nullable=False),
    sqlite_with_rowid=False,
)

MONEY: Final = Table(
    "flovia_session_money",
    METADATA,
    Column("session", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("currency", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in LIMBS),  # the lowest first
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
