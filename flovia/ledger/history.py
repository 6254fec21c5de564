"""Everything a SQL ledger knows about one payment, whichever of its ids is at hand. Nothing secret is read.

Not read are the record (it holds what a receipt is made of), the fingerprint of the credential, and nonces.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select

from flovia.core.events import FIELDS, Event
from flovia.core.owed import challenge_of
from flovia.ledger.sql_events import read_event
from flovia.ledger.sql_schema import EVENTS, PAYMENTS, PROOFS, REFUNDS, TEXTS

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
PAID: Final = "paid "
"""How a provider's keys begin where it remembers which payment of its backend's paid for what."""
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


def look_up(database: "Database", ident: str) -> History:
    """What is known under an id: of a challenge, a payment or its proof, a request, a refund, a provider's charge.

    A provider that remembers ``reference ID`` for an id of its backend's, with the payment id as the text, is found by
    that too; and by what the JSON text of its ``paid PAYMENT ID`` has in members that end with ``_id``.

    Raises:
        LedgerError: the ledger does not answer.
    """
    payment_ids = _payment_ids(database, ident)
    challenges = set[str]().union(*(_challenges(database, one) for one in payment_ids)) or {ident}
    columns = [EVENTS.c.position, *(EVENTS.c[name] for name in FIELDS)]
    related = select(EVENTS.c.request_id).where(EVENTS.c.challenge_id.in_(challenges))
    requests = {str(row[0]) for row in database.query(related.distinct().limit(MOST_ROWS), {})} | {ident}
    found = select(*columns).where(or_(EVENTS.c.challenge_id.in_(challenges), EVENTS.c.request_id.in_(requests)))
    events = database.query(found.order_by(EVENTS.c.position).limit(MOST_EVENTS), {})
    rows = select(*(PAYMENTS.c[name] for name in PAYMENT_FIELDS)).where(_of(PAYMENTS.c.key, challenges))
    payments = _rows(database, rows)
    named = [PROOFS.c.proof.endswith(f"|{one}", autoescape=True) for one in payment_ids]
    proof = or_(_of(PROOFS.c.key, challenges), *named)
    proofs = _rows(database, select(*(PROOFS.c[name] for name in PROOF_FIELDS)).where(proof))
    known = tuple(str(row["proof"]) for row in proofs)
    refunds = select(*(REFUNDS.c[name] for name in REFUND_FIELDS)).where(
        or_(REFUNDS.c.proof.in_(known), REFUNDS.c.refund_id == ident, REFUNDS.c.payment_id.in_(payment_ids))
    )
    return History(
        challenge_ids=tuple(sorted(challenges)),
        payments=payments,
        proofs=proofs,
        refunds=_rows(database, refunds),
        events=tuple(sorted((read_event(row[1:]) for row in events), key=lambda event: event.at)),
    )


def keys_of(database: "Database", ident: str) -> tuple[str, ...]:
    """The keys of the payments that an id stands for and whose rows are still there."""
    return tuple(str(row["key"]) for row in look_up(database, ident).payments)


def methods_of_charge(database: "Database", handle: str) -> set[str]:
    """The payment methods that have a charge of this name, presented or not.

    Raises:
        LedgerError: the ledger does not answer.
    """
    issued = select(TEXTS.c.key).where(
        TEXTS.c.namespace == "issued", TEXTS.c.key.endswith(f"|{handle}", autoescape=True)
    )
    return {str(row[0]).partition("|")[0] for row in database.query(issued.limit(MOST_ROWS), {})}


def _payment_ids(database: "Database", ident: str) -> set[str]:
    """The id, and the payments whose proof it is or whose backend's id."""
    found = {ident}
    proof = select(PROOFS.c.proof).where(PROOFS.c.proof == ident)
    found |= {str(row[0]).partition("|")[2] for row in database.query(proof, {})}
    member = TEXTS.c.value.contains(f'_id":"{ident}"', autoescape=True)
    kept = select(TEXTS.c.key, TEXTS.c.value).where(
        or_(TEXTS.c.key == f"{REFERENCE}{ident}", and_(TEXTS.c.key.startswith(PAID, autoescape=True), member))
    )
    for key, text in database.query(kept.limit(MOST_ROWS), {}):
        found.add(str(text) if str(key).startswith(REFERENCE) else str(key).removeprefix(PAID))
    return found


def _challenges(database: "Database", ident: str) -> set[str]:
    """The challenges that an id leads to."""
    found: set[str] = set()
    if ident.count("|") in (1, 2, 3):
        found.add(challenge_of(ident))
    events = select(EVENTS.c.challenge_id).where(
        or_(EVENTS.c.challenge_id == bindparam("ident"), EVENTS.c.request_id == bindparam("ident")),
        EVENTS.c.challenge_id.is_not(None),
    )
    found |= {str(row[0]) for row in database.query(events.distinct().limit(MOST_ROWS), {"ident": ident})}
    keys: set[str] = set()
    for statement in (
        select(PAYMENTS.c.key).where(PAYMENTS.c.payment_id == ident),
        select(PROOFS.c.key).where(PROOFS.c.proof.endswith(f"|{ident}", autoescape=True)),
        select(REFUNDS.c.key).where(or_(REFUNDS.c.refund_id == ident, REFUNDS.c.payment_id == ident)),
    ):
        keys |= {str(row[0]) for row in database.query(statement.limit(MOST_ROWS), {}) if row[0]}
    found |= {challenge_of(key) for key in keys}
    awaited = select(TEXTS.c.value).where(
        TEXTS.c.namespace.in_(("awaited", "waiting")), TEXTS.c.key.endswith(f"|{ident}", autoescape=True)
    )
    found |= {str(row[0]) for row in database.query(awaited.limit(MOST_ROWS), {}) if row[0]}
    return found


def _of(key: ColumnElement[str], challenges: set[str]) -> ColumnElement[bool]:
    """Keys of these challenges, whatever their realm, late money too."""
    ends = [key.endswith(f"|{challenge}", autoescape=True) for challenge in challenges]
    late = [key.contains(f"|{challenge}|", autoescape=True) for challenge in challenges]
    return or_(*ends, *late)


def _rows(database: "Database", statement: Select[*tuple[object, ...]]) -> tuple[Row, ...]:
    names = [column.name for column in statement.selected_columns]
    rows: Sequence[Sequence[str | int | float | None]] = database.query(statement.limit(MOST_ROWS), {})
    return tuple(dict(zip(names, row, strict=True)) for row in rows)
