"""The page about the sandbox says what is there: every knob with its options, every control."""

import json
import re
from typing import Final

from flovia.sandbox import ENDPOINTS, KNOBS, serving
from flovia.sandbox.faults import Fault, read_fault
from tests.sandbox.local import Local
from tests.tree import ROOT

PAGE: Final = (ROOT / "docs" / "guides" / "sandbox.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| (.+?) \| `(\{.*\})` \|$", PAGE, re.MULTILINE)
CALLS: Final = re.findall(r"^\| `((?:GET|PUT|POST|DELETE) /__emulator/\S+)` \| (.+) \|$", PAGE, re.MULTILINE)


def test_every_knob_is_on_the_page() -> None:
    """Each value has one row, whose JSON the sandbox takes, and which shows every option of the value."""
    shown: dict[tuple[str, str], set[str]] = {}
    for _, text in ROWS:
        body = json.loads(text)
        fault = read_fault(body)
        assert isinstance(fault, Fault), (text, fault)
        assert (fault.knob, fault.value) not in shown
        shown[fault.knob, fault.value] = set(body) - {"knob", "value", "route"}
    assert {(knob, value): set(takes) for knob, values in KNOBS.items() for value, takes in values.items()} == shown


def test_every_row_can_be_set() -> None:
    """All of them at once, through the control API."""
    local = Local()
    local.control("PUT faults", {"faults": [json.loads(text) for _, text in ROWS]})
    local.control("DELETE faults")


def test_every_control_is_on_the_page() -> None:
    """The table of calls is the table of endpoints, in its order."""
    assert [line for line, _ in ENDPOINTS] == [line for line, _ in CALLS]


def test_every_call_on_the_page_works() -> None:
    """Each step that the table names can be taken."""
    local = Local()
    for line, does in CALLS:
        local.control("DELETE faults")
        steps = re.findall(r"`([a-z_]+)`", does) if "{step}" in line else [""]
        for step in [step for step in steps if step not in ("amount", "times", "again", "terminal", "kid")]:
            local.control("POST reset")
            charge_id = local.charge()
            saved_id = str(local.setup().json()["saved_method_id"])
            if step in ("detach", "revoke"):
                local.control(f"POST saved-methods/{saved_id}/approve")
            ids = {
                "charges": charge_id,
                "payment-requests": local.state.charges[charge_id].request,
                "saved-methods": saved_id,
            }
            local.control("POST keys/rotate")
            local.fault("webhook", "lost")
            other = local.charge(nonce="another-nonce-1")
            local.pay(other)
            ids["webhooks"] = next(iter(local.state.deliveries))
            verb, _, path = line.partition(" /__emulator/")
            path = path.replace("{id}", ids.get(path.partition("/")[0], "")).replace("{step}", step)
            body: dict[str, object] = {"seconds": 1, "api_key": "test_key_of_a_merchant"}
            if path == "faults":
                body = {"knob": "qr", "value": "string"}
            local.control(f"{verb} {path}", body if verb != "GET" else None)


def test_the_guide_shows_what_the_sandbox_prints() -> None:
    """With the seed of the guide: the same key and salts, and the ports that are listened on by default."""
    guide = (ROOT / "docs" / "guides" / "hitpay.md").read_text()
    with serving(seed=1) as running:
        printed = running.environment
    printed |= {"HITPAY_MPP_ENDPOINT": "http://127.0.0.1:4010", "HITPAY_API_ENDPOINT": "http://127.0.0.1:4011"}
    lines = "\n".join(f"export {name}={value}" for name, value in printed.items())
    assert "flovia sandbox --seed 1 " in guide
    assert f"```sh\n{lines}\nexport FLOVIA_SECRET=" in guide
