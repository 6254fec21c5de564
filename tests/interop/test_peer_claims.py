"""What we say about pympp and mppx is shown here, next to what flovia does with the same code.

Each test builds the route twice, as each SDK documents it, serves both, and asks both the same. The versions are
those the interop job installs; ``docs/interop.md`` has the figures.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import anyio
import attrs
import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from flask import Flask
from flask import request as flask_request
from flask.typing import ResponseReturnValue

import flovia
import flovia_fastapi
import flovia_flask
from flovia.client import Budget, MockWallet, PaymentRefused, PendingFiles
from flovia.client.httpx import PayingTransport
from flovia.core.challenge import parse_challenge
from flovia.core.credential import Credential, format_credential
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.interop import pympp
from tests.interop.agents import Agent, PymppAgent
from tests.interop.javascript import Javascript
from tests.interop.shops import REALM, SECRET, Verifier, charge
from tests.patience import PATIENT_S

AT_ONCE = 50
"""Uses of one credential at the same time."""


@attrs.frozen
class Pair:
    """The same routes, gated by pympp and by flovia, on servers."""

    pympp: str
    flovia: str
    verifier: Verifier


def flovia_gate(description: str | None = None) -> flovia.PaidApi:
    """A gate of 1.00 usd on a ledger of its own."""
    shared = flovia.Flovia(provider="mock", ledger="memory://", secret=SECRET, realm=REALM)
    return shared.paid_api(price="1.00 USD", description=description)


def pympp_gate(verifier: Verifier, **options: object) -> pympp.ComposedHandler:
    """pympp's gate of the same price."""
    return charge(pympp.Server(verifier.method(), realm=REALM, secret_key=SECRET), **options)


def pympp_fastapi(verifier: Verifier) -> FastAPI:
    """The routes as pympp's documentation has them."""
    app = FastAPI()

    @app.get("/items/{item_id}")
    @pympp.pay(pympp_gate(verifier))
    async def item(
        request: Request, item_id: int, credential: pympp.Credential, receipt: pympp.Receipt
    ) -> JSONResponse:
        return JSONResponse({"item": item_id})

    @app.get("/search")
    @pympp.pay(pympp_gate(verifier))
    async def search(
        request: Request, credential: pympp.Credential, receipt: pympp.Receipt, q: str = "nothing"
    ) -> JSONResponse:
        return JSONResponse({"q": q})

    @app.get("/plain")
    @pympp.pay(pympp_gate(verifier))
    async def plain(request: Request, credential: pympp.Credential, receipt: pympp.Receipt) -> dict[str, str]:
        await anyio.sleep(0.05)
        return {"foo": "bar"}

    @app.post("/order")
    @pympp.pay(pympp_gate(verifier))
    async def order(request: Request, credential: pympp.Credential, receipt: pympp.Receipt) -> JSONResponse:
        return JSONResponse({"ordered": (await request.body()).decode()})

    @app.get("/described")
    @pympp.pay(pympp_gate(verifier, description="Käse"))
    async def described(request: Request, credential: pympp.Credential, receipt: pympp.Receipt) -> JSONResponse:
        return JSONResponse({"foo": "bar"})

    return app


def flovia_app() -> FastAPI:
    """The same routes behind flovia."""
    app = FastAPI()

    @app.get("/items/{item_id}")
    @flovia_fastapi.paid(flovia_gate())
    async def item(item_id: int) -> dict[str, int]:
        return {"item": item_id}

    @app.get("/search")
    @flovia_fastapi.paid(flovia_gate())
    async def search(q: str = "nothing") -> dict[str, str]:
        return {"q": q}

    @app.get("/plain")
    @flovia_fastapi.paid(flovia_gate())
    async def plain() -> dict[str, str]:
        await anyio.sleep(0.05)
        return {"foo": "bar"}

    @app.post("/order")
    @flovia_fastapi.paid(flovia_gate())
    async def order(request: Request) -> dict[str, str]:
        return {"ordered": (await request.body()).decode()}

    @app.get("/described")
    @flovia_fastapi.paid(flovia_gate(description="Käse"))
    async def described() -> dict[str, str]:
        return {"foo": "bar"}

    flovia_fastapi.install(app)
    return app


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Both apps on uvicorn."""
    verifier = Verifier()
    with serve_asgi(pympp_fastapi(verifier)) as theirs, serve_asgi(flovia_app()) as ours:
        yield Pair(theirs, ours, verifier)


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """A plain GET."""
    return httpx.get(url, headers=headers, timeout=PATIENT_S)


def post(url: str, content: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """A plain POST."""
    return httpx.post(url, content=content, headers=headers, timeout=PATIENT_S)


def credential_for(unpaid: httpx.Response, proof: str) -> str:
    """A credential that pays the challenge of this 402."""
    assert 402 == unpaid.status_code, unpaid.text
    challenge = parse_challenge(unpaid.headers["www-authenticate"])
    return format_credential(Credential(challenge=challenge, payload={"proof": proof}))


def many_uses(url: str, authorization: str) -> Counter[int]:
    """The statuses of AT_ONCE concurrent uses of one credential."""

    async def go() -> list[int]:
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(
            headers={"authorization": authorization}, limits=limits, timeout=PATIENT_S
        ) as client:
            answers = await asyncio.gather(*[client.get(url) for _ in range(AT_ONCE)])
            return [answer.status_code for answer in answers]

    return Counter(asyncio.run(go()))


# --- frameworks --------------------------------------------------------------------------------------------------


@contextmanager
def flask_pair() -> Generator[tuple[str, str]]:
    """A Flask route behind pympp, in each way one can write it, and the same route behind flovia."""
    verifier = Verifier()
    theirs = Flask("pympp")

    @pympp.pay(pympp_gate(verifier))
    async def documented(request: object, credential: pympp.Credential, receipt: pympp.Receipt) -> dict[str, str]:
        return {"foo": "bar"}

    def by_hand() -> ResponseReturnValue:
        view = cast("Coroutine[None, None, ResponseReturnValue]", documented(flask_request))
        return asyncio.run(view)

    theirs.get("/paid")(documented)
    theirs.add_url_rule("/by-hand", "by-hand", by_hand)

    ours = Flask("flovia")

    @ours.get("/paid")
    @flovia_flask.paid(flovia_gate())
    def paid() -> dict[str, str]:
        return {"foo": "bar"}

    with ExitStack() as stack:
        yield stack.enter_context(serve_wsgi(theirs)), stack.enter_context(serve_wsgi(ours))


def test_on_flask_pympp_answers_500_where_flovia_sells() -> None:
    """pympp's ``@pay`` on Flask answers 500 to the unpaid request, also when driven by hand; flovia's route sells."""
    with flask_pair() as (theirs, ours):
        assert 500 == get(f"{theirs}/paid").status_code
        assert 500 == get(f"{theirs}/by-hand").status_code
        answer = PymppAgent().fetch(f"{ours}/paid")
        assert (200, b'{"foo":"bar"}') == (answer.status, answer.body.strip())
        assert answer.receipt is not None


def test_pympp_takes_the_payment_and_drops_a_path_parameter(pair: Pair) -> None:
    """A FastAPI path parameter makes pympp's route fail after it took the payment; flovia passes it on (S08)."""
    before = len(pair.verifier.proofs)
    theirs = PymppAgent().fetch(f"{pair.pympp}/items/7")
    assert (500, before + 1) == (theirs.status, len(pair.verifier.proofs))
    ours = PymppAgent().fetch(f"{pair.flovia}/items/7")
    assert (200, b'{"item":7}') == (ours.status, ours.body)


def test_pympp_sells_another_answer_than_was_asked_for(pair: Pair) -> None:
    """A FastAPI query parameter with a default never reaches a view behind pympp; behind flovia it does."""
    assert b'{"q":"nothing"}' == PymppAgent().fetch(f"{pair.pympp}/search?q=cheese").body
    assert b'{"q":"cheese"}' == PymppAgent().fetch(f"{pair.flovia}/search?q=cheese").body


def test_pympp_loses_the_receipt_of_a_plain_answer(pair: Pair) -> None:
    """A view that returns a dict, FastAPI's commonest kind, gets no receipt from pympp; from flovia it does (S23)."""
    theirs, ours = (PymppAgent().fetch(f"{base}/plain") for base in (pair.pympp, pair.flovia))
    assert (200, None) == (theirs.status, theirs.receipt)
    assert 200 == ours.status
    assert ours.receipt is not None


def test_a_latin_1_description_stops_pympps_402(pair: Pair) -> None:
    """``description="Käse"`` makes pympp answer 500 to everybody; flovia answers 402 in ASCII (S02)."""
    assert 500 == get(f"{pair.pympp}/described").status_code
    ours = get(f"{pair.flovia}/described")
    assert 402 == ours.status_code
    assert "K?se" == parse_challenge(ours.headers["www-authenticate"]).description


# --- single use --------------------------------------------------------------------------------------------------


def test_one_credential_many_times_at_once(pair: Pair) -> None:
    """50 uses at once of one credential: pympp's route answers 200 fifty times, flovia's once (S42, S44).

    A custom method brings no replay protection of its own in pympp; its Tempo and EVM methods have a store.
    """
    before = len(pair.verifier.proofs)
    url = f"{pair.pympp}/plain"
    assert Counter({200: AT_ONCE}) == many_uses(url, credential_for(get(url), "ok-race-pympp"))
    assert before + AT_ONCE == len(pair.verifier.proofs)

    url = f"{pair.flovia}/plain"
    statuses = many_uses(url, credential_for(get(url), "ok-race-flovia"))
    assert 1 == statuses[200]
    assert AT_ONCE - 1 == statuses[409] + statuses[402]


def test_one_credential_twice_in_a_row(pair: Pair) -> None:
    """A second use after the first: pympp answers 200 again, flovia 402 ``invalid-challenge`` (S04)."""
    seconds: list[httpx.Response] = []
    for base in (pair.pympp, pair.flovia):
        authorization = credential_for(get(f"{base}/plain"), f"ok-twice-{base}")
        first, second = (get(f"{base}/plain", headers={"authorization": authorization}) for _ in range(2))
        assert 200 == first.status_code
        while second.status_code == 409:  # the first delivery is not on record yet
            second = get(f"{base}/plain", headers={"authorization": authorization})
        seconds.append(second)
    assert [200, 402] == [second.status_code for second in seconds]
    assert seconds[1].json()["type"].endswith("/invalid-challenge")


def test_one_credential_for_another_body(pair: Pair) -> None:
    """Paid with one body, sent with another: pympp's ``@pay`` takes it unless told to look, flovia refuses (S15-17)."""
    ordered: list[object] = []
    for base in (pair.pympp, pair.flovia):
        authorization = credential_for(post(f"{base}/order", "1 apple"), f"ok-body-{base}")
        answer = post(f"{base}/order", "100 apples", headers={"authorization": authorization})
        ordered.append((answer.status_code, answer.json().get("ordered")))
    assert [(200, "100 apples"), (402, None)] == ordered


@pytest.mark.node
def test_mppx_takes_one_credential_many_times(javascript: Javascript) -> None:
    """mppx's server, too, takes one credential of a custom method 50 times at once."""
    secret = "test-secret-of-the-mppx-server-00001"
    url = cast(str, javascript.call("shop.open", secretKey=secret, realm=REALM)["url"])
    credential = credential_for(get(f"{url}/paid"), "ok-race-mppx")
    assert Counter({200: AT_ONCE}) == many_uses(f"{url}/paid", credential)
    assert AT_ONCE == javascript.call("shop.seen", url=url)["payments"]
    javascript.call("shop.close", url=url)


# --- clients -----------------------------------------------------------------------------------------------------


def test_how_often_a_client_pays_in_one_call(pair: Pair, agent: Agent, tmp_path: Path) -> None:
    """If the server refuses every proof, pympp and mppx pay three times in one call, flovia's client once (C12)."""
    url = f"{pair.flovia}/plain"
    assert 3 == len(agent.fetch(url, proof="declined").credentials)
    wallet = MockWallet("declined")
    transport = PayingTransport(wallet, budget=Budget("5.00 USD"), pending=PendingFiles(tmp_path))
    with httpx.Client(transport=transport, timeout=PATIENT_S) as client, pytest.raises(PaymentRefused):
        client.get(url)
    assert 1 == wallet.payments
