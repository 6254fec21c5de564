"""The showcase's site, served without a key: its pages are there, and its paid route says what is missing."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import flovia
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.showcase.app import Showcase
from flovia.showcase.shop import Shop
from flovia.testing.servers import serve_asgi


@contextmanager
def served(folder: Path) -> Generator[str]:
    """The site's address."""
    flo = flovia.Flovia(
        secret="test-secret-of-32-characters-000",
        realm="test",
        public_origin="http://127.0.0.1:1",
        ledger=f"sqlite:///{folder}/ledger.db",
    )
    provider = HitPayProvider(HitPayConfig(api_key=None))
    site = Showcase(Shop(flovia=flo, provider=provider, url="http://127.0.0.1:1", folder=folder))
    with serve_asgi(site) as found:
        yield found
    site.close()
    flo.close()
