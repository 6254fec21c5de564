"""flovia, pympp and mppx derive the same ids, and read each other's challenges, on 10,000 generated ones."""

import os
from collections.abc import Callable, Sequence
from typing import cast

import attrs
import pytest
import rfc8785

from flovia.core.binding import Keyring, challenge_id, issue
from flovia.core.challenge import Challenge, encode_opaque, format_challenge, parse_challenge
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import JsonObject, JsonValue, b64url_encode, encode_param
from flovia.core.errors import ParseError
from tests.interop.generated import SECRETS, Sample, samples
from tests.interop.javascript import Javascript
from tests.interop.pympp import Challenge as PymppChallenge
from tests.interop.pympp import Credential as PymppCredential
from tests.interop.pympp import generate_challenge_id

COUNT = 10_000 if os.environ.get("CI") else 1_000
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
        [{"op": "challenge.issue", "members": members(sample), "secretKey": sample.secret} for sample in challenges],
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
        [{"op": "credential.answer", "field": field, "payload": payload, "source": "did:key:mppx"} for field in fields],
    )
    for sample, answer in zip(challenges, answers, strict=True):
        credential = parse_credential(cast(str, answer["value"]))
        assert flovia_challenge(sample) == credential.challenge, sample
        assert (payload, "did:key:mppx") == (credential.payload, credential.source)


# --- where they differ: docs/interop.md has the list --------------------------------------------------------------

PLAIN = Sample(
    secret=SECRETS[0],
    realm="api.example.com",
    method="mock",
    intent="charge",
    request={"amount": "100", "currency": "usd"},
    expires="2030-01-31T12:00:00Z",
    digest=None,
    opaque=None,
    description=None,
)


def with_member(value: JsonValue, name: str = "x") -> Sample:
    """A challenge whose request has one more member."""
    return attrs.evolve(PLAIN, request={**PLAIN.request, name: value})


def pympp_id(sample: Sample) -> str:
    """The id by pympp."""
    return pympp_challenge(sample).id


def mppx_issue(javascript: Javascript, sample: Sample) -> JsonObject:
    """mppx's ``{"id", "field"}``, or its ``{"error"}``."""
    return javascript.call("challenge.issue", members=members(sample), secretKey=sample.secret)


@pytest.mark.node
def test_the_credential_field_has_another_slot(javascript: Javascript) -> None:
    """With ``header`` flovia appends an eighth slot, as the draft says; pympp and mppx put it before opaque.

    Only the issuer ever computes an id, so clients and servers of different make never notice.
    """
    header = "Payment-Authorization"
    theirs = javascript.call("challenge.issue", members={**members(PLAIN), "header": header}, secretKey=PLAIN.secret)
    named = {
        "secret_key": PLAIN.secret,
        "realm": PLAIN.realm,
        "method": PLAIN.method,
        "intent": PLAIN.intent,
        "request": dict(PLAIN.request),
        "expires": PLAIN.expires,
        "header": header,
    }
    ours = challenge_id(
        PLAIN.secret.encode(),
        realm=PLAIN.realm,
        method=PLAIN.method,
        intent=PLAIN.intent,
        request=encode_param(PLAIN.request),
        expires=PLAIN.expires,
        header=header,
    )
    assert theirs["id"] == cast("Callable[..., str]", generate_challenge_id)(**named)
    assert ours != theirs["id"]


@pytest.mark.node
def test_a_bar_in_the_realm_is_refused(javascript: Javascript) -> None:
    """``|`` separates the slots: flovia does not issue a challenge that holds one, pympp and mppx do."""
    sample = attrs.evolve(PLAIN, realm="a|b")
    with pytest.raises(ParseError, match="may hold"):
        issue(
            Keyring([sample.secret]),
            realm=sample.realm,
            method=sample.method,
            intent=sample.intent,
            request=encode_param(sample.request),
            expires="2030-01-31T12:00:00Z",
        )
    assert pympp_id(sample) == mppx_issue(javascript, sample)["id"]


@pytest.mark.node
@pytest.mark.parametrize("value", [1e16, "\0"], ids=["integer-beyond-2^53-as-a-double", "U+0000"])
def test_values_that_only_flovia_refuses(javascript: Javascript, value: JsonValue) -> None:
    """pympp and mppx agree on the id; flovia emits nothing that its own strict parser would not take back."""
    sample = with_member(value)
    with pytest.raises(ParseError):
        encode_param(sample.request)
    assert pympp_id(sample) == mppx_issue(javascript, sample)["id"]


@pytest.mark.node
def test_integers_that_a_double_cannot_hold(javascript: Javascript) -> None:
    """2^53 + 1: flovia and pympp refuse, mppx issues a challenge for 2^53."""
    sample = with_member(2**53 + 1)
    with pytest.raises(ParseError):
        encode_param(sample.request)
    with pytest.raises(rfc8785.IntegerDomainError):
        pympp_id(sample)
    assert mppx_issue(javascript, with_member(2**53))["id"] == mppx_issue(javascript, sample)["id"]


@pytest.mark.node
def test_half_a_surrogate_pair(javascript: Javascript) -> None:
    """Text that has no UTF-8: flovia and pympp refuse it, mppx issues."""
    sample = with_member("\ud800")
    with pytest.raises(ParseError):
        encode_param(sample.request)
    with pytest.raises(rfc8785.CanonicalizationError):
        pympp_id(sample)
    assert "id" in mppx_issue(javascript, sample)


@pytest.mark.node
def test_a_member_called_proto(javascript: Javascript) -> None:
    """mppx binds a member ``__proto__`` and then loses it, so it cannot verify its own challenge, nor ours."""
    sample = with_member({"a": "b"}, "__proto__")
    theirs = mppx_issue(javascript, sample)
    assert flovia_id(sample) == pympp_id(sample) == theirs["id"]
    for field in (cast(str, theirs["field"]), format_challenge(flovia_challenge(sample))):
        read = javascript.call("challenge.read", field=field, secretKey=sample.secret)
        assert False is read["verified"]


@pytest.mark.node
def test_a_request_that_is_not_canonical_is_echoed_as_it_came(javascript: Javascript) -> None:
    """flovia and pympp echo the request's text unchanged; mppx writes it anew, and such a server refuses it (C03)."""
    request = b64url_encode(b'{"currency":"usd", "amount":"100"}')
    field = format_challenge(attrs.evolve(flovia_challenge(PLAIN), request=request))
    ours = format_credential(Credential(challenge=parse_challenge(field), payload={}))
    pympps = PymppCredential(challenge=PymppChallenge.from_www_authenticate(field).to_echo(), payload={})
    mppxs = cast(str, javascript.call("credential.answer", field=field, payload={})["value"])
    echoed = [parse_credential(value).challenge.request for value in (ours, pympps.to_authorization(), mppxs)]
    assert [request, request, encode_param(PLAIN.request)] == echoed
