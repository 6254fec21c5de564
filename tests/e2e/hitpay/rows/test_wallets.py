"""Saved wallets, and tokens that pass for others: one app, one sandbox, agents as processes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import cast

import pytest

from flovia.core import events as ev
from flovia.core.encoding import JsonObject
from tests.e2e.hitpay.conftest import challenge_of, code, ident, token
from tests.e2e.hitpay.rows.table import plays
from tests.e2e.hitpay.rows.world import World
from tests.patience import PROGRAM_S
from tests.tree import ROOT

ASKS = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": "buyer@example.test"}
HASH = "c25ce513becc173f05ace9f4e892f93978224d41b5b295f11a1e57f8cab0f019"


def bound(here: World, path: str) -> tuple[str, str]:
    """Bind a wallet as agent and customer do: the saved method and its grant."""
    challenge = challenge_of(here.get(path, **ASKS))
    pending = here.get(path, token(challenge), **ASKS)
    assert challenge.id == challenge_of(pending).id
    here.control("POST", f"saved-methods/{ident(challenge)}/approve")
    reply = here.http.get(f"{here.broker}/v1/saved-payment-methods/{ident(challenge)}").json()
    return ident(challenge), str(reply["saved_method_jws"])


def spent(here: World, saved: str) -> tuple[str, int]:
    """What was taken from a wallet, and how often."""
    found = cast("list[JsonObject]", here.control("GET", "saved-methods")["saved_methods"])
    one = next(one for one in found if one["id"] == saved)
    return str(one["spent"]), cast(int, one["uses"])


@plays("Saved method life")
def test_an_agent_saves_a_wallet(here: World) -> None:
    """The example's agent binds a wallet, is charged twice, and not again once it was detached."""
    here.fault("payer", "auto_pay", delay=0)
    program = str(ROOT / "examples" / "hitpay_agent.py")
    url = f"{here.app}/saved/1.00"
    for arguments in (["--save"], []):
        done = here.program(program, *arguments, url)
        assert (0, True) == (done.status, "receipt verified" in done.out), done.out + done.err
    (made,) = here.journal("B5")
    saved = str(cast(JsonObject, made["got"])["saved_method_id"])
    assert (("2.00", 2), 2) == (spent(here, saved), here.calls("B7"))
    here.control("POST", f"saved-methods/{saved}/detach")
    done = here.program(program, url)
    assert (5, True) == (done.status, "the saved wallet is detached" in done.out), done.out + done.err
    assert (("2.00", 2), 2) == (spent(here, saved), here.calls("B7"))


@pytest.mark.parametrize("key", [None, '"one-purchase"'], ids=["no-key", "key"])
def test_one_grant_at_the_same_moment(here: World, key: str | None) -> None:
    """Eight times at once: whoever is let in was charged once; under one key that is one charge, later too."""
    saved, grant = bound(here, "/saved/0.50")
    more = {} if key is None else {"idempotency_key": key}
    barrier = Barrier(8)

    def present() -> int:
        barrier.wait(PROGRAM_S)
        return here.get("/saved/0.50", grant, **more).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = [call.result() for call in [pool.submit(present) for _ in range(8)]]
    # 402: one that was begun beside a purchase which was delivered just then.
    assert {200} <= set(statuses) <= {200, 409, 402}
    assert (1 if key else statuses.count(200)) == spent(here, saved)[1] == here.calls("B7")
    assert 200 == here.get("/saved/0.50", grant, **more).status_code
    assert (1 if key else statuses.count(200) + 1) == spent(here, saved)[1]


@plays("Saved method life")
def test_each_cap(here: World) -> None:
    """Within the grant it is charged; over a cap 402 and no money, without asking where the grant itself says so."""
    saved, grant = bound(here, "/saved/1.00")
    assert [200, 200] == [here.get(f"/saved/{price}", grant).status_code for price in ("3.00", "2.00")]
    assert (("5.00", 2), 2) == (spent(here, saved), here.calls("B7"))
    assert (402, "payment-insufficient") == code(here.get("/saved/3.01", grant))
    wrapped = token(challenge_of(here.get("/ringgit")), {"saved_method_jws": grant})
    assert (402, "verification-failed") == code(here.get("/ringgit", wrapped))
    assert 2 == here.calls("B7")
    assert (402, "payment-insufficient") == code(here.get("/saved/0.50", grant))
    assert 403 == here.journal("B7")[-1]["status"]
    few, twice = bound(here, "/twice")
    found = [here.get("/twice", twice) for _ in range(3)]
    assert [200, 200, 402] == [answer.status_code for answer in found]
    assert (402, "payment-insufficient") == code(found[-1])
    assert (("5.00", 2), ("2.00", 2)) == (spent(here, saved), spent(here, few))


@plays("Saved method life")
def test_declined_and_detached(here: World) -> None:
    """Declined: 402, nothing counted. Detached: 402 and a new setup, which is known without asking a second time."""
    saved, grant = bound(here, "/saved/1.00")
    here.fault("payer", "decline", route="B7")
    assert (402, "verification-failed") == code(here.get("/saved/1.00", grant))
    assert (("0.00", 0), 402) == (spent(here, saved), here.journal("B7")[-1]["status"])
    here.clear()
    here.control("POST", f"saved-methods/{saved}/detach")
    for _ in range(2):
        answer = here.get("/saved/1.00", grant, x_user_email=ASKS["x_user_email"])
        assert (402, "payment-expired") == code(answer)
        assert "saved-method-setup" == answer.json()["mode"]
        assert (2, 410) == (here.calls("B7"), here.journal("B7")[-1]["status"])
    assert ("0.00", 0) == spent(here, saved)


@plays("Saved method life")
def test_what_the_broker_itself_refuses(here: World) -> None:
    """A merchant that does not look at the grant is stopped by the broker, with the codes of its contract."""
    saved, _ = bound(here, "/saved/1.00")
    path = f"/v1/saved-payment-methods/{saved}/charges"

    def charge(amount: str, nonce: str, currency: str = "sgd") -> tuple[int, object]:
        body = {"amount": amount, "currency": currency, "nonce": f"test-nonce-{saved}-{nonce}", "request_hash": HASH}
        answer = here.call_broker(path, body)
        return answer.status_code, answer.json().get("error", answer.json().get("status"))

    assert (403, "scope_exceeded") == charge("3.01", "1")
    assert (403, "scope_exceeded") == charge("1.00", "2", "myr")
    assert (200, "paid") == charge("3.00", "3")
    assert (200, "paid") == charge("3.00", "3")
    assert (409, "nonce_reused") == charge("1.00", "3")
    assert (403, "scope_exceeded") == charge("2.01", "4")
    assert ("3.00", 1) == spent(here, saved)
    here.control("POST", f"saved-methods/{saved}/detach")
    assert (410, "saved_method_inactive") == charge("1.00", "5")
    assert ("3.00", 1) == spent(here, saved)


@plays("Unknown outcome on B7")
def test_a_lost_answer(here: World) -> None:
    """The charge was made and the answer lost: 503, then the first receipt under the same nonce; one debit."""
    saved, grant = bound(here, "/saved/1.00")
    here.fault("http", "reset", route="B7", next=1, after_commit=True)
    lost = here.get("/saved/1.00", grant)
    assert (503, "outcome-unknown") == code(lost)
    assert "www-authenticate" not in lost.headers
    assert ("1.00", 1) == spent(here, saved)
    assert 200 == here.get("/saved/1.00", grant).status_code
    assert ("1.00", 1) == spent(here, saved)
    first, again = here.journal("B7")
    assert cast(JsonObject, first["sent"])["nonce"] == cast(JsonObject, again["sent"])["nonce"]
    assert cast(JsonObject, first["got"])["charge_id"] == cast(JsonObject, again["got"])["charge_id"]
    assert 1 == here.events(str(cast(JsonObject, first["got"])["charge_id"])).count(ev.PAYMENT_SETTLED)


@plays("Type confusion")
def test_a_receipt_is_no_grant(here: World) -> None:
    """Presented as a grant, alone or in a challenge, it charges nothing; nor does a grant under its name."""
    challenge = challenge_of(here.get())
    here.settle(ident(challenge))
    receipt = here.get(token=token(challenge)).headers["mpp-receipt"]
    here.fault("jws", "typ_swapped", route="B6")
    _, renamed = bound(here, "/saved/1.00")
    for found in (receipt, renamed):
        assert (402, "malformed-credential") == code(here.get("/saved/1.00", found))
        wrapped = token(challenge_of(here.get("/saved/1.00")), {"saved_method_jws": found})
        assert (402, "verification-failed") == code(here.get("/saved/1.00", wrapped))
    assert 0 == here.calls("B7")


@plays("Type confusion")
def test_a_grant_is_no_receipt(here: World) -> None:
    """A broker whose receipt calls itself a grant is not believed: 503; its true receipt lets in."""
    challenge = challenge_of(here.get())
    here.settle(ident(challenge))
    here.fault("jws", "typ_swapped", route="B3")
    answer = here.get(token=token(challenge))
    assert (503, "outcome-unknown") == code(answer)
    assert "mpp-receipt" not in answer.headers
    here.clear()
    assert 200 == here.get(token=token(challenge)).status_code
