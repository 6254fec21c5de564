"""The simulated flow: it is the real core's own story, the same every time, and readable without a script."""

import json
import re
from collections.abc import Generator

import httpx
import jsonschema
import pytest

from flovia.core.effects import HttpCall
from flovia.insights.joined import schema
from flovia.showcase import simulated, simulated_run
from tests.showcase.site import served

PAGE = "/showcase/hitpay-mpp"
SEED = {
    "requestId": "req_demo_001",
    "provider": "hitpay",
    "rail": "mpp",
    "endpoint": "/showcase/hitpay-mpp/paid",
    "paymentId": "hitpay_demo_charge_001",
    "responseStatus": 200,
    "latencyMs": 47,
    "insight": "payment converted into paid API demand",
}
"""The event payload preview of the page that the showcase is made after."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A served showcase."""
    with served(tmp_path_factory.mktemp("simulated")) as found:
        yield found


def test_the_preview_is_the_joined_event_and_says_what_the_original_page_says() -> None:
    """The eight members come first, in their order and with their values; the whole is valid by the schema."""
    found = simulated.simulation()
    assert SEED == json.loads(found.preview)
    assert list(SEED) == list(found.event)[:8]
    assert json.loads(found.others) == found.event
    jsonschema.validate(found.event, dict(schema()))


def test_the_preview_is_what_the_join_makes_of_the_ledger() -> None:
    """No member is written down anywhere else: it is the attempt's own serialisation, with numbers as JSON has them."""
    played = simulated_run.run()
    assert played.attempts[-1].to_json() == simulated.simulation().event


def test_every_step_has_what_it_makes_true() -> None:
    """Five steps; what the join makes of the events changes with them; nothing is claimed before it happened."""
    steps = simulated.simulation().steps
    assert [1, 2, 3, 4, 5] == [one.number for one in steps]
    assert [
        "request without a payment",
        "price shown, not paid",
        "price shown, not paid",
        "payment converted into paid API demand",
        "payment converted into paid API demand",
    ] == [one.insight for one in steps]
    assert [1, 3, 3, 9, 9] == [len(one.events) for one in steps]
    for word in ("no payment credential", "req_demo_000"):
        assert any(word in fact for fact in steps[0].facts), word
    assert "status 402" in steps[1].facts
    assert ("checkout session + QR payment", "hitpay_demo_charge_001", "S$1.00 SGD") == steps[2].facts
    assert {"status 200", 'response { "foo": "bar" }'} < set(steps[3].facts)


def test_the_credential_is_not_shown() -> None:
    """It is a demo's, and hidden all the same: whoever looks learns what may be shown and what not."""
    said = json.dumps(simulated.simulation().to_json())
    credential = dict(simulated_run.run().retry.headers.items())["authorization"]
    assert credential.removeprefix("Payment ") not in said
    assert re.search(r"Authorization: Payment \(\d+ characters, not shown\)", said)


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the process that shows it are not those of the story."""
    before = simulated_run.run()
    assert before.refused == simulated_run.run().refused, "not the same every time"
    for name, value in (("FLOVIA_HASH_PAYERS", "all"), ("WEB_CONCURRENCY", "4"), ("HITPAY_MPP_ENDPOINT", "nowhere")):
        monkeypatch.setenv(name, value)
    found = simulated_run.run()
    assert (before.events, before.refused, before.answer) == (found.events, found.refused, found.answer)


def test_what_is_not_in_the_script_stops_the_story() -> None:
    """A provider that began to call something else would be noticed, not made up."""
    hitpay = simulated_run.ScriptedHitPay(simulated_run.Clock())
    with pytest.raises(simulated_run.OffScriptError, match="GET /v1/elsewhere"):
        hitpay.answer(HttpCall(http_method="GET", url=f"{simulated_run.BROKER}/v1/elsewhere"))
    with pytest.raises(simulated_run.OffScriptError, match="/verify"):  # nobody has paid
        hitpay.answer(
            HttpCall(http_method="POST", url=f"{simulated_run.BROKER}/v1/charges/{simulated_run.CHARGE}/verify")
        )


def test_it_is_served_as_data(url: str) -> None:
    """The steps, with their lanes, and the event; the answer says itself that it is simulated."""
    found = httpx.get(f"{url}{simulated.ADDRESS}")
    assert (200, "application/json") == (found.status_code, found.headers["content-type"])
    assert json.loads(json.dumps(simulated.simulation().to_json())) == found.json()
    assert found.json()["simulated"] is True
    lanes = [
        entry
        for step in found.json()["steps"]
        for name in ("payment", "api", "flovia")
        for entry in step["lanes"][name]
    ]
    assert sum(map(len, simulated.simulation().lanes.values())) == len(lanes)
    assert "default-src 'self'" in found.headers["content-security-policy"]


def test_all_five_steps_are_readable_without_a_script(url: str) -> None:
    """The page itself has every step, every lane and the preview; each step has an address."""
    text = httpx.get(f"{url}{PAGE}").text
    for one in simulated.simulation().steps:
        assert one.title in text
        assert f"?step={one.number}#simulate" in text
    for label in ("Payment lane", "API lane", "Flovia lane", "Event payload preview", ">Simulated<"):
        assert label in text
    assert "&#34;latencyMs&#34;: 47," in text


@pytest.mark.parametrize(
    ("asked", "shown"), [("3", 3), ("1", 1), ("", 5), ("0", 5), ("6", 5), ("33", 5), ("x", 5), ("²", 5)]
)
def test_a_step_by_its_address(url: str, asked: str, shown: int) -> None:
    """``?step=3`` opens the third; what is no step opens the last, with everything shown."""
    text = httpx.get(f"{url}{PAGE}", params={"step": asked}).text
    assert [str(shown)] == re.findall(r'data-number="(\d)" aria-current="step"', text)
    assert f"Step {shown} of 5" in text
