"""The transport below the paying one in ``flovia pay``: its requests end, and what the last 402 asked is noted.

Of a redirect only a short body is read.
"""

from typing import Final

import httpx

from flovia.deadline_transport import DeadlineTransport

_SKIPPED: Final = 1 << 16
"""Bytes of a redirect's body that are read, and thrown away."""
_OF_BODY: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class Watched(DeadlineTransport):
    """Puts the ``WWW-Authenticate`` values of each 402 into ``challenges``, in place of the last one's."""

    def __init__(self, challenges: list[str], *, total_s: float) -> None:
        super().__init__(total_s=total_s)
        self._challenges = challenges

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As :class:`~flovia.deadline_transport.DeadlineTransport`."""
        response = super().handle_request(request)
        if response.status_code == 402:
            self._challenges[:] = response.headers.get_list("www-authenticate")
        if response.has_redirect_location:
            # httpx reads all of it, which nobody ever sees. A short one leaves the connection usable.
            read = 0
            for chunk in response.iter_raw():
                read += len(chunk)
                if read > _SKIPPED:
                    break
            response.close()
            fields = [pair for pair in response.headers.raw if pair[0].lower() not in _OF_BODY]
            return httpx.Response(response.status_code, headers=fields, content=b"")
        return response
