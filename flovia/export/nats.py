"""Events to a stream of NATS JetStream, by its own client; the server removes what comes twice.

https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive section "Message Deduplication"
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flovia.core.errors import WiringError
from flovia.export.base import Entry, SinkError, SinkRefused
from flovia.export.loops import Loop

if TYPE_CHECKING:
    import asyncio

    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import PubAck

SUBJECT: Final = "flovia"
CONNECT_S: Final = 3
DEADLINE_S: Final = 10.0
NOT_STORED: Final = frozenset({10054})
"""JetStream's error codes that are about the message: it is larger than the stream takes."""

_log: Final = logging.getLogger("flovia.export")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


class NatsSink:
    """Publishes every event under ``SUBJECT.TYPE``, such as ``flovia.payment.settled``, with its id as ``Nats-Msg-Id``.

    A batch is delivered when the stream has acknowledged every event of it. There must be a stream that takes
    ``SUBJECT.>``; it removes doubles within its own window (two minutes, unless it says otherwise).

    Args:
        url: ``nats://`` or ``tls://`` with the server's address, and a token or user if it wants one. Neither shown
            nor logged.
        subject: what the subjects begin with.
        credentials: a ``.creds`` file.
        deadline_s: for one whole batch, seconds.

    Raises:
        WiringError: the URL or the subject cannot work, or the package is not there.
    """

    label = "nats"

    def __init__(
        self,
        url: str,
        *,
        subject: str = SUBJECT,
        credentials: Path | str | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        try:
            import nats.aio.client
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "nats":
                raise
            raise WiringError("NATS needs its client: pip install 'flovia[nats]'") from None
        parts = urlsplit(url)
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise WiringError("a NATS server is written nats://host:4222, or tls://host:4222")
        if not _TOKEN.fullmatch(subject):
            raise WiringError("a NATS subject is letters, digits, - and _, with dots between them")
        self._client_type = nats.aio.client.Client
        self._url = url
        self._subject = subject
        self._credentials = None if credentials is None else str(credentials)
        self._deadline_s = deadline_s
        self._loop = Loop()
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None

    def __repr__(self) -> str:
        return "<NatsSink>"

    def deliver(self, batch: Sequence[Entry]) -> None:
        """See :meth:`flovia.export.base.Sink.deliver`."""
        if not self._loop.is_ours:
            self._client = self._stream = None
        self._loop.run(self._deliver, batch)

    def close(self) -> None:
        """See :meth:`flovia.export.base.Sink.close`."""
        if self._client is not None and self._loop.is_ours:
            self._loop.run(self._hang_up)
        self._client = self._stream = None
        self._loop.close()

    async def _deliver(self, batch: Sequence[Entry]) -> None:
        import anyio

        delivered = 0
        waiting: list[asyncio.Future[PubAck]] = []
        try:
            with anyio.fail_after(self._deadline_s):
                stream = await self._connected()
                for one in batch:
                    headers = {"Nats-Msg-Id": one.id, "Content-Type": "application/cloudevents+json"}
                    waiting.append(await stream.publish_async(f"{self._subject}.{one.type}", one.body, headers=headers))
                for acknowledgement in waiting:
                    await acknowledgement
                    delivered += 1
        except Exception as error:
            for one_left in waiting:
                if not one_left.cancel() and not one_left.cancelled():
                    one_left.exception()  # looked at, so that asyncio does not complain that nobody did
            # Whatever it is, the next batch gets a connection of its own.
            await self._hang_up()
            raise self._failure(error, delivered) from None

    async def _connected(self) -> "JetStreamContext":
        if self._stream is None or self._client is None or not self._client.is_connected:
            await self._hang_up()
            self._client = self._client_type()
            await self._client.connect(
                self._url,
                name="flovia-export",
                allow_reconnect=False,  # the exporter does that, and knows what was acknowledged
                connect_timeout=CONNECT_S,
                error_cb=_quiet,
                user_credentials=self._credentials,
            )
            self._stream = self._client.jetstream()
        return self._stream

    def _failure(self, error: Exception, delivered: int) -> SinkError:
        """What an error of the client means. Its own text may name an address, so it is not passed on."""
        import nats.errors
        import nats.js.errors

        if isinstance(error, nats.errors.MaxPayloadError):
            return SinkRefused("an event is larger than the NATS server takes", delivered=delivered)
        if isinstance(error, nats.js.errors.APIError):
            words = f"JetStream answered {error.code} ({error.err_code}): {error.description}"
            return (SinkRefused if error.err_code in NOT_STORED else SinkError)(words, delivered=delivered)
        if isinstance(error, nats.js.errors.NoStreamResponseError):
            return SinkError(f"no stream of the NATS server takes {self._subject}.>; add one", delivered=delivered)
        return SinkError(f"the NATS server does not answer: {type(error).__name__}", delivered=delivered)

    async def _hang_up(self) -> None:
        import anyio

        client, self._client, self._stream = self._client, None, None
        if client is not None:
            try:
                with anyio.move_on_after(1.0, shield=True):
                    await client.close()
            except Exception as error:  # of a connection that nobody wants any more
                _log.debug("closing a NATS connection: %s", type(error).__name__)


async def _quiet(error: Exception) -> None:
    """Whoever waits for an acknowledgement hears of it; the client's own log line would name the address."""
