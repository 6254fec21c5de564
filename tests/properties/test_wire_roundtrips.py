"""Properties of the wire types: what we write we read, whatever its spelling, and writing is canonical."""

import copy
import hashlib
import hmac
import json
import pickle
import re
from fractions import Fraction
from typing import Any

import attrs
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from flovia.core._currencies import EXPONENTS
from flovia.core.binding import Keyring, authenticate, challenge_id, issue
from flovia.core.challenge import (
    MAX_CHALLENGE,
    Challenge,
    format_challenge,
    format_expires,
    parse_challenge,
    parse_challenges,
    parse_expires,
)
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import (
    JsonObject,
    JsonValue,
    b64url_decode,
    b64url_encode,
    canonical,
    decode_param,
    encode_param,
    loads,
)
from flovia.core.errors import ParseError, WiringError
from flovia.core.fields import digest_matches, format_digest, payment_challenges, payment_credentials, quote
from flovia.core.money import Price, to_base_units
from flovia.core.negotiation import rank
from flovia.core.receipt import Receipt, format_receipt, parse_receipt
from flovia.testing import strategies as wire

SECRET = "test-secret-test-secret-test-secret"


@given(st.binary(max_size=80))
def test_base64url_round_trip(raw: bytes) -> None:
    """Any bytes survive base64url, and the text has no padding."""
    text = b64url_encode(raw)
    assert raw == b64url_decode(text)
    assert "=" not in text


@given(st.text("ABab01-_+/=.é \n", max_size=12))
def test_base64url_is_read_in_one_spelling_only(text: str) -> None:
    """Whatever decodes is exactly what encoding the result writes: no second text means the same bytes."""
    try:
        raw = b64url_decode(text)
    except ParseError:
        return
    assert text == b64url_encode(raw)


@given(wire.json_values())
def test_canonical_is_rfc8785(value: JsonValue) -> None:
    """S14: the fast writer and the reference canonicaliser agree on every value."""
    assert rfc8785.dumps(value) == canonical(value)


@given(wire.json_values())
def test_canonical_is_read_back(value: JsonValue) -> None:
    """S14: canonical JSON is read back as the same value, and writing it again gives the same bytes."""
    raw = canonical(value)
    assert value == loads(raw)
    assert raw == canonical(loads(raw))


@given(wire.json_values(), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_loads_reads_what_json_reads(value: JsonValue, indent: int | str | None, ascii_only: bool) -> None:
    """Any layout and any escaping of a value is read as the value."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert value == loads(text)
    assert value == loads(f"\n {text}\t\r\n".encode())


@given(wire.json_objects())
def test_params_round_trip(members: JsonObject) -> None:
    """A JSON object survives the request parameter."""
    assert members == decode_param(encode_param(members))


@given(wire.challenges())
def test_challenge_round_trip(challenge: Challenge) -> None:
    """A challenge survives its header, its decoded request with it."""
    value = format_challenge(challenge)
    assert len(value) <= MAX_CHALLENGE
    assert value.isascii()
    assert value.isprintable()
    again = parse_challenge(value)
    assert challenge == again
    assert challenge.request_json == again.request_json == decode_param(challenge.request)


@given(wire.challenges(), st.data())
def test_every_legal_spelling_means_the_same(challenge: Challenge, data: st.DataObject) -> None:
    """C06: order, case, white space, tokens and escapes do not change what a challenge says."""
    value = data.draw(wire.field_values(_params(challenge)))
    assert challenge == parse_challenge(value)


@given(st.lists(wire.challenges(), max_size=3), st.lists(wire.other_challenges(), max_size=3), st.data())
def test_every_challenge_of_a_mix_is_found(challenges: list[Challenge], others: list[str], data: st.DataObject) -> None:
    """C06: challenges are found in any mix of schemes, in one field or several, in their order."""
    marked = [(True, format_challenge(one)) for one in challenges] + [(False, one) for one in others]
    mixed = data.draw(st.permutations(marked))
    fields: list[str] = []
    for _, value in mixed:
        joined = data.draw(st.booleans())
        if fields and joined:
            fields[-1] += data.draw(st.sampled_from([",", ", ", " ,,\t"])) + value
        else:
            fields.append(value)
    expected = [parse_challenge(value) for ours, value in mixed if ours]
    assert expected == parse_challenges(fields)


@given(wire.challenges(), st.sampled_from(["id", "realm", "method", "intent", "request"]))
def test_a_bad_challenge_does_not_hide_a_good_one(challenge: Challenge, member: str) -> None:
    """A challenge that lacks a member is left out; the good ones on both sides of it stay."""
    params = _params(challenge)
    bad = "Payment " + ", ".join(f"{name}={quote(text)}" for name, text in params.items() if name != member)
    good = format_challenge(challenge)
    assert [challenge, challenge] == parse_challenges([f"{good}, {bad}, {good}"])


@given(wire.credentials())
def test_credential_round_trip(credential: Credential) -> None:
    """C03: a credential survives its header, and the echo's texts are those of the challenge."""
    again = parse_credential(format_credential(credential))
    assert credential == again
    assert (credential.challenge.request, credential.challenge.opaque) == (
        again.challenge.request,
        again.challenge.opaque,
    )


@given(wire.credentials(), st.sampled_from(["{}", "Bearer x, {}", "{}, Negotiate", "{} ,", 'Digest a="Payment y", {}']))
def test_a_credential_is_found_beside_other_schemes(credential: Credential, shape: str) -> None:
    """S48: servers join Authorization fields with commas; ours is found, others are ignored."""
    value = format_credential(credential)
    assert [value[8:]] == payment_credentials([shape.format(value)])
    assert [value[8:]] * 2 == payment_credentials([shape.format(value), f"payment   {value[8:]}"])


@given(wire.receipts())
def test_receipt_round_trip(receipt: Receipt) -> None:
    """A receipt survives its header."""
    assert receipt == parse_receipt(format_receipt(receipt))


@given(wire.challenges(), wire.credentials(), wire.receipts(), wire.prices())
def test_records_can_be_copied(challenge: Challenge, credential: Credential, receipt: Receipt, price: Price) -> None:
    """The wire types survive copying, pickling and attrs.evolve, and a cached request does not follow a new one."""
    assert challenge.request_json == decode_param(challenge.request)
    for record in (challenge, credential, price):
        assert record == copy.deepcopy(record)
        assert record == pickle.loads(pickle.dumps(record))  # noqa: S301  # our own bytes
    assert receipt == attrs.evolve(receipt)
    changed = attrs.evolve(challenge, request=encode_param({"other": "request"}))
    assert {"other": "request"} == changed.request_json


@given(wire.prices())
def test_price_round_trip(price: Price) -> None:
    """A price survives its text, and the text is base units with the point put in, or of whole rupiah the rupiah."""
    text = str(price)
    assert price == Price.parse(text)
    amount, code = text.split(" ")
    assert price.amount == int(amount.replace(".", "")) * (100 if code == "IDR" and "." not in amount else 1)
    assert price.amount == to_base_units(amount, code)


@given(st.from_regex(r"[0-9١]{0,16}(\.[0-9]{0,5})?[ \t]{0,2}(SGD|jpy|KWD|Clf|XXX)?\n?", fullmatch=True))
def test_the_money_grammar(text: str) -> None:
    """A price text is read as exactly the decimal it writes, or refused; nothing between, and nothing rounded."""
    match = re.fullmatch(r"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?) ([A-Z]{3}|[a-z]{3})", text)
    digits = match and EXPONENTS.get(match[2].lower())
    units = Fraction(match[1]) * 10**digits if match and digits is not None else Fraction(0)
    if (
        units.denominator == 1
        and 0 < units < 10**15
        and len((text + " ").split(" ")[0].partition(".")[2]) <= (digits or 0)
    ):
        assert units == Price.parse(text).amount
    else:
        with pytest.raises(WiringError):
            Price.parse(text)


@given(st.integers(0, 253402300799))
def test_time_round_trip(seconds: int) -> None:
    """Any second of the years 1970 to 9999 survives RFC 3339."""
    assert seconds == parse_expires(format_expires(seconds))


@given(st.integers(0, 253402300798))
def test_order_of_text_is_order_of_time(seconds: int) -> None:
    """In the form we write, the later time is the greater text."""
    assert format_expires(seconds) < format_expires(seconds + 1)


@given(wire.challenges(), st.text(max_size=12))
def test_issued_challenges_are_authentic_on_the_wire(challenge: Challenge, description: str) -> None:
    """S10: what was issued authenticates after a trip through both headers, whatever its description."""
    keyring = Keyring([SECRET])
    issued = issue(
        keyring,
        realm=challenge.realm.replace("|", ""),
        method=challenge.method,
        intent=challenge.intent,
        request=challenge.request,
        expires=challenge.expires or "2030-01-01T00:00:00Z",
        digest=challenge.digest,
        opaque=challenge.opaque or None,
        description=description,
        header=challenge.header,
    )
    echo = parse_credential(
        format_credential(Credential(challenge=parse_challenge(format_challenge(issued)), payload={}))
    ).challenge
    assert issued == echo
    assert authenticate(keyring, echo)
    assert authenticate(Keyring(["test-newer-secret-test-newer-secret", SECRET]), echo)
    assert not authenticate(Keyring(["test-other-secret-test-other-secret"]), echo)


@given(
    wire.challenges(),
    wire.challenges(),
    st.sets(st.sampled_from([field.name for field in attrs.fields(Challenge) if field.init])),
)
def test_no_altered_member_is_authentic(challenge: Challenge, other: Challenge, taken: set[str]) -> None:
    """S04, S10: an echo with any bound member taken from elsewhere is refused; only ``description`` is free."""
    keyring = Keyring([SECRET])
    bound: dict[str, Any] = {
        field.name: getattr(challenge, field.name)
        for field in attrs.fields(Challenge)
        if field.init and field.name not in ("id", "description")
    }
    bound["realm"] = bound["realm"].replace("|", "")
    bound["expires"] = bound["expires"] or "2030-01-01T00:00:00Z"
    bound["opaque"] = bound["opaque"] or None
    issued = issue(keyring, **bound)
    altered = attrs.evolve(issued, **{name: getattr(other, name) for name in taken})
    same = attrs.evolve(altered, description=None) == attrs.evolve(issued, description=None)
    assert same is authenticate(keyring, altered)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_digests_match_their_own_bytes_only(one: bytes, other: bytes) -> None:
    """S15: a digest matches its bytes in every accepted form, and no other bytes."""
    theirs = "sha-256=" + format_digest(one)[len("sha-256=:") : -1]
    for field in (format_digest(one), theirs, theirs.rstrip("="), f"sha-512=:AAAA:, {format_digest(one)}"):
        assert digest_matches(field, one)
        assert digest_matches(field, other) is (one == other)


@given(st.text(max_size=40))
def test_quoted_text_is_one_harmless_string(text: str) -> None:
    """Any text quotes into printable ASCII that is one parameter, whatever it tries."""
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    (params,) = payment_challenges([f'Payment description={quoted}, id="x"'])
    assert isinstance(params, dict)
    assert "x" == params["id"]
    assert text == params["description"] or not (text.isascii() and text.isprintable())


@given(
    st.lists(st.sampled_from(["mock/charge", "alt/charge", "mock/session", "x-1:y/charge"]), max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["mock", "alt", "*"]), st.sampled_from(["charge", "session", "*"]), st.integers(0, 1000)
        ),
        max_size=5,
    ),
)
def test_ranking_never_invents_or_repeats_an_offer(offers: list[str], ranges: list[tuple[str, str, int]]) -> None:
    """S32, S33: a ranking is a selection of the offers; without a range at all it is all of them in order."""
    field = ", ".join(f"{method}/{intent};q={quality / 1000:.3f}" for method, intent, quality in ranges)
    order = rank(field, offers)
    assert len(order) == len(set(order))
    assert set(order) <= set(range(len(offers)))
    assert list(range(len(offers))) == rank(None, offers)
    if not ranges:
        assert list(range(len(offers))) == order


def test_secrets_of_any_length_have_ids() -> None:
    """The id function takes short and long secrets, as HMAC defines them (RFC 2104)."""
    for length in (1, 32, 64, 65, 200):
        secret = b"t" * length
        message = b"r|m|i|e30|||"
        expected = b64url_encode(hmac.new(secret, message, hashlib.sha256).digest())
        assert expected == challenge_id(secret, realm="r", method="m", intent="i", request="e30")


def _params(challenge: Challenge) -> dict[str, str]:
    members = attrs.asdict(challenge, filter=lambda attribute, _value: attribute.init)
    return {name: text for name, text in members.items() if text is not None}
