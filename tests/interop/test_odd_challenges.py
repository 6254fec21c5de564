"""Three clients against one odd server."""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from flovia.client import Budget, MockWallet, PaymentError, PendingFiles
from flovia.client.httpx import PayingTransport
from flovia.testing.servers import serve_asgi
from tests.interop.agents import Agent, GaveUp, MppxAgent, PymppAgent
from tests.interop.javascript import Javascript
from tests.interop.odd import ODD, PAYS, REFUSES, Odd, Outcome
from tests.patience import PATIENT_S
from tests.tree import ROOT

Message = MutableMapping[str, Any]


async def odd_server(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answers ``/N`` with the Nth odd challenge, and 200 to whoever sends a credential in any field."""
    if scope["type"] != "http":
        return
    field = ODD[int(scope["path"].removeprefix("/"))].field.encode("latin-1")
    paid = any(value.startswith(b"Payment ") for _, value in scope["headers"])
    headers = [] if paid else [(b"www-authenticate", field)]
    await send({"type": "http.response.start", "status": 200 if paid else 402, "headers": headers})
    await send({"type": "http.response.body", "body": b"paid" if paid else b""})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The odd server's address."""
    with serve_asgi(odd_server) as url:
        yield url


def foreign(agent: Agent, url: str) -> Outcome:
    """What a foreign client does."""
    try:
        return PAYS if agent.fetch(url).status == 200 else REFUSES
    except GaveUp:
        return REFUSES


odd_ones = pytest.mark.parametrize("number", range(len(ODD)), ids=[odd.name for odd in ODD])


@odd_ones
def test_flovia_and_odd_challenges(server: str, tmp_path: Path, number: int) -> None:
    """flovia's client pays what the table says, and nothing else."""
    transport = PayingTransport(MockWallet(), budget=Budget("5.00 USD"), pending=PendingFiles(tmp_path))
    with httpx.Client(transport=transport, timeout=PATIENT_S) as client:
        try:
            outcome = PAYS if client.get(f"{server}/{number}").status_code == 200 else REFUSES
        except PaymentError:
            outcome = REFUSES
    assert ODD[number].flovia == outcome


@odd_ones
def test_pympp_and_odd_challenges(server: str, number: int) -> None:
    """pympp's client pays what the table says."""
    assert ODD[number].pympp == foreign(PymppAgent(), f"{server}/{number}")


@pytest.mark.node
@odd_ones
def test_mppx_and_odd_challenges(server: str, javascript: Javascript, number: int) -> None:
    """mppx's client pays what the table says."""
    assert ODD[number].mppx == foreign(MppxAgent(javascript), f"{server}/{number}")


@pytest.mark.parametrize("odd", ODD, ids=[odd.name for odd in ODD])
def test_every_difference_has_a_reason(odd: Odd) -> None:
    """Where the three clients differ the table says why, and where they agree it does not."""
    assert (len({odd.flovia, odd.pympp, odd.mppx}) > 1) == bool(odd.reason)


def test_the_table_of_the_documentation_is_this_one() -> None:
    """docs/interop.md has exactly these rows, in this order."""
    page = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
    _, _, after = page.partition("| challenge | flovia | pympp | mppx | why |\n")
    rows = after.partition("\n\n")[0].splitlines()[1:]
    assert [odd.row() for odd in ODD] == rows
