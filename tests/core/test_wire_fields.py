"""The header grammar: challenges, credentials, quoting, digests."""

import pytest

from flovia.core.errors import ParseError
from flovia.core.fields import (
    MAX_ELEMENTS,
    MAX_FIELD,
    MAX_PARAM,
    digest_matches,
    format_digest,
    payment_challenges,
    payment_credentials,
    printable,
    quote,
)

SHA = bytes(range(32))


def found(*values: str) -> list[dict[str, str] | str]:
    """What is found, with "bad" in the place of each unusable challenge."""
    return ["bad" if isinstance(one, ParseError) else one for one in payment_challenges(values)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('Payment id="a", realm="b"', [{"id": "a", "realm": "b"}]),
        ("Payment id=a,realm=b", [{"id": "a", "realm": "b"}]),
        ('PAYMENT ID = "a" , Realm\t=\tb', [{"id": "a", "realm": "b"}]),
        ('Payment id=""', [{"id": ""}]),
        ('Payment id="a\\"b\\\\c\\d"', [{"id": 'a"b\\cd'}]),
        ('Payment id="a\\\\\\"b"', [{"id": 'a\\"b'}]),
        ('Payment id="a,b", x=y', [{"id": "a,b", "x": "y"}]),
        (", , Payment id=a,, ,", [{"id": "a"}]),
        ("Payment id=a, Payment id=b", [{"id": "a"}, {"id": "b"}]),
        ("Bearer, Payment id=a, Negotiate abc==, Payment id=b", [{"id": "a"}, {"id": "b"}]),
        ('Basic realm="Payment id=x", Payment id=a', [{"id": "a"}]),
        ('Basic realm="x\\", Payment id=y"', []),
        ('Payment realm="ask Payment, Payment id=x"', [{"realm": "ask Payment, Payment id=x"}]),
        ("id=a, Payment id=b", [{"id": "b"}]),
        ("Paymentx id=a", []),
        ("", []),
        ('Payment id="é"', [{"id": "é"}]),
        # Unusable ones, and what stands beside them.
        ("Payment", ["bad"]),
        ("Payment, Payment id=a", ["bad", {"id": "a"}]),
        ("Payment\tid=a", ["bad"]),
        ("Payment abc==", ["bad"]),
        ("Payment abc==, Payment id=a", ["bad", {"id": "a"}]),
        ("Payment id=a, id=b", ["bad"]),
        ("Payment id=a, ID=b, Payment id=c", ["bad", {"id": "c"}]),
        ('Payment id="a", id="a"', ["bad"]),
        ('Payment id="a" realm="b"', ["bad"]),
        ('Payment id="a"b, Payment id=c', ["bad", {"id": "c"}]),
        ('Payment id="a', ["bad"]),
        ("Payment id=a, =b", ["bad"]),
        ("Payment id=a, realm=", ["bad"]),
        ("Payment id=é", ["bad"]),
        ('Payment id="a\r\nSet-Cookie: x"', ["bad"]),
        ('Payment id="a\0"', ["bad"]),
        ('Payment id="a\x7f"', ["bad"]),
        # Laxness: text that is not ours to understand, as long as it cannot hide a parameter.
        ('Payment id="a", description="say "hi" now"', [{"id": "a", "description": "say "}]),
        ('Payment id="a", description="x=1" y', [{"id": "a", "description": "x=1"}]),
        ('Payment id="a", x="\\\\', [{"id": "a", "x": "\\"}]),
        ('Payment id="a", x="\\', [{"id": "a", "x": ""}]),
        ('Payment description="say "hi", opaque="x"', ["bad"]),
        ('Payment description="say "opaque=x', ["bad"]),
        ('Payment id="a", x="open, opaque=b', ["bad"]),
        ('Payment id="a", description="b" c, description="d"', ["bad"]),
    ],
)
def test_challenges_in_a_field(value: str, expected: list[dict[str, str] | str]) -> None:
    """C06: each Payment challenge is found, or reported as bad in its place; other schemes are passed over."""
    assert expected == found(value)
    # A second value changes the way the field is read, not what is found in it.
    assert expected == found(value, "Negotiate")


@pytest.mark.parametrize(
    "name", ["id", "realm", "method", "intent", "request", "expires", "digest", "opaque", "header"]
)
def test_what_decides_anything_is_quoted_rightly(name: str) -> None:
    """C06: only a description, or what we do not know, may be followed by text that is lost."""
    assert ["bad"] == found(f'Payment {name}="a" b')
    assert ["bad"] == found(f'Payment x=y, {name.upper()}="a" b')
    assert [{f"x-{name}": "a"}] == found(f'Payment x-{name}="a" b')


def test_what_peers_may_send_does_not_change_unnoticed() -> None:
    """64 KiB a field, 16 KiB a parameter, 256 elements."""
    assert (65536, 16384, 256) == (MAX_FIELD, MAX_PARAM, MAX_ELEMENTS)


def test_several_values_are_read_in_order() -> None:
    """C06: split fields give the same as joined ones, and a bad value does not hide the next."""
    assert [{"id": "a"}, {"id": "b"}] == found("Payment id=a", "Basic realm=x, Payment id=b")
    assert ["bad", {"id": "b"}] == found("Payment id=\x01", "Payment id=b")
    assert [] == found()


def test_limits_come_first() -> None:
    """A field that is too long is refused, one with too many elements read no further, a long parameter alone bad."""
    ok = 'Payment id="a"'
    assert ["bad"] == found(ok, "x" * MAX_FIELD)
    assert [{"id": "a"}, "bad"] == found(ok + "," + "Basic," * MAX_ELEMENTS)
    assert [{"id": "a"}] == found(ok + "," * 1000)
    assert ["bad", {"id": "a"}] == found(f'Payment x="{"y" * MAX_PARAM}", {ok}')
    longest = MAX_PARAM - len('x=""')
    assert [{"x": "y" * longest}] == found(f'Payment x="{"y" * longest}"')


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Payment abc"], ["abc"]),
        (["payment   abc \t"], ["abc"]),
        (["Bearer x"], []),
        (["Bearer x, Payment abc"], ["abc"]),
        (["x=y, Payment abc"], ["abc"]),
        (["Payment abc, Bearer x"], ["abc"]),
        (["Payment abc, Payment def"], ["abc", "def"]),
        (["Payment abc", "Payment def"], ["abc", "def"]),
        (['Digest username="Payment x", response="y", Payment abc'], ["abc"]),
        (['Bearer "Payment x"'], []),
        (['Digest a="payment", b=c'], []),
        (["Bearer !!! garbage \x01"], []),
        ([",Payment abc,"], ["abc"]),
        (["Payment id=a, Bearer x"], ["id=a"]),
        (['Payment "a, Payment b"'], ['"a, Payment b"']),
        ([""], []),
        ([], []),
    ],
)
def test_credentials_in_a_field(values: list[str], expected: list[str]) -> None:
    """S48: every Payment credential is found in the joined and the split form; other schemes are ignored."""
    assert expected == payment_credentials(values)


@pytest.mark.parametrize(
    "values",
    [
        ["Payment"],
        ["Payment "],
        ["Payment, Bearer x"],
        ["Payment id=a, realm=b"],
        ["Payment\tabc"],
        ["Payment abc, x=y"],
        ["Payment abc, \x01"],
        ["Payment " + "a" * MAX_FIELD],
        ["Payment a," + "b c," * MAX_ELEMENTS],
    ],
)
def test_malformed_credentials_are_an_error(values: list[str]) -> None:
    """S03: a Payment credential that is not one token is an error, not an absent credential."""
    with pytest.raises(ParseError):
        payment_credentials(values)


def test_what_is_not_printable_ascii_is_replaced() -> None:
    """Controls become spaces and other characters a question mark, so that no text breaks or injects a header."""
    assert 'plain "text"' == printable('plain "text"')
    assert "a  b ? ?" == printable("a\r\nb\t😀\x85é")
    assert '"a\\"b\\\\c ?"' == quote('a"b\\c\x7fé')
    assert '"x"' == quote("x")


def test_digest_forms() -> None:
    """S15: RFC 9530's form is written; it is read alone or in a list, and so is the form without colons."""
    ours = format_digest(SHA)
    assert "sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:" == ours
    for field in (
        ours,
        ours.replace(":", ""),
        ours.replace(":", "").rstrip("="),
        f"{ours}, sha-512=:AAAA:",
        f"a, {ours}",
    ):
        assert digest_matches(field, SHA)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "sha-256",
        "sha-512=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:",
        "SHA-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:",
        "sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHhw=:, a",
        "sha-256, a",
        "a, b",
        "=, =",
        "sha-256=:é:, a",
        "sha-256=(:AA==:), a",
        "x" * 2000 + ", a",
    ],
)
def test_digests_that_cannot_be_read_do_not_match(field: str) -> None:
    """S17: whatever is not the SHA-256 of these bytes, in a form we know, does not match."""
    assert not digest_matches(field, SHA)
