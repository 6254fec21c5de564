"""Events to an HTTP endpoint: one signed POST a batch, in CloudEvents' JSON batch format.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md section 3.3
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flovia.core.encoding import b64url_encode
from flovia.core.errors import WiringError
from flovia.core.origin import is_loopback
from flovia.export.base import Entry, SinkError, SinkGone, SinkRefused
from flovia.export.loops import Loop
from flovia.export.signing import read_secrets, signed_headers

if TYPE_CHECKING:
    import httpx

CONTENT_TYPE: Final = "application/cloudevents-batch+json"
DEADLINE_S: Final = 10.0
READ_S: Final = 1.0
MAX_ANSWER: Final = 16 * 1024
"""What is read of an answer, so that its connection can be used again. Nothing in it counts."""
ABOUT_THE_ENDPOINT: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 426, 429})
"""Refusals that say nothing about the events: sent to the right place with the right secret they would be taken."""
GONE: Final = 410


class WebhookSink:
    """POSTs batches; any 2xx means that the endpoint has them for good.

    Redirects are not followed, proxies of the environment not used. 410 ends the exporter. A 4xx that is about what
    was sent counts towards the dead letters; all else (no answer, 5xx, 429, 401, 404, 3xx) means to wait, as long as
    ``Retry-After`` says.

    Args:
        url: the endpoint: https, or http on this machine. It may be worth money and is neither shown nor logged.
        secrets: ``whsec_…``: all of them sign, so that the receiver can change from one to the next.
        deadline_s: for one whole POST, seconds.
        clock: Unix seconds, for signatures and ``Retry-After``.

    Raises:
        WiringError: the URL or a secret cannot work.
    """

    label = "webhook"

    def __init__(
        self,
        url: str,
        secrets: str | Sequence[str],
        *,
        deadline_s: float = DEADLINE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = _checked(url)
        self._keys = read_secrets(secrets)
        self._deadline_s = deadline_s
        self._clock = clock
        self._loop = Loop()
        self._transport: httpx.AsyncHTTPTransport | None = None

    def __repr__(self) -> str:
        return "<WebhookSink>"

    def deliver(self, batch: Sequence[Entry]) -> None:
        """See :meth:`flovia.export.base.Sink.deliver`."""
        import httpx

        body = b"[" + b",".join(one.body for one in batch) + b"]"
        ident = batch_id(batch)
        headers = [
            ("content-type", CONTENT_TYPE),
            ("user-agent", "flovia-export"),
            *signed_headers(self._keys, ident, int(self._clock()), body),
        ]
        if not self._loop.is_ours:
            self._transport = None
        try:
            status, retry_after = self._loop.run(self._post, headers, body)
        except TimeoutError:
            raise SinkError(f"no answer within {self._deadline_s:g} s") from None
        except httpx.HTTPError as error:
            raise SinkError(f"no answer: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        if status == GONE:
            raise SinkGone("the endpoint answered 410 Gone: it wants no more events")
        wait_s = _seconds(retry_after, self._clock())
        if 300 <= status < 400:
            raise SinkError(f"the endpoint answered {status}: redirects are not followed, give its new address")
        if 400 <= status < 500 and status not in ABOUT_THE_ENDPOINT:
            raise SinkRefused(f"the endpoint answered {status}", retry_after_s=wait_s)
        raise SinkError(f"the endpoint answered {status}", retry_after_s=wait_s)

    def close(self) -> None:
        """See :meth:`flovia.export.base.Sink.close`."""
        transport, self._transport = self._transport, None
        if transport is not None and self._loop.is_ours:
            self._loop.run(transport.aclose)
        self._loop.close()

    async def _post(self, headers: list[tuple[str, str]], body: bytes) -> tuple[int, str | None]:
        """Status and ``Retry-After``, within the deadline, however slowly anything comes."""
        import anyio
        import httpx

        # The transport itself: a client would log the address, keep cookies and ask the environment for proxies.
        transport = self._transport
        if transport is None:
            transport = self._transport = httpx.AsyncHTTPTransport()
        try:
            with anyio.fail_after(self._deadline_s):
                request = httpx.Request("POST", self._url, headers=headers, content=body)
                response = await transport.handle_async_request(request)
                try:
                    with anyio.move_on_after(READ_S):
                        await _skim(response)
                except httpx.HTTPError:
                    pass  # the status is the answer
                finally:
                    await response.aclose()
                return response.status_code, response.headers.get("retry-after")
        except BaseException:
            self._transport = None
            with anyio.move_on_after(READ_S, shield=True):
                await transport.aclose()
            raise


def batch_id(batch: Sequence[Entry]) -> str:
    """The ``webhook-id``: the same for the same events, and the event's own id if there is one only."""
    if len(batch) == 1:
        return batch[0].id
    return "msg_" + b64url_encode(sha256(" ".join(one.id for one in batch).encode()).digest()[:24])


async def _skim(response: "httpx.Response") -> None:
    seen = 0
    async for chunk in response.aiter_raw():
        seen += len(chunk)
        if seen > MAX_ANSWER:
            return


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise WiringError("the webhook's URL is none; write https://collector.example.com/events") from None
    if not host or parts.username is not None or parts.fragment:
        raise WiringError(
            "the webhook's URL has a host, and no user and no fragment: https://collector.example.com/events"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise WiringError("events say who paid: the webhook's URL is https, or http on this machine")
    return url


def _seconds(retry_after: str | None, now: float) -> float | None:
    """``Retry-After`` (RFC 9110 section 10.2.3) in seconds; None if it says nothing that can be read."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    return max(0.0, at - now) if math.isfinite(at) else None
