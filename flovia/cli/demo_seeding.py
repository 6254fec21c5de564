"""The past of the demo: what is seeded before its first page, and what follows while it runs."""

import secrets
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs

from flovia.cli.misuse import Misused
from flovia.core.errors import WiringError

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.showcase.seeding import Where


@attrs.frozen(kw_only=True)
class Seeding:
    """What is seeded: ``made`` so far, and ``left`` for the background."""

    made: int = 0
    left: int = 0
    where: "Where | None" = None

    def go_on(self, stack: ExitStack) -> None:
        """Make the rest in the background, until the stack ends."""
        if self.where is not None and self.left > 0:
            from flovia.showcase.seeding import Background

            stack.callback(Background(self.where, self.left).close)


def seed_first(url: str, ledger: "Ledger", attempts: int | None, *, own: bool) -> Seeding:
    """Seed what has to be there before the first page.

    Args:
        url: the ledger's.
        ledger: the same, opened.
        attempts: in all; None for what is worth looking at, and none in a ledger of the user's own.
        own: whether the user has named the ledger.

    Raises:
        Misused: too many.
        WiringError: the ledger is not empty, or in memory.
    """
    from flovia.showcase.seeding import FIRST, MOST, Where, seed

    if attempts is None:
        attempts = 0 if own else FIRST
    if not 0 <= attempts <= MOST:
        raise Misused(f"--seed-attempts is a number from 0 to {MOST}, not {attempts}")
    if attempts == 0:
        return Seeding()
    if not ledger.shared:
        raise WiringError("a ledger in memory cannot be seeded: leave --ledger out, or name a SQLite file")
    if ledger.read_events(limit=1):
        raise WiringError("this ledger has events already, and seeded ones would be among them: name an empty one")
    where = Where(url=url, secret=secrets.token_bytes(32), realm="flovia demo world", now=time.time())
    made = seed(where, min(attempts, FIRST))
    return Seeding(made=made, left=attempts - made, where=where)
