"""What stands in a ledger, read past flovia by plain SQL, and what must be true of it."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import attrs
from sqlalchemy import NullPool, create_engine, text

from tests.campaigns.buying import Purchase
from tests.campaigns.serving import Server, Told
from tests.campaigns.shop import REALM

DRIVERS: Final = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


def query(url: str, statement: str, **values: object) -> list[tuple[object, ...]]:
    """All rows of one statement."""
    scheme, _, rest = url.partition(":")
    engine = create_engine(f"{DRIVERS[scheme]}:{rest}", poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


@attrs.frozen
class Accounts:
    """The tables at one moment. ``payments``: state by payment id; ``events``: (type, payment) of paid events."""

    payments: dict[str, str]
    proofs: Counter[str]
    events: Counter[tuple[str, str]]
    ids: Counter[str]

    @classmethod
    def read(cls, url: str) -> "Accounts":
        """All of it."""
        payments = query(url, "SELECT payment_id, state FROM flovia_payments WHERE payment_id IS NOT NULL")
        proofs = query(url, "SELECT proof FROM flovia_proofs")
        events = query(url, "SELECT type, payment_id, request_id, seq FROM flovia_events")
        return cls(
            {str(payment): str(state) for payment, state in payments},
            Counter(str(proof).partition("|")[2] for (proof,) in proofs),
            Counter((str(kind), str(payment)) for kind, payment, _, _ in events if str(kind).startswith("payment.")),
            Counter(f"{request}.{seq}" for _, _, request, seq in events),
        )

    def settled(self, payment: str) -> int:
        """Settlements of a payment that are in the stream."""
        return self.events["payment.settled", payment]

    def delivered(self, payment: str) -> int:
        """Deliveries that are in the stream."""
        return self.events["payment.delivered", payment] + self.events["payment.redelivered", payment]


def explained(told: Told, key: str, dead: Iterable[int]) -> int:
    """How many processes died between the last byte of this payment and its record."""
    dead = set(dead)
    begun = Counter(pid for pid, of in told.by_kind["last-byte"] if of == key)
    ended = Counter(pid for pid, of in told.by_kind["deliver"] if of == key)
    return sum(1 for pid in begun if pid in dead and begun[pid] > ended[pid])


def check(url: str, told: Told, purchases: Iterable[Purchase], realm: str, dead: Iterable[int]) -> Counter[str]:
    """Hold the ledger, its events and the buyers' experience against each other.

    Returns:
        what was counted: ``paid``, ``delivered``, ``second deliveries`` and so on.

    Raises:
        AssertionError: something was lost, settled twice or delivered for nothing.
    """
    told.catch_up()
    accounts = Accounts.read(url)
    dead = set(dead)
    found: Counter[str] = Counter()
    settled = Counter(text.partition("|")[2] for _, text in told.by_kind["settled"])
    begun = {key for _, key in told.by_kind["last-byte"]}
    twice = [payment for payment, times in settled.items() if times > 1]
    assert not twice, f"settled twice: {twice}"
    lost = [payment for payment in settled if payment not in accounts.proofs or not accounts.settled(payment)]
    assert not lost, f"settled, and not on record after a restart: {lost}"
    for kind, payment in accounts.events:
        if kind in ("payment.settled", "payment.delivered", "payment.redelivered", "payment.refunded"):
            assert accounts.events[kind, payment] == 1 or kind == "payment.redelivered", f"{kind} twice: {payment}"
    assert all(times == 1 for times in accounts.ids.values()), "two events share an id"
    for one in purchases:
        key = f"{realm}|{one.challenge}"
        state = accounts.payments.get(one.payment)
        if one.delivered == 0:
            assert key not in begun or state != "delivered", f"{one.proof}: on record as delivered, and nobody got it"
            found["not delivered"] += 1
            continue
        found["paid"] += 1
        assert state in ("delivered", "refunded"), f"{one.proof}: delivered, and its state is {state}"
        assert accounts.proofs[one.payment] == 1, f"{one.proof}: its proof is not on record once"
        assert accounts.settled(one.payment) == 1, f"{one.proof}: {accounts.settled(one.payment)} settlements"
        assert accounts.delivered(one.payment) == 1, f"{one.proof}: {accounts.delivered(one.payment)} deliveries"
        seconds = one.delivered - 1
        found["second deliveries"] += seconds
        if seconds:
            reasons = explained(told, key, dead)
            assert seconds <= reasons, f"{one.proof}: delivered {one.delivered} times, {reasons} deaths explain it"
    return found


def close_books(url: str, server: Server, purchases: Collection[Purchase]) -> Counter[str]:
    """End a server under which nobody died, and :func:`check`.

    Raises:
        AssertionError: a purchase has no end, something was delivered twice, or the server complained.
    """
    server.terminate()
    found = check(url, server.told, purchases, REALM, ())
    assert found["paid"] == len(purchases), "a purchase has no end"
    assert found["second deliveries"] == 0, "delivered twice, and nobody died"
    assert not server.errors(), "\n".join(server.errors())
    return found
