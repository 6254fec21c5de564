"""What the interop tests share: one Node process, and one server per adapter, for the whole run."""

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from flovia.testing.fixture import ADAPTERS, serve
from tests.interop.agents import Agent, MppxAgent, PymppAgent
from tests.interop.javascript import Javascript
from tests.interop.storefront import Storefront
from tests.patience import PATIENT_S


@pytest.fixture(scope="session")
def javascript() -> Iterator[Javascript]:
    """mppx, in a Node process that lives as long as the tests."""
    with Javascript() as process:
        yield process


@pytest.fixture(params=["pympp", pytest.param("mppx", marks=pytest.mark.node)])
def agent(request: pytest.FixtureRequest) -> Agent:
    """Each foreign client."""
    if request.param == "pympp":
        return PymppAgent()
    javascript: Javascript = request.getfixturevalue("javascript")
    return MppxAgent(javascript)


@pytest.fixture(scope="session")
def storefronts() -> Iterator[dict[str, Storefront]]:
    """The fixture app of every adapter, each on a server of its own."""
    with ExitStack() as stack:
        plain = stack.enter_context(httpx.Client(timeout=PATIENT_S))
        yield {adapter: Storefront(stack.enter_context(serve(adapter)), plain) for adapter in ADAPTERS}


@pytest.fixture(params=ADAPTERS)
def storefront(request: pytest.FixtureRequest, storefronts: dict[str, Storefront]) -> Storefront:
    """Each adapter's fixture app, as if just started."""
    storefront = storefronts[request.param]
    storefront.control("DELETE", "faults")
    storefront.control("POST", "reset")
    return storefront
