"""The tables of a SQL ledger, one definition for every database.

Amounts are digits in text columns: base units of an 18-decimal token do not fit into 64 bits. Times are
Unix seconds. Every name starts with ``flovia_``, so the ledger can live in the application's own database.

Versions only ever add: a column that may be null, or a table. So a flovia that knows an older version goes on
working beside a newer one that has added to its tables, during a rolling upgrade and after a step back.

1. the first
2. ``flovia_refunds``; a payment knows its proof, a proof what was paid with it
3. an event may say its reason, a payment its first fence; ``flovia_answers``, ``flovia_sinks``,
   ``flovia_dead_letters``; what leads from the ids of a payment to its rows is in indexes
4. an event may name who did it, and say why
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
    UniqueConstraint,
    text,
)

from flovia.ledger.schema_answers import answers_table
from flovia.ledger.sql_parts import challenge_part, last_part, reference_part
from flovia.ledger.sql_sinks_schema import sink_tables

SCHEMA_VERSION: Final = 4
"""What this flovia knows. In the meta table as ``version``: what the tables have."""
OLDEST_READER: Final = 1
"""In the meta table as ``schema``: the oldest version whose flovia may use these tables."""
METADATA: Final = MetaData()

PAYMENTS: Final = Table(
    "flovia_payments",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("payment_id", Text),
    Column("amount", Text),
    Column("currency", Text),
    Column("record", Text),
    Column("deliveries", Integer, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("keep_until", Double, nullable=False),
    Column("refund_due", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("proof", Text),  # since 2; null in what a version 1 settled
    Column("first_fence", BigInteger),  # since 3; null in what older versions claimed: 1
    Index("flovia_payments_prune", "state", "keep_until"),
)

# Payments are forgotten one day; that their proofs were used is not.
PROOFS: Final = Table(
    "flovia_proofs",
    METADATA,
    Column("proof", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("at", Double, nullable=False),
    # Since 2: a delivered payment is forgotten before anybody wants its money back.
    Column("amount", Text),
    Column("currency", Text),
    sqlite_with_rowid=False,
)

# One for each payment that was, or is to be, given back; kept for ever. Since 2.
REFUNDS: Final = Table(
    "flovia_refunds",
    METADATA,
    Column("proof", Text, primary_key=True),
    # The fields of flovia.ledger.rules.Order.
    Column("key", Text, nullable=False),
    Column("payment_id", Text, nullable=False),
    Column("amount", Text, nullable=False),
    Column("paid", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("was_due", Boolean, nullable=False),
    Column("refund_id", Text),
    Column("reason", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("flovia_refunds_state", "state"),
)

EVENTS: Final = Table(
    "flovia_events",
    METADATA,
    # AUTOINCREMENT: a position is never given twice, even after the newest rows were deleted.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    # The fields of flovia.core.events.Event, in their order.
    Column("type", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("http_method", Text, nullable=False),
    Column("provider", Text),
    Column("rail", Text),
    Column("amount", Text),
    Column("currency", Text),
    Column("challenge_id", Text),
    Column("payment_id", Text),
    Column("payer", Text),
    Column("recipient", Text),
    Column("status", Integer),
    Column("latency_ms", Double),
    Column("workflow", Text),
    Column("problem", Text),
    Column("reason", Text),  # since 3
    Column("operator", Text),  # since 4
    Column("note", Text),  # since 4
    # Writing an event again changes nothing. Its id alone would not do: a client that sends the same request
    # id with two requests must not make the second one's events disappear.
    UniqueConstraint("request_id", "seq", "at", "type"),
    Index("flovia_events_challenge", "challenge_id"),
    Index("flovia_events_at", "at"),
    sqlite_autoincrement=True,
)

TEXTS: Final = Table(
    "flovia_texts",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("until", Double, nullable=False),
    Index("flovia_texts_prune", "until"),
    sqlite_with_rowid=False,
)

ANSWERS: Final = answers_table(METADATA)

META: Final = Table(
    "flovia_meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

SINKS, DEAD_LETTERS = sink_tables(METADATA)

ADDED: Final = {
    2: ((PAYMENTS, "proof"), (PROOFS, "amount"), (PROOFS, "currency")),
    3: ((EVENTS, "reason"), (PAYMENTS, "first_fence")),
    4: ((EVENTS, "operator"), (EVENTS, "note")),
}
"""The columns that a version added to the tables of the one before; its new tables are made by themselves."""

HANDLES: Final = "namespace IN ('awaited', 'waiting', 'issued')"
"""Of the short texts, those whose keys end with a provider's name of a charge."""
REFERENCES: Final = "key >= 'reference ' AND key < 'reference!'"
"""Of the short texts, those whose keys name a payment by its backend's id."""
LOOK_UPS: Final = (
    # What is settled is found by its proof, so that a payment's later steps do not cost an entry each.
    Index(
        "flovia_payments_unsettled",
        challenge_part(PAYMENTS.c.key),
        sqlite_where=PAYMENTS.c.proof.is_(None),
        postgresql_where=PAYMENTS.c.proof.is_(None),
    ),
    Index("flovia_proofs_challenge", challenge_part(PROOFS.c.key)),
    Index("flovia_proofs_reference", reference_part(PROOFS.c.proof)),
    Index("flovia_refunds_refund", REFUNDS.c.refund_id),
    Index(
        "flovia_texts_handles",
        last_part(TEXTS.c.key),
        sqlite_where=text(HANDLES),
        postgresql_where=text(HANDLES),
    ),
    Index(
        "flovia_texts_references",
        TEXTS.c.key,
        sqlite_where=text(REFERENCES),
        postgresql_where=text(REFERENCES),
    ),
)
"""Since 3: the indexes of :mod:`flovia.ledger.history`. Without one it finds the same, and reads all rows for it."""
