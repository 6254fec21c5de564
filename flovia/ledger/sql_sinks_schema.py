"""The tables of the exporters; since version 3."""

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
    false,
)


def sink_tables(metadata: MetaData) -> tuple[Table, Table]:
    """The cursors, and what was refused for good."""
    sinks = Table(
        "flovia_sinks",
        metadata,
        Column("name", Text, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("fence", BigInteger, nullable=False),
        Column("holder", Text, nullable=False),
        Column("lease_until", Double, nullable=False),
        Column("problem", Text, nullable=False),
        Column("updated_at", Double, nullable=False),
    )
    dead = Table(
        "flovia_dead_letters",
        metadata,
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("sink", Text, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("event_id", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("at", Double, nullable=False),
        Column("again", Boolean, nullable=False, server_default=false()),
        UniqueConstraint("sink", "event_id"),
        Index("flovia_dead_letters_order", "sink", "number"),
        sqlite_autoincrement=True,
    )
    return sinks, dead
