"""Our parsers beside other people's: where they agree, and every way in which they do not, with the reason.

Oracles: authchallenge (RFC 9110 grammar, with a strict and a tolerant mode) and pympp (ids).
"""

import re
from typing import Final

import mpp
from authchallenge import AuthError
from authchallenge import parse_authorization as their_authorization
from authchallenge import parse_challenges as their_challenges
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.binding import challenge_id
from flovia.core.challenge import Challenge, encode_opaque, format_challenge
from flovia.core.encoding import JsonObject, b64url_encode, canonical, encode_param
from flovia.core.errors import ParseError
from flovia.core.fields import BOUND, payment_challenges, payment_credentials
from flovia.testing import strategies as wire

DIVERGENCES: Final = {
    "no-params": (
        "`Payment` alone or with a token68 is a challenge to them; to us it is unusable, because the scheme defines "
        "parameters only."
    ),
    "empty-first": (
        "`Payment , id=x`: the list rule of RFC 9110 allows an empty element before the first parameter; no server "
        "sends it, and we take a scheme without a parameter after it as unusable."
    ),
    "foreign": (
        "They refuse the whole field for a fault outside our challenge (another scheme's grammar, a parameter before "
        "any scheme, an unquoted realm); we read the Payment challenges beside it."
    ),
    "lax": (
        "A badly quoted `description` or unknown parameter: we keep what was quoted, as deployed servers need it, "
        "unless an `=` in the ignored text could hide a parameter that matters."
    ),
    "salvage": (
        "Their tolerant mode keeps the readable parameters of a challenge with a syntax error, and the first of two "
        "equal names; we give such a challenge up, because a lost parameter is a payment that will not be honoured."
    ),
    "joined": (
        "`Bearer x, Payment y` is no single credential, so they refuse it; servers join repeated fields, so we must "
        "find ours in it (S48)."
    ),
}
"""Every way in which we differ from authchallenge."""

PIECES: Final = [
    *("Payment", "payment", "Basic", "Negotiate", "Digest", "id", "realm", "token", "abc=="),
    *(" ", "  ", "\t", ",", ", ", "=", " = ", '"', "\\", "é", "\x01"),
    *(
        '"a"',
        '"a,b"',
        '"a\\"b"',
        'id="x"',
        'realm="r"',
        'opaque="o"',
        'description="d"',
        'description="a "b" c"',
        "x=y",
    ),
    *('Payment id="a"', "Payment id=a, realm=b", 'Basic realm="Payment id=z"', "Bearer abc", "Payment abc"),
]


def challenge_divergence(value: str) -> str | None:
    """How we differ from authchallenge on a field: None if not at all, else a key of ``DIVERGENCES``.

    Raises:
        AssertionError: in a way that is not listed.
    """
    found = payment_challenges([value])
    ours = [one for one in found if not isinstance(one, ParseError)]
    bad = len(found) - len(ours)
    tolerant = [one.params for one in their_challenges(value) if one.scheme.lower() == "payment"]
    try:
        strict = [one.params for one in their_challenges(value, strict=True) if one.scheme.lower() == "payment"]
    except AuthError:
        for params in ours:
            assert any(_core(params) == _core(theirs) for theirs in tolerant), (params, tolerant)
        if any(params not in tolerant for params in ours):
            return "lax"
        if len(ours) < sum(map(bool, tolerant)):
            return "salvage"
        return "foreign" if ours else None
    if found == strict:
        return None
    if re.search(r"payment +,", value, re.IGNORECASE):
        return "empty-first"
    assert ours == [params for params in strict if params]
    assert bad == strict.count({})
    return "no-params"


def _core(params: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in params.items() if name in BOUND}


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_challenges_agree_but_for_what_is_listed(value: str) -> None:
    """On any field made of the grammar's pieces we read the same challenges, or differ in a listed way."""
    assert challenge_divergence(value) in (None, *DIVERGENCES)


@given(wire.challenges(), wire.other_challenges(), st.booleans())
def test_challenges_we_write_are_theirs_to_read(challenge: Challenge, other: str, first: bool) -> None:
    """What we format is strict RFC 9110, and means the same to them, beside any other scheme."""
    ours = format_challenge(challenge)
    (theirs,) = [
        one for one in their_challenges([other, ours] if first else [ours, other]) if one.scheme.lower() == "payment"
    ]
    assert payment_challenges([ours]) == [theirs.params]
    assert [theirs] == their_challenges(ours, strict=True)


def test_each_divergence_exists() -> None:
    """Every listed way to differ has an example that shows it."""
    examples = {
        "no-params": "Payment abc==",
        "empty-first": "Payment , id=x",
        "foreign": 'realm="r", Payment id="a"',
        "lax": 'Payment id="a", x="open',
        "salvage": 'Payment id="a", id="b"',
    }
    for name, value in examples.items():
        assert name == challenge_divergence(value)
    assert examples.keys() | {"joined"} == DIVERGENCES.keys()


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_credentials_agree_but_for_what_is_listed(value: str) -> None:
    """A field that is one strict credential to them is the same to us; what they refuse is ours only if joined."""
    try:
        theirs = their_authorization(value, strict=True)
    except AuthError:
        theirs = None
    try:
        ours = payment_credentials([value])
    except ParseError:
        # Ours to refuse: a Payment credential without a token, or with parameters after it.
        assert theirs is None or (theirs.scheme.lower() == "payment" and theirs.token68 is None)
        return
    if theirs is None:
        # "joined", or a token that parse_token() refuses for its characters.
        assert not ours or "," in value or not re.fullmatch("[A-Za-z0-9_-]*", ours[0])
    elif theirs.scheme.lower() != "payment":
        assert [] == ours
    elif theirs.token68 is None:
        # Parameters of one element are taken for a token that does not decode.
        assert all("=" in token for token in ours)
    else:
        assert [theirs.token68] == ours


@given(
    st.text("abc.-", min_size=1),
    wire.method_ids(),
    st.sampled_from(["charge", "session"]),
    wire.json_objects(floats=False),
    st.none() | wire.timestamps(),
    st.none() | wire.digests(),
    st.none() | st.dictionaries(wire.texts(), wire.texts(), min_size=1, max_size=3),
)
def test_ids_are_those_of_pympp(
    realm: str,
    method: str,
    intent: str,
    request: JsonObject,
    expires: str | None,
    digest: str | None,
    opaque: dict[str, str] | None,
) -> None:
    """Without ``header`` both compute the same id, for any request and any set of members."""
    secret = "test-secret-test-secret-test-secret"
    theirs = mpp.Challenge.create(
        secret_key=secret,
        realm=realm,
        method=method,
        intent=intent,
        request=dict(request),
        expires=expires,
        digest=digest,
        meta=opaque,
    )
    assert theirs.id == challenge_id(
        secret.encode(),
        realm=realm,
        method=method,
        intent=intent,
        request=encode_param(request),
        expires=expires,
        digest=digest,
        opaque=None if opaque is None else encode_opaque(opaque),
    )
    assert theirs.request_b64 in ("", None, b64url_encode(canonical(request)))
