"""The knob of the answers: late, broken, or none at all."""

from tests.sandbox.knobs import shows
from tests.sandbox.local import Local


@shows("http", "500", "502", "503", "429")
def test_failing(local: Local) -> None:
    """The status comes instead of the answer, before or after the work was done; only here, only so often."""
    for number, status in enumerate((500, 502, 503, 429)):
        local.fault("http", status, route="B1", next=1, retry_after=7)
        body = local.creation(nonce=f"nonce-number-{number}")
        reply = local.broker("POST /v1/charges", body)
        assert (status, number * 2) == (reply.status, len(local.state.charges))
        assert ("7" if status in (503, 429) else None) == dict(reply.headers).get("retry-after")
        assert 201 == local.broker("POST /v1/charges", body).status
        local.fault("http", status, route="B1", next=1, after_commit=True)
        body = local.creation(nonce=f"nonce-number-{number}-after")
        assert (status, number * 2 + 2) == (
            local.broker("POST /v1/charges", body).status,
            len(local.state.charges),
        )
        assert 200 == local.broker("POST /v1/charges", body).status
        local.fault("http", status, route="payment_requests.list", next=1)
        reply = local.api("GET /v1/payment-requests")
        assert (status, ["message"]) == (reply.status, list(reply.json()))


@shows("http", "slow")
def test_slow(local: Local) -> None:
    """The answer is to be held back so long."""
    local.fault("http", "slow", ms=250, route="B9")
    assert (250, 200) == ((reply := local.broker("GET /.well-known/jwks.json")).delay_ms, reply.status)


@shows("http", "hang")
def test_hang(local: Local) -> None:
    """No answer at all, before or after the work was done."""
    local.fault("http", "hang", route="B1", next=1)
    assert "hang" == local.broker("POST /v1/charges", local.creation()).ending
    assert {} == local.state.charges
    local.fault("http", "hang", route="B1", next=1, after_commit=True)
    assert "hang" == local.broker("POST /v1/charges", local.creation()).ending
    assert 1 == len(local.state.charges)


@shows("http", "reset")
def test_reset(local: Local) -> None:
    """The work is done, and the connection gone: the same nonce gets the first answer, and one debit stands."""
    saved_id = local.saved()
    local.fault("http", "reset", route="B7", next=1)
    assert "reset" == local.silent(saved_id).ending
    assert 0 == next(entry.status for entry in local.state.journal if entry.route == "B7")
    reply = local.silent(saved_id)
    assert (200, "paid") == (reply.status, reply.json()["status"])
    local.verified(reply.json()["receipt_jws"])
    assert 1 == len(local.state.payments)
    local.fault("http", "reset", route="B7", next=1, after_commit=False)
    assert "reset" == local.silent(saved_id, nonce="another-nonce-1").ending
    assert 1 == len(local.state.payments)


@shows("http", "non_json")
def test_non_json(local: Local) -> None:
    """A page comes instead of JSON, with the status as it was."""
    charge_id = local.charge()
    local.fault("http", "non_json", id=charge_id)
    reply = local.broker(f"GET /v1/charges/{charge_id}")
    assert (200, "text/html") == (reply.status, dict(reply.headers)["content-type"])
    other = local.charge(nonce="another-nonce-1")
    assert "pending" == local.status(other)


@shows("http", "extra_fields")
def test_extra_fields(local: Local) -> None:
    """Members nobody has documented."""
    charge_id = local.charge()
    before = local.broker(f"GET /v1/charges/{charge_id}").json()
    local.fault("http", "extra_fields", route="B2")
    after = local.broker(f"GET /v1/charges/{charge_id}").json()
    assert before.items() <= after.items()
    assert {"sandbox_extra", "sandbox_more"} == set(after) - set(before)


@shows("http", "missing_fields")
def test_missing_fields(local: Local) -> None:
    """A member is not there: the first, or the one that is named."""
    local.fault("http", "missing_fields", route="B1")
    body = local.broker("POST /v1/charges", local.creation()).json()
    assert "challenge_id" not in body
    local.fault("http", "missing_fields", route="B1", field="expires_at")
    body = local.broker("POST /v1/charges", local.creation(nonce="another-nonce-1")).json()
    assert "expires_at" not in body
    assert "challenge_id" in body


@shows("http", "redirect")
def test_redirect(local: Local) -> None:
    """The answer is elsewhere, it says."""
    local.fault("http", "redirect", route="B3", location="http://127.0.0.1:1/")
    reply = local.verify(local.charge())
    assert (307, "http://127.0.0.1:1/") == (reply.status, dict(reply.headers)["location"])
    local.fault("http", "redirect", route="B3")
    assert dict(local.verify("x").headers)["location"].startswith("http://127.0.0.1:4010/")


def test_a_page_has_no_fields_to_spoil() -> None:
    """Faults of JSON leave pages, and members that are not there, alone."""
    local = Local()
    charge_id = local.charge()
    request = local.state.charges[charge_id].request
    page = f"GET /payment-request/@hitpay/{request}/checkout"
    before = local.http("api", page).body
    local.fault("http", "extra_fields")
    assert before == local.http("api", page).body
    local.fault("http", "missing_fields", field="nothing")
    assert "pending" == local.status(charge_id)
