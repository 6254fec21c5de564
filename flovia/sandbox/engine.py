"""A running sandbox: the state behind a lock, a clock, and a thread that sends webhooks."""

import logging
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from types import TracebackType
from typing import Final, Self

import httpx

from flovia.core.errors import WiringError
from flovia.sandbox.core import handle
from flovia.sandbox.state import API, BROKER, State, initial
from flovia.sandbox.wire import Advance, Answered, Call, Post, Reply, Request, is_local

_log: Final = logging.getLogger("flovia.sandbox")
_ANSWER_WITHIN_S: Final = 30.0
"""How long a receiver may take (HitPay docs: events)."""

_ENDED_WITHIN_S: Final = 2.0
_LONGEST_WAIT_S: Final = 3600.0


@cache
def _trusted() -> ssl.SSLContext:
    """Read once: it takes tens of milliseconds, and there may be hundreds of sandboxes in one run of tests."""
    return httpx.create_ssl_context(trust_env=False)


class Engine:
    """Steps the pure core, one request at a time, and does what it asks for.

    ``seed``: what ids, keys and salts follow from; left out, a random one. ``manual``: the clock starts at
    ``now_ms`` (2030-01-01 if left out) and moves by control only; otherwise it is the time of day plus whatever
    it was moved by. ``limits``: see :data:`flovia.sandbox.faults.LIMITS`. ``webhook``: a URL on this machine that every
    merchant's events go to as well, signed with the salt that came with the charge (or setup) they are about.
    """

    def __init__(
        self,
        *,
        broker: str = BROKER,
        api: str = API,
        seed: int | None = None,
        manual: bool = False,
        now_ms: int | None = None,
        limits: Mapping[str, float] | None = None,
        webhook: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        seed = secrets.randbits(64) if seed is None else seed
        times = {} if now_ms is None else {"now": now_ms}
        if not manual and now_ms is None:
            times = {"now": round(time.time() * 1000)}
        self._state = initial(seed=seed, broker=broker, api=api, limits=limits, webhook=webhook, **times)
        self._manual = manual
        self._monotonic = monotonic
        self._last = monotonic()
        self._changed = threading.Condition()
        self._outbox: list[Post] = []
        self._thread: threading.Thread | None = None
        self._closing = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._deliver, name="flovia-sandbox-webhooks", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_ENDED_WITHIN_S)  # a receiver that hangs is left to itself: nobody waits for its answer

    @property
    def state(self) -> State:
        """The state as it is now; never changes."""
        with self._changed:
            return self._state

    def call(self, call: Call) -> Reply:
        """Answer one HTTP request."""
        with self._changed:
            self._tick()
            replies = self._step(call)
            return replies[0]

    def _step(self, request: Request) -> list[Reply]:
        self._state, responses = handle(self._state, request)
        posts = [found for found in responses if isinstance(found, Post)]
        if posts and self._thread is None:
            raise WiringError("webhooks need somebody to send them: use the sandbox as a context manager")
        self._outbox += posts
        self._changed.notify_all()
        return [found for found in responses if isinstance(found, Reply)]

    def _tick(self) -> None:
        """Move the clock by the time that went by."""
        if self._manual:
            return
        now = self._monotonic()
        passed = round((now - self._last) * 1000)
        if passed > 0:
            self._last += passed / 1000
            self._step(Advance(ms=passed))

    # --- the thread ------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """Send what is to be sent, and let the clock do its part, until the sandbox is closed."""
        with httpx.Client(
            verify=_trusted(), trust_env=False, follow_redirects=False, timeout=_ANSWER_WITHIN_S
        ) as client:
            while (post := self._next()) is not None:
                status = self._post(client, post)
                with self._changed:
                    self._tick()
                    self._step(Answered(delivery=post.delivery, status=status))

    def _next(self) -> Post | None:
        with self._changed:
            while not self._closing:
                self._tick()
                if self._outbox:
                    return self._outbox.pop(0)
                due = self._state.next_due
                wait = _LONGEST_WAIT_S if self._manual or due is None else max((due - self._state.now) / 1000, 0.001)
                self._changed.wait(min(wait, _LONGEST_WAIT_S))
            return None

    def _post(self, client: httpx.Client, post: Post) -> int:
        """The status of the answer, 0 without one."""
        if not is_local(post.url):
            return 0
        try:
            answer = client.post(post.url, headers=list(post.headers), content=post.body)
        except httpx.HTTPError as error:
            _log.debug("webhook %s: no answer (%s)", post.delivery, type(error).__name__)
            return 0
        _log.debug("webhook %s: %d", post.delivery, answer.status_code)
        return answer.status_code
