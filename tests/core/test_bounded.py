"""What an anonymous client sends does not add up: requests of any size leave little behind."""

import flovia
from flovia.core.http import Headers, HttpRequest
from flovia.core.scope import Scopes
from flovia.ledger.memory import MemoryLedger


def request(path: str, query: str = "", http_method: str = "GET") -> HttpRequest:
    """A request to this machine."""
    return HttpRequest(http_method, path, query, Headers.of([("host", "localhost")]))


def test_events_keep_a_piece_of_a_long_path() -> None:
    """S40: an unpaid request with a path of 60 KB, or a verb as long, leaves events of a few hundred bytes."""
    ledger = MemoryLedger()
    flo = flovia.Flovia(provider="mock", ledger=ledger, secret="a-test-secret-that-is-long-enough-01")
    flo.paid_api(price="1.00 USD").enter(request("/" + "x" * 60_000))
    flo.paid_api(price="1.00 USD").enter(request("/", http_method="X" * 60_000))
    events = [event for _, event in ledger.read_events()]
    assert {"/" + "x" * 255, "/"} == {event.endpoint for event in events}
    assert {"GET", "X" * 32} == {event.http_method for event in events}


def test_long_requests_are_not_kept_for_later() -> None:
    """The cache of scopes takes short paths and queries only, and not for ever."""
    scopes = Scopes()
    for number in range(3000):
        scopes.of(request("/" + "x" * 1000, str(number)))
    assert 0 == len(scopes._cache)
    for number in range(3000):
        scopes.of(request("/x", str(number)))
    assert 1024 >= len(scopes._cache)
    scopes = Scopes()
    for number in range(1024):
        scopes.of(request("/x", str(number)))
        assert number + 1 == len(scopes._cache)
    for path, query in (("/" + "x" * 511, ""), ("/", "x" * 511), ("/" + "x" * 255, "x" * 256)):
        scopes = Scopes()
        scopes.of(request(path, query))
        assert 1 == len(scopes._cache)
        scopes.of(request(path, query + "x"))
        assert 1 == len(scopes._cache)
    long, other = request("/" + "x" * 1000), request("/" + "x" * 1001)
    assert scopes.of(long) == scopes.of(long) != scopes.of(other)
