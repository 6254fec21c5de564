"""The whole gate as the benchmark sees it: single use, events and all checks on, every credential used once.

Kept beside :mod:`flovia` (the subject) and imported by it; a pool of credentials is minted before timing.
"""

import os
from collections.abc import Callable, Iterator

from data import INTENT, METHOD, PAYLOAD, REALM, REQUEST, SECRET, SOURCE

import flovia
from flovia.core.challenge import parse_challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Flow
from flovia.core.provider import Paid, Presented, Quote, Terms, Verdict
from flovia.ledger.memory import MemoryLedger

POOL = int(os.environ.get("FLOVIA_BENCH_POOL", "30000"))
CLIENT = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")]
AMOUNT = int(REQUEST["amount"])
NO_HEADERS = flovia.Headers.from_asgi(())


class BenchProvider:
    """Asks for what every subject asks for, and believes every proof."""

    name, method, intent, rail = "bench", METHOD, INTENT, "mpp"
    live, fixed_terms, deadline_s, receipt_header = False, True, 10.0, "payment-receipt"

    def quote(self, quote: Quote) -> Flow[Terms]:
        """The benchmark's request."""
        yield from ()
        return Terms(request=REQUEST)

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Paid, under a reference of its own."""
        yield from ()
        return Paid(
            reference=presented.challenge.id,
            amount=AMOUNT,
            currency=REQUEST["currency"],
            recipient=REQUEST["recipient"],
        )


def make_gate() -> flovia.PaidApi:
    """A gate as in production: a public origin, a memory ledger that keeps what happened."""
    app = flovia.Flovia(
        provider=BenchProvider(),
        ledger=MemoryLedger(),
        secret=SECRET,
        realm=REALM,
        public_origin="https://api.example.com",
    )
    return app.paid_api(price="5000.00 USD")


def answer(www_authenticate: str) -> str:
    """The Authorization value that pays a challenge."""
    challenge = parse_challenge(www_authenticate)
    return format_credential(Credential(challenge=challenge, payload=PAYLOAD, source=SOURCE))


def gate_ops() -> dict[str, Callable[[], object]]:
    """``gate.402`` and ``gate.200``, from the header fields to the fields of the answer."""
    gate = make_gate()

    def request(headers: list[tuple[bytes, bytes]]) -> flovia.HttpRequest:
        return flovia.HttpRequest(
            "GET", "/paid", "", flovia.Headers.from_asgi(headers), "/paid", "127.0.0.1", "127.0.0.1"
        )

    def gate_402() -> flovia.HttpResponse:
        response = gate.enter(request(CLIENT)).response
        assert response is not None
        return response

    def mint() -> Iterator[bytes]:
        while True:
            pool = [answer(gate_402().headers[0][1]).encode() for _ in range(POOL)]
            yield from pool

    credentials = mint()
    next(credentials)

    def gate_200() -> tuple[tuple[str, str], ...]:
        passage = gate.enter(request([*CLIENT, (b"authorization", next(credentials))]))
        start = passage.start(200, NO_HEADERS)
        gate.leave(passage, completed=True)
        return start.add

    assert gate_402().status == 402
    assert gate_200()[0][0] == "payment-receipt"
    return {"gate.402": gate_402, "gate.200": gate_200}


def asgi_apps() -> dict[str, object]:
    """A Starlette app gated with the ASGI adapter.

    The in-process benchmark repeats one request, which a gate with single use must refuse; so unless
    BENCH_SINGLE_USE says that every request brings its own credential, each gets one from a pool here.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    import flovia_asgi

    async def paid(request: object) -> JSONResponse:
        return JSONResponse({"ok": True})

    gate = make_gate()
    app = flovia_asgi.paid(gate, Starlette(routes=[Route("/paid", paid)]))

    def pay(headers: dict[str, str]) -> tuple[str, str]:
        return "authorization", answer(headers["www-authenticate"])

    if os.environ.get("BENCH_SINGLE_USE"):
        return {"starlette": (app, pay)}
    plain = flovia.HttpRequest("GET", "/paid", "", flovia.Headers.from_asgi(CLIENT), "", "127.0.0.1", "127.0.0.1")

    def mint() -> Iterator[tuple[bytes, bytes]]:
        while True:
            pool: list[tuple[bytes, bytes]] = []
            for _ in range(POOL):
                response = gate.enter(plain).response
                assert response is not None
                pool.append((b"authorization", answer(response.headers[0][1]).encode()))
            yield from pool

    fresh = mint()
    next(fresh)

    async def with_pool(scope: dict[str, object], receive: object, send: object) -> None:
        headers = scope["headers"]
        if headers[-1][0] == b"authorization":
            headers[-1] = next(fresh)
        await app(scope, receive, send)

    return {"starlette": (with_pool, pay)}
