"""The table of stored answers: what was delivered to requests that came with an Idempotency-Key. Since version 3."""

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text


def answers_table(metadata: MetaData) -> Table:
    """One row for a payment: it is delivered once. ``headers`` is JSON, an array of (name, value) arrays."""
    return Table(
        "flovia_answers",
        metadata,
        Column("key", Text, primary_key=True),
        Column("caller", Text, nullable=False),
        Column("status", Integer, nullable=False),
        Column("headers", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("until", Double, nullable=False),
        Index("flovia_answers_prune", "until"),
    )
