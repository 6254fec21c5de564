"""What a ledger keeps for exporters: how far each sink is, who may feed it, and what it would not take.

A sink has a name. Its cursor is the position of the last event it has; it only moves forward. One exporter at a
time may move it, the holder of the lease, and each new holder has a larger fence.
"""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import attrs

from flovia.core.errors import CallerError, WiringError
from flovia.ledger.base import Ledger

MAX_PROBLEM: Final = 500
"""Characters that are kept of what a sink or a dead letter is in the way of."""


@attrs.frozen(kw_only=True)
class SinkLease:
    """The answer to a request for the lease. ``fence`` None: somebody else has it for ``wait_s`` more seconds."""

    fence: int | None
    position: int
    wait_s: float = 0.0


@attrs.frozen(kw_only=True)
class SinkView:
    """One sink. ``position``: of the last event it has. ``lease_until``: Unix seconds, in the past if nobody feeds it.

    ``problem``: why its events wait, "" if they do not. ``updated_at``: when something was last recorded about it.
    ``dead``: its dead letters.
    """

    name: str
    position: int
    fence: int
    lease_until: float
    problem: str
    updated_at: float
    dead: int


@attrs.frozen(kw_only=True)
class DeadLetter:
    """One event that a sink refused for good, kept until it is delivered after all.

    ``number`` counts the dead letters of a ledger; 0 in one that is to be written. ``body`` is the event as it
    was sent, JSON. ``reason``: the sink's last words. ``tries``: refusals. ``again``: it is to be delivered again.
    """

    number: int = 0
    position: int
    event_id: str
    body: str = attrs.field(repr=False)
    reason: str
    tries: int
    at: float = 0.0
    again: bool = False


@runtime_checkable
class SinkVerbs(Protocol):
    """The verbs for exporters. Every one is atomic; a store that fails raises ``LedgerError``.

    ``tests`` for authors: :class:`flovia.testing.ledger_sinks.SinkContract`.
    """

    def lease_sink(self, name: str, holder: str, lease_s: float) -> SinkLease:
        """Take the right to feed a sink, for ``lease_s`` seconds of the ledger's clock, under a new fence.

        A sink that is not known yet begins before the first event. ``holder`` names the exporter: it may take its
        own lease again at any time. While another one holds it nothing is written.
        """
        ...

    def advance_sink(
        self,
        name: str,
        fence: int,
        position: int,
        lease_s: float,
        problem: str = "",
        dead: Sequence[DeadLetter] = (),
    ) -> bool:
        """Move the cursor, record what was refused, and renew the lease, in one step; durable when it returns.

        False, and nothing is written, if the fence is stale or the cursor is further on already. With the cursor's
        own position it only renews. ``problem`` replaces the one on record.
        """
        ...

    def release_sink(self, name: str, fence: int) -> bool:
        """Let another exporter in at once. False if the fence is stale."""
        ...

    def find_sinks(self) -> Sequence[SinkView]:
        """All sinks, by name. Reads only."""
        ...

    def forget_sink(self, name: str) -> bool:
        """Forget a sink that is no more, with its dead letters. False if it is not known, or somebody feeds it."""
        ...

    def count_events(self, after: int, at_most: int) -> int:
        """How many events there are after a position; counting ends at ``at_most``. Reads only."""
        ...

    def find_dead(self, name: str, after: int = 0, limit: int = 100, *, again: bool = False) -> Sequence[DeadLetter]:
        """Dead letters of a sink with numbers above ``after``, in order; ``again``: only those marked so."""
        ...

    def revive_dead(self, name: str, numbers: Sequence[int] | None = None) -> int:
        """Mark dead letters, all or those with these numbers, to be delivered again; returns how many are marked."""
        ...

    def end_dead(self, name: str, fence: int, number: int, reason: str | None) -> bool:
        """Record how a dead letter fared. ``reason`` None: it was delivered, forget it; else refused once more.

        False, and nothing is written, if the fence is stale.
        """
        ...


class SinkLedger(Ledger, SinkVerbs, Protocol):
    """A ledger that exporters can read from."""


def with_sinks(ledger: Ledger) -> SinkLedger:
    """The ledger, which must know the verbs for exporters.

    Raises:
        WiringError: it does not: a ledger somebody wrote before there were any.
    """
    if not isinstance(ledger, SinkVerbs):
        raise WiringError(
            f"{type(ledger).__name__} keeps no cursors for exporters; give it the verbs of"
            " flovia.ledger.sinks.SinkVerbs, or read its events with read_events"
        )
    return ledger


def checked_name(name: str) -> str:
    """The name of a sink: 1 to 100 visible ASCII characters.

    Raises:
        CallerError: it is none.
    """
    if not (0 < len(name) <= 100 and name.isascii() and name.isprintable() and " " not in name):
        raise CallerError("a sink's name is 1 to 100 visible ASCII characters without spaces, such as warehouse")
    return name


@attrs.frozen(kw_only=True)
class Backlog:
    """What a sink has yet to get. ``events``: how many, up to ``at_most``; ``oldest_at``: of the first, Unix seconds.

    ``problem`` and ``dead`` are :class:`SinkView`'s. ``fed``: an exporter holds the lease.
    """

    name: str
    events: int
    at_most: int
    oldest_at: float | None
    problem: str
    dead: int
    fed: bool

    def age_s(self, now: float) -> float:
        """For how long the oldest one has waited, seconds; 0 if none waits."""
        return 0.0 if self.oldest_at is None else max(0.0, now - self.oldest_at)


def backlogs(ledger: SinkLedger, now: float, *, at_most: int = 100_000) -> list[Backlog]:
    """How far behind each sink is, by name.

    Raises:
        LedgerError: the store cannot answer.
    """
    found: list[Backlog] = []
    for sink in ledger.find_sinks():
        oldest = ledger.read_events(sink.position, 1)
        found.append(
            Backlog(
                name=sink.name,
                events=ledger.count_events(sink.position, at_most),
                at_most=at_most,
                oldest_at=oldest[0][1].at if oldest else None,
                problem=sink.problem,
                dead=sink.dead,
                fed=sink.lease_until > now,
            )
        )
    return found


def backlog(ledger: SinkLedger, name: str, now: float, *, at_most: int = 100_000) -> Backlog | None:
    """How far behind one sink is; None if no exporter was ever started for it.

    Raises:
        LedgerError: the store cannot answer.
    """
    return next((one for one in backlogs(ledger, now, at_most=at_most) if one.name == name), None)
