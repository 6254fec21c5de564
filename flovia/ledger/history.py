"""Everything a SQL ledger knows about one payment, whichever of its ids is at hand. Nothing secret is read.

Not read are the record (it holds what a receipt is made of), the fingerprint of the credential, and nonces.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from sqlalchemy import Select, and_, select, text

from flovia.core.awaited import AWAITED, WAITING
from flovia.core.errors import CallerError
from flovia.core.events import FIELDS, Event
from flovia.core.owed import challenge_of
from flovia.ledger.sql_events import read_event
from flovia.ledger.sql_parts import challenge_part, last_part, reference_part
from flovia.ledger.sql_schema import EVENTS, HANDLES, PAYMENTS, PROOFS, REFERENCES, REFUNDS, TEXTS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

Row = Mapping[str, str | int | float | bool | None]

PAYMENT_FIELDS: Final = (
    "key",
    "state",
    "payment_id",
    "amount",
    "currency",
    "deliveries",
    "fence",
    "lease_until",
    "keep_until",
    "refund_due",
    "created_at",
    "updated_at",
)
PROOF_FIELDS: Final = ("key", "proof", "amount", "currency", "at")
REFUND_FIELDS: Final = (
    "key",
    "payment_id",
    "state",
    "amount",
    "paid",
    "currency",
    "refund_id",
    "reason",
    "was_due",
    "lease_until",
    "created_at",
    "updated_at",
)
REFERENCE: Final = "reference "
"""How a provider's key begins where it remembers which payment an id of its backend's is."""
MOST_EVENTS: Final = 2000
MOST_ROWS: Final = 50


@attrs.frozen(kw_only=True)
class History:
    """One payment, or all that an id stands for.

    ``payments``: rows as they stand, that of the challenge and those of late money. ``proofs``: used for ever.
    ``events``: in the order of time.
    """

    challenge_ids: tuple[str, ...]
    payments: tuple[Row, ...]
    proofs: tuple[Row, ...]
    refunds: tuple[Row, ...]
    events: tuple[Event, ...]

    @property
    def found(self) -> bool:
        """Whether the ledger knows the id at all."""
        return bool(self.payments or self.proofs or self.refunds or self.events)


def look_up(database: "Database", ident: str, *also: str) -> History:
    """What is known under an id: of a challenge, a payment or its proof, a request, a refund, a provider's charge.

    A provider that remembers ``reference ID`` for an id of its backend's, with the payment id as the text, is found by
    that too.

    Every part of it is found by an index, however many rows there are.

    Args:
        database: of the ledger.
        ident: the id.
        also: what else the same payment is known by.

    Raises:
        CallerError: the id is empty. Rows that lack an id of some kind are nobody's.
        LedgerError: the ledger does not answer.
    """
    if not ident.strip():
        raise CallerError("the id is empty: is the variable set that it was to come from?")
    idents = _known_as(database, (ident, *also))
    challenges = _challenges(database, idents)
    of_requests = select(EVENTS.c.request_id).where(EVENTS.c.challenge_id.in_(challenges))
    requests = {str(row[0]) for row in database.query(of_requests.distinct().limit(MOST_ROWS), {})} | set(idents)
    # Two questions: asked at once, a database may prefer to read all events in their order.
    columns = select(EVENTS.c.position, *(EVENTS.c[name] for name in FIELDS)).limit(MOST_EVENTS)
    events = dict(
        read_event(row)
        for found in (EVENTS.c.challenge_id.in_(challenges), EVENTS.c.request_id.in_(requests))
        for row in database.query(columns.where(found), {})
    )
    proofs: dict[object, Row] = {}
    for found in (challenge_part(PROOFS.c.key).in_(challenges), reference_part(PROOFS.c.proof).in_(idents)):
        rows = _rows(database, select(*(PROOFS.c[name] for name in PROOF_FIELDS)).where(found))
        proofs.update({row["proof"]: row for row in rows})
    payments: dict[object, Row] = {}
    unsettled = and_(PAYMENTS.c.proof.is_(None), challenge_part(PAYMENTS.c.key).in_(challenges))
    for which in (unsettled, PAYMENTS.c.key.in_([row["key"] for row in proofs.values()])):
        rows = _rows(database, select(*(PAYMENTS.c[name] for name in PAYMENT_FIELDS)).where(which))
        payments.update({row["key"]: row for row in rows})
    refunds: dict[object, Row] = {}
    for found in (REFUNDS.c.proof.in_([str(proof) for proof in proofs]), REFUNDS.c.refund_id.in_(idents)):
        rows = _rows(database, select(*(REFUNDS.c[name] for name in REFUND_FIELDS)).where(found))
        refunds.update({(row["key"], row["payment_id"]): row for row in rows})
    return History(
        challenge_ids=tuple(sorted(challenges)),
        payments=tuple(payments.values()),
        proofs=tuple(proofs.values()),
        refunds=tuple(refunds.values()),
        events=tuple(sorted((events[position] for position in sorted(events)), key=lambda event: event.at)),
    )


def methods_of_charge(database: "Database", handle: str) -> set[str]:
    """The payment methods that have a charge of this name, presented or not.

    Raises:
        LedgerError: the ledger does not answer.
    """
    issued = select(TEXTS.c.key).where(text(HANDLES), TEXTS.c.namespace == "issued", last_part(TEXTS.c.key) == handle)
    return {str(row[0]).partition("|")[0] for row in database.query(issued.limit(MOST_ROWS), {})}


def _known_as(database: "Database", idents: Sequence[str]) -> Sequence[str]:
    """The ids, and the payments whose proofs they are or whose backend's ids."""
    found = list(idents)
    proofs = select(PROOFS.c.proof).where(PROOFS.c.proof.in_(idents))
    found += [str(row[0]).partition("|")[2] for row in database.query(proofs, {})]
    references = select(TEXTS.c.value).where(
        text(REFERENCES), TEXTS.c.key.in_([f"{REFERENCE}{ident}" for ident in idents])
    )
    found += [str(row[0]) for row in database.query(references.limit(MOST_ROWS), {})]
    return list(dict.fromkeys(filter(None, found)))


def _challenges(database: "Database", idents: Sequence[str]) -> set[str]:
    """The challenges that ids lead to; the ids themselves, if they lead to none."""
    found = {challenge_of(ident) for ident in idents if ident.count("|") in (1, 2, 3)}
    events = select(EVENTS.c.challenge_id).where(EVENTS.c.challenge_id.is_not(None)).distinct().limit(MOST_ROWS)
    for known in (EVENTS.c.challenge_id.in_(idents), EVENTS.c.request_id.in_(idents)):
        found |= {str(row[0]) for row in database.query(events.where(known), {})}
    for statement in (
        select(PROOFS.c.key).where(reference_part(PROOFS.c.proof).in_(idents)),
        select(REFUNDS.c.key).where(REFUNDS.c.refund_id.in_(idents)),
    ):
        keys = [str(row[0]) for row in database.query(statement.limit(MOST_ROWS), {})]
        found |= {challenge_of(key) for key in keys if key}
    handles = [ident.rpartition("|")[2] for ident in idents]
    awaited = select(TEXTS.c.value).where(
        text(HANDLES), TEXTS.c.namespace.in_((AWAITED, WAITING)), last_part(TEXTS.c.key).in_(handles)
    )
    found |= {str(row[0]) for row in database.query(awaited.limit(MOST_ROWS), {}) if row[0]}
    return found - {""} or set(idents)


def _rows(database: "Database", statement: Select[*tuple[object, ...]]) -> tuple[Row, ...]:
    names = [column.name for column in statement.selected_columns]
    rows: Sequence[Sequence[str | int | float | None]] = database.query(statement.limit(MOST_ROWS), {})
    return tuple(dict(zip(names, row, strict=True)) for row in rows)
