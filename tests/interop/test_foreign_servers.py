"""flovia's client pays servers of pympp (FastAPI) and of mppx (Node), and reads their receipts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import attrs
import httpx
import httpx2
import pytest

from flovia.client import Budget, MockWallet, PaymentInfo, PaymentRefused, PendingFiles, PolicyViolation
from flovia.client.httpx import AsyncPayingTransport, PayingTransport
from flovia.client.httpx2 import PayingTransport as PayingTransport2
from flovia.core.money import Price
from flovia.testing.servers import serve_asgi
from tests.interop import shops
from tests.interop.javascript import Javascript
from tests.patience import PATIENT_S

MPPX_REALM = "mppx.example.com"
PRICE = Price(amount=100, currency="usd")


@attrs.frozen(kw_only=True)
class Shop:
    """A running server of somebody else's, and how many payments it took."""

    url: str
    realm: str
    reference: str
    payments: Callable[[], int]
    source: Callable[[], str | None]


@pytest.fixture(scope="module")
def pympp_shop() -> Iterator[Shop]:
    """pympp on FastAPI and uvicorn."""
    verifier = shops.Verifier()
    with serve_asgi(shops.build(verifier)) as url:
        yield Shop(
            url=url,
            realm=shops.REALM,
            reference="pympp-ok",
            payments=lambda: len(verifier.proofs),
            source=lambda: verifier.sources[-1],
        )


@pytest.fixture(scope="module")
def mppx_shop(javascript: Javascript) -> Iterator[Shop]:
    """mppx on Node's own HTTP server."""

    def seen(name: str) -> object:
        return javascript.call("shop.seen", url=url)[name]

    secret = "test-secret-of-the-mppx-server-00001"
    url = cast(str, javascript.call("shop.open", secretKey=secret, realm=MPPX_REALM)["url"])
    yield Shop(
        url=url,
        realm=MPPX_REALM,
        reference="mppx-ok",
        payments=lambda: cast(int, seen("payments")),
        source=lambda: cast("list[str | None]", seen("sources"))[-1],
    )
    javascript.call("shop.close", url=url)


@pytest.fixture(params=["pympp", pytest.param("mppx", marks=pytest.mark.node)])
def shop(request: pytest.FixtureRequest) -> Shop:
    """Each of the two servers."""
    return cast(Shop, request.getfixturevalue(f"{request.param}_shop"))


class Agent:
    """flovia's client with a mock wallet and a budget of its own."""

    def __init__(self, folder: Path, *, proof: str = "ok") -> None:
        self.wallet = MockWallet(proof)
        self._budget = Budget("5.00 USD")
        self._pending = PendingFiles(folder)

    def transport(self) -> PayingTransport:
        """The blocking transport for httpx."""
        return PayingTransport(self.wallet, budget=self._budget, pending=self._pending)

    def request(
        self, http_method: str, url: str, *, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One paid call through httpx."""
        with httpx.Client(transport=self.transport(), timeout=PATIENT_S) as client:
            return client.request(http_method, url, content=content, headers=headers)

    async def arequest(self, url: str) -> httpx.Response:
        """One paid call through httpx's async client."""
        transport = AsyncPayingTransport(self.wallet, budget=self._budget, pending=self._pending)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client:
            return await client.get(url)

    def request2(self, url: str) -> httpx2.Response:
        """One paid call through httpx2."""
        transport = PayingTransport2(self.wallet, budget=self._budget, pending=self._pending)
        with httpx2.Client(transport=transport, timeout=PATIENT_S) as client:
            return client.get(url)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """An agent that pays."""
    return Agent(tmp_path)


def payment(response: httpx.Response | httpx2.Response) -> PaymentInfo:
    """What flovia's client says about the payment behind a response."""
    return cast(PaymentInfo, response.extensions["flovia"])


def assert_paid(response: httpx.Response | httpx2.Response, shop: Shop) -> None:
    """The answer came for one payment, with a receipt that flovia's parser took."""
    assert 200 == response.status_code, response.text
    info = payment(response)
    assert (shop.realm, "mock", PRICE, 1) == (info.realm, info.method, info.price, info.tries)
    assert info.receipt is not None, info.receipt_problem
    assert info.receipt.reference.startswith(shop.reference)
    assert ("mock", "success") == (info.receipt.method, info.receipt.status)
    assert "private" in response.headers["cache-control"]


def test_pays_once_and_reads_the_receipt(shop: Shop, agent: Agent) -> None:
    """One call, one payment, one receipt; the server learns who paid (S23, C02, C03)."""
    before = shop.payments()
    assert_paid(agent.request("GET", f"{shop.url}/paid"), shop)
    assert before + 1 == shop.payments()
    assert "mock:agent" == shop.source()
    assert 1 == agent.wallet.payments


async def test_pays_under_asyncio_and_trio(shop: Shop, agent: Agent) -> None:
    """The async transport pays the same servers on both event loops."""
    assert_paid(await agent.arequest(f"{shop.url}/paid"), shop)


def test_pays_through_httpx2(shop: Shop, agent: Agent) -> None:
    """So does the transport for httpx2."""
    assert_paid(agent.request2(f"{shop.url}/paid"), shop)


def test_pays_a_described_challenge(shop: Shop, agent: Agent) -> None:
    """A description outside ASCII, and pympp's microseconds, offset and opaque map, come back unaltered (C03)."""
    assert_paid(agent.request("GET", f"{shop.url}/described"), shop)


def test_an_expired_challenge_is_not_paid(shop: Shop, agent: Agent) -> None:
    """A server whose challenges are over gets no payment (C04)."""
    before = shop.payments()
    with pytest.raises(PolicyViolation) as caught:
        agent.request("GET", f"{shop.url}/expired")
    assert "expires" == caught.value.rule
    assert (before, 0) == (shop.payments(), agent.wallet.payments)


def test_a_refused_proof_is_reported_and_not_paid_again(shop: Shop, tmp_path: Path) -> None:
    """A proof that the server does not take ends the call after one payment (C12)."""
    agent = Agent(tmp_path, proof="no")
    before = shop.payments()
    with pytest.raises(PaymentRefused) as caught:
        agent.request("GET", f"{shop.url}/paid")
    assert 402 == caught.value.status
    assert (before, 1) == (shop.payments(), agent.wallet.payments)


def test_a_body_is_sent_again_byte_for_byte(pympp_shop: Shop, agent: Agent) -> None:
    """pympp's digest, in the spelling without colons, is checked before paying and the same body is sent (C05)."""
    body = bytes(range(256))
    response = agent.request("POST", f"{pympp_shop.url}/echo", content=body)
    assert_paid(response, pympp_shop)
    assert body == response.content


def test_one_of_two_offers_is_paid(pympp_shop: Shop, agent: Agent) -> None:
    """Of two challenges in one answer, the one that the wallet can pay is answered, and only that (C06, C08)."""
    before = pympp_shop.payments()
    response = agent.request("GET", f"{pympp_shop.url}/two")
    assert_paid(response, pympp_shop)
    assert {"method": "mock"} == response.json()
    assert before + 1 == pympp_shop.payments()


def test_the_apps_own_login_stays(pympp_shop: Shop, agent: Agent) -> None:
    """Where pympp selects ``Payment-Authorization``, the credential goes there and the login arrives too (S22, C10)."""
    response = agent.request("GET", f"{pympp_shop.url}/with-login", headers={"authorization": "Bearer good"})
    assert_paid(response, pympp_shop)
    assert {"login": "Bearer good"} == response.json()


def test_pympps_extra_receipt_members_are_kept(pympp_shop: Shop, agent: Agent) -> None:
    """The members that pympp adds to a receipt are readable."""
    receipt = payment(agent.request("GET", f"{pympp_shop.url}/paid")).receipt
    assert receipt is not None
    assert {"externalId": "order 7"} == dict(receipt.extra)


@pytest.mark.node
def test_a_recipient_and_a_posted_body(mppx_shop: Shop, agent: Agent) -> None:
    """mppx's optional request members are understood, and a body arrives unaltered."""
    response = agent.request("POST", f"{mppx_shop.url}/recipient", content="äö 🍎".encode())
    assert_paid(response, mppx_shop)
    assert {"echo": "äö 🍎", "method": "POST"} == response.json()
    assert "acct_1" == payment(response).recipient
