"""An event loop in a thread of its own, for clients that know asyncio only.

So a sink is a plain object whatever the app runs on: threads, asyncio or trio.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Loop:
    """Runs coroutines for whoever waits. Its thread starts with the first one and ends with ``close``."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._leave: AbstractContextManager[BlockingPortal] | None = None
        self._pid = 0

    @property
    def is_ours(self) -> bool:
        """False in a child that was forked since: the thread was left behind."""
        return self._portal is not None and self._pid == os.getpid()

    def run(self, function: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
        """Await ``function(*arguments)`` there; returns or raises what it does."""
        if self._portal is None or not self.is_ours:
            from anyio.from_thread import start_blocking_portal

            self._leave = start_blocking_portal("asyncio", name="flovia-export-loop")
            self._portal = self._leave.__enter__()
            self._pid = os.getpid()
        return self._portal.call(function, *arguments)

    def close(self) -> None:
        """End the thread."""
        leave, ours = self._leave, self.is_ours
        self._portal = self._leave = None
        if leave is not None and ours:
            leave.__exit__(None, None, None)
