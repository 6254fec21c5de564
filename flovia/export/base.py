"""What an exporter sends, and what a place to send it to has to do."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from flovia.core.encoding import JsonObject
from flovia.core.errors import PeerError


@attrs.frozen(kw_only=True)
class Entry:
    """One event on its way to a sink.

    ``position``: in the ledger, growing. ``id``: stable and unique; a receiver that has seen it has seen the event.
    ``type``, ``at`` (Unix seconds) and ``data`` are the event's, ``data`` with camelCase names. ``body``: the
    whole CloudEvents 1.0 envelope as JSON in UTF-8, on one line, without a line end.
    """

    position: int
    id: str
    type: str
    at: float
    data: JsonObject = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class SinkError(PeerError):
    """The sink does not take a batch now; it will be offered again, for as long as it takes.

    Args:
        message: why, for an operator. Never an address, a key, or anything of an event.
        delivered: how many entries from the front of the batch the sink does have.
        retry_after_s: seconds that the sink asked to be left alone; None if it did not say.
    """

    def __init__(self, message: str, *, delivered: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.delivered = delivered
        self.retry_after_s = retry_after_s


class SinkRefused(SinkError):
    """The sink will not take this batch: something in it. Refused often enough alone, an entry is dead."""


class SinkGone(SinkError):
    """The sink is no more, and said so. The exporter ends."""


class Sink(Protocol):
    """A place that events are sent to. An exporter calls it from one thread, one call at a time.

    **Rules for an implementation.** ``deliver`` returns when the sink has every entry for good, and raises
    :class:`SinkError` or a kind of it otherwise; an entry may come twice and keeps its id. Every call ends by
    itself, within ten seconds or so: a lease of the exporter is at stake. No message or repr holds an address that
    opens something, or a key.
    """

    @property
    def label(self) -> str:
        """A word for logs: what kind of sink it is."""
        ...

    def deliver(self, batch: Sequence[Entry]) -> None:
        """Hand over a batch, in order.

        Raises:
            SinkError: not now; or not ever (:class:`SinkRefused`), or nothing any more (:class:`SinkGone`).
        """
        ...

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""
        ...
