"""The tables of the insights, beside the ledger's own in its database; one definition for SQLite and PostgreSQL.

They hold nothing that the events did not say, and can be made again from the events as long as these are there.
Amounts are digits in text columns, times Unix seconds, durations milliseconds. Versions only ever add, as the ledger's.

1. the first
2. an attempt may have been explained
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    literal_column,
)

INSIGHTS_VERSION: Final = 2
"""What this flovia knows. In the state table as ``version``: what the tables have."""
METADATA: Final = MetaData()

STATE: Final = Table(
    "flovia_insights",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``version``; ``cursor``: the position up to which events are folded; ``counted``: the day that was counted last, and
by which mark; what was left out on the way.
"""

ATTEMPTS: Final = Table(
    "flovia_attempts",
    METADATA,
    # See flovia.insights.attempt.Attempt for what these mean.
    Column("key", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("http_method", Text, nullable=False),
    Column("provider", Text),
    Column("rail", Text),
    Column("challenge_id", Text),
    Column("payment_id", Text),
    Column("request_id", Text, nullable=False),
    Column("request_ids", Text, nullable=False),  # JSON
    Column("payer", Text),
    Column("recipient", Text),
    Column("workflow", Text),
    Column("workflow_rule", Text),
    Column("session", Text),
    Column("price", Text),
    Column("price_currency", Text),
    Column("amount", Text),
    Column("currency", Text),
    Column("refunded", Text),
    Column("challenged_at", Double),
    Column("presented_at", Double),
    Column("verified_at", Double),
    Column("delivered_at", Double),
    Column("refunded_at", Double),
    Column("last_at", Double, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("challenges", Integer, nullable=False),
    Column("presentations", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("backwards", Integer, nullable=False),
    Column("probe", Boolean, nullable=False),
    Column("response_status", Integer),
    Column("latency_ms", Double),
    Column("challenge_ms", Double),
    Column("verify_ms", Double),
    Column("handler_ms", Double),
    Column("outcome", Text, nullable=False),
    Column("problem", Text),
    Column("problems", Text, nullable=False),  # JSON
    Column("payment_from", Text),
    Column("price_from", Text),
    Column("payer_from", Text),
    # Since 2.
    Column("explained_at", Double),
    Column("explained_by", Text),
    Column("explanation", Text),
    # What follows from the others, so that questions need not work it out for every row.
    Column("day", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due", Integer, nullable=False),
    Column("pay_bucket", Integer),
    Column("latency_bucket", Integer),
    Column("challenge_bucket", Integer),
    Column("verify_bucket", Integer),
    Column("handler_bucket", Integer),
    # The oldest and the newest event it was made from: if one is gone, the row knows more than the events.
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Index("flovia_attempts_at", "at"),
    Index("flovia_attempts_challenge", "challenge_id"),
    Index("flovia_attempts_payment", "payment_id"),
    Index("flovia_attempts_payer", "payer", "at"),
)
IS_ATTEMPT: Final = ATTEMPTS.c.kind == literal_column("'attempt'")
Index(
    "flovia_attempts_lane",
    ATTEMPTS.c.payer,
    ATTEMPTS.c.workflow,
    ATTEMPTS.c.at,
    ATTEMPTS.c.key,
    sqlite_where=IS_ATTEMPT,
    postgresql_where=IS_ATTEMPT,
)
HAS_WORKFLOW: Final = (IS_ATTEMPT, ATTEMPTS.c.workflow.is_not(None), ATTEMPTS.c.payer.is_not(None))
Index(
    "flovia_attempts_workflow",
    ATTEMPTS.c.workflow,
    ATTEMPTS.c.payer,
    sqlite_where=and_(*HAS_WORKFLOW),
    postgresql_where=and_(*HAS_WORKFLOW),
)
IS_ALONE: Final = (IS_ATTEMPT, ATTEMPTS.c.payer.is_(None), ATTEMPTS.c.workflow.is_(None))
"""In no session: it may be anybody's."""
Index(
    "flovia_attempts_alone",
    ATTEMPTS.c.at,
    ATTEMPTS.c.endpoint,
    ATTEMPTS.c.provider,
    ATTEMPTS.c.verified_at,
    sqlite_where=and_(*IS_ALONE),
    postgresql_where=and_(*IS_ALONE),
)
IS_DUE: Final = ATTEMPTS.c.due == literal_column("1")
"""Somebody has to do something about it. Few are, so they have an index of their own."""
Index("flovia_attempts_due", ATTEMPTS.c.at, sqlite_where=IS_DUE, postgresql_where=IS_DUE)
CHANGED: Final = Index("flovia_attempts_changed", ATTEMPTS.c.last_position)
"""For whoever follows what changes."""

# Events are found by challenge and by request; this leads from a payment to both.
LINKS: Final = Table(
    "flovia_links",
    METADATA,
    Column("payment", Text, primary_key=True),  # flovia.insights.grouping.payment_key
    Column("link", Text, primary_key=True),  # c|CHALLENGE, or r|REQUEST of money that no request brought
    Column("at", Double, nullable=False),
    Index("flovia_links_at", "at"),
    sqlite_with_rowid=False,
)

COUNTS: Final = (
    "attempts",
    "requests",
    "challenges",
    "presentations",
    "presented",
    "verified",
    "delivered",
    "failures",
    "challenge_errors",
    "verify_errors",
    "handler_errors",
    "probes",
    "turned_away",
    "payments",
    "refunds",
    "amountless",
    "backwards",
)
"""The counts of a day; see flovia.insights.measures.Cell."""
MAPS: Final = ("states", "problems", "pay", "latency", "challenge", "verify", "handler")
MONEY: Final = ("gross", "refunded", "owed")

DAYS: Final = Table(
    "flovia_days",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970-01-01, UTC
    # "" for what is not known: a key may not be null.
    Column("endpoint", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("rail", Text, primary_key=True),
    Column("price", Text, primary_key=True),
    Column("price_currency", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in COUNTS),
    *(Column(name, Text, nullable=False) for name in MONEY),
    *(Column(name, Text, nullable=False) for name in MAPS),  # JSON: what is counted, and how often
    Column("last_at", Double, nullable=False, key="shown_at"),  # its name from when it was the newest event
)

STALE_DAYS: Final = Table(
    "flovia_stale_days",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("mark", BigInteger, nullable=False),  # grows with every change, so that a count made meanwhile is seen
)
"""Days whose rows do not say what the attempts say now."""

ADDED: Final[dict[int, tuple[tuple[Table, str], ...]]] = {
    2: ((ATTEMPTS, "explained_at"), (ATTEMPTS, "explained_by"), (ATTEMPTS, "explanation")),
}
"""The columns that a version added to the tables of the one before; its new tables are made by themselves."""
ADDED_INDEXES: Final = (CHANGED,)
"""Indexes that came later than their tables. They say nothing new, so the version stays what it is."""
