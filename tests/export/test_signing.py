"""Signatures of webhooks, after Standard Webhooks."""

import pytest

from flovia.core.errors import WiringError
from flovia.export.signing import BadSignature, read_secrets, signature, signed_headers, verify
from tests.export.world import WEBHOOK_SECRET

OTHER = "whsec_TESTTESTTESTTESTTESTTESTTESTTESTTESTTEST"
BODY = b'[{"id":"evt_1"}]'
NOW = 1_700_000_000


def headers(*secrets: str, at: int = NOW) -> dict[str, str]:
    """What is sent with the body."""
    return dict(signed_headers(read_secrets(secrets or [WEBHOOK_SECRET]), "msg_1", at, BODY))


def test_the_published_example() -> None:
    """The example that Standard Webhooks' own libraries test themselves with."""
    (key,) = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == made


def test_what_was_signed_holds() -> None:
    """For whoever has the secret, within five minutes either way."""
    for now in (NOW - 300, NOW, NOW + 300):
        verify(headers(), BODY, WEBHOOK_SECRET, now=now)


def test_secrets_can_be_changed() -> None:
    """While both sign, either one verifies; a receiver may know both as well."""
    verify(headers(WEBHOOK_SECRET, OTHER), BODY, WEBHOOK_SECRET, now=NOW)
    verify(headers(WEBHOOK_SECRET, OTHER), BODY, OTHER, now=NOW)
    verify(headers(OTHER), BODY, f"{WEBHOOK_SECRET}, {OTHER}", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": str(NOW - 301)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 99},
        {"webhook-timestamp": "１７"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "ä"},
        {"webhook-signature": ""},
        {"webhook-id": ""},
    ],
    ids=str,
)
def test_what_does_not_hold(change: dict[str, str]) -> None:
    """Another id, time or signature; something missing; a time that is no number."""
    with pytest.raises(BadSignature):
        verify(headers() | change, BODY, WEBHOOK_SECRET, now=NOW)


def test_another_body_or_secret() -> None:
    """Neither holds."""
    with pytest.raises(BadSignature):
        verify(headers(), BODY + b" ", WEBHOOK_SECRET, now=NOW)
    with pytest.raises(BadSignature):
        verify(headers(), BODY, OTHER, now=NOW)


@pytest.mark.parametrize(
    "secret", ["", "dGVzdA==", "whsec_", "whsec_dGVzdA==", "whsec_!!!", "whsec_" + "dGVz" * 30, []]
)
def test_no_secrets(secret: str | list[str]) -> None:
    """Are refused with the line that makes one, and never shown."""
    with pytest.raises(WiringError, match="make one with") as caught:
        read_secrets(secret)
    assert "dGVz" not in str(caught.value)
