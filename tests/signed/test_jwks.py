"""The issuer's keys: fetched seldom, from one place, and never a reason to accept."""

import json
import subprocess
import sys
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flovia.signed
from flovia.core.effects import Effect, Flow, HttpCall
from flovia.core.errors import ParseError, WiringError
from flovia.ledger.memory import MemoryLedger
from flovia.runtime import World, arun
from flovia.signed import (
    RECEIPT,
    BadToken,
    Jwks,
    KeySet,
    KeysUnavailable,
    PublicKey,
    SignedLimits,
    UnknownKey,
    issuer_origin,
    read_jwks,
    verify_jws,
)
from flovia.signed.keys import succeed
from flovia.testing.flows import ByHand, drive
from tests.signed.issuer import ORIGIN, Issuer

JWKS = Jwks(origin=ORIGIN)


def ask(world: ByHand, issuer: Issuer, token: str | None = None, jwks: Jwks = JWKS) -> str:
    """Verify a receipt of this moment; its payment id."""
    return drive(jwks.receipt(token or issuer.receipt(world.clock())), world).payment_id or ""


def test_keys_are_fetched_once_while_they_are_fresh() -> None:
    """Ten minutes by default: many receipts, one fetch; then one more."""
    issuer = Issuer()
    world = issuer.by_hand()
    for _ in range(5):
        ask(world, issuer)
    world.clock.advance(599)
    ask(world, issuer)
    assert 1 == len(world.calls)
    world.clock.advance(1)
    ask(world, issuer)
    assert 2 == len(world.calls)


@pytest.mark.parametrize(
    ("header", "fresh_s"),
    [
        ("max-age=120", 120),
        ("public, MAX-AGE=120, immutable", 120),
        ('max-age="120"', 120),
        ("max-age=1", 60),
        ("max-age=0, no-store", 60),
        ("max-age=999999", 86400),
        ("max-age=9999999999999999", 600),
        ("s-maxage=120", 600),
        ("max-age=abc", 600),
        ("", 600),
    ],
)
def test_max_age_is_honoured_between_a_minute_and_a_day(header: str, fresh_s: int) -> None:
    """The issuer says how long, within our limits; what cannot be read counts as unsaid."""
    issuer = Issuer()
    issuer.headers = (("cache-control", header),)
    world = issuer.by_hand()
    ask(world, issuer)
    world.clock.advance(fresh_s - 1)
    ask(world, issuer)
    assert 1 == len(world.calls)
    world.clock.advance(1)
    ask(world, issuer)
    assert 2 == len(world.calls)


def test_a_rotation_costs_one_refetch() -> None:
    """A new key is found although the old set is fresh, and what the old key signed stays good."""
    issuer = Issuer()
    world = issuer.by_hand()
    before = issuer.receipt(world.clock())
    ask(world, issuer, before)
    issuer.rotate("key-2")
    world.clock.advance(5)
    ask(world, issuer)
    ask(world, issuer, before)
    assert 2 == len(world.calls)


def test_a_retired_key_verifies_only_what_is_older_than_its_retirement() -> None:
    """Seven days for old receipts; nothing new, and afterwards nothing at all."""
    issuer = Issuer()
    world = issuer.by_hand()
    before = issuer.receipt(world.clock())
    ask(world, issuer, before)
    issuer.rotate("key-2")
    world.clock.advance(5)
    ask(world, issuer)
    world.clock.advance(3600)
    with pytest.raises(BadToken) as caught:
        ask(world, issuer, issuer.receipt(world.clock(), {"kid": "key-1"}))
    assert "key" == caught.value.reason
    with pytest.raises(BadToken):
        ask(world, issuer, issuer.receipt(world.clock(), {"kid": "key-1"}, iat="now"))
    for _ in range(6):
        world.clock.advance(86400)
        ask(world, issuer, before)
    world.clock.advance(86400)
    with pytest.raises(UnknownKey):
        ask(world, issuer, before)


def test_retired_keys_can_be_forgotten_at_once() -> None:
    """With retired_s=0 a key ends with the first set that does not have it."""
    issuer, jwks = Issuer(), Jwks(origin=ORIGIN, limits=SignedLimits(retired_s=0.0))
    world = issuer.by_hand()
    before = issuer.receipt(world.clock())
    ask(world, issuer, before, jwks)
    issuer.rotate("key-2")
    ask(world, issuer, jwks=jwks)
    world.clock.advance(61)
    with pytest.raises(UnknownKey):
        ask(world, issuer, before, jwks)


@pytest.mark.parametrize("warm", [False, True])
def test_a_flood_of_unknown_kids_makes_one_fetch_a_minute(warm: bool) -> None:
    """10 minutes of made-up key names, several a second: 10 fetches, whether a set was kept before or not."""
    issuer = Issuer()
    world = issuer.by_hand()
    if warm:
        ask(world, issuer)
    fetches: list[float] = []
    forged = Issuer()
    for number in range(1200):
        forged.rotate(f"made-up-{number}")
        before = len(world.calls)
        with pytest.raises((UnknownKey, KeysUnavailable)):
            ask(world, issuer, forged.receipt(world.clock()))
        fetches += [world.clock()] * (len(world.calls) - before)
        world.clock.advance(0.5)
    assert 10 == len(fetches)
    assert all(later - earlier >= 60 for earlier, later in pairwise(fetches))
    ask(world, issuer)  # and who has a key is served all the time


def test_an_unknown_kid_is_final_only_after_a_fetch_for_it() -> None:
    """Within the cool-down nobody can say: the key may be a new one, so the answer is 'later', with the time."""
    issuer, forged = Issuer(), Issuer()
    world = issuer.by_hand()
    forged.rotate("made-up")
    with pytest.raises(UnknownKey):
        ask(world, issuer, forged.receipt(world.clock()))
    world.clock.advance(20)
    issuer.rotate("key-2")
    with pytest.raises(KeysUnavailable) as caught:
        ask(world, issuer)
    assert 40 <= caught.value.retry_after_s <= 41
    world.clock.advance(caught.value.retry_after_s)
    ask(world, issuer)


def test_junk_does_not_use_up_the_fetch_of_what_the_issuer_handed_over() -> None:
    """A stranger's key name, then a rotation: the issuer's own receipt is good at once, and then so are all others."""
    issuer, forged = Issuer(), Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    forged.rotate("made-up")
    with pytest.raises(UnknownKey):
        ask(world, issuer, forged.receipt(world.clock()))
    issuer.rotate("key-2")
    with pytest.raises(KeysUnavailable):
        ask(world, issuer)
    assert "pay_1" == drive(JWKS.receipt(issuer.receipt(world.clock()), from_issuer=True), world).payment_id
    assert 3 == len(world.calls)
    ask(world, issuer)
    assert "mpp_spm_demo0001" == drive(JWKS.grant(issuer.grant(world.clock())), world).saved_method_id
    assert 3 == len(world.calls)


def test_what_the_issuer_hands_over_has_a_cool_down_too() -> None:
    """An issuer that signs with keys it does not publish is asked once a minute; both classes together: twice."""
    issuer, forged = Issuer(), Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    for number in range(600):
        forged.rotate(f"unpublished-{number}")
        for own in (True, False):
            with pytest.raises((UnknownKey, KeysUnavailable)):
                drive(JWKS.receipt(forged.receipt(world.clock()), from_issuer=own), world)
        world.clock.advance(0.5)
    assert 1 + 2 * 5 == len(world.calls)


def test_the_last_good_set_serves_for_a_day_while_the_issuer_is_down() -> None:
    """Down is not forged: known keys go on for 24 h, then nobody can say, and never is anything accepted."""
    issuer = Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    issuer.down = True
    world.clock.advance(86399)
    ask(world, issuer)
    world.clock.advance(1)
    with pytest.raises(KeysUnavailable):
        ask(world, issuer)
    issuer.down = False
    world.clock.advance(11)
    ask(world, issuer)


def test_no_set_and_no_issuer_is_unknown() -> None:
    """With nothing kept there is nothing to say; and an issuer that is down is not asked by every request."""
    issuer = Issuer()
    issuer.down = True
    world = issuer.by_hand()
    for _ in range(100):
        with pytest.raises(KeysUnavailable):
            ask(world, issuer)
    assert 1 == len(world.calls)
    world.clock.advance(10)
    issuer.down = False
    ask(world, issuer)
    assert 2 == len(world.calls)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, None),
        (404, None),
        (302, None),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys":[]}'),
        (200, b'{"keys":{}}'),
        (200, b'{"keys":["key",null,1]}'),
        (200, b'{"keys":' + b"[" * 50 + b"]" * 50 + b"}"),
        (200, b'{"keys":[' + b" " * 70_000 + b"]}"),
    ],
)
def test_an_answer_that_is_no_key_set_counts_as_none(status: int, body: bytes | None) -> None:
    """Errors, redirects, empty and huge sets change nothing: the last good one stays."""
    issuer = Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    issuer.status, issuer.body = status, body
    world.clock.advance(601)
    ask(world, issuer)
    assert 2 == len(world.calls)


def test_too_many_keys() -> None:
    """A set of more than 32 keys is not read."""
    issuer = Issuer()
    for number in range(33):
        issuer.rotate(f"key-{number}", keep=True)
    with pytest.raises(ParseError):
        read_jwks(json.dumps({"keys": issuer.published[-33:]}).encode())
    assert 32 == len(read_jwks(json.dumps({"keys": issuer.published[-32:]}).encode()).keys)


def test_keys_of_other_kinds_are_skipped() -> None:
    """One set may serve many purposes: what is no Ed25519 key for signatures is left alone."""
    issuer = Issuer()
    good = issuer.jwk("key-1")
    others = [
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "other-curve", "crv": "X25519"},
        {**good, "kid": "other-alg", "alg": "ES256"},
        {**good, "kid": "sign-only", "key_ops": ["sign"]},
        {**good, "kid": "odd-ops", "key_ops": "verify"},
        {**good, "kid": "odd-alg", "alg": ["EdDSA"]},
        {**good, "kid": "short", "x": "AAAA"},
        {**good, "kid": "not-base64", "x": "!" * 43},
        {**good, "kid": "no-x", "x": 1},
        {**good, "kid": ""},
        {**good, "kid": 7},
        {name: value for name, value in good.items() if name != "kid"},
    ]
    found = read_jwks(json.dumps({"keys": [*others, {**good, "alg": "Ed25519", "key_ops": ["verify"]}]}).encode())
    assert ["key-1"] == list(found.keys)
    assert frozenset() == found.withdrawn


def test_a_kid_that_two_keys_claim_is_nobodys() -> None:
    """Ambiguous means unusable, also if one of the two was known before; the same key twice is one key."""
    issuer = Issuer()
    world = issuer.by_hand()
    token = issuer.receipt(world.clock())
    ask(world, issuer, token)
    first = issuer.jwk("key-1")
    issuer.rotate("key-1")
    issuer.rotate("key-2")
    issuer.published += [first, issuer.jwk("key-1"), first]
    world.clock.advance(601)
    ask(world, issuer)
    with pytest.raises(UnknownKey):
        ask(world, issuer, token)
    again = Issuer()
    again.published *= 2
    ask(again.by_hand(), again)


@pytest.mark.parametrize("more", [{"d": "AAAA"}, {"revoked": {"revoked_at": 1}}])
def test_a_compromised_key_is_dropped_at_once(more: dict[str, object]) -> None:
    """A key whose private half is public, or that the issuer marks revoked, is not kept as a retired one."""
    issuer = Issuer()
    world = issuer.by_hand()
    token = issuer.receipt(world.clock())
    ask(world, issuer, token)
    issuer.rotate("key-2")
    issuer.published.append(issuer.jwk("key-1", **more))
    world.clock.advance(601)
    with pytest.raises(UnknownKey):
        ask(world, issuer, token)
    ask(world, issuer)


def test_workers_share_what_was_fetched() -> None:
    """Key sets and cool-downs are in the ledger: a second worker does not ask again."""
    issuer = Issuer()
    world = issuer.by_hand()
    ask(world, issuer, jwks=Jwks(origin=ORIGIN))
    ask(world, issuer, jwks=Jwks(origin=ORIGIN))
    assert 1 == len(world.calls)


async def test_a_rotation_that_meets_fifty_requests_at_once_makes_one_fetch() -> None:
    """All wait for the one fetch and then have the key; so do fifty that find no set at all."""
    issuer = Issuer()
    ledger = MemoryLedger()
    fetches = 0

    async def answer(effect: Effect) -> object:
        nonlocal fetches
        if isinstance(effect, HttpCall):
            fetches += 1
            await anyio.sleep(0.3)
            return issuer.backend(effect)
        return NotImplemented

    async def verify() -> None:
        flow = JWKS.receipt(issuer.receipt(world.clock()))
        effect = flow.send(None)
        while True:
            result = await answer(effect)
            if result is NotImplemented:
                result = await arun(_once(effect), world)
            try:
                effect = flow.send(result)
            except StopIteration:
                return

    world = World(ledger=ledger)
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(verify)
    assert 1 == fetches
    issuer.rotate("key-2")
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(verify)
    assert 2 == fetches


def _once(effect: Effect) -> Flow[object]:
    return (yield effect)


def test_who_waits_for_a_fetch_that_never_ends_is_told_so() -> None:
    """Another worker died while fetching: nobody hangs, and nothing is accepted."""
    issuer = Issuer()
    world = issuer.by_hand()
    world.ledger.remember("jwks", f"fetch {ORIGIN}", "somebody", 6.0, False)
    with pytest.raises(KeysUnavailable):
        ask(world, issuer)
    assert [] == world.calls
    world.clock.advance(6)
    ask(world, issuer)


def test_a_stale_set_serves_while_somebody_fetches() -> None:
    """Known keys do not wait for a refresh that another worker makes."""
    issuer = Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    world.clock.advance(601)
    world.ledger.remember("jwks", f"fetch {ORIGIN}", "somebody", 6.0, False)
    ask(world, issuer)
    assert 1 == len(world.calls)


def test_a_damaged_note_in_the_ledger_is_fetched_again() -> None:
    """What is kept is a cache, not a truth."""
    issuer = Issuer()
    world = issuer.by_hand()
    for text in (
        "",
        "{}",
        '{"keys":[1],"fetched_at":1,"fresh_until":2}',
        '{"keys":[["a"]],"fetched_at":1,"fresh_until":9}',
    ):
        world.ledger.remember("jwks", ORIGIN, text, 60.0, False)
        ask(world, issuer)
        world.clock.advance(61)
        issuer.headers = (("cache-control", "max-age=60"),)
    assert 4 == len(world.calls)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from([None, 5, 1_700_000_000]), max_size=6),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)
def test_what_is_kept_is_what_was_there(kids: dict[str, float | None], fetched_at: int, fresh_until: int) -> None:
    """A key set survives the ledger, retirement times included."""
    keys = {kid: PublicKey(kid=kid, x="A" * 43, retired_at=at) for kid, at in kids.items()}
    kept = KeySet(keys=keys, fetched_at=float(fetched_at), fresh_until=float(fresh_until))
    assert kept == KeySet.from_json(kept.to_json())
    assert {kid for kid, at in kids.items() if at is None} == {key.kid for key in kept.current}


@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=12))
def test_a_key_set_never_grows_without_bound(generations: list[set[str]]) -> None:
    """After any rotations: what is published is there, what is gone is retired, what is old is away."""
    issuer = Issuer()
    for kid in "abcdef":
        issuer.rotate(kid)
    limits = SignedLimits(retired_s=250.0)
    kept: KeySet | None = None
    last_seen: dict[str, float] = {}
    for turn, generation in enumerate(generations):
        now = turn * 100.0
        document = json.dumps({"keys": [issuer.jwk(kid) for kid in sorted(generation)]}).encode()
        previous = set() if kept is None else {key.kid for key in kept.current}
        kept = succeed(kept, read_jwks(document), now, 60.0, limits)
        last_seen.update(dict.fromkeys(previous | generation, now))
        assert generation == {key.kid for key in kept.current}
        assert {kid for kid, at in last_seen.items() if at + 250.0 > now} == set(kept.keys)


@pytest.mark.parametrize(
    "origin",
    [
        "http://mpp.example.test",
        "https://mpp.example.test/path",
        "https://user@mpp.example.test",
        "https://mpp.example.test?x=1",
        "https://mpp.example.test#x",
        "ftp://mpp.example.test",
        "mpp.example.test",
        "https://",
        "https://[::1",
        "https://mpp.example.test:port",
        "https://mpp.ехаmple.test",
        "",
    ],
)
def test_an_origin_is_https_or_loopback_and_nothing_more(origin: str) -> None:
    """Keys from anywhere else prove nothing, so it is refused at start."""
    with pytest.raises(WiringError):
        Jwks(origin=origin)


@pytest.mark.parametrize(
    ("given_", "origin"),
    [
        ("https://MPP.example.test/", "https://mpp.example.test"),
        ("http://127.0.0.1:4010", "http://127.0.0.1:4010"),
        ("http://[::1]:4010", "http://[::1]:4010"),
        ("http://localhost:4010", "http://localhost:4010"),
    ],
)
def test_origins_are_written_one_way(given_: str, origin: str) -> None:
    """Lower case, no slash: what tokens say in iss."""
    assert origin == issuer_origin(given_)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fetch_s": 0.0},
        {"max_token": -1},
        {"skew_s": -1.0},
        {"retired_s": -1.0},
        {"min_age_s": 700.0},
        {"max_age_s": 30.0},
        {"path": "jwks.json"},
    ],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    """At start, by name."""
    with pytest.raises(WiringError):
        SignedLimits(**wrong)  # type: ignore[arg-type]  # a table


def test_without_joserfc_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is missing: a WiringError with the line, at start and not at the first receipt."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    monkeypatch.setitem(sys.modules, "joserfc.jws", None)
    monkeypatch.setitem(sys.modules, "joserfc.jwk", None)
    with pytest.raises(WiringError, match=r"flovia\[receipts\]"):
        Jwks(origin=ORIGIN)
    monkeypatch.undo()
    issuer = Issuer()
    token, keys = issuer.receipt(0), read_jwks(issuer.document()).keys
    for module in ("joserfc.jws", "joserfc.jwk"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(WiringError, match=r"flovia\[receipts\]"):
                verify_jws(token, keys, RECEIPT)


def test_importing_it_loads_no_cryptography() -> None:
    """Whoever only has the name in reach pays nothing for it."""
    program = "import sys, flovia.signed; print(sorted({'joserfc', 'cryptography', 'httpx'} & set(sys.modules)))"
    env = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert "[]" == done.stdout.strip()


def test_an_http_error_while_looking_again_is_no_answer() -> None:
    """A rotation while the issuer is down: nobody can say."""
    issuer = Issuer()
    world = issuer.by_hand()
    ask(world, issuer)
    issuer.rotate("key-2")
    token = issuer.receipt(world.clock())
    issuer.down = True
    with pytest.raises(KeysUnavailable):
        ask(world, issuer, token)
    world.clock.advance(60)
    issuer.down = False
    ask(world, issuer, token)


def test_public_names_are_sorted_and_exist() -> None:
    """What the package promises is there."""
    assert sorted(set(flovia.signed.__all__)) == sorted(flovia.signed.__all__)
    assert [] == [name for name in flovia.signed.__all__ if not hasattr(flovia.signed, name)]
