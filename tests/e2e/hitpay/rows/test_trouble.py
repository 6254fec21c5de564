"""Webhooks that do not come or lie, a broker that is stuck, slow or down, keys that change: app, sandbox, agents."""

import hmac
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import cast

import httpx

from flovia.core import events as ev
from flovia.core.encoding import JsonObject, b64url_encode
from flovia.ledger.opening import open_ledger
from tests.e2e.hitpay.conftest import challenge_of, code, ident, token
from tests.e2e.hitpay.rows.table import plays
from tests.e2e.hitpay.rows.world import World
from tests.leaks.search import Known, forms
from tests.patience import eventually


def answers(here: World, charge: str) -> list[int]:
    """What the app has answered to webhooks about a charge."""
    return [status for one in here.heard(charge) for status in cast("list[int]", one["answers"]) if status]


# --- webhooks -----------------------------------------------------------------------------------------------


@plays("Lost webhook / stuck broker")
def test_the_core_api_unlocks(here: World) -> None:
    """No webhook, a broker stuck at pending, a payment request that lags: what was paid is delivered if asked there."""
    here.fault("webhook", "lost")
    here.fault("pr_lag", "forever")
    here.fault("broker_status_stuck", "status", route="B2")
    here.fault("broker_status_stuck", "verify", route="B3")
    without, asking = challenge_of(here.get("/forecast")), challenge_of(here.get("/fallback"))
    unpaid = here.get("/fallback", token(asking))
    assert (402, asking.id) == (unpaid.status_code, challenge_of(unpaid).id)
    for challenge in (without, asking):
        here.settle(ident(challenge))
        assert "pending" == here.request_of(ident(challenge))["status"]
    assert without.id == challenge_of(here.get("/forecast", token(without))).id
    assert 200 == here.get("/fallback", token(asking)).status_code
    here.control("DELETE", "faults?knob=broker_status_stuck")
    assert 200 == here.get("/forecast", token(without)).status_code


@plays("Lost webhook / stuck broker")
def test_an_agent_of_a_stuck_broker(here: World) -> None:
    """The broker tells the agent that it is paid, and the server that it is not: HitPay's API decides."""
    here.fault("webhook", "lost", target="endpoint")
    here.fault("pr_lag", "forever")
    here.fault("broker_status_stuck", "verify", route="B3")
    here.fault("payer", "auto_pay", delay=0)
    done = here.pay("/fallback")
    assert (0, "1.00 SGD") == (done.status, done.told["price"]), done.err
    assert 1 == here.calls("B1")


@plays("Duplicate + reordered webhooks")
def test_duplicate_and_reordered(here: World) -> None:
    """The refund is heard of three times, and only then the payment: 200 to all, one refund on record, no way back."""
    here.fault("webhook", "out_of_order", hold=3600, route="payment_request.completed", target="endpoint")
    here.fault("webhook", "duplicate", times=3, route="charge.updated", target="endpoint")
    challenge = challenge_of(here.get())
    charge = ident(challenge)
    here.settle(charge)
    assert 200 == here.get(token=token(challenge)).status_code
    assert [] == answers(here, charge)
    (payment,) = cast("list[JsonObject]", here.request_of(charge)["payments"])
    here.core("POST", "/v1/refund", {"payment_id": payment["id"], "amount": "1.00"})
    assert [200] * 4 == eventually(lambda: answers(here, charge), lambda found: len(found) == 4)
    told = sorted(here.heard(charge), key=lambda one: str(one["id"]))
    assert ["charge.updated"] * 3 == [one["event"] for one in told if one["event"] != "payment_request.completed"]
    assert (1, 1) == (here.events(charge).count(ev.PAYMENT_REFUNDED), here.events(charge).count(ev.PAYMENT_DELIVERED))
    assert (403, "payment-refunded") == code(here.get(token=token(challenge)))


@plays("Wrong salt / altered raw body")
def test_wrong_salt(here: World) -> None:
    """Late money that is told of under the other salt, or by a changed text, is not believed; told truly, it is."""
    challenge = challenge_of(here.get())
    charge = ident(challenge)
    here.settle(charge, "expire")
    here.fault("webhook", "wrong_salt", target="endpoint")
    here.settle(charge, "late_pay")
    assert {401} == set(eventually(lambda: answers(here, charge), bool))
    request = here.request_of(charge)
    body = {"id": request["id"], "status": "completed", "reference_number": charge, "amount": "1.00", "currency": "sgd"}
    raw = json.dumps(body, separators=(",", ":")).encode()
    signature = hmac.new(here.environment["HITPAY_WEBHOOK_SALT"].encode(), raw, "sha256").hexdigest()

    def post(text: bytes) -> httpx.Response:
        fields = {
            "content-type": "application/json",
            "hitpay-event-object": "payment_request",
            "hitpay-event-type": "completed",
            "hitpay-signature": signature,
        }
        return here.http.post(f"{here.app}/hooks/hitpay", content=text, headers=fields)

    for altered in (raw + b" ", raw.replace(b"1.00", b"9.00"), json.dumps(body).encode(), raw[:-1]):
        assert 401 == post(altered).status_code
    assert charge not in here.due()
    assert [] == here.events(charge)
    assert 200 == post(raw).status_code
    assert charge in here.due()


# --- the broker ---------------------------------------------------------------------------------------------


@plays("Broker down / slow")
def test_down(here: World) -> None:
    """Whatever is wrong with the broker: 503, Retry-After, no challenge, and the same credential is good afterwards."""
    here.fault("http", "503", route="B1")
    done = here.pay()
    assert (7, None) == (done.status, done.json["paid"])
    here.clear()
    challenge = challenge_of(here.get())
    here.settle(ident(challenge))
    for value in ("500", "502", "503", "429", "reset", "non_json", "missing_fields", "redirect"):
        here.fault("http", value, route="B3", next=1)
        answer = here.get(token=token(challenge))
        assert (503, "outcome-unknown") == code(answer), value
        assert "www-authenticate" not in answer.headers
        assert int(answer.headers["retry-after"]) > 0
    assert 200 == here.get(token=token(challenge)).status_code
    assert 1 == len(cast("list[object]", here.request_of(ident(challenge))["payments"]))


@plays("Broker down / slow")
def test_slow(here: World) -> None:
    """A broker that never answers, or not for an hour, costs the agent no longer than the deadline."""
    challenge = challenge_of(here.get("/impatient"))
    here.settle(ident(challenge))
    for value, options in (("hang", {}), ("slow", {"ms": 3_600_000})):
        for route in ("B1", "B3"):
            here.fault("http", value, route=route, **options)
        asked, paid = here.get("/impatient"), here.get("/impatient", token(challenge))
        assert (503, "provider-unavailable") == code(asked)
        assert (503, "outcome-unknown") == code(paid)
        assert ["www-authenticate" in answer.headers for answer in (asked, paid)] == [False, False]
        here.clear()
    assert 200 == here.get("/impatient", token(challenge)).status_code


@plays("Broker down / slow")
def test_no_secret_is_shown(here: World) -> None:
    """Not in an answer, the app's log at DEBUG or the sandbox's journal, of this test and all before it."""
    known = Known()
    for name in ("HITPAY_API_KEY", "HITPAY_WEBHOOK_SALT", "HITPAY_API_SALT", "FLOVIA_SECRET"):
        known.add(name, here.environment[name])
    challenge = challenge_of(here.get("/core"))
    here.settle(ident(challenge))
    here.fault("http", "500")
    failed = [here.get(), here.get("/core", token(challenge))]
    assert [503, 503] == [answer.status_code for answer in failed]
    log = Path(here.environment["E2E_LOG"]).read_text(encoding="utf-8")
    assert "flovia" in log
    journal = json.dumps(here.control("GET", "journal"))
    for text in (log, journal, *(answer.text for answer in failed)):
        assert [] == [what for what, _ in (*known.found(text), *forms(text))]
        assert token(challenge) not in text


# --- keys ---------------------------------------------------------------------------------------------------


def made_up_grant() -> str:
    """A grant of a key that nobody has."""
    head = {"alg": "EdDSA", "typ": "mpp-spm+jwt", "kid": f"test-{secrets.token_hex(8)}"}
    claims = {"sub": "mpp_spm_made_up", "currency": "sgd"}
    parts = (json.dumps(head).encode(), json.dumps(claims).encode(), secrets.token_bytes(64))
    return ".".join(b64url_encode(part) for part in parts)


@plays("Key rotation")
def test_key_rotation_and_a_flood(here: World) -> None:
    """One fetch at first and one for a new key; fifty made-up keys make one a minute, and none that a payer needs.

    A second rotation within a minute has to wait for its end, and then the credential that was paid is good. This
    route's clock is its own, and is moved; so are the keys that it keeps.
    """

    def flood() -> set[tuple[int, str]]:
        with ThreadPoolExecutor(16) as pool:
            return set(pool.map(lambda _: code(here.get("/later", made_up_grant())), range(50)))

    def bought() -> int:
        challenge = challenge_of(here.get("/later"))
        here.settle(ident(challenge))
        return here.get("/later", token(challenge)).status_code

    def minute() -> None:
        assert here.http.post(f"{here.app}/clock/61").is_success

    assert (200, 1) == (bought(), here.calls("B9"))
    here.control("POST", "keys/rotate")
    assert (200, 2) == (bought(), here.calls("B9"))
    for fetches in (3, 4):
        assert {(402, "verification-failed"), (503, "provider-unavailable")} >= flood()
        assert {(503, "provider-unavailable")} == flood()
        assert (fetches, 0) == (here.calls("B9"), here.calls("B7"))
        minute()
    with closing(open_ledger(here.environment["E2E_OTHER_LEDGER"])) as ledger:
        assert ev.PAYMENT_UNKNOWN not in [event.type for _, event in ledger.read_events(limit=100_000)]
    flood()
    here.control("POST", "keys/rotate")
    assert (200, 6) == (bought(), here.calls("B9"))
    here.control("POST", "keys/rotate")
    challenge = challenge_of(here.get("/later"))
    here.settle(ident(challenge))
    early = here.get("/later", token(challenge))
    assert ((503, "outcome-unknown"), 6) == (code(early), here.calls("B9"))
    assert int(early.headers["retry-after"]) > 0
    minute()
    assert (200, 7) == (here.get("/later", token(challenge)).status_code, here.calls("B9"))


@plays("Key rotation")
def test_an_agent_verifies_under_the_new_key(here: World) -> None:
    """Server and agent both find the key that is newer than their copy."""
    here.fault("payer", "auto_pay", delay=0)
    here.fault("jws", "rotate", route="B3", next=1)
    done = here.pay()
    assert (0, True) == (done.status, done.told["receipt_verified"]), done.err
