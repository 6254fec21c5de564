"""The knobs of what is signed, and of the keys to it."""

import pytest
from joserfc.errors import JoseError

from tests.sandbox.knobs import shows
from tests.sandbox.local import HASH, Local, unverified, verified


def spoilt(local: Local, value: str, **options: object) -> tuple[object, object]:
    """A receipt under the knob, and the one that the next call gets."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("jws", value, route="B3", next=1, **options)
    first, second = (local.verify(charge_id).json()["receipt_jws"] for _ in range(2))
    assert first != second
    _, claims = local.verified(second)
    assert ("1.00", HASH) == (claims["amount"], claims["request_hash"])
    return first, second


@shows("jws", "wrong_kid", "retired_kid", "bad_signature", "alg_none", "alg_hs256")
def test_does_not_verify(local: Local) -> None:
    """The token is no good, in its own way; the next call brings the true one."""
    heads = {}
    for number, value in enumerate(("wrong_kid", "retired_kid", "bad_signature", "alg_none", "alg_hs256")):
        local = Local(seed=number)
        token, _ = spoilt(local, value)
        with pytest.raises(JoseError):
            local.verified(token)
        head = heads[value] = unverified(token, 0)
        assert (head["kid"] in local.control("GET keys")["keys"][0]["kid"]) == (  # type: ignore[index]  # JSON
            value in ("bad_signature", "alg_none", "alg_hs256")
        )
    assert ("none", "HS256") == (heads["alg_none"]["alg"], heads["alg_hs256"]["alg"])
    assert {"EdDSA"} == {heads[value]["alg"] for value in ("wrong_kid", "retired_kid", "bad_signature")}


@shows("jws", "rotate")
def test_rotate_mid_flight(local: Local) -> None:
    """Signed with a key that is newer than any copy of the key set."""
    before = local.jwks()
    token, _ = spoilt(local, "rotate")
    with pytest.raises(JoseError):
        verified(token, before)
    header, _ = local.verified(token)
    assert local.state.keys[-1].kid == header["kid"]


@shows("jws", "typ_swapped")
def test_typ_swapped(local: Local) -> None:
    """A receipt that says it is a grant, and the reverse; both are well signed."""
    token, _ = spoilt(local, "typ_swapped")
    assert "mpp-spm+jwt" == local.verified(token)[0]["typ"]
    saved_id = local.saved()
    local.fault("jws", "typ_swapped", route="B6")
    polled = local.broker(f"GET /v1/saved-payment-methods/{saved_id}").json()
    assert "mpp-receipt+jwt" == local.verified(polled["saved_method_jws"])[0]["typ"]


@shows("jws", "clock_skew")
def test_clock_skew(local: Local) -> None:
    """Issued in the future."""
    token, good = spoilt(local, "clock_skew", seconds=120)
    issued, true = (local.verified(each)[1]["iat"] for each in (token, good))
    assert isinstance(issued, int)
    assert isinstance(true, int)
    assert 120 == issued - true


@shows("jws", "wrong_iss", "wrong_amount", "wrong_currency", "wrong_hash", "wrong_charge")
def test_wrong_claims(local: Local) -> None:
    """Well signed, but about something else, in one respect."""
    claims = {
        "wrong_iss": {"iss"},
        "wrong_amount": {"amount"},
        "wrong_currency": {"currency"},
        "wrong_hash": {"request_hash"},
        "wrong_charge": {"sub", "challenge_id", "charge_id", "reference"},
    }
    for number, (value, changed) in enumerate(claims.items()):
        local = Local(seed=number)
        token, good = spoilt(local, value)
        wrong, true = local.verified(token)[1], local.verified(good)[1]
        assert changed == {name for name in true if wrong[name] != true[name]}
    saved_id = local.saved()
    local.fault("jws", "wrong_amount", route="B7")
    _, silent = local.verified(local.silent(saved_id).json()["receipt_jws"])
    assert "11.00" == silent["amount"]


@shows("jwks", "down")
def test_jwks_down(local: Local) -> None:
    """503."""
    local.fault("jwks", "down", next=1)
    assert 503 == local.broker("GET /.well-known/jwks.json").status
    assert 200 == local.broker("GET /.well-known/jwks.json").status


@shows("jwks", "stale")
def test_jwks_stale(local: Local) -> None:
    """The set of before the last rotation, if there was one."""
    before = local.jwks()
    local.fault("jwks", "stale", next=1)
    assert before == local.jwks()
    local.control("POST keys/rotate")
    local.fault("jwks", "stale")
    assert before == local.jwks()


@shows("jwks", "empty")
def test_jwks_empty(local: Local) -> None:
    """No key."""
    local.fault("jwks", "empty")
    assert {"keys": []} == local.jwks()


@shows("jwks", "duplicate_kid")
def test_jwks_duplicate(local: Local) -> None:
    """Two keys of one name; the first is the wrong one."""
    local.fault("jwks", "duplicate_kid")
    keys = local.jwks()["keys"]
    assert isinstance(keys, list)
    assert keys[0]["kid"] == keys[1]["kid"]
    assert keys[0]["x"] != keys[1]["x"]


@shows("jwks", "huge")
def test_jwks_huge(local: Local) -> None:
    """More keys than anybody needs; ours is among them."""
    local.fault("jwks", "huge", keys=300)
    keys = local.jwks()["keys"]
    assert isinstance(keys, list)
    assert 301 == len({each["x"] for each in keys})
