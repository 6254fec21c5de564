"""The past of the demo: what is seeded before its dashboard is there, and what follows while it runs."""

import secrets
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs

from flovia.cli.misuse import Misused
from flovia.core.errors import WiringError

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.showcase.seeding import Where

_SLICE_S: Final = 0.2
_BREATH_S: Final = 0.01


@attrs.define(kw_only=True)
class Seeding:
    """What is to be seeded: so many ``attempts``, of which ``made`` are there."""

    attempts: int = 0
    where: "Where | None" = None
    made: int = 0
    _stopped: threading.Event = attrs.field(factory=threading.Event, init=False)

    def begin(self) -> None:
        """Make what the dashboard is to have on its first page.

        Raises:
            LedgerError: the ledger does not answer.
        """
        from flovia.showcase.seeding import FIRST, seed

        if self.where is not None:
            # Calls of the showcase write into the same file meanwhile, and get their turn.
            self.made = seed(self.where, min(self.attempts, FIRST), between=self._breathe, slice_s=_SLICE_S)

    def _breathe(self) -> bool:
        return not self._stopped.wait(_BREATH_S)

    def stop(self) -> None:
        """Let :meth:`begin` end early, in whichever thread it is."""
        self._stopped.set()

    def go_on(self, stack: ExitStack) -> None:
        """Make the rest in the background, until the stack ends."""
        from flovia.showcase.seeding import Background

        if self.where is not None and self.made < self.attempts:
            stack.callback(Background(self.where, self.attempts - self.made).close)


def seeding_of(url: str, ledger: "Ledger", attempts: int | None, *, own: bool) -> Seeding:
    """What is to be seeded; nothing is yet.

    Args:
        url: the ledger's.
        ledger: the same, opened.
        attempts: in all; None for what is worth looking at, and none in a ledger of the user's own.
        own: whether the user has named the ledger.

    Raises:
        Misused: too many.
        WiringError: the ledger is not empty, or in memory.
    """
    from flovia.showcase.seeding import FIRST, MOST, Where

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
    return Seeding(attempts=attempts, where=where)
