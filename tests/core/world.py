"""A gate to drive by hand: a clock that stands still, numbered tokens, and an agent that pays what it is asked."""

import json
from collections.abc import Mapping

import flovia
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.encoding import JsonValue, b64url_decode, b64url_encode
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger

SECRET = "test-secret-of-at-least-32-bytes!!"
REALM = "api.example.com"
START = 1_900_000_000.0


class Clock:
    """Unix seconds that pass only when told."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Tokens:
    """22 characters, never the same twice, and the same ones in every run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"{self.count:022d}"


class Shop:
    """A Flovia on a memory ledger with a standing clock."""

    def __init__(self, ledger: Ledger | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.ledger = MemoryLedger(clock=self.clock) if ledger is None else ledger
        self.flovia = self.open()

    def open(self, **settings: object) -> flovia.Flovia:
        """Another Flovia on the same ledger and clock."""
        base: dict[str, object] = {"secret": SECRET, "realm": REALM, "clock": self.clock, "tokens": Tokens()}
        return flovia.Flovia(ledger=self.ledger, **{**base, **settings})

    def events(self) -> list[str]:
        """The types of all events, in order."""
        return [event.type for _, event in self.ledger.read_events(limit=100_000)]


def request(
    authorization: str | list[str] | None = None,
    *,
    http_method: str = "GET",
    path: str = "/paid",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    field: str = "authorization",
    body: flovia.Body = flovia.NO_BODY,
    client: str = "127.0.0.1",
    server: str = "127.0.0.1",
    multiprocess: bool = False,
) -> flovia.HttpRequest:
    """A request of a loopback client."""
    pairs = list({"host": "127.0.0.1:8000", **(headers or {})}.items())
    values = [authorization] if isinstance(authorization, str) else authorization or []
    pairs += [(field, value) for value in values]
    return flovia.HttpRequest(
        http_method, path, query, flovia.Headers.of(pairs), path, client, server, body, "", multiprocess
    )


def challenges(response: flovia.HttpResponse | None) -> list[Challenge]:
    """The challenges of a refusal; none if it has none."""
    assert response is not None
    return parse_challenges([value for name, value in response.headers if name == "www-authenticate"])


def header(response: flovia.HttpResponse | None, name: str) -> str | None:
    """The first value of a response's field."""
    assert response is not None
    return next((value for key, value in response.headers if key == name), None)


def pay(challenge: Challenge, proof: str = "ok1", source: str | None = None, **more: JsonValue) -> str:
    """The Authorization value that answers a challenge with a mock proof."""
    return format_credential(Credential(challenge=challenge, payload={"proof": proof, **more}, source=source))


def decode(credential: str) -> bytes:
    """The JSON of an Authorization value, as it was sent."""
    return b64url_decode(credential.removeprefix("Payment "))


def encode(members: object, spaces: bool = False) -> str:
    """An Authorization value of any members at all."""
    separators = (", ", ": ") if spaces else (",", ":")
    return "Payment " + b64url_encode(json.dumps(members, separators=separators).encode())


def problem(response: flovia.HttpResponse | None) -> str:
    """The code of the response's problem type."""
    assert response is not None
    return str(json.loads(response.body)["type"]).rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def deliver(paid: flovia.PaidApi, passage: flovia.Passage, status: int = 200, completed: bool = True) -> flovia.Start:
    """Let a handler answer ``status`` and the server take the last byte."""
    assert passage.response is None, passage.response
    start = passage.start(status, flovia.Headers.of(()))
    paid.leave(passage, completed=completed)
    return start


def buy(paid: flovia.PaidApi, proof: str = "ok1", **about: object) -> tuple[str, flovia.Passage]:
    """Ask, pay, come back: the credential and the passage of the second request."""
    (challenge,) = challenges(paid.enter(request(**about)).response)
    credential = pay(challenge, proof)
    return credential, paid.enter(request(credential, **about))
