"""Every way we know to have a token believed that should not be."""

import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.encoding import b64url_decode, b64url_encode
from flovia.signed import BadToken, Jwks, Reason, SignedLimits, UnknownKey, read_jwks, verify_jws
from flovia.signed.jws import GRANT, RECEIPT
from flovia.testing.flows import drive
from tests.signed.issuer import GRANT_HEADER, ORIGIN, Issuer, b64

ISSUER = Issuer()
NOW = 1_700_000_000.0
JWKS = Jwks(origin=ORIGIN)


def refused(token: str, issuer: Issuer = ISSUER, jwks: Jwks = JWKS) -> Reason:
    """Why a receipt is refused."""
    with pytest.raises(BadToken) as caught:
        drive(jwks.receipt(token), issuer.by_hand())
    return caught.value.reason


def test_a_right_receipt_is_believed() -> None:
    """The control: the token all attacks are made of is fine."""
    assert "pay_1" == drive(JWKS.receipt(ISSUER.receipt(NOW)), ISSUER.by_hand()).payment_id


def test_alg_none() -> None:
    """An unsigned token is none."""
    head, payload, _ = ISSUER.receipt(NOW).split(".")
    assert "algorithm" == refused(f"{b64({'alg': 'none', 'kid': 'key-1'})}.{payload}.{b64url_encode(bytes(64))}")
    assert "format" == refused(f"{b64({'alg': 'none', 'kid': 'key-1'})}.{payload}.")
    assert "format" == refused(f"{head}.{payload}")


@pytest.mark.parametrize("alg", ["HS256", "HS512", "RS256", "ES256", "Ed448", "eddsa", "", None, 1, ["EdDSA"]])
def test_any_other_algorithm(alg: object) -> None:
    """The algorithm is not the token's to choose."""
    assert "algorithm" == refused(ISSUER.receipt(NOW, {"alg": alg}))


def test_hs256_keyed_with_the_public_key() -> None:
    """The classic: what everybody knows is taken as a secret. Both the raw key and its JWK fail."""
    for secret in (ISSUER.raw("key-1"), json.dumps(ISSUER.jwk("key-1")).encode()):
        signed = f"{b64({'alg': 'HS256', 'kid': 'key-1'})}.{ISSUER.receipt(NOW).split('.')[1]}"
        mac = hmac.digest(secret, signed.encode(), sha256)
        assert "algorithm" == refused(f"{signed}.{b64url_encode(mac + mac)}")


def test_the_kid_of_another_key() -> None:
    """Naming a published key does not help who cannot sign with it."""
    issuer = Issuer()
    issuer.rotate("key-2", keep=True)
    assert "signature" == refused(issuer.sign({"kid": "key-1"}, {"iss": ORIGIN}, by="key-2"), issuer)


def test_a_key_of_the_attackers_own() -> None:
    """A key nobody published is unknown, under its own name as under a published one."""
    attacker = Issuer()
    attacker.rotate("evil")
    with pytest.raises(UnknownKey):
        drive(JWKS.receipt(attacker.receipt(NOW)), ISSUER.by_hand())
    attacker.rotate("key-1")
    assert "signature" == refused(attacker.receipt(NOW))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c"])
def test_keys_and_addresses_of_keys_in_the_header_are_not_looked_at(name: str) -> None:
    """A key in the header verifies nothing and is asked for nowhere; a good token with one stays good."""
    attacker = Issuer("https://evil.test")
    value = {
        "jku": "https://evil.test/.well-known/jwks.json",
        "jwk": attacker.jwk("key-1"),
        "x5u": "https://evil.test/chain.pem",
        "x5c": ["MIIB"],
    }[name]
    assert "signature" == refused(attacker.receipt(NOW, {name: value}, iss=ORIGIN))
    world = ISSUER.by_hand()
    drive(JWKS.receipt(ISSUER.receipt(NOW, {name: value})), world)
    assert [f"{ORIGIN}/.well-known/jwks.json"] == [call.url for call in world.calls]


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "exp", None])
def test_a_critical_header(crit: object) -> None:
    """Nothing critical is understood, so every crit is refused, an empty or malformed one as well."""
    assert "critical" == refused(ISSUER.receipt(NOW, {"crit": crit, "b64": True}))


def test_an_unencoded_payload() -> None:
    """RFC 7797's b64 would make the signed bytes something else than what is read."""
    assert "critical" == refused(ISSUER.receipt(NOW, {"b64": False}))


@pytest.mark.parametrize("typ", ["mpp-spm+jwt", "MPP-SPM+JWT", "application/mpp-spm+jwt", "Application/Mpp-Spm+JWT"])
def test_a_grant_shown_as_a_receipt(typ: str) -> None:
    """A grant's typ never passes for a receipt's, however it is spelled."""
    assert "type" == refused(ISSUER.receipt(NOW, {"typ": typ}))


@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": "mpp-receipt+jwt"}, {"typ": "mpp-spm"}])
def test_a_receipt_shown_as_a_grant(header: dict[str, object]) -> None:
    """Only exactly a grant's typ is a grant."""
    with pytest.raises(BadToken) as caught:
        drive(JWKS.grant(ISSUER.grant(NOW, header)), ISSUER.by_hand())
    assert "type" == caught.value.reason


def test_strict_receipts() -> None:
    """With the setting, one typ alone is a receipt; without it every one but a grant's, and none at all."""
    strict = Jwks(origin=ORIGIN, limits=SignedLimits(strict_receipt_typ="application/mpp-receipt+jwt"))
    drive(strict.receipt(ISSUER.receipt(NOW)), ISSUER.by_hand())
    for header in ({}, {"typ": "JWT"}, GRANT_HEADER):
        assert "type" == refused(ISSUER.receipt(NOW, header), jwks=strict)
    for header in ({}, {"typ": "JWT"}):
        drive(JWKS.receipt(ISSUER.receipt(NOW, header)), ISSUER.by_hand())


def test_a_typ_that_is_no_text() -> None:
    """A list that holds the right typ is not the right typ."""
    assert "type" == refused(ISSUER.receipt(NOW, {"typ": ["mpp-receipt+jwt"]}))


@pytest.mark.parametrize("kid", [None, "", 1, "k" * 257])
def test_no_usable_kid(kid: object) -> None:
    """Without a key's name there is no key: not even if only one is published."""
    signed = f"{b64({'alg': 'EdDSA', 'kid': kid})}.{b64({'iss': ORIGIN})}"
    token = f"{signed}.{b64url_encode(ISSUER.keys['key-1'].sign(signed.encode()))}"
    assert "key" == refused(token)


def test_a_changed_payload() -> None:
    """The signature covers the payload."""
    head, _, tail = ISSUER.receipt(NOW).split(".")
    assert "signature" == refused(f"{head}.{b64({'iss': ORIGIN, 'amount': '0.01'})}.{tail}")


def test_every_truncation_is_refused() -> None:
    """No beginning of a token is a token, and no longer one either."""
    token = ISSUER.receipt(NOW)
    keys = read_jwks(ISSUER.document()).keys
    for end in range(len(token)):
        with pytest.raises(BadToken):
            verify_jws(token[:end], keys, RECEIPT)
    for extra in ("A", "=", ".", " ", "\n", ".AAAA"):
        with pytest.raises(BadToken):
            verify_jws(token + extra, keys, RECEIPT)


def test_a_signature_has_one_spelling() -> None:
    """The last character's spare bits are zero: a token cannot be changed into another one that verifies."""
    token = ISSUER.receipt(NOW)
    keys = read_jwks(ISSUER.document()).keys
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = [token[:-1] + mark for mark in last if _verifies(token[:-1] + mark, keys)]
    assert [token] == good


def _verifies(token: str, keys: object) -> bool:
    try:
        verify_jws(token, keys, RECEIPT)  # type: ignore[arg-type]  # what read_jwks gave
    except BadToken:
        return False
    return True


@pytest.mark.parametrize("bits", [0, 255])
def test_a_signature_whose_scalar_is_out_of_range(bits: int) -> None:
    """RFC 8032 section 5.1.7: S below the group order, so a signature cannot be varied."""
    head, payload, tail = ISSUER.receipt(NOW).split(".")
    r = b64url_decode(tail)[:32]
    assert "signature" == refused(f"{head}.{payload}.{b64url_encode(r + bytes([bits]) * 32)}")


def test_huge_tokens() -> None:
    """Size is looked at first: of the whole, and of the header."""
    assert "size" == refused("A" * 8193)
    assert "size" == refused(ISSUER.receipt(NOW, {"x5c": ["A" * 3000]}))
    assert "size" == refused(ISSUER.receipt(NOW, note="A" * 8192))


def test_deep_json() -> None:
    """Nesting is counted before it is decoded, in the header as in the claims."""
    deep: object = []
    for _ in range(20):
        deep = [deep]
    assert "format" == refused(ISSUER.receipt(NOW, {"x": deep}))
    assert "format" == refused(ISSUER.receipt(NOW, note=deep))


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b'{"iss":"a","iss":"b"}', b"{", b"\xff", b'{"a":NaN}'])
def test_claims_that_are_no_strict_json_object(payload: bytes) -> None:
    """A rightly signed payload that two readers could read differently is refused."""
    signed = f"{b64({'alg': 'EdDSA', 'kid': 'key-1'})}.{b64url_encode(payload)}"
    token = f"{signed}.{b64url_encode(ISSUER.keys['key-1'].sign(signed.encode()))}"
    assert "format" == refused(token)


@pytest.mark.parametrize(
    "head", ["!!!!", b64url_encode(b"\xff\xfe"), b64("EdDSA"), b64url_encode(b'{"alg":1,"alg":2}')]
)
def test_headers_that_are_no_strict_json_object(head: str) -> None:
    """The same of the header."""
    _, payload, tail = ISSUER.receipt(NOW).split(".")
    assert "format" == refused(f"{head}.{payload}.{tail}")


def test_text_that_is_not_ascii() -> None:
    """Characters that look like base64url are not."""
    head, payload, tail = ISSUER.receipt(NOW).split(".")
    assert "format" == refused(f"{head}.{payload}.ｅ{tail[1:]}")
    assert "format" == refused(f"{head}.{payload}.+{tail[1:]}")


@pytest.mark.parametrize("issuer", ["https://evil.test", ORIGIN + "/", ORIGIN.upper(), None, "", 1, [ORIGIN]])
def test_another_issuer(issuer: object) -> None:
    """The claim says exactly the configured origin, also where the key is right."""
    assert "issuer" == refused(ISSUER.receipt(NOW, iss=issuer))


def test_keys_of_two_issuers_never_mix() -> None:
    """Two environments share a ledger, and nothing else: the sandbox's receipts are not production's."""
    live, sandbox = Issuer("https://live.test"), Issuer("https://sandbox.test")
    world = live.by_hand()
    world.backend = lambda call: (live if call.url.startswith(live.origin) else sandbox).backend(call)
    drive(Jwks(origin=sandbox.origin).receipt(sandbox.receipt(NOW)), world)
    drive(Jwks(origin=live.origin).receipt(live.receipt(NOW)), world)
    with pytest.raises(BadToken) as caught:
        drive(Jwks(origin=live.origin).receipt(sandbox.receipt(NOW, iss=live.origin)), world)
    assert "signature" == caught.value.reason


def test_no_error_shows_the_token() -> None:
    """Neither the message nor what the exception chain holds has any part of the token."""
    token = ISSUER.receipt(NOW, status="secret-test-status")
    with pytest.raises(BadToken) as caught:
        drive(JWKS.receipt(token), ISSUER.by_hand())
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(part in str(error) for part in (*token.split("."), "secret-test-status"))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_is_secret_is_in_no_repr() -> None:
    """Receipts travel in logs by accident: nonce, hash and raw claims are not shown."""
    claims = drive(JWKS.receipt(ISSUER.receipt(NOW)), ISSUER.by_hand())
    shown = repr(claims)
    assert "test-nonce" not in shown
    assert "c25ce513" not in shown
    assert "receipt-1" in shown  # what is no secret is
    opened = verify_jws(ISSUER.grant(NOW), read_jwks(ISSUER.document()).keys, GRANT)
    assert "mpp_spm_demo0001" == opened["sub"]


@given(st.data())
def test_no_damaged_token_is_believed_and_none_breaks_the_reader(data: st.DataObject) -> None:
    """Any edit of a good token, and any text at all: BadToken, never another error, never a claim that was changed."""
    token = ISSUER.receipt(NOW)
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "text", "parts"]))
    if kind == "text":
        damaged = data.draw(st.text(max_size=200))
    elif kind == "parts":
        parts = st.one_of(st.binary(max_size=60).map(b64url_encode), st.sampled_from(token.split(".")))
        damaged = ".".join(data.draw(st.lists(parts, min_size=1, max_size=4)))
    else:
        at = data.draw(st.integers(0, len(token) - 1))
        more = "" if kind == "delete" else data.draw(st.characters(codec="utf-8"))
        damaged = token[:at] + more + token[at + (kind != "insert") :]
    keys = read_jwks(ISSUER.document()).keys
    try:
        claims = verify_jws(damaged, keys, RECEIPT)
    except BadToken:
        assert damaged != token
    else:
        assert damaged == token
        assert "pay_1" == claims["payment_id"]
