"""Whom flovia's own calls trust by TLS: what the system and the environment say, read once.

Reading the certificates takes a processor some 20 to 50 ms, and nothing else happens meanwhile: under asyncio and trio
no other request of the process is served. httpx reads them for every client that it makes
(https://www.python-httpx.org/advanced/ssl/), and a call to a backend is a client of its own.
"""

import os
import ssl
from typing import Final

_contexts: Final[dict[tuple[str | None, ...], ssl.SSLContext]] = {}


def tls_context(*, trust_env: bool = True) -> ssl.SSLContext:
    """httpx's own context, one and the same for as long as ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` say the same.

    It is shared: nobody may change it. ``trust_env``: whether these variables are heeded.
    """
    key = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")) if trust_env else ()
    found = _contexts.get(key)
    if found is None:
        import httpx

        found = _contexts[key] = httpx.create_ssl_context(trust_env=trust_env)
    return found
