"""The 402 of the HitPay provider, in its default form, as pympp and mppx read it: generated ones, over the sandbox."""

import random
from typing import Any, Final, cast

import pytest

import flovia
from flovia.core.encoding import JsonObject, loads_object
from flovia.core.http import Headers, HttpRequest, HttpResponse
from flovia.sandbox import Advance
from tests.campaigns.hitpay_world import SECRET, HitPayWorld
from tests.interop.javascript import Javascript
from tests.interop.pympp import Challenge as PymppChallenge

COUNT: Final = 100
PRICES: Final = ("0.30 SGD", "1.00 SGD", "15.00 MYR", "50000 IDR", "200.00 PHP", "120.00 THB", "999999.99 SGD")
DESCRIPTIONS: Final = (None, "Forecast", "Wetter für morgen ☔", 'A "quoted" \\ text', "x" * 200)
TEMPO: Final = (
    'Payment id="x1", realm="api.example.com", method="tempo", intent="charge", request="eyJhbW91bnQiOiIxIn0"'
    ', expires="2030-01-01T00:15:00Z"'
)


@pytest.fixture(scope="module")
def answers() -> list[HttpResponse]:
    """A hundred 402s: currencies, amounts, descriptions, paths and queries as they come."""
    world, chance, found = HitPayWorld(5), random.Random(5), list[HttpResponse]()
    for number in range(COUNT):
        gate = world.flo.paid_api(price=chance.choice(PRICES), description=chance.choice(DESCRIPTIONS)).guard
        query = f"zip={chance.randrange(99999)}" if chance.random() < 0.5 else ""
        request = HttpRequest(
            "GET", f"/forecast/{number}", query, Headers.of([("host", "api.example.com")]), "", f"198.51.100.{number}"
        )

        def ask(gate: Any = gate, request: HttpRequest = request) -> Any:
            passage: flovia.Passage = yield from gate.enter(request)
            assert passage.response is not None
            found.append(passage.response)

        world.spawn(f"request {number}", ask())
        world.run()
        world.step(Advance(ms=2_000))
    assert {402} == {answer.status for answer in found}
    return found


def field_of(answer: HttpResponse) -> str:
    """The one challenge."""
    [value] = [value for name, value in answer.headers if name == "www-authenticate"]
    return value


def test_pympp_reads_it_and_recomputes_the_id(answers: list[HttpResponse]) -> None:
    """One challenge of method hitpay whose id is pympp's own; HitPay's body stands beside it."""
    for answer in answers:
        read = PymppChallenge.from_www_authenticate(field_of(answer))
        assert read.verify(SECRET, "api.example.com")
        assert ("hitpay", "charge") == (read.method, read.intent)
        body = loads_object(answer.body)
        challenge = cast(JsonObject, body["challenge"])
        details = cast(JsonObject, challenge["methodDetails"])
        asked = cast(JsonObject, cast(object, read.request))
        assert ("payment_required", 402, read.id) == (body["error"], body["status"], body["challengeId"])
        assert str(details["polling_url"]).endswith(str(asked["externalId"]))


@pytest.mark.node
def test_mppx_reads_it_and_recomputes_the_id(answers: list[HttpResponse], javascript: Javascript) -> None:
    """The same for mppx, alone and in one list with another method's challenge."""
    fields = [field_of(answer) for answer in answers]
    read = javascript.calls([{"op": "challenge.read", "field": field, "secretKey": SECRET} for field in fields])
    assert [True] * COUNT == [found.get("verified", found) for found in read]
    listed = javascript.calls([{"op": "challenge.list", "fields": [TEMPO, field]} for field in fields])
    for found in listed:
        methods = [cast(JsonObject, one)["method"] for one in cast("list[Any]", found["challenges"])]
        assert ["tempo", "hitpay"] == methods
