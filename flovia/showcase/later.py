"""The dashboard of the showcase, which is made once the first page is out: it takes longer than that page does."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from flovia.dashboard.access import check_mounting
from flovia.web.site import HEADERS

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from flovia.api import Flovia
    from flovia.dashboard import Dashboard

_ENDED: Final = PlainTextResponse("the showcase has ended", 503, headers=dict(HEADERS))


class LaterDashboard:
    """A :class:`~flovia.dashboard.Dashboard` as an ASGI application, made by whoever needs it first.

    Args:
        flovia: whose ledger it shows.
        prepare: called once before, for what is to be on its pages from the first one on.

    Raises:
        WiringError: it would be open on a public origin, or the ledger lives in memory.
    """

    def __init__(self, flovia: "Flovia", prepare: Callable[[], None]) -> None:
        check_mounting(flovia, None, False)
        self._flovia, self._prepare = flovia, prepare
        self._lock = threading.Lock()
        self._made: Dashboard | None = None
        self._closed = False

    def make(self) -> "Dashboard | None":
        """The dashboard, made now if nobody has asked for it yet; None once it is closed. From any thread.

        Raises:
            WiringError: the ledger cannot be opened a second time.
            LedgerError: it does not answer; the next one tries again.
        """
        from flovia.dashboard import Dashboard

        with self._lock:
            if self._made is None and not self._closed:
                self._prepare()
                self._made = Dashboard(self._flovia)
            return self._made

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        made = self._made or await run_in_threadpool(self.make)
        await (made or _ENDED)(scope, receive, send)

    def close(self) -> None:
        """End it; may be called from any thread."""
        with self._lock:
            self._closed = True
            if self._made is not None:
                self._made.close()
