"""Whether a SQL ledger holds together: every invariant, over all rows, in pages, so that memory stays bounded.

Read while the app goes on: what changes between two pages may be looked at twice. So a finding that concerns more than
one row is looked at again before it is told.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, or_, select

from flovia.core import events as ev
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, ISSUED, PARKED, PAYMENT, REFUNDED, SETTLED
from flovia.core.owed import challenge_of
from flovia.ledger.retention import events_floor
from flovia.ledger.sql_schema import EVENTS, META, PAYMENTS, PROOFS, REFUNDS, SCHEMA_VERSION

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

PAGE: Final = 200
_UNPAID: Final = (ISSUED, CLAIMED, PARKED)
_ORDER_STATES: Final = ("open", "refunded", "refused")
_MONEY: Final = (ev.PAYMENT_SETTLED, ev.PAYMENT_LATE, ev.PAYMENT_UNMATCHED)
Value = str | int | float | None
Check = Callable[["Database"], Iterator["Finding"]]


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that does not hold.

    ``subject``: the key, proof or event it is about. ``ident``: what ``flovia ledger show`` finds it by, "" if nothing.
    """

    invariant: str
    subject: str
    text: str
    ident: str = ""


@attrs.define(kw_only=True)
class Counts:
    """How many rows were looked at."""

    payments: int = 0
    proofs: int = 0
    refunds: int = 0
    events: int = 0


def verify(database: "Database", counts: Counts | None = None) -> Iterator[Finding]:
    """Everything that does not hold, as it is found.

    Raises:
        LedgerError: the ledger does not answer.
    """
    counts = counts or Counts()
    yield from _schema(database)
    yield from _payments(database, counts)
    yield from _proofs(database, counts)
    yield from _keys(database)
    yield from _refunds(database, counts)
    yield from _events(database, counts)


# --- pages ------------------------------------------------------------------------------------------------


def _pages(
    database: "Database", table: Table, names: Sequence[str], order: str, where: ColumnElement[bool] | None = None
) -> Iterator[list[dict[str, Value]]]:
    """All rows, in the order of a unique column."""
    column = table.c[order]
    statement = select(*(table.c[name] for name in names)).order_by(column).limit(PAGE)
    if where is not None:
        statement = statement.where(where)
    after: Value = None
    while True:
        page = statement if after is None else statement.where(column > bindparam("after"))
        rows = database.query(page, {} if after is None else {"after": after})
        if not rows:
            return
        yield [dict(zip(names, row, strict=True)) for row in rows]
        after = rows[-1][list(names).index(order)]


def _schema(database: "Database") -> Iterator[Finding]:
    rows = database.query(select(META.c.name, META.c.value), {})
    found = {str(name): str(value) for name, value in rows}
    version = found.get("version", "")
    if version != str(SCHEMA_VERSION):
        yield Finding(
            invariant="schema",
            subject="flovia_meta",
            text=f"the tables have version {version or 'unknown'} and this flovia knows {SCHEMA_VERSION}",
        )


# --- payments ---------------------------------------------------------------------------------------------


def _payments(database: "Database", counts: Counts) -> Iterator[Finding]:
    names = (
        *("key", "state", "fence", "payment_id", "amount", "currency", "record", "deliveries", "lease_until"),
        *("keep_until", "refund_due", "proof"),
    )
    for rows in _pages(database, PAYMENTS, names, "key"):
        counts.payments += len(rows)
        for row in rows:
            yield from (_finding(row["key"], *found) for found in _payment(row))
        # A payment of the first schema has its proof in the other table only.
        proofs = [str(row["proof"]) for row in rows if row["proof"] is not None]
        keys = {
            str(proof): str(key)
            for proof, key in database.query(select(PROOFS.c.proof, PROOFS.c.key).where(PROOFS.c.proof.in_(proofs)), {})
        }
        for row in rows:
            proof = row["proof"]
            if proof is None:
                continue
            held = keys.get(str(proof))
            if held is None:
                yield _finding(row["key"], "proof", "it was settled, and its proof is not among those used")
            elif held != row["key"]:
                yield _finding(row["key"], "proof", f"its proof was used for another payment, {held}")


def _payment(row: dict[str, Value]) -> Iterator[tuple[str, str]]:
    """What is wrong with one row by itself."""
    state, record = row["state"], row["record"]
    if state not in PAYMENT:
        yield "state", f"there is no state {state!r}"
        return
    if not isinstance(row["fence"], int) or row["fence"] < 1:
        yield "fence", f"its fence is {row['fence']!r}, less than 1"
    if not isinstance(row["deliveries"], int) or row["deliveries"] < 0:
        yield "deliveries", f"it has {row['deliveries']!r} deliveries"
    if "|" not in str(row["key"]):
        yield "key", "its key names no challenge"
    if state in _UNPAID:
        if record is not None or row["amount"] is not None:
            yield "unpaid", f"it is {state} and holds what was paid"
        if row["refund_due"]:
            yield "refund_due", f"it is {state} and its refund is due"
        return
    if not _is_amount(row["amount"]) or not row["currency"] or not row["payment_id"]:
        yield "amount", f"it is {state}, and its amount, currency or payment id cannot be read"
    if state in (SETTLED, DELIVERING) and record is None:
        yield "record", f"it is {state}, and what its credential would be answered with is gone"
    if state in (DELIVERED, REFUNDED) and record is not None:
        yield "record", f"it is {state}, and what its receipt is made of was not let go"
    if state == DELIVERED and row["deliveries"] == 0:
        yield "deliveries", "it is delivered, and no delivery was begun"


# --- proofs -----------------------------------------------------------------------------------------------


def _proofs(database: "Database", counts: Counts) -> Iterator[Finding]:
    floor = events_floor(database)
    for rows in _pages(database, PROOFS, ("proof", "key", "at", "amount", "currency"), "proof"):
        counts.proofs += len(rows)
        for row in rows:
            if row["amount"] is not None and not _is_amount(row["amount"]):
                yield _finding(row["proof"], "amount", f"its amount {row['amount']!r} is no number of base units")
            if "|" not in str(row["proof"]):
                yield _finding(row["proof"], "proof", "it names no payment method")
        recent = [row for row in rows if row["key"] and isinstance(row["at"], int | float) and row["at"] > floor]
        counted = _count_events(database, {challenge_of(str(row["key"])) for row in recent})
        for row in recent:
            for text in _told(row, counted):
                again = _count_events(database, {challenge_of(str(row["key"]))})
                if text in _told(row, again):
                    yield _finding(row["proof"], "events", text)


def _count_events(database: "Database", challenges: set[str]) -> dict[tuple[str, str, str], int]:
    """How many events of each kind there are, by challenge and payment id."""
    if not challenges:
        return {}
    statement = cast(
        "Select[*tuple[object, ...]]",
        select(EVENTS.c.challenge_id, EVENTS.c.payment_id, EVENTS.c.type, func.count())
        .where(EVENTS.c.challenge_id.in_(challenges), EVENTS.c.type.in_(_MONEY))
        .group_by(EVENTS.c.challenge_id, EVENTS.c.payment_id, EVENTS.c.type),
    )
    rows = database.query(statement, {})
    return {(str(challenge), str(payment), str(type_)): int(count or 0) for challenge, payment, type_, count in rows}


def _told(row: dict[str, Value], counted: dict[tuple[str, str, str], int]) -> Iterator[str]:
    """What is wrong with the events of one used proof: as many settlements in the stream as in the tables."""
    key, payment_id = str(row["key"]), str(row["proof"]).partition("|")[2]
    settled, *owed = (counted.get((challenge_of(key), payment_id, type_), 0) for type_ in _MONEY)
    if key.count("|") > 1:
        if sum(owed) != 1 or settled:
            yield f"it is money to go back, and {sum(owed)} events tell of it (and {settled} of a settlement)"
    elif settled != 1:
        yield f"it was settled once, and {settled} events tell of that"


def _keys(database: "Database") -> Iterator[Finding]:
    """One payment, one proof."""
    statement = cast(
        "Select[*tuple[object, ...]]",
        select(PROOFS.c.key, func.count())
        .where(PROOFS.c.key != "")
        .group_by(PROOFS.c.key)
        .having(func.count() > 1)
        .order_by(PROOFS.c.key)
        .limit(PAGE),
    )
    for key, count in database.query(statement, {}):
        yield _finding(key, "proof", f"it used {count} proofs")
    used = select(PROOFS.c.proof).where(PROOFS.c.key == PAYMENTS.c.key).exists()
    bare = and_(PAYMENTS.c.proof.is_(None), PAYMENTS.c.state.in_((SETTLED, DELIVERING, DELIVERED, REFUNDED)))
    for (key,) in database.query(select(PAYMENTS.c.key).where(bare, ~used).order_by(PAYMENTS.c.key).limit(PAGE), {}):
        yield _finding(key, "proof", "it was settled, and no proof of it is among those used")


# --- refunds ----------------------------------------------------------------------------------------------


def _refunds(database: "Database", counts: Counts) -> Iterator[Finding]:
    names = ("proof", "key", "state", "amount", "paid", "nonce", "fence")
    for rows in _pages(database, REFUNDS, names, "proof"):
        counts.refunds += len(rows)
        for row in rows:
            yield from (_finding(row["proof"], *found) for found in _refund(row))
        wanted = [str(row["proof"]) for row in rows]
        proofs = {
            str(proof): str(key)
            for proof, key in database.query(select(PROOFS.c.proof, PROOFS.c.key).where(PROOFS.c.proof.in_(wanted)), {})
        }
        states = select(PAYMENTS.c.key, PAYMENTS.c.state, PAYMENTS.c.refund_due)
        keys = [str(row["key"]) for row in rows]
        payments = {
            str(key): (str(state), bool(due))
            for key, state, due in database.query(states.where(PAYMENTS.c.key.in_(keys)), {})
        }
        for row in rows:
            if proofs.get(str(row["proof"])) != row["key"]:
                yield _finding(row["proof"], "refund", "it is a refund of a payment whose proof was not used")
            state, due = payments.get(str(row["key"]), (None, True))
            if row["state"] == "refunded" and state not in (None, REFUNDED):
                yield _finding(row["proof"], "refund", f"it went back, and its payment is {state}")
            if row["state"] == "open" and not due and state != REFUNDED:
                yield _finding(row["proof"], "refund", "its refund is under way, and its payment may be delivered")
    refunded = select(REFUNDS.c.proof).where(REFUNDS.c.key == PAYMENTS.c.key, REFUNDS.c.state == "refunded").exists()
    missing = select(PAYMENTS.c.key).where(PAYMENTS.c.state == REFUNDED, ~refunded)
    for (key,) in database.query(missing.order_by(PAYMENTS.c.key).limit(PAGE), {}):
        yield _finding(key, "refund", "it is refunded, and no refund of it is on record")


def _refund(row: dict[str, Value]) -> Iterator[tuple[str, str]]:
    if row["state"] not in _ORDER_STATES:
        yield "state", f"there is no state {row['state']!r} of a refund"
    if not _is_amount(row["amount"]) or not _is_amount(row["paid"]):
        yield "amount", "its amounts cannot be read"
    elif row["nonce"] and not 0 < int(str(row["amount"])) <= int(str(row["paid"])):
        yield "amount", f"{row['amount']} of {row['paid']} were to go back"


# --- events -----------------------------------------------------------------------------------------------


def _events(database: "Database", counts: Counts) -> Iterator[Finding]:
    """Every event can be read, and every settlement and delivery that is told of is in the tables."""
    methods = _methods(database)
    names = ("position", "type", "amount", "challenge_id", "payment_id", "request_id")
    telling = or_(
        EVENTS.c.type.in_((ev.PAYMENT_SETTLED, ev.PAYMENT_DELIVERED, ev.PAYMENT_REDELIVERED)),
        EVENTS.c.type.not_in(ev.EVENT_TYPES),
        EVENTS.c.amount.is_not(None),
    )
    for rows in _pages(database, EVENTS, names, "position", telling):
        counts.events += len(rows)
        for row in rows:
            subject, ident = f"event {row['position']}", _ident(row)
            if row["type"] not in ev.EVENT_TYPES:
                yield _finding(subject, "events", f"there is no event {row['type']!r}", ident)
            if row["amount"] is not None and not _is_amount(row["amount"]):
                yield _finding(subject, "amount", f"its amount {row['amount']!r} is no number of base units", ident)
        told = [
            row
            for row in rows
            if row["payment_id"] and row["type"] in (ev.PAYMENT_SETTLED, ev.PAYMENT_DELIVERED, ev.PAYMENT_REDELIVERED)
        ]
        wanted = [f"{method}|{row['payment_id']}" for row in told for method in methods]
        proofs = select(PROOFS.c.proof, PROOFS.c.key).where(PROOFS.c.proof.in_(wanted))
        used = {
            (str(proof).partition("|")[2], challenge_of(str(key)) if key else "")
            for proof, key in (database.query(proofs, {}) if wanted else ())
        }
        for row in told:
            if (str(row["payment_id"]), str(row["challenge_id"])) not in used:
                what = "settlement" if row["type"] == ev.PAYMENT_SETTLED else "delivery"
                text = f"it tells of a {what} of which no proof was used"
                yield _finding(f"event {row['position']}", "events", text, _ident(row))


def _ident(row: dict[str, Value]) -> str:
    """What an event is found by: its challenge, else its request. Of a payment the proof may be gone."""
    return str(row["challenge_id"] or row["request_id"] or row["payment_id"] or "")


def _methods(database: "Database") -> list[str]:
    """The payment methods of the proofs, each found by one look behind the one before."""
    found: list[str] = []
    after = ""
    while len(found) < PAGE:
        statement = select(func.min(PROOFS.c.proof)).where(PROOFS.c.proof > bindparam("after"))
        first = database.query(statement, {"after": after})[0][0]
        if first is None:
            break
        method = str(first).partition("|")[0]
        if found and method == found[-1]:
            break  # an order of texts that is not that of their bytes
        found.append(method)
        after = method + "}"  # behind the separator
    return found


def _finding(subject: Value, invariant: str, text: str, ident: str | None = None) -> Finding:
    """``ident``: what it is found by, if not by the subject."""
    return Finding(invariant=invariant, subject=str(subject), text=text, ident=str(subject) if ident is None else ident)


def _is_amount(value: Value) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal()
