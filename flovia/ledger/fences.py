"""Fences of payments whose rows were forgotten, so that a payment that comes back gets a larger one.

Its challenge has long expired then, but a process whose clock is behind may claim it, and another one that stood still
since before may wake up. In the meta table is the largest fence of all rows that were ever forgotten, by whichever
payment: a row that is made afterwards begins behind it. A flovia of an older version neither writes nor reads it.
"""

from typing import Final

from sqlalchemy import BigInteger, Connection, Text, bindparam, cast, func, select, update

from flovia.ledger.sql_database import Upsert
from flovia.ledger.sql_schema import META, PAYMENTS

FLOOR: Final = "fences forgotten up to"
_FLOOR: Final = select(cast(META.c.value, BigInteger)).where(META.c.name == FLOOR)
_FIRST: Final = func.coalesce(_FLOOR.scalar_subquery(), 0) + 1
_BEGIN_AGAIN: Final = update(PAYMENTS).where(PAYMENTS.c.key == bindparam("of_key"))

FIRST_VALUES: Final = {"fence": _FIRST, "first_fence": _FIRST}
"""What an INSERT of a payment says of its fences."""


def checked(connection: Connection, key: str, fence: int) -> int:
    """The fence of a row that this transaction has just made, where others write meanwhile.

    The INSERT read the floor when it began. If it then waited for somebody to forget a row with the same key, it has
    read too early; whoever that was has committed by now, row and floor together.
    """
    floor = connection.scalar(_FLOOR)
    if floor is None or floor < fence:
        return fence
    connection.execute(_BEGIN_AGAIN, {"of_key": key, "fence": floor + 1, "first_fence": floor + 1})
    return floor + 1


def raise_floor(connection: Connection, upsert: Upsert, fence: int) -> None:
    """Note, in the transaction that forgets it, a row with this fence."""
    insert = upsert(META)
    old, new = cast(META.c.value, BigInteger), cast(insert.excluded.value, BigInteger)
    higher = insert.on_conflict_do_update(
        index_elements=[META.c.name], set_={"value": cast(insert.excluded.value, Text)}, where=old < new
    )
    connection.execute(higher, {"name": FLOOR, "value": str(fence)})
