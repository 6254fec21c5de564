"""Strict base64url, canonical JSON and the strict JSON reader."""

from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from json import JSONDecodeError
from types import MappingProxyType
from typing import Any

import pytest

from flovia.core.encoding import (
    MAX_DEPTH,
    MAX_INTEGER,
    WireParam,
    b64url_decode,
    canonical,
    canonical_text,
    decode_param,
    encode_param,
    loads,
    loads_object,
)
from flovia.core.errors import ParseError


def kind(call: Any, *args: Any, **options: Any) -> str:
    """The kind of the ParseError a call ends with."""
    with pytest.raises(ParseError) as caught:
        call(*args, **options)
    return caught.value.kind


def message(call: Any, given: Any) -> str:
    """What the ParseError says that a call ends with."""
    with pytest.raises(ParseError) as caught:
        call(given)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "QQ==",
        "QQ=",
        "=",
        "QR",
        "QUF",
        "Q Q",
        "QQ\n",
        "\nQQ",
        "Q+",
        "Q/",
        "+/+/",
        "QQ+Q",
        "QQ/Q",
        "Q+-Q",
        "ＱＱ",
        "Qé",
        "Q\0Q",
        "!!!!",
    ],
)
def test_base64url_refuses_every_other_spelling(text: str) -> None:
    """Padding, the standard alphabet, white space, foreign characters and non-zero trailing bits are refused."""
    assert "encoding_error" == kind(b64url_decode, text)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        (b64url_decode, "test-proof-é"),
        (b64url_decode, "test-proof!"),
        (loads, '{"test-proof": '),
        (loads, b'{"test-proof\xff'),
        (loads, '{"test-proof":1,"test-proof":2}'),
        (canonical, {"test-proof": "\ud800"}),
        (encode_param, {"test-proof": "\0"}),
    ],
)
def test_no_error_keeps_its_input(call: Callable[[Any], object], given: Any) -> None:
    """S38: neither the message nor the chain of causes of a refusal holds the refused text."""
    with pytest.raises(ParseError) as caught:
        call(given)
    assert "test-proof" not in str(caught.value)
    assert not isinstance(caught.value.__context__, UnicodeError | JSONDecodeError)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "{}{}",
        "{} x",
        "x {}",
        "[1,]",
        "{'a':1}",
        '{"a":1,}',
        "01",
        "+1",
        "1.",
        ".5",
        "0x10",
        "1_000",
        "１",
        "NaN",
        "Infinity",
        "-Infinity",
        '{"a":NaN}',
        '"\x01"',
        '"\\x"',
        "\ufeff{}",
        '{"a":1,"a":2}',
        '[{"b":{"a":1,"\\u0061":2}}]',
        "9007199254740992",
        "-9007199254740992",
        "9" * 5000,
        "1e400",
        "-1e400",
        '"\\ud800"',
        '{"\\udfff":1}',
        '["\ud800"]',
        '"a\\u0000"',
        "\u00a0{}",
    ],
)
def test_json_that_parsers_read_differently_is_refused(text: str) -> None:
    """Broken JSON, repeated members, NaN, big numbers, lone surrogates, U+0000 and a byte order mark are refused."""
    assert "parse_error" == kind(loads, text)


@pytest.mark.parametrize(
    "raw", [b"\xff", b'"\xc0\x80"', b'"\xed\xa0\x80"', "{}".encode("utf-16"), "{}".encode("utf-32")]
)
def test_only_utf8_is_read(raw: bytes) -> None:
    """UTF-16, UTF-32, overlong forms and encoded surrogates are refused, not guessed."""
    assert "encoding_error" == kind(loads, raw)


def test_a_byte_order_mark_is_refused() -> None:
    """UTF-8 with a byte order mark is not JSON."""
    assert "parse_error" == kind(loads, b"\xef\xbb\xbf{}")


def test_limits_are_inclusive() -> None:
    """The largest integer, the deepest nesting and the largest double are still read."""
    assert 9007199254740991 == loads("9007199254740991")
    assert -9007199254740991 == loads("-9007199254740991")
    assert 1.7976931348623157e308 == loads("1.7976931348623157e308")
    assert loads("[" * 32 + "]" * 32)
    assert "parse_error" == kind(loads, "[" * 33 + "]" * 33)
    assert [] == loads("[]", max_depth=1)
    assert "parse_error" == kind(loads, "[[]]", max_depth=1)


def test_depth_is_checked_before_decoding() -> None:
    """Nesting that would exhaust the stack is refused as our own error, in any mix and with any strings between."""
    deep = '{"a":[' * 50_000
    assert "parse_error" == kind(loads, deep)
    assert "parse_error" == kind(loads, '["\\"[", ' * 40)
    assert 40 == len(loads("[" + ",".join(["[]"] * 40) + "]"))  # type: ignore[arg-type]  # a list
    assert "parse_error" == kind(loads, "[" + '"x",' * 40 + "[" * 32 + "]" * 33)
    assert "parse_error" == kind(loads, '{"a":' * 32 + "[]" + "}" * 32)
    assert "parse_error" == kind(loads, "[" * 32 + "{}" + "]" * 32)
    for opening in ('{"a":', "["):
        assert f"JSON nested deeper than {MAX_DEPTH}" == message(loads, opening * 50_000)
        closing = "}" if opening.startswith("{") else "]"
        assert loads(opening * 31 + f"{opening}1{closing}" + closing * 31)
        assert f"JSON nested deeper than {MAX_DEPTH}" == message(
            loads, opening * 32 + f"{opening}1{closing}" + closing * 32
        )
    wide = "[" + ",".join(["[]", "{}", '"[[[["', '"\\\\"'] * 40) + "]"
    assert 160 == len(loads(wide))  # type: ignore[arg-type]  # a list
    assert "parse_error" == kind(loads, '["' + "[" * 40)


def test_objects_are_told_from_other_values() -> None:
    """Where an object is needed, any other JSON value is refused."""
    assert {} == loads_object(" {} ")
    for text in ("[]", "1", '"{}"', "null"):
        assert "parse_error" == kind(loads_object, text)
    assert "parse_error" == kind(decode_param, "W10")


class Colour(IntEnum):
    """An int that is not just an int."""

    RED = 1


def test_canonical_takes_any_mapping_and_sequence() -> None:
    """Mappings, tuples and subclasses of the plain types have the canonical form of what they hold."""
    assert b'{"a":1,"b":[2,{}]}' == canonical(MappingProxyType({"b": (2, MappingProxyType({})), "a": Colour.RED}))
    assert b'{"a":[],"b":true}' == canonical(OrderedDict([("b", True), ("a", [])]))
    assert b'{"p":"e30"}' == canonical({"p": WireParam("e30")})
    assert b"[null,false,0,-1,1.5]" == canonical([None, False, -0.0, -1, 1.5])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ({"b": "2", "a": 1}, '{"a":1,"b":"2"}'),
        ({"a": [1, ["x", {"b": -2}], []]}, '{"a":[1,["x",{"b":-2}],[]]}'),
        ({"a": True, "b": False, "c": None}, '{"a":true,"b":false,"c":null}'),
        (MAX_INTEGER, "9007199254740991"),
        (-MAX_INTEGER, "-9007199254740991"),
        (False, "false"),
        ([{"a": {"b": "c"}}], '[{"a":{"b":"c"}}]'),
    ],
)
def test_of_plain_values_it_is_known_that_they_read_back(value: Any, text: str) -> None:
    """What is made of objects, lists, text, small integers, true, false and null needs no second look to be sent."""
    assert (text, True) == canonical_text(value)
    assert value == loads(text)


def test_the_deepest_plain_value_is_known_to_read_back() -> None:
    """Of lists and of objects; one level more has no canonical form."""
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = opening * 31 + f"{opening}{closing}".replace('"a":', "") + closing * 31
        assert (text, True) == canonical_text(loads(text))
        with pytest.raises(ParseError, match=f"deeper than {MAX_DEPTH}"):
            canonical_text([loads(text)])


@pytest.mark.parametrize("value", [1.5, "a\0", (1,), {"a": Colour.RED}, {"a": WireParam("e30")}])
def test_of_other_values_it_is_not(value: Any) -> None:
    """A float, an escape, a tuple or a subclass of a plain type might come back as something else, or not at all."""
    assert not canonical_text(value)[1]


def test_keys_are_ordered_by_utf16_units() -> None:
    """S14: a key beyond the BMP sorts before U+FB01, as RFC 8785 section 3.2.3 says, not by code point."""
    assert '{"😀":1,"ﬁ":2}'.encode() == canonical({"ﬁ": 2, "😀": 1})
    assert ('{"a":"é"}', True) == canonical_text({"a": "é"})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        "\ud800",
        {"\udc00": 1},
        {1: 2},
        {"a": 1, 2: 3},
        {"a": {1, 2}},
        [b"x"],
        object(),
    ],
)
def test_values_without_a_canonical_form_are_refused(value: Any) -> None:
    """What JSON cannot carry exactly is refused with a message, never coerced."""
    assert "format_error" == kind(canonical, value)


def test_nesting_is_limited_when_writing() -> None:
    """A value nested too deep, or in itself, is refused instead of exhausting the stack."""
    deep: Any = []
    for _ in range(31):
        deep = [deep]
    assert b"[" * 32 + b"]" * 32 == canonical(deep)
    assert "format_error" == kind(canonical, [deep])
    assert "format_error" == kind(canonical, {"a": deep, "b": 1.5})
    loop: dict[str, Any] = {}
    loop["a"] = loop
    assert "format_error" == kind(canonical, loop)


@pytest.mark.parametrize("value", [{"a": 1e20}, {"a": "\0"}, [], "x", 1])
def test_params_that_could_not_be_read_are_not_written(value: Any) -> None:
    """Strict out: a number with a long integer form, U+0000, and anything but an object."""
    assert "format_error" == kind(encode_param, value)


def test_params_know_that_they_decode() -> None:
    """What encode_param returns is a str that formatters need not check again."""
    param = encode_param({"a": 1.5})
    assert isinstance(param, WireParam)
    assert "eyJhIjoxLjV9" == param
    assert {"a": 1.5} == decode_param(param)
