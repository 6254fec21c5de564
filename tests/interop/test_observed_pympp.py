"""flovia watches a FastAPI route that pympp gates: nothing changes for client or view, and the events join."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import flovia
import flovia_fastapi
from flovia import api
from flovia.core.challenge import parse_challenge
from flovia.core.events import REQUEST_COMPLETED, REQUEST_FAILED, Event
from flovia.insights.join import join
from flovia.testing.servers import serve_asgi
from tests.interop import pympp
from tests.interop.agents import Agent, PymppAgent
from tests.interop.shops import REALM, SECRET, Verifier, charge
from tests.patience import PATIENT_S, eventually


@attrs.frozen
class Observed:
    """The running app, what pympp's method verified, and the ledger that flovia writes to."""

    url: str
    verifier: Verifier
    ledger: str

    def events(self, of: int = 1) -> list[Event]:
        """Everything flovia recorded of so many requests, as another process reads it: by a connection of its own.

        A client has its answer before the server has written down that it is complete: wait for that.
        """
        reader = flovia.Flovia(provider="mock", ledger=self.ledger)

        def recorded() -> list[Event]:
            api.default().ledger.flush()
            return [event for _, event in reader.ledger.read_events()]

        def whole(events: list[Event]) -> bool:
            ended = [event for event in events if event.type in (REQUEST_COMPLETED, REQUEST_FAILED)]
            return len(ended) == len({event.request_id for event in events}) >= of

        try:
            events = eventually(recorded, whole)
        finally:
            reader.close()
        assert whole(events), "a request has no end"
        return events


@pytest.fixture
def observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observed]:
    """The app of a team that already sells with pympp, with flovia's one line above the gate."""
    ledger = f"sqlite:///{tmp_path}/flovia.db"
    monkeypatch.setenv("FLOVIA_LEDGER", ledger)
    # An observer needs no secret and no price.
    monkeypatch.delenv("FLOVIA_SECRET", raising=False)
    monkeypatch.delenv("FLOVIA_PRICE", raising=False)
    monkeypatch.setattr(api, "_default", None)
    verifier = Verifier()
    gate = pympp.Server(verifier.method(), realm=REALM, secret_key=SECRET)
    app = FastAPI()

    @app.get("/paid")
    @flovia_fastapi.paid(provider="mock", rail="mpp")
    @pympp.pay(charge(gate))
    async def paid(request: Request, credential: pympp.Credential, receipt: pympp.Receipt) -> JSONResponse:
        return JSONResponse({"foo": "bar"})

    @app.get("/also-paid")
    @flovia_fastapi.paid(flovia.paid_api(provider="mock", rail="mpp", name="the other one"))
    @pympp.pay(charge(gate))
    async def also(request: Request, credential: pympp.Credential, receipt: pympp.Receipt) -> JSONResponse:
        return JSONResponse({"foo": "bar"})

    @app.get("/forgotten")
    @flovia_fastapi.paid(flovia.observe(provider="mock"))
    async def forgotten() -> dict[str, str]:
        return {"secret": "sauce"}

    flovia_fastapi.install(app)
    with serve_asgi(app) as url:
        yield Observed(url, verifier, ledger)
    api.default().close()


def test_the_sale_goes_on_as_before(observed: Observed, agent: Agent) -> None:
    """Client, view and pympp's gate see the same 402, payment and receipt as without flovia."""
    answer = agent.fetch(f"{observed.url}/paid")
    assert (200, b'{"foo":"bar"}') == (answer.status, answer.body)
    assert 1 == len(observed.verifier.proofs)
    assert answer.receipt is not None
    assert f"pympp-{observed.verifier.proofs[0]}" == answer.receipt["reference"]


def test_the_challenge_and_the_paid_retry_join(observed: Observed, agent: Agent) -> None:
    """Both requests carry pympp's challenge id, so payment, payer, endpoint and statuses become one attempt."""
    answer = agent.fetch(f"{observed.url}/paid")
    assert answer.receipt is not None
    events = observed.events(of=2)
    unpaid, retry = (
        [event for event in events if event.request_id == request_id]
        for request_id in dict.fromkeys(event.request_id for event in events)
    )
    assert ["paid_api.request_started", "paid_api.challenge_issued", "paid_api.request_completed"] == [
        event.type for event in unpaid
    ]
    assert [
        "paid_api.request_started",
        "paid_api.payment_context_attached",
        "paid_api.access_granted",
        "paid_api.request_completed",
    ] == [event.type for event in retry]
    assert set(answer.challenge_ids) == {unpaid[-1].challenge_id, retry[-1].challenge_id}
    assert (402, 200) == (unpaid[-1].status, retry[-1].status)
    assert answer.receipt["reference"] == retry[-1].payment_id
    assert retry[-1].payer is not None
    assert retry[-1].payer.startswith("did:key:")
    assert {("/paid", "mock", "mpp")} == {(event.endpoint, event.provider, event.rail) for event in events}


def test_the_joined_event_is_readable(observed: Observed, agent: Agent) -> None:
    """One joined event tells who paid for what, with what outcome, from the SQLite file alone."""
    answer = agent.fetch(f"{observed.url}/paid", headers={"Flovia-Workflow": "weekly report"})
    assert answer.receipt is not None
    (joined,) = join(observed.events(of=2))
    told = joined.to_json()
    assert 2 == len(joined.request_ids)
    assert joined.request_ids[1] == told["requestId"]
    assert answer.challenge_ids[0] == told["challengeId"]
    assert answer.receipt["reference"] == told["paymentId"]
    assert ("mock", "mpp", "/paid", 200) == (told["provider"], told["rail"], told["endpoint"], told["responseStatus"])
    assert "weekly report" == told["workflow"]
    assert "payment converted into paid API demand" == told["insight"]
    assert isinstance(told["latencyMs"], float)


def test_an_endpoint_can_have_a_name(observed: Observed) -> None:
    """The events of an observed route carry the name it was given."""
    PymppAgent().fetch(f"{observed.url}/also-paid")
    assert {"the other one"} == {event.endpoint for event in observed.events()}


def test_no_event_holds_a_secret(observed: Observed) -> None:
    """What is recorded holds no credential, proof or receipt token, only ids and the payment's reference (S37)."""
    answer = PymppAgent().fetch(f"{observed.url}/paid")
    recorded = repr([event.to_row() for event in observed.events()])
    assert answer.credentials[0].removeprefix("Payment ") not in recorded
    assert answer.headers["payment-receipt"] not in recorded
    assert SECRET not in recorded


def test_an_ungated_route_gives_nothing_away(observed: Observed) -> None:
    """A view that lost its own gate answers 500 instead of its content, whoever asks, and the event says so."""
    answers = [
        httpx.get(f"{observed.url}/forgotten", timeout=PATIENT_S),
        httpx.get(f"{observed.url}/forgotten", headers={"authorization": "Payment e30"}, timeout=PATIENT_S),
    ]
    for answer in answers:
        assert 500 == answer.status_code
        assert "sauce" not in answer.text
        assert "payment-receipt" not in answer.headers
        assert "www-authenticate" not in answer.headers
        assert answer.json()["type"].endswith("/internal-payment-error")
    failed = [event for event in observed.events() if event.type == "paid_api.request_failed"]
    assert [(500, "internal-payment-error")] * 2 == [(event.status, event.problem) for event in failed]


def test_a_refused_payment_stays_refused(observed: Observed) -> None:
    """pympp's refusal of a proof passes through unchanged."""
    answer = PymppAgent().fetch(f"{observed.url}/paid", proof="no")
    assert 402 == answer.status
    assert [] == observed.verifier.proofs
    assert parse_challenge(answer.headers["www-authenticate"]).realm == REALM
