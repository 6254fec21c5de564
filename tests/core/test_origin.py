"""Whom a service answers, and under which name."""

import pytest

from flovia import WiringError
from flovia.core.origin import Origin, from_this_machine, host_without_port, is_loopback
from tests.core.world import request


@pytest.mark.parametrize(
    ("text", "host", "public"),
    [
        ("https://api.example.com", "api.example.com", True),
        ("https://API.example.com:8443/", "api.example.com:8443", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("http://[::1]:8000", "[::1]:8000", False),
        ("http://localhost", "localhost", False),
    ],
)
def test_origins(text: str, host: str, public: bool) -> None:
    """An origin is a scheme and a host; https ones are public."""
    origin = Origin.parse(text)
    assert (host, public) == (origin.host, origin.public)


@pytest.mark.parametrize(
    "text",
    [
        "api.example.com",
        "https://",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "ftp://a.example",
        "http://api.example.com",
        "http://127.0.0.1.evil.example",
        "https://[::1",
        "https://a.example:99999",
        "https://a.example:http",
        "https://a b.example",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    """Paths, users, other schemes and plain http to the world are refused at start, with the form to use (S36)."""
    with pytest.raises(WiringError, match="https://"):
        Origin.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.example/path?token=test-secret#x", "'https://a.example/path'"),
        ("https://a.example#test-secret", "'https://a.example'"),
        ("https://user:test-secret@a.example", "'…'"),
        ("ftp://a.example", "'ftp://a.example'"),
        ("http://api.example.com", "'http://api.example.com'"),
    ],
)
def test_the_origin_is_shown_without_what_may_be_secret(text: str, shown: str) -> None:
    """What stands before an @, in a query or a fragment is left out of the message; the rest helps to find it."""
    with pytest.raises(WiringError) as caught:
        Origin.parse(text)
    assert str(caught.value).startswith(f"FLOVIA_PUBLIC_ORIGIN={shown} is ")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("127.1", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.x", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only literals and names that can mean nothing but this machine."""
    assert expected == is_loopback(host)


def test_hosts_lose_their_port() -> None:
    """Case and port do not matter, also for IPv6 literals."""
    assert ["localhost", "[::1]", "127.0.0.1"] == [
        host_without_port(h) for h in (" LocalHost:80", "[::1]:80", "127.0.0.1")
    ]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:80.evil", "127.0.0.1:80:1", "[::1].evil", "[::1]:80]", "localhost:evil", "[::1"]
)
def test_what_only_begins_like_this_machine(host: str) -> None:
    """A name that no browser sends, and that somebody wrote to look like a loopback name, is not one."""
    assert host == host_without_port(host)
    assert not from_this_machine(request(headers={"host": host}))


def test_unknown_addresses_do_not_lock_out() -> None:
    """A server that does not tell its bind or the peer (a unix socket) is judged by Host alone."""
    assert from_this_machine(request(client="", server=""))
    assert from_this_machine(request(server="waitress.invalid"))
    assert not from_this_machine(request(headers={"host": ""}))
