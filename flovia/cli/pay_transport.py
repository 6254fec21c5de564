"""The transport below the paying one in ``flovia pay``: its requests end, and what the last 402 asked is noted."""

import httpx

from flovia.deadline_transport import DeadlineTransport


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
        return response
