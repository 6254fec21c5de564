"""flovia, pympp and mppx derive the same ids, and read each other's challenges, on 10,000 generated ones."""

from collections.abc import Sequence
from typing import cast

import pytest

from flovia.core.binding import challenge_id
from flovia.core.challenge import Challenge, encode_opaque, format_challenge, parse_challenge
from flovia.core.credential import parse_credential
from flovia.core.encoding import JsonObject, encode_param
from tests.interop.generated import Sample, samples
from tests.interop.javascript import Javascript
from tests.interop.pympp import Challenge as PymppChallenge
from tests.interop.pympp import Credential as PymppCredential
from tests.interop.pympp import generate_challenge_id

COUNT = 10_000
AT_ONCE = 1_000
"""Requests to the Node process in one line."""


@pytest.fixture(scope="module")
def challenges() -> list[Sample]:
    """The 10,000 challenges."""
    return list(samples(COUNT))


def flovia_id(sample: Sample) -> str:
    """The id by flovia's own function."""
    return challenge_id(
        sample.secret.encode(),
        realm=sample.realm,
        method=sample.method,
        intent=sample.intent,
        request=encode_param(sample.request),
        expires=sample.expires,
        digest=sample.digest,
        opaque=None if sample.opaque is None else encode_opaque(sample.opaque),
    )


def flovia_challenge(sample: Sample) -> Challenge:
    """The challenge as flovia sends it; the secret may be shorter than a Keyring takes."""
    return Challenge(
        id=flovia_id(sample),
        realm=sample.realm,
        method=sample.method,
        intent=sample.intent,
        request=encode_param(sample.request),
        expires=sample.expires,
        digest=sample.digest,
        opaque=None if sample.opaque is None else encode_opaque(sample.opaque),
    )


def pympp_challenge(sample: Sample) -> PymppChallenge:
    """The challenge as pympp issues it."""
    return PymppChallenge.create(
        secret_key=sample.secret,
        realm=sample.realm,
        method=sample.method,
        intent=sample.intent,
        request=dict(sample.request),
        expires=sample.expires,
        digest=sample.digest,
        meta=sample.opaque,
    )


def members(sample: Sample) -> JsonObject:
    """The challenge as mppx's ``Challenge.from`` takes it."""
    given = {
        "realm": sample.realm,
        "method": sample.method,
        "intent": sample.intent,
        "request": sample.request,
        "expires": sample.expires,
        "digest": sample.digest,
        "meta": sample.opaque,
    }
    return {name: value for name, value in given.items() if value is not None}


def ask(javascript: Javascript, requests: Sequence[JsonObject]) -> list[JsonObject]:
    """The answers of mppx, asked in portions."""
    return [
        answer
        for first in range(0, len(requests), AT_ONCE)
        for answer in javascript.calls(requests[first : first + AT_ONCE])
    ]


def test_pympp_derives_the_same_ids(challenges: list[Sample]) -> None:
    """pympp's ``generate_challenge_id`` and flovia agree on every one of the 10,000 challenges (S10, S14)."""
    theirs = [
        generate_challenge_id(
            secret_key=sample.secret,
            realm=sample.realm,
            method=sample.method,
            intent=sample.intent,
            request=dict(sample.request),
            expires=sample.expires,
            digest=sample.digest,
            opaque=sample.opaque,
        )
        for sample in challenges
    ]
    assert theirs == [flovia_id(sample) for sample in challenges]
    assert len(theirs) == len(set(theirs)) == COUNT


def test_pympp_and_flovia_read_each_others_challenges(challenges: list[Sample]) -> None:
    """What flovia formats, pympp verifies; what pympp formats, flovia reads as the same challenge."""
    for sample in challenges:
        ours = flovia_challenge(sample)
        read = PymppChallenge.from_www_authenticate(format_challenge(ours))
        assert read.verify(sample.secret, sample.realm), sample
        theirs = pympp_challenge(sample)
        assert ours == parse_challenge(theirs.to_www_authenticate(sample.realm)), sample


def test_flovia_reads_pympps_credentials(challenges: list[Sample]) -> None:
    """A credential that pympp's client makes of flovia's challenge echoes every bound text unchanged (C03)."""
    for sample in challenges:
        ours = flovia_challenge(sample)
        read = PymppChallenge.from_www_authenticate(format_challenge(ours))
        answer = PymppCredential(challenge=read.to_echo(), payload={"proof": "ok"}, source="did:key:pympp")
        credential = parse_credential(answer.to_authorization())
        assert ours == credential.challenge, sample
        assert ("ok", "did:key:pympp") == (credential.payload["proof"], credential.source)


@pytest.mark.node
def test_mppx_derives_the_same_ids(challenges: list[Sample], javascript: Javascript) -> None:
    """mppx's ``Challenge.from`` and flovia agree on every one of the 10,000 challenges (S10, S14), both ways."""
    answers = ask(
        javascript,
        [
            {"op": "challenge.issue", "members": members(sample), "secretKey": sample.secret}
            for sample in challenges
        ],
    )
    assert [answer.get("id", answer) for answer in answers] == [flovia_id(sample) for sample in challenges]
    for sample, answer in zip(challenges, answers, strict=True):
        assert flovia_challenge(sample) == parse_challenge(cast(str, answer["field"])), sample


@pytest.mark.node
def test_mppx_reads_flovias_challenges(challenges: list[Sample], javascript: Javascript) -> None:
    """What flovia formats, mppx verifies, and the credential mppx makes of it echoes every bound text (C03)."""
    fields = [format_challenge(flovia_challenge(sample)) for sample in challenges]
    read = ask(
        javascript,
        [
            {"op": "challenge.read", "field": field, "secretKey": sample.secret}
            for sample, field in zip(challenges, fields, strict=True)
        ],
    )
    assert [] == [sample for sample, answer in zip(challenges, read, strict=True) if answer.get("verified") is not True]
    payload: JsonObject = {"proof": "ok 🔑"}
    answers = ask(
        javascript,
        [
            {"op": "credential.answer", "field": field, "payload": payload, "source": "did:key:mppx"}
            for field in fields
        ],
    )
    for sample, answer in zip(challenges, answers, strict=True):
        credential = parse_credential(cast(str, answer["value"]))
        assert flovia_challenge(sample) == credential.challenge, sample
        assert (payload, "did:key:mppx") == (credential.payload, credential.source)


# --- where they differ ---------------------------------------------------------------------------------------
