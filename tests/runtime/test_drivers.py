"""The drivers: effects performed, exceptions given back, deadlines kept, cancellation survived. asyncio and trio."""

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

import anyio
import httpx
import pytest

import flovia
from flovia import runtime
from flovia.core import exchange
from flovia.core.effects import (
    Deadline,
    Find,
    Flow,
    HttpCall,
    HttpReply,
    Sleep,
    http,
    now,
    recall,
    remember,
    sleep,
    token,
)
from flovia.core.provider import Paid, Presented, Verdict
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from flovia.runtime import LEDGER_THREADS, World, arun, run
from tests.core.world import Clock, Shop, challenges, pay, problem, request
from tests.runtime.dripping import deaf

T = TypeVar("T")
PATIENT_S = 60.0
"""Longest wait for what is certain to come: a slow machine is not a wrong answer."""
NEVER_S = 36_000.0
"""Longer than any test may take."""


class Waiting(MemoryLedger):
    """A memory ledger that is not direct: every verb goes through the driver, off the event loop's thread."""

    direct = False
    threads: set[int]

    def claim(self, *arguments):
        self.threads = getattr(self, "threads", set()) | {threading.get_ident()}
        return super().claim(*arguments)


def _look() -> Flow[None]:
    """Ask the ledger for a payment."""
    yield Find("test")


@pytest.fixture
def world() -> World:
    """A world on a waiting ledger."""
    clock = Clock()
    return World(ledger=Waiting(clock=clock), clock=clock, tokens=lambda: "t" * 22)


@pytest.fixture(params=["run", "arun"])
async def drive(request: pytest.FixtureRequest, world: World) -> Callable[[Flow[T]], object]:
    """Both drivers under one name; the blocking one runs in a thread, as it would in a WSGI server."""

    async def driven(flow: Flow[T]) -> T:
        if request.param == "arun":
            return await arun(flow, world)
        return await anyio.to_thread.run_sync(run, flow, world)

    return driven


async def test_every_effect_has_its_result(drive, world: World) -> None:
    """Time, tokens, short texts and waiting come back typed and in order."""

    def flow() -> Flow[list[object]]:
        yield from sleep(0)
        first = yield from remember("n", "k", "one", ttl_s=10, if_absent=True)
        second = yield from remember("n", "k", "two", ttl_s=10, if_absent=True)
        third = yield from remember("n", "k", "three", ttl_s=10)
        return [(yield from now()), (yield from token()), first, second, third, (yield from recall("n", "k"))]

    assert [world.clock(), "t" * 22, "one", "one", "three", "three"] == await drive(flow())


async def test_exceptions_go_back_into_the_flow(drive, world: World) -> None:
    """A flow can catch what an effect raised, and go on."""

    def flow() -> Flow[str]:
        try:
            yield from http(HttpCall(http_method="GET", url="http://127.0.0.1:1/nobody", deadline_s=PATIENT_S))
        except flovia.HttpError as error:
            return f"caught, sent: {error.sent}"
        return "not reached"

    assert "caught, sent: False" == await drive(flow())


async def test_a_direct_ledger_answers_on_the_spot(world: World) -> None:
    """A provider's texts on a memory ledger need no thread."""
    world.ledger = MemoryLedger(clock=world.clock)

    def flow() -> Flow[str | None]:
        yield from remember("n", "k", "v", ttl_s=10)
        return (yield from recall("n", "k"))

    assert "v" == await arun(flow(), world)


def test_time_that_is_up_stops_before_the_next_effect() -> None:
    """A blocking flow whose deadline passed while it worked gets no further effect."""
    times = iter([0.0, 0.0, 5.0, 5.0])
    world = World(ledger=MemoryLedger(), monotonic=lambda: next(times))

    def inner() -> Flow[str]:
        yield from now()
        yield from now()
        return "not reached"

    def outer() -> Flow[object]:
        flow = inner()
        return (yield Deadline(flow=flow, effect=flow.send(None), seconds=1.0))

    assert "TIMED_OUT" == repr(run(outer(), world))


async def test_what_the_flow_raises_comes_out(drive) -> None:
    """An exception of the flow's own ends the drive, after its finally blocks ran."""
    cleaned = []

    def flow() -> Flow[None]:
        try:
            yield Sleep(0)
            raise LookupError("mine")
        finally:
            cleaned.append(True)

    with pytest.raises(LookupError):
        await drive(flow())
    assert [True] == cleaned


async def test_not_an_effect(drive) -> None:
    """Yielding something that is no effect is a TypeError inside the flow."""

    def flow() -> Flow[None]:
        yield "nonsense"  # type: ignore[misc]  # that it is refused is the point

    with pytest.raises(TypeError, match="str"):
        await drive(flow())


async def test_a_deadline_ends_a_flow(drive) -> None:
    """Past its deadline an inner flow is stopped, its finally blocks run, and the outer flow is told."""
    cleaned = []

    def inner() -> Flow[str]:
        try:
            yield Sleep(NEVER_S)
        finally:
            cleaned.append(True)
        return "in time"

    def outer(seconds: float) -> Flow[object]:
        flow = inner()
        effect = flow.send(None)
        return (yield Deadline(flow=flow, effect=effect, seconds=seconds))

    assert "TIMED_OUT" == repr(await drive(outer(0.05)))
    assert [True] == cleaned

    def quick() -> Flow[str]:
        yield Sleep(0)
        yield Sleep(0)
        return "in time"

    def outer_quick() -> Flow[object]:
        flow = quick()
        effect = flow.send(None)
        return (yield Deadline(flow=flow, effect=effect, seconds=PATIENT_S))

    assert "in time" == await drive(outer_quick())


class Backend:
    """A backend on loopback that answers as its path says."""

    def __init__(self) -> None:
        over = self.over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("content-length", 0))
                body = self.rfile.read(size)
                if self.path == "/echo":
                    self.send_response(200)
                    self.send_header("X-Seen", self.headers["x-key"])
                    self.send_header("Content-Encoding", "gzip")
                    self.end_headers()
                    self.wfile.write(body)
                elif self.path == "/redirect":
                    self.send_response(302)
                    self.send_header("Location", "/echo")
                    self.end_headers()
                elif self.path == "/large":
                    self.send_response(200)
                    self.end_headers()
                    for _ in range(100):
                        self.wfile.write(b"x" * 1000)
                elif self.path == "/drip":
                    self.send_response(200)
                    self.end_headers()
                    with suppress(OSError):  # the client has had enough
                        while not over.wait(0.05):
                            self.wfile.write(b"x")
                            self.wfile.flush()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)


@pytest.fixture
def backend():
    """A running backend."""
    found = Backend()
    found.thread.start()
    yield found
    found.over.set()
    found.server.shutdown()
    found.server.server_close()


def call(backend: Backend, path: str, **about: object) -> Flow[HttpReply]:
    """One call to the backend."""
    return (
        yield from http(
            HttpCall(
                http_method="POST",
                url=backend.url + path,
                headers=(("x-key", "test-key"),),
                body=b"not gzip",
                **{"deadline_s": PATIENT_S, **about},
            )
        )
    )


async def test_http_calls(drive, backend: Backend) -> None:
    """Headers and body arrive, the answer comes back raw (never inflated), redirects are not followed."""
    reply = await drive(call(backend, "/echo"))
    assert (200, b"not gzip", "test-key") == (reply.status, reply.body, reply.header("x-seen"))
    assert "test-key" not in repr(reply)
    assert 302 == (await drive(call(backend, "/redirect"))).status


async def test_the_address_of_a_backend_is_not_logged(
    drive, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """httpx logs every address at INFO: not those of backends, which may hold what money was paid for."""
    caplog.set_level("INFO", logger="httpx")
    await drive(call(backend, "/echo"))
    assert "/echo" not in caplog.text
    async with httpx.AsyncClient(timeout=PATIENT_S) as own:
        await own.post(backend.url + "/redirect")
    assert "/redirect" in caplog.text


# httpx does not close the generators inside its response when reading stops early; trio warns of each.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_http_answers_are_bounded(drive, backend: Backend) -> None:
    """A long answer and one that drips are cut off; the outcome counts as unknown, for the call was made."""
    for path, about in (("/large", {"max_bytes": 5000}), ("/drip", {"deadline_s": 2.0})):
        with pytest.raises(flovia.HttpError) as caught:
            await drive(call(backend, path, **about))
        assert caught.value.sent


async def test_a_call_that_never_got_a_connection(drive) -> None:
    """Its time is over before anything could be sent: that is known, for blocking calls and the others."""
    with deaf() as port:
        with pytest.raises(flovia.HttpError) as caught:
            await drive(http(HttpCall(http_method="POST", url=f"http://127.0.0.1:{port}", deadline_s=0.5)))
        assert not caught.value.sent


class TestGateUnderDrivers:
    """The whole gate on a ledger that waits."""

    @pytest.fixture
    def shop(self) -> Shop:
        """A shop on a waiting ledger."""
        clock = Clock()
        return Shop(ledger=Waiting(clock=clock), clock=clock)

    async def test_purchase(self, shop: Shop) -> None:
        """Ask, pay, deliver, replay: as on a direct ledger, with the ledger's work off the event loop."""
        paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges((await paid.aenter(request())).response)
        passage = await paid.aenter(request(pay(challenge)))
        await paid.arenew(passage)
        passage.start(200, flovia.Headers.of([]))
        await paid.aleave(passage, completed=True)
        assert "invalid-challenge" == problem((await paid.aenter(request(pay(challenge)))).response)
        assert threading.get_ident() not in shop.ledger.threads

    async def test_other_money_than_asked(self, shop: Shop) -> None:
        """It is on record with its refund due, once, however often its credential is presented."""
        paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges((await paid.aenter(request())).response)
        for _ in range(2):
            response = (await paid.aenter(request(pay(challenge, "ok1", paid_amount="99")))).response
            assert "payment-insufficient" == problem(response)
        (due,) = await shop.flovia.arefunds_due()
        assert (99, "usd") == (due.amount, due.currency)
        assert 1 == shop.events().count("payment.unmatched")

    def test_purchase_blocking(self, shop: Shop) -> None:
        """The same from a WSGI worker, with a failed delivery and a declined proof in between."""
        paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges(paid.enter(request()).response)
        assert 402 == paid.enter(request(pay(challenge, "declined"))).response.status
        passage = paid.enter(request(pay(challenge)))
        passage.start(500, flovia.Headers.of([]))
        paid.leave(passage, completed=True)
        other = shop.open(secret="test-another-secret-of-32-bytes-----").paid_api(provider="mock", price="1.00 USD")
        again = other.enter(request(pay(challenge)))
        other.renew(again)
        again.start(200, flovia.Headers.of([]))
        other.leave(again, completed=True)
        assert exchange.DELIVERED == again.state

    async def test_slow_is_unknown(self, shop: Shop) -> None:
        """A provider over its deadline is 503 without a challenge, and the claim is parked."""
        paid = shop.flovia.paid_api(provider=MockProvider(deadline_s=0.05), price="1.00 USD")
        (challenge,) = challenges((await paid.aenter(request())).response)
        response = (await paid.aenter(request(pay(challenge, "slow")))).response
        assert (503, []) == (response.status, challenges(response))
        assert exchange.PARKED == shop.ledger.find(f"api.example.com|{challenge.id}").state

    async def test_a_provider_that_fails_later(self, shop: Shop) -> None:
        """Raising, or returning nonsense, after the first effect is unknown as well."""

        class Late(MockProvider):
            def verify(self, presented: Presented) -> Flow[Verdict]:
                yield Sleep(0)
                if presented.payload["proof"] == "ok-none":
                    return None  # type: ignore[return-value]  # wrong on purpose
                if presented.payload["proof"] == "ok-paid":
                    return Paid(reference="r", amount=100, currency="usd")
                raise RuntimeError("later")

        paid = shop.flovia.paid_api(provider=Late(), price="1.00 USD")
        for proof, status in (("ok-none", 503), ("ok-raise", 503)):
            (challenge,) = challenges((await paid.aenter(request())).response)
            assert status == (await paid.aenter(request(pay(challenge, proof)))).response.status
        (challenge,) = challenges((await paid.aenter(request())).response)
        assert (await paid.aenter(request(pay(challenge, "ok-paid")))).grant is not None

    async def test_cancelled_while_the_provider_is_asked(self, shop: Shop) -> None:
        """A client that goes away during verification leaves a parked claim, and can come back."""
        asked = anyio.Event()

        class Busy(MockProvider):
            def verify(self, presented: Presented) -> Flow[Verdict]:
                asked.set()
                return (yield from super().verify(presented))

        paid = shop.flovia.paid_api(provider=Busy(deadline_s=NEVER_S), price="1.00 USD")
        (challenge,) = challenges((await paid.aenter(request())).response)
        async with anyio.create_task_group() as group:
            group.start_soon(paid.aenter, request(pay(challenge, "slow")))
            await asked.wait()
            group.cancel_scope.cancel()
        assert exchange.PARKED == shop.ledger.find(f"api.example.com|{challenge.id}").state

    async def test_cancelled_while_settling(self) -> None:
        """The settlement is recorded although the client is gone; the same credential then redeems it."""
        clock = Clock()
        entered, go_on = threading.Event(), threading.Event()

        class Slow(Waiting):
            def settle(self, *arguments):
                entered.set()
                assert go_on.wait(PATIENT_S)
                return super().settle(*arguments)

        shop = Shop(ledger=Slow(clock=clock), clock=clock)
        paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")
        (challenge,) = challenges((await paid.aenter(request())).response)
        passages = []
        async with anyio.create_task_group() as group:

            async def enter() -> None:
                passages.append(await paid.aenter(request(pay(challenge))))
                await anyio.sleep_forever()

            group.start_soon(enter)
            assert await anyio.to_thread.run_sync(entered.wait, PATIENT_S)
            group.cancel_scope.cancel()
            go_on.set()
        assert exchange.DELIVERING == shop.ledger.find(f"api.example.com|{challenge.id}").state
        clock.advance(61)
        assert (await paid.aenter(request(pay(challenge)))).grant.redelivery

    def test_cancelled_by_asyncio_while_it_waits_for_a_thread(self) -> None:
        """``Task.cancel()`` ignores anyio's shields; a delivery without a thread yet is recorded all the same."""
        clock = Clock()
        hold, done = threading.Event(), threading.Event()

        class Telling(Waiting):
            def deliver(self, *arguments):
                delivered = super().deliver(*arguments)
                done.set()
                return delivered

        shop = Shop(ledger=Telling(clock=clock), clock=clock)
        paid = shop.flovia.paid_api(provider="mock", price="1.00 USD")

        busy = threading.Semaphore(0)

        class Full(Waiting):
            def find(self, key):
                busy.release()
                hold.wait(PATIENT_S)

        def all_busy() -> bool:
            return all(busy.acquire(timeout=PATIENT_S) for _ in range(LEDGER_THREADS))

        async def main() -> str:
            (challenge,) = challenges((await paid.aenter(request())).response)
            passage = await paid.aenter(request(pay(challenge)))
            passage.start(200, flovia.Headers.of(()))
            full = World(ledger=Full(clock=clock))
            holders = [asyncio.ensure_future(arun(_look(), full)) for _ in range(LEDGER_THREADS)]
            assert await asyncio.to_thread(all_busy)
            leaving = asyncio.ensure_future(paid.aleave(passage, completed=True))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            hold.set()
            await asyncio.gather(*holders)
            assert await asyncio.to_thread(done.wait, PATIENT_S)
            return shop.ledger.find(f"api.example.com|{challenge.id}").state

        assert exchange.DELIVERED == asyncio.run(main())

    def test_cancelled_by_asyncio_before_the_store_fails(self) -> None:
        """Nobody waits for the failure any more, and nobody is told of it."""
        entered, go_on = threading.Event(), threading.Event()

        class Down(Waiting):
            def find(self, key):
                entered.set()
                assert go_on.wait(PATIENT_S)
                raise flovia.LedgerError("test: down")

        async def main() -> list[object]:
            told: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            looking = asyncio.ensure_future(arun(_look(), World(ledger=Down())))
            assert await asyncio.to_thread(entered.wait, PATIENT_S)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            go_on.set()
            await asyncio.wait(set(runtime._unwatched))  # the call that nobody else waits for
            gc.collect()
            return told

        assert [] == asyncio.run(main())

    def test_an_abandoned_flow_leaves_a_lease(self, shop: Shop) -> None:
        """A flow closed in the middle writes nothing; the lease heals it."""
        paid = shop.flovia.paid_api(provider=MockProvider(deadline_s=1.0), price="1.00 USD")
        (challenge,) = challenges(paid.enter(request()).response)
        flow = paid.guard.enter(request(pay(challenge, "slow")))
        claim = flow.send(None)
        result = paid.world.ledger_call(claim)
        flow.send(result)
        told = shop.events()
        flow.close()
        assert told == shop.events()
        assert 409 == paid.enter(request(pay(challenge, "slow"))).response.status
        shop.clock.advance(7)
        assert 503 == paid.enter(request(pay(challenge, "slow"))).response.status
