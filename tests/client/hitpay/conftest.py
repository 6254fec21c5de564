"""A sandbox and a shop over it."""

from collections.abc import Generator
from contextlib import ExitStack

import attrs
import pytest

from flovia.sandbox import Sandbox, serving
from tests.client.hitpay.shop import Shop
from tests.client.server import Server
from tests.client.server import serving as shop_serving


@attrs.frozen(kw_only=True)
class Street:
    """The sandbox, the shop, and the shop's server."""

    sandbox: Sandbox
    shop: Shop
    server: Server


@pytest.fixture
def street() -> Generator[Street]:
    """One of each, on loopback."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(serving(seed=7))
        shop = Shop(sandbox)
        stack.callback(shop.close)
        yield Street(sandbox=sandbox, shop=shop, server=stack.enter_context(shop_serving(shop)))
