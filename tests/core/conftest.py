"""What most tests of the core share: a shop, and one route of it."""

import pytest

import flovia
from tests.core.world import Shop


@pytest.fixture
def shop() -> Shop:
    """A shop of its own for every test."""
    return Shop()


@pytest.fixture
def paid(shop: Shop) -> flovia.PaidApi:
    """One route for a dollar."""
    return shop.flovia.paid_api(provider="mock", price="1.00 USD")
