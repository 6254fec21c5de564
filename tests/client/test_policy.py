"""Policies: what they accept as settings, and what they make of origins."""

import pytest

from flovia.client import Policy
from flovia.client.policy import origin_of
from flovia.core.errors import WiringError


@pytest.mark.parametrize(
    ("parts", "origin"),
    [
        (("https", "API.example.com", None), "https://api.example.com"),
        (("https", "api.example.com", 443), "https://api.example.com"),
        (("http", "127.0.0.1", 80), "http://127.0.0.1"),
        (("http", "127.0.0.1", 443), "http://127.0.0.1:443"),
        (("HTTPS", "::1", 8443), "https://[::1]:8443"),
    ],
)
def test_an_origin_has_one_spelling(parts: tuple[str, str, int | None], origin: str) -> None:
    """Case and default ports make no difference."""
    assert origin == origin_of(*parts)


def test_listed_origins_are_compared_in_that_spelling() -> None:
    """However people write an origin, it is the same one."""
    policy = Policy(origins=["HTTPS://Api.Example.com:443/", "http://[::1]:8000"])
    assert policy.allows("https://api.example.com")
    assert policy.allows("http://[::1]:8000")
    assert not policy.allows("http://api.example.com")
    assert not policy.allows("https://api.example.com.evil.example")
    assert Policy().allows("https://anything.example")


@pytest.mark.parametrize(
    "origin",
    [
        "api.example.com",
        "https://",
        "https://api.example.com/path",
        "https://api.example.com?x",
        "https://api.example.com#x",
        "https://me@api.example.com",
        "https://api.example.com:port",
        "https://b\u00fccher.example",
        "ftp://api.example.com",
        "https://[::1",
        "",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """A list that would never match, or match too much, is a mistake to report at start."""
    with pytest.raises(WiringError, match="not an origin"):
        Policy(origins=[origin])


def test_a_single_text_is_not_a_list() -> None:
    """A forgotten pair of brackets would allow single characters."""
    with pytest.raises(WiringError, match="origins=\\["):
        Policy(origins="https://api.example.com")
    with pytest.raises(WiringError, match="recipients=\\["):
        Policy(recipients="acme")
