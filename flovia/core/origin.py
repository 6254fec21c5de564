"""Where this service may be asked for money: only under its own name, never under what a request claims.

The public origin is configuration. Without one, only a program's own machine is served: the Host, the bound
address and the peer must be loopback and no proxy may have been on the way. Everything else gets 400.
"""

import re
from typing import Final
from urllib.parse import urlsplit

import attrs

from flovia.core.errors import WiringError
from flovia.core.http import FieldSet, HttpRequest

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_PROXY_FIELDS: Final = FieldSet("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+").fullmatch
_HOST_FIELD: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?").fullmatch
_UNKNOWN_SERVERS: Final = frozenset({"", "waitress.invalid"})


def is_loopback(host: str) -> bool:
    """Whether a host name or address literal (no port) means this machine."""
    return host in LOOPBACK_NAMES or (
        host.startswith("127.") and host.count(".") == 3 and host.replace(".", "").isdecimal() and host.isascii()
    )


def host_without_port(host: str) -> str:
    """``example.com:80`` → ``example.com``, ``[::1]:80`` → ``[::1]``, in lower case; what is neither stays as it is.

    So a name that only begins like one of this machine is none (RFC 9110 7.2, RFC 3986 3.2.2).
    """
    host = host.strip().lower()
    found = _HOST_FIELD(host)
    return host if found is None else found[1]


@attrs.frozen(kw_only=True)
class Origin:
    """The public origin: scheme and host (with port, if not the scheme's own)."""

    scheme: str
    host: str

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """``https://api.example.com``.

        Raises:
            WiringError: not an origin, or plain http to anything but loopback.
        """
        try:
            parts = urlsplit(text)
            known = _HOST(parts.hostname or "") is not None and parts.port != 0
        except ValueError:  # brackets that do not match, a port that is none
            parts, known = urlsplit(""), False
        if (
            not known
            or not parts.hostname
            or parts.scheme not in ("http", "https")
            or parts.path not in ("", "/")
            or parts.query
            or parts.fragment
            or parts.username is not None
        ):
            # Before an @ stands a password, a query may hold a token, and what is no address may be a secret itself.
            shown = "…" if "@" in text or "://" not in text else re.split(r"[?#]", text, maxsplit=1)[0]
            raise WiringError(
                f"FLOVIA_PUBLIC_ORIGIN={shown!r} is not an origin; write scheme and host alone: https://api.example.com"
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise WiringError(
                f"FLOVIA_PUBLIC_ORIGIN={text!r} is plain http: a credential would travel in the clear."
                " Use the https:// origin your clients see (plain http is accepted for loopback only)"
            )
        return cls(scheme=parts.scheme, host=parts.netloc.lower())

    @property
    def public(self) -> bool:
        """True if clients reach it over TLS, from anywhere."""
        return self.scheme == "https"


def from_this_machine(request: HttpRequest) -> bool:
    """Whether a request came to a loopback bind, under a loopback Host, with no proxy in between."""
    headers = request.headers
    hosts = headers.get_all("host")
    if len(hosts) != 1 or not is_loopback(host_without_port(hosts[0])):
        return False
    if request.server not in _UNKNOWN_SERVERS and not is_loopback(request.server.lower()):
        return False
    if request.client and not is_loopback(request.client):
        return False
    return not headers.has_any(_PROXY_FIELDS)
