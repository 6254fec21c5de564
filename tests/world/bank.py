"""The parts of the world that the gate asks: a bank that takes its time, and a ledger that fails for moments."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from flovia.core.effects import Flow
from flovia.core.errors import LedgerError
from flovia.core.provider import Presented, Unknown, Verdict
from flovia.ledger.base import Ledger
from flovia.providers.mock import MockProvider
from tests.world.clock import Clock

VERBS: Final = frozenset({"claim", "settle", "deliver", "fail", "find", "release"})


@attrs.define
class Desk:
    """How the bank is doing. ``said_at``: when it gave its last verdict, ms since 1970."""

    clock: Clock
    takes_ms: int = 50
    down: bool = False
    said_at: int = 0


@attrs.frozen(kw_only=True)
class Bank(MockProvider):
    """The mock provider under a name of its own, so that its money counts."""

    desk: Desk

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the mock does, after a while; nobody knows while the bank is down."""
        desk = self.desk
        desk.clock.pass_by(desk.takes_ms)
        verdict = yield from MockProvider.verify(self, presented)
        desk.said_at = desk.clock.ms
        return Unknown() if desk.down else verdict


class Shaky:
    """A ledger whose next call of one verb fails: before it arrives, or with its answer lost."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.available = True
        self.trouble: tuple[str, bool] | None = None

    def plant(self, verb: str, *, arrives: bool = False) -> None:
        """Let the next call of a verb fail."""
        self.trouble = verb, arrives

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        return self._guarded(name, found) if name in VERBS and self.trouble else found

    def _guarded(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def guarded(*arguments: object) -> object:
            if self.trouble is None or self.trouble[0] != name:
                return call(*arguments)
            arrives = self.trouble[1]
            self.trouble = None
            if arrives:
                call(*arguments)
            raise LedgerError("test: the ledger is down for a moment")

        return guarded
