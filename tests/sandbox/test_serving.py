"""The sandbox over real HTTP on loopback, and in process: faults of connections, webhooks to a real receiver, logs."""

import logging
import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import attrs
import httpx
import pytest

from flovia.core.errors import CallerError, WiringError
from flovia.sandbox import Call, Engine, Sandbox, event_signature, serving
from flovia.sandbox.engine import Engine as _Engine
from tests.sandbox.local import HASH, verified

ANY_ADDRESS = ".".join("0000")
"""The address that would let everybody in."""

WAIT_S = 30.0
"""How long a test waits for what must come; nothing asserts that it comes sooner."""


@pytest.fixture(scope="module")
def shared() -> Generator[Sandbox]:
    """One sandbox for the tests that do not mind."""
    with serving(seed=1) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    """The shared sandbox, as new."""
    shared.reset()
    return shared


@pytest.fixture
def http() -> Generator[httpx.Client]:
    """A client that waits long, and keeps no connection that a test has spoilt."""
    with httpx.Client(trust_env=False, timeout=WAIT_S) as client:
        yield client


def create(sandbox: Sandbox, http: httpx.Client, nonce: str = "nonce-number-0001") -> str:
    """A charge over HTTP."""
    body = {
        "amount": "1.00",
        "currency": "sgd",
        "nonce": nonce,
        "request_hash": HASH,
        "api_key": sandbox.api_key,
        "webhook_salt": sandbox.webhook_salt,
    }
    reply = http.post(f"{sandbox.broker_url}/v1/charges", json=body)
    assert reply.status_code in (200, 201), reply.text
    return str(reply.json()["challenge_id"])


def verify(sandbox: Sandbox, http: httpx.Client, charge_id: str) -> httpx.Response:
    """B3 over HTTP."""
    return http.post(
        f"{sandbox.broker_url}/v1/charges/{charge_id}/verify", json={"api_key": sandbox.api_key, "request_hash": HASH}
    )


@attrs.define(kw_only=True)
class Receiver:
    """What a receiver of webhooks got, and what it answers."""

    url: str
    got: list[tuple[dict[str, str], bytes]] = attrs.field(factory=list)
    status: int = 200
    changed: threading.Condition = attrs.field(factory=threading.Condition)

    def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """The first so many webhooks."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count, WAIT_S)
            return self.got[:count]


@contextmanager
def receiving() -> Generator[Receiver]:
    """A receiver on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with found.changed:
                self.send_response(found.status)
                self.send_header("content-length", "0")
                self.end_headers()
                found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                found.changed.notify_all()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(url=f"http://127.0.0.1:{server.server_address[1]}/hook")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def test_a_payment_from_end_to_end(sandbox: Sandbox, http: httpx.Client) -> None:
    """Create, look at the page, press Pay, poll, verify: with what the sandbox says to set."""
    environment = sandbox.environment
    assert {
        "HITPAY_API_KEY",
        "HITPAY_WEBHOOK_SALT",
        "HITPAY_API_SALT",
        "HITPAY_MPP_ENDPOINT",
        "HITPAY_API_ENDPOINT",
    } == set(environment)
    assert environment["HITPAY_API_KEY"].startswith("test_")
    charge_id = create(sandbox, http)
    request = sandbox.state.charges[charge_id].request
    page = f"{environment['HITPAY_API_ENDPOINT']}/payment-request/@hitpay/{request}"
    assert "1.00 SGD" in http.get(f"{page}/checkout").text
    paid = http.post(f"{page}/pay", follow_redirects=True, headers={"origin": sandbox.api_url})
    assert "Paid." in paid.text
    polled = http.get(f"{environment['HITPAY_MPP_ENDPOINT']}/v1/charges/{charge_id}")
    assert "paid" == polled.json()["status"]
    receipt = verify(sandbox, http, charge_id).json()["receipt_jws"]
    _, claims = verified(receipt, http.get(f"{sandbox.broker_url}/.well-known/jwks.json").json())
    assert (sandbox.broker_url, "1.00") == (claims["iss"], claims["amount"])
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == sandbox.money()


def test_the_two_origins_are_told_apart(sandbox: Sandbox, http: httpx.Client) -> None:
    """Each port has its own endpoints; both have the control API."""
    assert 404 == http.get(f"{sandbox.api_url}/.well-known/jwks.json").status_code
    assert 404 == http.get(f"{sandbox.broker_url}/v1/payment-requests").status_code
    for url in (sandbox.broker_url, sandbox.api_url):
        assert 200 == http.get(f"{url}/__emulator/clock").status_code


def test_other_host_names_are_refused(sandbox: Sandbox, http: httpx.Client) -> None:
    """A name that was made to lead here does not open the sandbox."""
    reply = http.get(f"{sandbox.broker_url}/.well-known/jwks.json", headers={"host": "rebound.example.test"})
    assert 421 == reply.status_code


def test_a_reset_comes_after_the_work(sandbox: Sandbox, http: httpx.Client) -> None:
    """The connection is reset, the charge is there: the same nonce finds it."""
    sandbox.fault("http", "reset", route="B1", next=1)
    with pytest.raises(httpx.ReadError):
        create(sandbox, http)
    (made,) = sandbox.state.charges
    assert made == create(sandbox, http)


def test_a_hang_ends_with_the_client(sandbox: Sandbox, http: httpx.Client) -> None:
    """No answer comes, and the server goes on serving others meanwhile."""
    charge_id = create(sandbox, http)
    sandbox.fault("http", "hang", route="B2", next=1)
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}", timeout=httpx.Timeout(WAIT_S, read=0.2))
    assert 200 == http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}").status_code


def test_a_slow_answer_comes(sandbox: Sandbox, http: httpx.Client) -> None:
    """Later, but whole; a client that does not wait is no error of the server's."""
    charge_id = create(sandbox, http)
    sandbox.fault("http", "slow", ms=50, route="B2", next=1)
    assert "pending" == http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}").json()["status"]
    sandbox.fault("http", "slow", ms=1000 * 1000, route="B2", next=1)
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}", timeout=httpx.Timeout(WAIT_S, read=0.2))


@pytest.mark.parametrize(
    ("value", "options", "status"),
    [
        (503, {"retry_after": 9}, 503),
        (429, {}, 429),
        (500, {}, 500),
        ("redirect", {}, 307),
        ("non_json", {}, 200),
    ],
)
def test_http_faults(
    sandbox: Sandbox, http: httpx.Client, value: str | int, options: dict[str, object], status: int
) -> None:
    """What the core answers reaches the client."""
    charge_id = create(sandbox, http)
    sandbox.fault("http", value, route="B2", next=1, **options)
    reply = http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}")
    assert status == reply.status_code
    if value == 503:
        assert "9" == reply.headers["retry-after"]
    assert 200 == http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}").status_code


def test_head_has_no_body(sandbox: Sandbox, http: httpx.Client) -> None:
    """HEAD has the fields of a GET."""
    reply = http.head(f"{sandbox.broker_url}/.well-known/jwks.json")
    assert (200, b"") == (reply.status_code, reply.content)
    assert int(reply.headers["content-length"]) > 0
    assert 204 == http.options(f"{sandbox.broker_url}/.well-known/jwks.json").status_code


def test_a_large_body_is_refused(sandbox: Sandbox, http: httpx.Client) -> None:
    """And not kept."""
    assert 413 == http.post(f"{sandbox.broker_url}/v1/charges", content=b" " * 600_000).status_code


def test_many_at_once_are_one(sandbox: Sandbox, http: httpx.Client) -> None:
    """Twenty clients that make the same charge make one; twenty that verify it get one and the same receipt."""
    with ThreadPoolExecutor(20) as pool:
        made = set(pool.map(lambda _: create(sandbox, http), range(20)))
        (charge_id,) = made
        sandbox.pay(charge_id)
        found = pool.map(lambda _: verify(sandbox, http, charge_id), range(20))
        answers = {(reply.status_code, reply.text) for reply in found}
    assert 1 == len(answers)
    assert [charge_id] == list(sandbox.state.charges)
    assert {"sgd": {"in": "1.00", "refunded": "0.00", "payments": 1}} == sandbox.money()


# --- webhooks ---------------------------------------------------------------------------------------------------


def test_a_webhook_arrives_signed(sandbox: Sandbox, http: httpx.Client) -> None:
    """With the salt that the sandbox says to set, over the bytes that arrive."""
    with receiving() as receiver:
        sandbox.register_webhook(receiver.url, events=("payment_request.completed",))
        sandbox.pay(create(sandbox, http))
        ((headers, body),) = receiver.wait_for(1)
    assert event_signature(body, sandbox.webhook_salt) == headers["hitpay-signature"]
    assert ("HitPay v2.0", "application/json") == (headers["user-agent"], headers["content-type"])
    settled(sandbox, "delivered")


def settled(sandbox: Sandbox, status: str) -> None:
    """Wait until the merchant's webhooks have this status."""
    give_up = time.monotonic() + WAIT_S
    while {each["status"] for each in sandbox.webhooks() if each["target"] != "broker"} != {status}:
        assert time.monotonic() < give_up, sandbox.webhooks()
        time.sleep(0.01)


def test_a_refused_webhook_comes_again(sandbox: Sandbox, http: httpx.Client) -> None:
    """By the clock of the sandbox, and until it is accepted."""
    with receiving() as receiver:
        receiver.status = 500
        sandbox.fault("limits", retry_scale=0.01)
        sandbox.register_webhook(receiver.url, events=("payment_request.completed",))
        sandbox.pay(create(sandbox, http))
        receiver.wait_for(2)
        receiver.status = 200
        settled(sandbox, "delivered")
        bodies = {body for _, body in receiver.got}
    assert 1 == len(bodies)


def test_nobody_there_is_no_answer(sandbox: Sandbox, http: httpx.Client) -> None:
    """A receiver that is not up is tried again, then given up."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    sandbox.fault("limits", retry_scale=0)
    sandbox.register_webhook(url, events=("payment_request.completed",))
    sandbox.pay(create(sandbox, http))
    settled(sandbox, "failed")
    (found,) = [each for each in sandbox.webhooks() if each["target"] == "endpoint"]
    assert [0] * 6 == found["answers"]


def test_auto_pay_goes_by_the_clock(sandbox: Sandbox, http: httpx.Client) -> None:
    """Without anybody calling, a charge is paid when its time comes."""
    sandbox.fault("payer", "auto_pay", delay=0.05)
    with receiving() as receiver:
        sandbox.register_webhook(receiver.url, events=("payment_request.completed",))
        charge_id = create(sandbox, http)
        receiver.wait_for(1)
    assert "paid" == sandbox.state.charges[charge_id].state


# --- control from Python ------------------------------------------------------------------------------------------


def test_controls(sandbox: Sandbox, http: httpx.Client) -> None:
    """Every control is a method, and a refusal says why."""
    first, second = create(sandbox, http), create(sandbox, http, "nonce-number-0002")
    third, fourth = create(sandbox, http, "nonce-number-0003"), create(sandbox, http, "nonce-number-0004")
    sandbox.pay(first, amount="0.50")
    sandbox.decline(second, terminal=True)
    sandbox.expire(third)
    sandbox.late_pay(fourth)
    assert ["paid", "pending", "expired", "expired_paid"] == [each["state"] for each in sandbox.charges()]
    with pytest.raises(CallerError, match="409"):
        sandbox.pay(first)
    made = http.post(
        f"{sandbox.broker_url}/v1/saved-payment-methods",
        json={
            "api_key": sandbox.api_key,
            "payment_method": "shopee_pay",
            "customer_email": "payer@example.test",
            "currency": "sgd",
            "max_amount_per_charge": "1.00",
            "nonce": "nonce-number-0005",
            "request_hash": HASH,
        },
    )
    sandbox.saved_method(made.json()["saved_method_id"], "approve")
    assert ["active"] == [each["state"] for each in sandbox.saved_methods()]
    keys = sandbox.keys()
    assert ["current"] == [each["state"] for each in keys]
    assert ["retired", "current"] == [each["state"] for each in sandbox.keys("rotate")]
    assert ["withdrawn", "current"] == [each["state"] for each in sandbox.keys("retire")]
    kid = sandbox.state.keys[-1].kid
    assert ["withdrawn", "compromised", "current"] == [each["state"] for each in sandbox.keys("compromise", kid)]
    before = sandbox.state.now
    sandbox.advance(5)
    assert 5000 <= sandbox.state.now - before
    sandbox.fault("qr", "string")
    sandbox.fault("amounts", "commas")
    sandbox.clear("qr")
    assert ["amounts"] == [fault.knob for fault in sandbox.state.faults]
    sandbox.clear()
    assert () == sandbox.state.faults
    assert ["B5"] == [each["route"] for each in sandbox.journal("B5")]
    delivery = str(sandbox.webhooks()[0]["id"])
    assert delivery == sandbox.redeliver(delivery)["id"]


# --- how it is made -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [ANY_ADDRESS, "::", "192.168.0.1", "localhost", "sandbox.mpp.hitpay.dev", ""])
def test_only_loopback_is_bound(host: str) -> None:
    """Any other address is refused before a socket is opened."""
    with pytest.raises(WiringError, match=r"this machine only"), serving(host=host):
        pass


def test_the_other_loopback() -> None:
    """IPv6 will do as well."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with serving(host="::1", seed=1) as sandbox, httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        assert sandbox.broker_url.startswith("http://[::1]:")
        charge_id = create(sandbox, http)
        sandbox.fault("http", "reset", route="B2", next=1)
        with pytest.raises(httpx.ReadError):
            http.get(f"{sandbox.broker_url}/v1/charges/{charge_id}")
        assert 401 == http.get(f"{sandbox.api_url}/v1/payment-requests").status_code


def test_ports() -> None:
    """No such port, and a port that is taken, are mistakes one is told of."""
    with pytest.raises(WiringError, match="no port"), serving(broker_port=65536):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WiringError, match="choose another"), serving(api_port=port):
            pass


def test_a_seed_fixes_the_keys() -> None:
    """The same seed, the same key and salts; without one they differ."""
    engines = [Sandbox(seed=3), Sandbox(seed=3), Sandbox(), Sandbox()]
    keys = [(each.api_key, each.webhook_salt, each.api_salt) for each in engines]
    assert keys[0] == keys[1]
    assert 3 == len(set(keys))


def test_a_manual_clock_stands_still() -> None:
    """Until it is moved."""
    with Sandbox(manual=True, now_ms=1_000_000) as sandbox:
        sandbox.advance(1)
        assert 1_001_000 == sandbox.state.now
    assert 1_893_456_000_000 == Sandbox(manual=True).state.now


def test_the_clock_is_the_time_of_day_and_what_it_was_moved_by() -> None:
    """Time that goes by is noticed at the next call."""
    ticks = iter([10.0, 10.0, 12.5, 12.5, 13.0, 13.0])
    sandbox = Engine(seed=1, now_ms=0, monotonic=lambda: next(ticks))
    call = Call(side="broker", http_method="GET", path="/__emulator/clock", headers=(("host", "localhost"),))
    assert [0, 2500, 2500, 3000] == [sandbox.call(call).json()["ms"] for _ in range(4)]


def test_webhooks_need_the_context_manager() -> None:
    """A sandbox that nobody entered has nobody to send webhooks, and says so instead of losing them."""
    sandbox = Sandbox(seed=1)
    sandbox.register_webhook("http://127.0.0.1:9/")
    body = {"amount": "1.00", "currency": "sgd"}
    request_id = sandbox.call_api("POST", "/v1/payment-requests", body)["id"]
    with pytest.raises(WiringError, match="context manager"):
        sandbox.control("POST", f"payment-requests/{request_id}/pay")


def test_a_webhook_never_leaves_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    """Even if a target elsewhere had got into the state, it would not be called."""
    from flovia.sandbox import Post

    engine = _Engine(seed=1)
    with httpx.Client(transport=httpx.MockTransport(lambda request: pytest.fail("called"))) as client:
        post = Post(delivery="x", url="http://example.test/", headers=(), body=b"")
        assert 0 == engine._post(client, post)


async def test_in_process(anyio_backend: str) -> None:
    """Without sockets, on asyncio and trio: an ASGI app for each origin."""
    with Sandbox(seed=1) as sandbox:
        transport = httpx.ASGITransport(app=sandbox.asgi("broker"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4010") as http:
            assert 200 == (await http.get("/.well-known/jwks.json")).status_code
            assert 422 == (await http.post("/v1/charges", json={"api_key": "test_x"})).status_code
            sandbox.fault("http", "reset", next=1)
            with pytest.raises(ConnectionResetError):
                await http.get("/.well-known/jwks.json")
            sandbox.fault("http", "slow", ms=20, next=1)
            assert 200 == (await http.get("/.well-known/jwks.json")).status_code
        transport = httpx.ASGITransport(app=sandbox.asgi("api"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4011") as http:
            assert 401 == (await http.get("/v1/payment-requests")).status_code


async def test_other_protocols() -> None:
    """A server's lifespan works; a websocket is refused."""
    app = Sandbox(seed=1).asgi("broker")
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return dict(waiting.pop(0))

    async def send(message: object) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]  # plain messages
    assert [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}] == sent
    with pytest.raises(ValueError, match="HTTP"):
        await app({"type": "websocket"}, receive, send)  # type: ignore[arg-type]  # plain messages


# --- what is logged ---------------------------------------------------------------------------------------------------


def test_logs_hold_no_secret(sandbox: Sandbox, http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, the sandbox's own log and its server's name no key, salt, token, signature or page."""
    caplog.set_level(logging.DEBUG, logger="flovia.sandbox")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    with receiving() as receiver:
        sandbox.register_webhook(receiver.url)
        charge_id = create(sandbox, http)
        sandbox.pay(charge_id)
        receipt = verify(sandbox, http, charge_id).json()["receipt_jws"]
        sandbox.fault("http", "reset", next=1)
        with pytest.raises(httpx.ReadError):
            verify(sandbox, http, charge_id)
        got = receiver.wait_for(2)
        settled(sandbox, "delivered")
    logged = "\n".join(f"{record.name} {record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "broker POST: 200" in logged
    secrets = [
        sandbox.api_key,
        sandbox.webhook_salt,
        sandbox.api_salt,
        receipt,
        receipt.rpartition(".")[2],
        "/checkout",
    ]
    secrets += [headers["hitpay-signature"] for headers, _ in got]
    own = "\n".join(line for line in logged.splitlines() if not line.startswith(("httpx ", "httpcore")))
    assert [] == [secret for secret in secrets if secret in own]
