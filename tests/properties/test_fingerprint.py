"""Who may come back for a payment: properties of the fingerprint under which a claim is kept."""

import json
from hashlib import sha256

from hypothesis import example, given
from hypothesis import strategies as st

from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.fingerprint import Fingerprints

# Whatever our JSON reader lets through: text without U+0000 and lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
VALUES: st.SearchStrategy[JsonValue] = st.one_of(
    TEXTS, st.integers(-3, 3), st.booleans(), st.none(), st.dictionaries(TEXTS, TEXTS, max_size=2)
)
PAYLOADS: st.SearchStrategy[JsonObject] = st.one_of(
    st.dictionaries(TEXTS, TEXTS, max_size=4), st.dictionaries(TEXTS, VALUES, max_size=4)
)
BOUND = st.binary(max_size=12)


def fingerprint_of(bound: bytes, payload: JsonObject) -> str:
    """The fingerprint of a message of which nothing was hashed before."""
    return Fingerprints(b"").of(bound, payload)


@given(BOUND, PAYLOADS, BOUND, PAYLOADS)
@example(b"", {}, b"", {"": ""})
@example(b"a", {"b": "c"}, b"a", {"b": "", "c": ""})
@example(b"a", {"b": "1"}, b"a", {"b": 1})
@example(b"a", {'{"b":1}': ""}, b"a", {"b": 1})
@example(b"a{}", {}, b"a", {})
@example(b"ab", {}, b"a", {"b": ""})
def test_different_proofs_have_different_fingerprints(
    bound: bytes, payload: JsonObject, other_bound: bytes, other: JsonObject
) -> None:
    """Two credentials share a fingerprint only if the MAC covers the same and the proof is the same."""
    # As JSON, because Python calls 1 and True equal.
    same = bound == other_bound and json.dumps(payload, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert same == (fingerprint_of(bound, payload) == fingerprint_of(other_bound, other))


def test_a_fingerprint_on_record_stays_the_same() -> None:
    """Ledgers keep them: a later version has to find what an earlier one claimed, for proofs of either form."""
    text = sha256(b"r|m\0hash\0signature\0" + "0x1é".encode() + b"\0s" + (3).to_bytes(4, "big")).hexdigest()
    assert text == fingerprint_of(b"r|m", {"signature": "s", "hash": "0x1é"})
    other = sha256(b'r|m{"a":[1,true],"b":"\\u00e9"}' + (3).to_bytes(4, "big")).hexdigest()
    assert other == fingerprint_of(b"r|m", {"b": "é", "a": [1, True]})


@given(BOUND, PAYLOADS)
def test_the_order_of_members_does_not_matter(bound: bytes, payload: JsonObject) -> None:
    """A client that spells the same proof in another order comes back for the same payment."""
    assert fingerprint_of(bound, payload) == fingerprint_of(bound, dict(reversed(payload.items())))


@given(BOUND, BOUND, PAYLOADS)
def test_where_the_beginning_ends_does_not_matter(beginning: bytes, rest: bytes, payload: JsonObject) -> None:
    """A payment claimed under a fixed price is found again when the same challenge comes without one."""
    assert fingerprint_of(beginning + rest, payload) == Fingerprints(beginning).of(rest, payload)
