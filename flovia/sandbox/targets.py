"""Where webhooks may go: to this machine, and nowhere else."""

from urllib.parse import urlsplit

from flovia.sandbox.fields import api_problem
from flovia.sandbox.wire import is_loopback


def is_local(url: str) -> bool:
    """Whether a URL is plain HTTP(S) to a loopback host, without anything that could make it mean another."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    return (
        parts.scheme in ("http", "https")
        and parts.username is None
        and port != 0
        and url.isascii()
        and url.isprintable()
        and "\\" not in url
        and is_loopback(host)
    )


def check_target(url: str, name: str) -> None:
    """Refuse a webhook that would leave this machine.

    Raises:
        Refused: 422.
    """
    if not is_local(url):
        raise api_problem(
            name, "The sandbox sends webhooks to loopback addresses only, such as http://127.0.0.1:8000/."
        )
