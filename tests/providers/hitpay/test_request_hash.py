"""flovia-rh-1: which requests share a hash, and the published vectors."""

from hashlib import sha256
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.http import NO_BODY, Body, BodyState, Headers, HttpRequest
from flovia.providers.hitpay import flovia_rh_1
from flovia.providers.hitpay.request_hash import query_members

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PAIRS = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=5)


def hashed(verb: str = "GET", path: str = "/forecast", query: str = "", body: Body = NO_BODY) -> str:
    """The hash of a request."""
    return flovia_rh_1(HttpRequest(verb, path, query, Headers.of(()), body=body))


@pytest.mark.parametrize(
    ("verb", "path", "query", "expected"),
    [
        ("GET", "/forecast", "zip=94103", "c25ce513becc173f05ace9f4e892f93978224d41b5b295f11a1e57f8cab0f019"),
        ("GET", "/forecast", "zip=10001", "3368618446c66696de36e274ce9a2c648b84ec6cc3b3ea2e017c48cacf0a98ad"),
        (
            "POST",
            "/bridge-in",
            "usd=1&recipient=0xabc",
            "f5c725890d0d7d162bffa895f251707673ca21ce0238ee3055a3c8f7fcb21025",
        ),
    ],
)
def test_vectors(verb: str, path: str, query: str, expected: str) -> None:
    """The vectors that pin this algorithm on both ends."""
    assert expected == hashed(verb, path, query)


@given(PAIRS, PAIRS)
def test_different_queries(one: list[tuple[str, str]], two: list[tuple[str, str]]) -> None:
    """Two queries have one hash exactly if each name has the same values in the same order."""

    def write(pairs: list[tuple[str, str]]) -> str:
        return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)

    def by_name(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            found.setdefault(name.replace("\0", "\\x00"), []).append(value.replace("\0", "\\x00"))
        return found

    assert (by_name(one) == by_name(two)) == (hashed(query=write(one)) == hashed(query=write(two)))


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["GET", "POST"]))
def test_never_raises(path: str, query: str, verb: str) -> None:
    """Whatever a router hands over has a hash: 64 hex characters."""
    assert 64 == len(hashed(verb, path, query))


def test_what_counts() -> None:
    """HTTP method and path count; HEAD counts as GET; a body counts where there is one that is bound."""
    assert hashed() == hashed("HEAD")
    assert hashed() != hashed("POST")
    assert hashed() != hashed(path="/forecast/")
    body = Body(state=BodyState.READ, sha256=sha256(b"x").digest(), size=1)
    assert hashed("POST") != hashed("POST", body=body)
    assert hashed("GET", body=body) == hashed("GET")


def test_query_forms() -> None:
    """Plus is a space, a repeated name is a list in order, what is no UTF-8 stays as sent, empty parts are none."""
    assert {"a": "b c", "d": ["1", "2"], "e": "", "f": "%FF"} == query_members("a=b+c&d=1&&d=2&e&f=%FF")


def test_ignored_names() -> None:
    """Names on the ignore list make no difference, by default none is on it."""
    one, two = (HttpRequest("GET", "/", query, Headers.of(())) for query in ("a=1&_=123", "a=1&_=456"))
    assert flovia_rh_1(one) != flovia_rh_1(two)
    assert flovia_rh_1(one, frozenset({"_"})) == flovia_rh_1(two, frozenset({"_"}))
