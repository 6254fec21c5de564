"""Servers that mean harm: what they send stays small, ends, and leaks nothing."""

import gzip
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Generator
from io import BufferedIOBase
from itertools import repeat
from pathlib import Path

import httpx
import pytest

from flovia.client import (
    Budget,
    MockWallet,
    OutcomeUnknown,
    PaymentError,
    PaymentRefused,
    Policy,
    PolicyViolation,
    drive,
)
from flovia.core.encoding import JsonObject
from tests.client.agent import PATIENT_S, WAYS, Agent
from tests.client.server import Say, Script, Seen, challenge, paid, sells, serving, unpaid

MIB = 1 << 20


@pytest.fixture(params=WAYS)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    """An agent for each way to make a call."""
    return Agent(str(request.param), tmp_path / "pending")


def bomb(size: int) -> bytes:
    """Gzip that inflates to ``size`` bytes."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    block = bytes(MIB)
    return b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()


BOMB = bomb(64 * MIB)


def grown(call: Callable[[], object]) -> int:
    """Most bytes of Python memory in use during ``call``, beyond those before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def flood(file: BufferedIOBase) -> None:
    """A body without an end, as long as somebody reads."""
    block = b"x" * 65536
    for _ in repeat(None, 16 * 1024):
        file.write(block)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
@pytest.mark.parametrize("offer", ["payment", "other"])
def test_a_gzip_bomb_does_not_grow_memory(agent: Agent, encoding: str, offer: str) -> None:
    """A 402 that inflates to 64 MiB costs a few hundred KiB, whether it is paid, refused again or handed on."""
    coded = (("Content-Encoding", encoding),)
    if offer == "payment":
        say = unpaid(more=coded, body=BOMB)
    else:
        say = Say(status=402, headers=(("WWW-Authenticate", "Bearer"), *coded), body=BOMB)

    def call() -> None:
        if offer == "payment":
            with pytest.raises(PaymentRefused):
                agent.get(server.url)
        else:
            assert len(agent.get(server.url).body) <= drive.MAX_ERROR_BODY

    with serving(lambda seen: say) as server:
        call()  # imports and pools are not what is measured
        if offer == "payment":
            agent.budget = Budget("5.00 SGD")
        assert grown(call) < 4 * MIB


def test_a_402_without_end_is_cut(agent: Agent) -> None:
    """Of a body that never ends, 64 KiB are read; the challenge is paid all the same."""
    endless = unpaid()
    offer = Say(status=402, headers=endless.headers, write=flood)
    with serving(sells(offer=lambda: offer)) as server:
        agent.get(server.url)  # imports and pools are not what is measured
        assert grown(lambda: agent.get(server.url)) < 4 * MIB
    assert 2 == agent.payments


def test_a_dripping_402_is_cut(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that comes byte by byte is given up when its time is over."""
    monkeypatch.setattr(drive, "ERROR_BODY_S", 0.1)
    over = threading.Event()

    def drip(file: BufferedIOBase) -> None:
        while not over.wait(0.02):
            file.write(b".")
            file.flush()

    offer = Say(status=402, headers=unpaid().headers, write=drip)
    with serving(sells(offer=lambda: offer)) as server:
        try:
            assert 200 == agent.get(server.url).status
        finally:
            over.set()


def test_a_402_that_breaks_off_is_still_a_402(agent: Agent) -> None:
    """The challenge is in the head: a body that breaks off does not matter."""
    offer = Say(status=402, headers=(*unpaid().headers, ("Content-Length", "10")), write=lambda file: None)
    with serving(sells(offer=lambda: offer)) as server:
        assert 200 == agent.get(server.url).status


def test_a_compressed_problem_is_understood(agent: Agent) -> None:
    """A small gzip body still tells the problem type."""
    body = gzip.compress(b'{"type":"https://paymentauth.org/problems/payment-expired"}')
    say = unpaid(more=(("Content-Encoding", "gzip"),), body=body)
    with serving(lambda seen: say) as server, pytest.raises(PaymentRefused) as caught:
        agent.get(server.url)
    assert "payment-expired" == caught.value.problem


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"\xff", b"[" * 50_000, b'{"type":7}', b'{"type":"a b"}', b'{"type":"\\u0000"}', b"{" + b" " * 70_000],
    ids=lambda body: repr(body[:12]),
)
def test_a_problem_body_can_be_anything(tmp_path: Path, body: bytes) -> None:
    """Whatever a refusal's body holds, the error is PaymentRefused without a problem type."""
    with serving(lambda seen: unpaid(body=body)) as server, pytest.raises(PaymentRefused) as caught:
        Agent("httpx", tmp_path).get(server.url)
    assert caught.value.problem is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_body_that_is_not_what_it_says_is_nothing(tmp_path: Path, encoding: str) -> None:
    """A body that is not in the coding its head names, or in one that cannot be bounded, counts as empty."""
    problem = b'{"type":"https://paymentauth.org/problems/payment-expired"}'
    say = unpaid(more=(("Content-Encoding", encoding),), body=problem)
    with serving(lambda seen: say) as server, pytest.raises(PaymentRefused) as caught:
        Agent("httpx", tmp_path).get(server.url)
    assert caught.value.problem is None


def test_a_challenge_too_long_to_echo_is_not_paid(tmp_path: Path) -> None:
    """A credential that no server would read is not paid for."""
    request: JsonObject = {"amount": "100", "currency": "sgd", "methodDetails": {"x": "y" * 9000}}
    text = f'Payment id="a", realm="r", method="mock", intent="charge", request="{challenge(request=request).request}"'
    a = Agent("httpx", tmp_path)
    with serving(lambda seen: unpaid(text)) as server, pytest.raises(PolicyViolation) as caught:
        a.get(server.url)
    assert ("challenge", 0) == (caught.value.rule, a.payments)


@pytest.mark.parametrize("count", [1, 400])
def test_a_flood_of_challenges_is_refused(tmp_path: Path, count: int) -> None:
    """60 KB of challenge parameters, in one field or in hundreds, end in a refusal."""
    junk = "Payment " + ", ".join(f"p{i}=v" for i in range(60_000 // count // 8))
    a = Agent("httpx", tmp_path)
    with serving(lambda seen: unpaid(*([junk] * min(count, 90)))) as server, pytest.raises(PolicyViolation):
        a.get(server.url)
    assert 0 == a.payments


def test_what_a_server_says_cannot_forge_the_error(tmp_path: Path) -> None:
    """Control characters and invisible text of a realm do not reach the message."""
    text = challenge(realm="REALM", currency="usd")
    value = unpaid(text).headers[0][1].replace("REALM", "paid\\\tin full\x9b\xa0")
    with serving(lambda seen: unpaid(value)) as server, pytest.raises(PolicyViolation) as caught:
        Agent("httpx", tmp_path).get(server.url)
    assert str(caught.value).isprintable()
    assert "paid" in str(caught.value)


def test_the_paid_request_gets_time(agent: Agent) -> None:
    """A short read time-out of the program does not end a paid request: that would leave the outcome unknown."""
    agent.policy = Policy(paid_timeout_s=PATIENT_S)

    def script(seen: Seen) -> Say:
        if seen.credential is None:
            return unpaid()
        threading.Event().wait(0.3)  # longer than the program would wait
        return paid()

    with serving(script) as server:
        assert 200 == agent.send("GET", server.url, timeout=0.1).status


def test_no_time_limit_stays_none(tmp_path: Path) -> None:
    """A program that waits for ever, or calls the transport itself without time-outs, still does."""
    a = Agent("httpx", tmp_path)
    with serving(sells()) as server, a.transport() as transport:
        for extensions in ({}, {"timeout": {"read": None}}):
            response = transport.handle_request(httpx.Request("GET", server.url, extensions=extensions))
            assert b"goods" == response.read()


def test_c14_a_timeout_after_paying_is_an_unknown_outcome(agent: Agent) -> None:
    """C14: no answer in time leaves a credential to resume."""
    over = threading.Event()
    agent.policy = Policy(paid_timeout_s=0.2)

    def script(seen: Seen) -> Say:
        if seen.credential is None:
            return unpaid()
        over.wait()  # silent for as long as the client waits
        return paid()

    with serving(script) as server:
        try:
            with pytest.raises(OutcomeUnknown) as caught:
                agent.send("GET", server.url, timeout=0.1)
        finally:
            over.set()
        agent.policy = Policy()
        assert "ReadTimeout" in str(caught.value)
        assert caught.value.reference is not None
        assert 200 == agent.resume(caught.value.reference).status


def test_c14_an_answer_that_breaks_off_can_be_resumed(agent: Agent) -> None:
    """C14: the head was 200, half of the body came: the credential stays until the answer was read to its end."""
    half = Say(headers=(("Content-Length", "10"),), write=lambda file: _write(file, b"goods"))
    with serving(sells(half, half, paid())) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            agent.get(server.url)
        assert [caught.value.reference] == agent.pending.references()
        assert caught.value.reference is not None
        with pytest.raises(OutcomeUnknown):
            agent.resume(caught.value.reference)
        assert b"goods" == agent.resume(caught.value.reference).body
    assert ([], 1) == (agent.pending.references(), agent.payments)


def _write(file: BufferedIOBase, data: bytes) -> None:
    file.write(data)


def test_the_paid_answer_streams(tmp_path: Path) -> None:
    """A paid answer is handed on as it comes: its first part arrives before the server has sent the last."""
    go_on = threading.Event()

    def two_parts(file: BufferedIOBase) -> None:
        file.write(b"first")
        file.flush()
        assert go_on.wait(PATIENT_S)
        file.write(b"second")

    a = Agent("httpx", tmp_path)
    with (
        serving(sells(Say(write=two_parts))) as server,
        httpx.Client(transport=a.transport(), timeout=PATIENT_S) as client,
        client.stream("GET", server.url) as response,
    ):
        parts = response.iter_raw()
        assert b"first" == next(parts)
        assert 1 == len(a.pending.references())
        go_on.set()
        assert [b"second"] == list(parts)
        assert [] == a.pending.references()


def test_an_answer_left_half_read_keeps_its_credential(tmp_path: Path) -> None:
    """A program that stops reading has not got everything it paid for."""
    a = Agent("httpx", tmp_path)
    with (
        serving(sells(Say(write=lambda file: _write(file, b"x" * 200_000)))) as server,
        httpx.Client(transport=a.transport(), timeout=PATIENT_S) as client,
        client.stream("GET", server.url) as response,
    ):
        next(response.iter_raw())
    assert 1 == len(a.pending.references())


class Again(httpx.Auth):
    """An authentication that tries once more after a 401, as digest authentication does."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        response = yield request
        if response.status_code == 401:
            yield request


def test_c12_authentication_rounds_do_not_pay_twice(tmp_path: Path) -> None:
    """C12: one call of the program is paid once, also if its Auth sends the request again."""
    a = Agent("httpx", tmp_path)
    with (
        serving(sells(Say(status=401))) as server,
        httpx.Client(transport=a.transport(), auth=Again(), timeout=PATIENT_S) as client,
        pytest.raises(PaymentRefused) as caught,
    ):
        client.get(server.url)
    assert ([caught.value.reference], 1) == (a.pending.references(), a.payments)


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_in_errors_logs_or_reprs(way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S37: neither credential nor proof is in an error, in its traceback with local variables, or in the log."""
    caplog.set_level("DEBUG")
    wallet, budget = MockWallet("ok-test-secret-proof"), Budget("9.00 SGD")
    a = Agent(way, tmp_path, wallet=wallet, budget=budget, policy=Policy(paid_timeout_s=0.2))
    gone = Say(headers=(("Content-Length", "9"),), write=lambda file: None)
    slow = threading.Event()

    def hang(seen: Seen) -> Say:
        if seen.credential is None:
            return unpaid()
        slow.wait()  # silent for as long as the client waits
        return paid()

    def debug_page(seen: Seen) -> Say:
        shown = "\n".join(f"{name}: {value}" for name, value in seen.headers)
        return unpaid() if seen.credential is None else Say(status=500, body=shown.encode())

    secrets: set[str] = {"ok-test-secret-proof"}
    texts: list[str] = []
    scripts: list[Script] = [
        sells(Say(status=500)),
        sells(gone),
        lambda _: unpaid(),
        sells(Say(status=302)),
        debug_page,
        hang,
    ]
    for script in scripts:
        with serving(script) as server:
            try:
                texts.append(_whole_error(a, server.url))
            finally:
                if script is hang:
                    slow.set()
            secrets |= {value for seen in server.seen for name, value in seen.headers if name == "authorization"}
    assert 7 == len(secrets)
    shown = "\n".join(texts) + caplog.text
    assert [] == [secret for secret in secrets if secret in shown or secret.removeprefix("Payment ") in shown]


def _whole_error(agent: Agent, url: str) -> str:
    """Everything an error can show, as a crash reporter collects it."""
    with pytest.raises(PaymentError) as caught:
        agent.send("GET", url, timeout=0.2)
    error = caught.value
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    return "".join(lines) + repr(vars(error))
