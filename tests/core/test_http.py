"""Headers from three worlds, and bodies in pieces."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flovia
from flovia.core.http import SMALL_BODY, BodyState, FieldSet, Headers

PAIRS = [("Authorization", "a"), ("X-Two", "1"), ("x-two", "2"), ("Content-Type", "text/plain")]


def asgi() -> Headers:
    """As an ASGI server gives them."""
    return Headers.from_asgi([(name.lower().encode(), value.encode()) for name, value in PAIRS])


def environ() -> Headers:
    """As a WSGI server gives them: repeated fields joined."""
    return Headers.from_environ(
        {
            "HTTP_AUTHORIZATION": "a",
            "HTTP_X_TWO": "1, 2",
            "CONTENT_TYPE": "text/plain",
            "CONTENT_LENGTH": "",
            "wsgi.x": 1,
        }
    )


@pytest.mark.parametrize("make", [lambda: Headers.of(PAIRS), asgi, environ], ids=["pairs", "asgi", "environ"])
def test_the_same_questions_have_the_same_answers(make) -> None:
    """Whatever a request came from, its fields are found by lower-case name, in order."""
    headers = make()
    assert "a" == headers.get("authorization")
    assert "1, 2" == headers.get("x-two")
    assert "1, 2" == ", ".join(headers.get_all("x-two"))
    assert (None, []) == (headers.get("absent"), headers.get_all("absent"))
    assert "text/plain" == headers.get("content-type")
    assert {"authorization", "x-two", "content-type"} == {name for name, _ in headers.items()}
    assert headers.has_any(FieldSet("absent", "x-two"))
    assert not headers.has_any(FieldSet("absent"))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.text("xyz", max_size=3)), max_size=6))
def test_asgi_headers_equal_plain_ones(pairs: list[tuple[str, str]]) -> None:
    """With and without repeated fields the ASGI form answers as the plain form."""
    plain = Headers.of(pairs)
    raw = Headers.from_asgi([(name.encode(), value.encode()) for name, value in pairs])
    for name in "abcd":
        assert plain.get_all(name) == raw.get_all(name)
        assert plain.get(name) == raw.get(name)
        assert plain.has_any(FieldSet(name)) == raw.has_any(FieldSet(name))
    assert list(plain.items()) == list(raw.items())


def test_s37_values_are_not_in_the_repr() -> None:
    """A header's repr names its fields and no value, for one may be a credential (S37)."""
    assert "<Headers ['authorization']>" == repr(Headers.of([("Authorization", "Payment test-secret")]))


def test_the_base_class_is_not_for_use() -> None:
    """Headers are made by the three constructors."""
    with pytest.raises(KeyError):
        Headers().get_all("a")
    with pytest.raises(KeyError):
        Headers().items()


def test_a_metered_body() -> None:
    """A body in pieces has the hash of the whole; nothing is no body; over the limit is too large."""
    meter = flovia.BodyMeter(4)
    assert flovia.NO_BODY == meter.body
    assert meter.feed(b"ab")
    assert meter.feed(b"cd")
    assert (BodyState.READ, 4) == (meter.body.state, meter.body.size)
    assert not meter.feed(b"e")
    assert flovia.BODY_TOO_LARGE == meter.body


@pytest.mark.parametrize(("size", "kept"), [(SMALL_BODY, True), (SMALL_BODY + 1, False)])
def test_a_small_body_is_kept(size: int, kept: bool) -> None:
    """A body of at most 4096 bytes is there beside its hash, however many pieces it came in; a larger one is not."""
    meter = flovia.BodyMeter(1 << 20)
    for _ in range(size):
        assert meter.feed(b"x")
    assert (b"x" * size if kept else None) == meter.body.small
    assert sha256(b"x" * size).digest() == meter.body.sha256


def test_s37_a_small_body_is_not_in_the_repr() -> None:
    """What a client sent is in no repr: it may be a secret (S37)."""
    meter = flovia.BodyMeter(100)
    meter.feed(b"test-secret")
    assert "test-secret" not in repr(meter.body)
