"""What happens to a payment when the program around it is cancelled, killed, or does many things at once."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest

import flovia.client.httpx2
from flovia.client import (
    Budget,
    BudgetExceeded,
    CannotResume,
    MockWallet,
    OutcomeUnknown,
    Payment,
    PaymentContext,
    PaymentError,
    PendingFiles,
    Uncertain,
    WalletVerdict,
)
from flovia.client.drive import MAX_NOTES, Notes
from flovia.client.httpx import AsyncPayingTransport, PayingTransport, payment_info
from flovia.client.pending import MAX_BODY
from flovia.core.challenge import Challenge
from flovia.core.effects import Find, Flow, HttpCall, http, now, recall, remember, sleep
from flovia.core.errors import WiringError
from tests.client.agent import PATIENT_S, WAYS, Agent
from tests.client.server import Say, Seen, nobody_listens, paid, sells, serving, unpaid


class Shop:
    """A wallet that pays over HTTP, waiting first: as real ones do."""

    methods = ("mock/charge",)

    def __init__(self, bank: str, wait_s: float = 0.0) -> None:
        self.bank = bank
        self.wait_s = wait_s
        self.asked = threading.Event()

    def can_pay(self, challenge: Challenge) -> bool:
        """Everything."""
        return True

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """Ask the bank."""
        assert (yield from now()) > 0
        self.asked.set()
        yield from sleep(self.wait_s)
        reply = yield from http(HttpCall(http_method="POST", url=f"{self.bank}/{context.reference}"))
        return Payment(payload={"proof": reply.body.decode()}) if reply.status == 200 else Uncertain()


def test_a_wallet_may_use_effects(tmp_path: Path) -> None:
    """A wallet is written once: HTTP calls, time and sleep work blocking, under asyncio and under trio."""
    with serving(lambda seen: Say(body=b"ok-test")) as bank, serving(sells()) as server:
        for way in ("httpx", "httpx-asyncio", "httpx2-trio"):
            assert 200 == Agent(way, tmp_path, wallet=Shop(bank.url, 0.01)).get(server.url).status
        proofs = [credential.payload for credential in server.credentials]
    assert [{"proof": "ok-test"}] * 3 == proofs
    assert 3 == len({seen.target for seen in bank.seen})


def test_a_wallet_may_remember_while_the_process_lives(tmp_path: Path) -> None:
    """What one payment remembers, the next one of the same transport recalls; another transport does not."""
    seen: list[str | None] = []

    class Noting(MockWallet):
        def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
            seen.append((yield from recall("test", "last")))
            yield from remember("test", "last", challenge.id, ttl_s=60)
            return (yield from super().pay(challenge, context))

    with serving(sells()) as server:
        agent = Agent("httpx", tmp_path, wallet=Noting())
        for _ in range(2):
            with httpx.Client(transport=agent.transport()) as client:
                assert [200, 200] == [client.get(server.url).status_code for _ in range(2)]
    assert [None, True, None, True] == [name and name.startswith("test-challenge-") for name in seen]


def test_notes_are_bounded_and_end() -> None:
    """A process that runs for months does not keep every note; what is younger outlives what is older."""
    time = 1000.0
    notes = Notes(clock=lambda: time)
    for number in range(MAX_NOTES + 10):
        notes.remember("test", str(number), "x", 60.0 + number, False)
    assert [None, "x"] == [notes.recall("test", "0"), notes.recall("test", str(MAX_NOTES + 9))]
    assert "x" == notes.remember("test", "500", "y", 1.0, True)
    time = 10_000.0
    assert (None, "y") == (notes.recall("test", "500"), notes.remember("test", "500", "y", 1.0, True))


def test_a_wallet_has_no_ledger(tmp_path: Path) -> None:
    """A wallet that asks for the ledger of a server is told so; nothing is sent."""

    class Lost(MockWallet):
        def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
            yield Find("a")
            return Uncertain()

    with serving(sells()) as server, pytest.raises(OutcomeUnknown) as caught:
        Agent("httpx", tmp_path, wallet=Lost()).get(server.url)
    assert "a wallet may ask for" in str(caught.value.__cause__)


def test_a_transport_needs_a_budget() -> None:
    """C12: no payment without a policy; None is not a budget."""
    with pytest.raises(WiringError, match="budget"):
        PayingTransport(MockWallet(), budget=None)  # type: ignore[arg-type]  # what an untyped program does


def test_a_transport_of_its_own_is_made_and_closed(tmp_path: Path) -> None:
    """Without a transport of the program's, one is made, and closed with the client."""
    files, budget = PendingFiles(tmp_path), Budget("5.00 SGD")

    async def call(url: str) -> httpx.Response:
        transport = AsyncPayingTransport(MockWallet(), budget=budget, pending=files)
        client = httpx.AsyncClient(transport=transport, timeout=PATIENT_S)
        try:
            return await client.get(url)
        finally:
            await client.aclose()

    async def call2(url: str) -> httpx2.Response:
        transport = flovia.client.httpx2.AsyncPayingTransport(MockWallet(), budget=budget, pending=files)
        client = httpx2.AsyncClient(transport=transport, timeout=PATIENT_S)
        try:
            return await client.get(url)
        finally:
            await client.aclose()

    with serving(sells()) as server:
        transport = PayingTransport(MockWallet(), budget=budget, pending=files)
        client = httpx.Client(transport=transport, timeout=PATIENT_S)
        transport2 = flovia.client.httpx2.PayingTransport(MockWallet(), budget=budget, pending=files)
        client2 = httpx2.Client(transport=transport2, timeout=PATIENT_S)
        found = [payment_info(client.get(server.url)), payment_info(anyio.run(call, server.url))]
        found += [
            flovia.client.httpx2.payment_info(each) for each in (client2.get(server.url), anyio.run(call2, server.url))
        ]
        client.close()
        client2.close()
    assert ["mock"] * 4 == [info and info.method for info in found]
    assert payment_info(httpx.Response(200)) is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_while_paying(tmp_path: Path, backend: str) -> None:
    """A call cancelled while the wallet works leaves the money reserved and a record without a credential."""
    wallet = Shop("http://127.0.0.1:9", wait_s=3600)
    a = Agent("httpx", tmp_path, wallet=wallet)

    async def call(url: str) -> None:
        transport = a.async_transport()
        async with (
            httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.get, url)
            assert await anyio.to_thread.run_sync(wallet.asked.wait, PATIENT_S)
            group.cancel_scope.cancel()

    with serving(sells()) as server:
        anyio.run(call, server.url, backend=backend)
    (reference,) = a.pending.references()
    assert (None, 100) == (a.pending.load(reference).credential, a.budget.spent())
    with pytest.raises(CannotResume):
        a.resume(reference)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_while_waiting_for_the_paid_answer(tmp_path: Path, backend: str) -> None:
    """A call cancelled after the credential was sent can be resumed by whoever lists the references."""
    a = Agent("httpx", tmp_path)
    sent, over = threading.Event(), threading.Event()

    def script(seen: Seen) -> Say:
        if seen.credential is None:
            return unpaid()
        sent.set()
        over.wait()  # silent for as long as the client waits
        return paid()

    async def call(url: str) -> None:
        transport = a.async_transport()
        async with (
            httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.get, url)
            assert await anyio.to_thread.run_sync(sent.wait, PATIENT_S)
            group.cancel_scope.cancel()

    with serving(script) as server:
        anyio.run(call, server.url, backend=backend)
        over.set()
        (reference,) = a.pending.references()
        assert 200 == a.resume(reference).status
    assert (1, 100, []) == (a.payments, a.budget.spent(), a.pending.references())


def test_killed_after_paying(tmp_path: Path) -> None:
    """The process dies at the moment the credential would go out: another one resumes with what is on the disk."""
    program = (
        "import os, sys, httpx\n"
        "from flovia.client import Budget, MockWallet, PendingFiles\n"
        "from flovia.client.httpx import PayingTransport\n"
        "class Dies(httpx.HTTPTransport):\n"
        "    def handle_request(self, request):\n"
        "        if 'authorization' in request.headers:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().handle_request(request)\n"
        "url, folder = sys.argv[1:]\n"
        "budget = Budget('5.00 SGD', path=folder + '/budget.db')\n"
        "transport = PayingTransport(MockWallet(), budget=budget, pending=PendingFiles(folder), transport=Dies())\n"
        "httpx.Client(transport=transport).post(url + '/order', content=b'two apples')\n"
    )
    a = Agent("httpx", tmp_path, budget=Budget("5.00 SGD", path=tmp_path / "budget.db"))
    with serving(sells()) as server:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        killed = subprocess.run([sys.executable, "-c", program, server.url, str(tmp_path)], env=env, check=False)
        assert -9 == killed.returncode
        (reference,) = a.pending.references()
        assert 200 == a.resume(reference).status
    assert [("POST", "/order", b"two apples")] * 2 == [
        (seen.http_method, seen.target, seen.body) for seen in server.seen
    ]
    assert (1, 100, []) == (len(server.credentials), a.budget.spent(), a.pending.references())


def test_a_long_body_has_to_be_given_again(tmp_path: Path) -> None:
    """A body too long to keep is given to resume again, and must be the same."""
    body = b"x" * (MAX_BODY + 1)
    a = Agent("httpx", tmp_path)
    with serving(sells(Say(status=500), paid())) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            a.send("POST", server.url, content=body)
        reference = caught.value.reference
        assert reference is not None
        for wrong in (None, b"y" * len(body)):
            with pytest.raises(CannotResume, match="body"):
                a.resume(reference, content=wrong)
        assert 200 == a.resume(reference, content=body).status
    assert [body] * 3 == [seen.body for seen in server.seen]


@pytest.mark.parametrize(
    "target", ["/a%2Fb?x=%20&y=a%26b", "//evil.example/x", "/%C3%A9?q=caf%C3%A9+1", "/?", "/a;b=1,2"]
)
def test_resuming_asks_for_the_same_target(tmp_path: Path, target: str) -> None:
    """Path and query go out again as they went the first time, character by character."""
    a = Agent("httpx", tmp_path)
    with serving(sells(Say(status=500), paid())) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            a.get(server.url + target)
        assert caught.value.reference is not None
        assert 200 == a.resume(caught.value.reference).status
    assert 1 == len({seen.target for seen in server.seen})
    assert 1 == len({seen.header("host") for seen in server.seen})


def test_resuming_a_dead_server_keeps_the_credential(tmp_path: Path) -> None:
    """However often it fails, the reference stays good."""
    a = Agent("httpx-asyncio", tmp_path)
    with serving(sells(Say(status=500))) as server, pytest.raises(OutcomeUnknown) as caught:
        a.get(server.url)
    for _ in range(2):
        assert caught.value.reference is not None
        with pytest.raises(OutcomeUnknown) as again:
            a.resume(caught.value.reference)
        assert caught.value.reference == again.value.reference


@pytest.mark.parametrize("way", ["httpx", "httpx-trio"])
def test_whatever_goes_wrong_after_paying_has_a_reference(tmp_path: Path, way: str) -> None:
    """C14: an exception nobody foresaw, from a transport of the program's own, is an unknown outcome too."""

    class Odd(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if "authorization" in request.headers:
                raise ZeroDivisionError
            return super().handle_request(request)

    class AsyncOdd(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "authorization" in request.headers:
                raise ZeroDivisionError
            return await super().handle_async_request(request)

    a = Agent(way, tmp_path)

    async def call(url: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=a.async_transport(AsyncOdd()), timeout=PATIENT_S) as client:
            return await client.get(url)

    with serving(sells()) as server:
        with pytest.raises(OutcomeUnknown, match="ZeroDivisionError") as caught:
            if a.backend:
                anyio.run(call, server.url, backend=a.backend)
            else:
                with httpx.Client(transport=a.transport(Odd()), timeout=PATIENT_S) as client:
                    client.get(server.url)
        assert caught.value.reference is not None
        assert 200 == a.resume(caught.value.reference).status


@pytest.mark.parametrize("way", WAYS)
def test_an_unpaid_call_fails_as_it_always_did(tmp_path: Path, way: str) -> None:
    """Without a payment the HTTP client's own exceptions reach the program unchanged."""
    with nobody_listens() as port, pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
        Agent(way, tmp_path).get(f"http://127.0.0.1:{port}")


def test_many_threads_share_one_budget(tmp_path: Path) -> None:
    """Thirty calls at once over one transport and a budget for ten: ten are paid, twenty refused."""
    a = Agent("httpx", tmp_path, budget=Budget("10.00 SGD"))

    def call(url: str) -> int:
        try:
            return client.get(url).status_code
        except BudgetExceeded:
            return 0

    with (
        serving(sells()) as server,
        httpx.Client(transport=a.transport(), timeout=PATIENT_S) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        results = sorted(pool.map(call, [server.url] * 30))
    assert [0] * 20 + [200] * 10 == results
    assert (10, 10, 1000) == (a.payments, len(server.credentials), a.budget.spent())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_tasks_share_one_budget_file(tmp_path: Path, backend: str) -> None:
    """The same in one event loop, with the books in a file."""
    a = Agent("httpx", tmp_path, budget=Budget("5.00 SGD", path=tmp_path / "budget.db"))
    results: list[int] = []

    async def call(client: httpx.AsyncClient, url: str) -> None:
        try:
            results.append((await client.get(url)).status_code)
        except PaymentError as error:
            results.append(0 if isinstance(error, BudgetExceeded) else -1)

    async def main(url: str) -> None:
        transport = a.async_transport()
        async with (
            httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(12):
                group.start_soon(call, client, url)

    with serving(sells()) as server:
        anyio.run(main, server.url, backend=backend)
    assert [0] * 7 + [200] * 5 == sorted(results)
    assert 500 == a.budget.spent()


def test_a_request_object_is_paid_for_once(tmp_path: Path) -> None:
    """C12: sending the same Request object again is not a new payment; a new one is."""
    a = Agent("httpx", tmp_path)
    with serving(sells()) as server, httpx.Client(transport=a.transport(), timeout=PATIENT_S) as client:
        request = client.build_request("GET", server.url)
        assert 200 == client.send(request).status_code
        with pytest.raises(PaymentError, match="already paid"):
            client.send(request)
        assert 200 == client.get(server.url).status_code
    assert 2 == a.payments


def test_a_read_stream_is_a_body(tmp_path: Path) -> None:
    """``request.read()`` makes a stream a body that can be sent twice, as the error suggests."""

    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    a = Agent("httpx", tmp_path)
    with serving(sells()) as server, httpx.Client(transport=a.transport(), timeout=PATIENT_S) as client:
        request = client.build_request("POST", server.url, content=parts())
        request.read()
        assert 200 == client.send(request).status_code
    assert [b"onetwo"] * 2 == [seen.body for seen in server.seen]
