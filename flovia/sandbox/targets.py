"""Where webhooks may go: to this machine, and nowhere else."""

from flovia.sandbox.fields import api_problem
from flovia.sandbox.wire import is_local


def check_target(url: str, name: str) -> None:
    """Refuse a webhook that would leave this machine.

    Raises:
        Refused: 422.
    """
    if not is_local(url):
        raise api_problem(
            name, "The sandbox sends webhooks to loopback addresses only, such as http://127.0.0.1:8000/."
        )
