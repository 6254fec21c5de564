"""Which provider a name stands for."""

import flovia
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from flovia.providers.registry import Roster


def test_a_name_is_the_object_that_the_app_has_given() -> None:
    """Not another one with settings of its own: it would not know the key, and could not tell what the other did."""
    mine = MockProvider()
    assert mine is Roster(mine).find("mock")
    beside = Roster(None)
    beside.find(mine)
    assert mine is beside.find("mock")


def test_two_of_one_name_are_told_apart_by_nobody() -> None:
    """Then the name is the one that is registered, each time the same."""
    roster = Roster(MockProvider())
    roster.find(MockProvider(live=False))
    found = roster.find("mock")
    assert found is roster.find("mock")
    assert 3 == len(roster.all())


def test_whose_a_provider_is() -> None:
    """An app has its default provider, and those of its routes."""
    flo = flovia.Flovia(ledger=MemoryLedger(), secret="test-secret-of-32-characters-000")
    assert not flo.has_provider("mock")
    flo.paid_api(provider="mock", price="1.00 USD")
    assert flo.has_provider("mock")
    assert not flo.has_provider("hitpay")
