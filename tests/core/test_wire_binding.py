"""The keyring and the binding of ids."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.binding import Keyring, Prefix, authenticate, bound_message, challenge_id, issue, slots
from flovia.core.challenge import PAYMENT_AUTHORIZATION, Challenge
from flovia.core.errors import ParseError, WiringError

SECRET = "test-secret-test-secret-test-secret"
OLDER = b"test-older-secret-test-older-secret"


def issued(**members: str) -> Challenge:
    """A challenge under the test secret."""
    given = {"realm": "r", "method": "mock", "intent": "charge", "request": "e30", "expires": "2030-01-01T00:00:00Z"}
    return issue(Keyring([SECRET]), **(given | members))


def test_slots_follow_the_draft() -> None:
    """Seven slots in the draft's order, empty where absent; ``header`` is an eighth, only if present."""
    assert b"r|m|i|q|e|d|o" == slots("r", "m", "i", "q", "e", "d", "o", None)
    assert b"r|m|i|q|||" == slots("r", "m", "i", "q", None, None, None, None)
    assert b"r|m|i|q||||h" == slots("r", "m", "i", "q", None, None, None, "h")


@pytest.mark.parametrize("secrets", [[], [""], ["short"], [SECRET, b"x" * 31], ["é" * 15], SECRET, SECRET.encode()])
def test_weak_or_missing_secrets_are_refused(secrets: list[str | bytes]) -> None:
    """A keyring needs secrets of at least 32 bytes each, and the error says how to make one without showing any."""
    with pytest.raises(WiringError) as caught:
        Keyring(secrets)
    assert "secret" in str(caught.value)
    assert "test-secret" not in str(caught.value)


def test_the_weak_one_of_many_is_named_by_its_place() -> None:
    """Counted from one, and of how many."""
    with pytest.raises(WiringError, match=r"^secret 2 of 3 is shorter than 32 bytes; make one with: python -c"):
        Keyring([SECRET, "short", OLDER])


def test_a_keyring_does_not_show_its_secrets() -> None:
    """S37: the repr tells how many secrets there are, nothing else."""
    assert "<Keyring of 2>" == repr(Keyring([SECRET, OLDER]))


def test_rotation_keeps_challenges_valid() -> None:
    """S39: the first secret signs, every secret verifies, and a dropped one no longer does."""
    old, rotated, later = Keyring([OLDER]), Keyring([SECRET, OLDER]), Keyring([SECRET])
    mac = old.sign(b"message")
    assert rotated.verify(b"message", mac)
    assert not later.verify(b"message", mac)
    assert later.sign(b"message") == rotated.sign(b"message")


@pytest.mark.parametrize("mac", ["", "é", "\ud800", "x" * 43, "=" * 44])
def test_a_wrong_mac_is_only_wrong(mac: str) -> None:
    """A foreign id of any shape is refused without an exception."""
    assert not Keyring([SECRET]).verify(b"message", mac)


def test_an_issued_challenge_is_authentic() -> None:
    """S04: the id is the MAC of the slots; with another id, or under another secret, the echo is refused."""
    challenge = issued()
    expected = challenge_id(
        SECRET.encode(), realm="r", method="mock", intent="charge", request="e30", expires="2030-01-01T00:00:00Z"
    )
    assert expected == challenge.id
    assert authenticate(Keyring([SECRET]), challenge)
    assert not authenticate(Keyring([OLDER]), challenge)


def test_an_issued_challenge_holds_what_it_was_issued_for() -> None:
    """Every member that is bound, and the description, which is not."""
    members = {
        "realm": "r.test",
        "method": "other",
        "intent": "session",
        "request": "eyJhIjoxfQ",
        "expires": "2031-01-01T00:00:00Z",
        "digest": "sha-256=:AA==:",
        "opaque": "e30",
        "header": PAYMENT_AUTHORIZATION,
    }
    challenge = issued(**members, description="a report")
    expected = Challenge(id=challenge_id(SECRET.encode(), **members), **members, description="a report")  # type: ignore[arg-type]
    assert expected == challenge
    assert authenticate(Keyring([SECRET]), challenge)
    assert authenticate(Keyring([SECRET]), attrs.evolve(challenge, description=None))


@pytest.mark.parametrize("member", ["expires", "digest", "opaque", "header"])
def test_empty_is_not_absent(member: str) -> None:
    """S10: an echo with "" in place of an absent member fills the same slot, and is refused all the same."""
    challenge = attrs.evolve(issued(), **{member: ""})
    assert bound_message(challenge) is None
    assert not authenticate(Keyring([SECRET]), challenge)


@pytest.mark.parametrize(
    "member", ["id", "realm", "method", "intent", "request", "expires", "digest", "opaque", "header"]
)
def test_what_is_no_text_is_only_wrong(member: str) -> None:
    """An echo with a lone surrogate, or with any other text that was not issued, is refused without an exception."""
    for text in ("\ud800", "é", "other"):
        assert not authenticate(Keyring([SECRET]), attrs.evolve(issued(opaque="e30"), **{member: text}))


def test_the_header_cannot_hide_in_the_slot_before() -> None:
    """S10: an echo that moves ``header`` into ``opaque`` has the issued bytes, and is refused."""
    challenge = issued(opaque="e30", header=PAYMENT_AUTHORIZATION)
    assert authenticate(Keyring([SECRET]), challenge)
    moved = attrs.evolve(challenge, header=None, opaque=f"e30|{PAYMENT_AUTHORIZATION}")
    same = slots(
        *(
            getattr(moved, name)
            for name in ("realm", "method", "intent", "request", "expires", "digest", "opaque", "header")
        )
    )
    assert same == bound_message(challenge)
    assert not authenticate(Keyring([SECRET]), moved)


@pytest.mark.parametrize("member", ["realm", "digest"])
def test_separators_are_not_issued(member: str) -> None:
    """No issued member holds the separator, so every message splits in one way."""
    with pytest.raises(ParseError) as caught:
        issued(**{member: "a|b"})
    assert "format_error" == caught.value.kind


def test_descriptions_are_made_sendable() -> None:
    """A description with an emoji or a line break is issued in the form it will have on the wire."""
    assert "say ?  now" == issued(description="say 😀\r\nnow").description


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_prefix_signs_and_verifies_as_its_ring(beginning: bytes, rest: bytes) -> None:
    """What many messages have in common may be hashed once: the MACs are the ring's, under every secret."""
    old, both = Keyring([OLDER]), Keyring([SECRET, OLDER])
    assert both.sign(beginning + rest) == Prefix(both, beginning).sign(rest)
    assert Prefix(both, beginning).verify(rest, old.sign(beginning + rest))
    assert not Prefix(old, beginning).verify(rest, both.sign(beginning + rest))
