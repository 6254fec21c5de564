"""What the contract of a provider is made of: a payer's view of a challenge, broken payloads, failing backends."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs

from flovia.core.binding import Keyring, issue
from flovia.core.challenge import Challenge, format_expires
from flovia.core.effects import TIMED_OUT, Deadline, Flow, HttpCall, HttpReply
from flovia.core.encoding import JsonObject, JsonValue, canonical, decode_param, encode_param, loads_object
from flovia.core.errors import HttpError, ParseError
from flovia.core.http import Headers, HttpRequest
from flovia.core.money import Price
from flovia.core.provider import Presented, Provider, Quote, Terms, Unknown, Verdict
from flovia.core.scope import opaque_param, read_opaque, scope_hash
from flovia.testing.flows import ByHand, drive

SECRET: Final = "test-secret-of-the-provider-contract"
REALM: Final = "realm.test"
LIFE_S: Final = 300
UNSAFE: Final = frozenset({"POST", "PATCH"})
"""HTTP methods that do their work once more when they are sent once more (RFC 9110 section 9.2.2)."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def a_request(path: str = "/paid", credential: str | None = None) -> HttpRequest:
    """A request of a loopback client."""
    pairs = [("host", "127.0.0.1")]
    if credential is not None:
        pairs.append(("authorization", credential))
    return HttpRequest("GET", path, "", Headers.of(pairs), path, "127.0.0.1", "127.0.0.1")


@attrs.frozen(kw_only=True)
class Ask:
    """What a payer is asked for: the challenge, its decoded request, and what the provider put into ``opaque``."""

    challenge: Challenge
    charge: JsonObject
    opaque: JsonObject
    nonce: str

    @classmethod
    def of(cls, challenge: Challenge) -> "Ask":
        """What a challenge of a gate says."""
        opaque = read_opaque(challenge.opaque or "")
        return cls(challenge=challenge, charge=decode_param(challenge.request), opaque=opaque.extra, nonce=opaque.nonce)


class Bench:
    """A provider, driven by hand against a backend."""

    def __init__(
        self, provider: Provider, backend: Callable[[HttpCall], HttpReply], world: ByHand | None = None
    ) -> None:
        self.provider = provider
        self.world = world or ByHand(backend)
        self.asked: dict[str, Terms] = {}
        """By challenge id, what the provider asked for."""

    def terms(self, price: Price, *, path: str = "/paid", nonce: str | None = None) -> Terms:
        """What the provider asks for ``price``."""
        quote = Quote(
            price=price,
            description="A test",
            realm=REALM,
            request=a_request(path),
            nonce=self.world.token() if nonce is None else nonce,
            expires_at=self.world.clock() + LIFE_S,
        )
        return drive(self.provider.quote(quote), self.world)

    def ask(self, price: Price) -> Ask:
        """A fresh challenge, as a gate would make it."""
        nonce = self.world.token()
        terms = self.terms(price, nonce=nonce)
        challenge = issue(
            Keyring([SECRET]),
            realm=REALM,
            method=self.provider.method,
            intent=self.provider.intent,
            request=encode_param(terms.request),
            expires=format_expires(int(self.world.clock() + LIFE_S)),
            opaque=opaque_param(nonce, scope_hash(a_request()), terms.opaque),
        )
        self.asked[challenge.id] = terms
        return Ask.of(challenge)

    def verify(self, ask: Ask, payload: JsonObject, attempt: int = 1) -> Verdict:
        """The verdict about a payload, within the provider's deadline as in a gate."""
        presented = Presented(
            challenge=ask.challenge,
            charge=ask.charge,
            payload=payload,
            source=None,
            opaque=ask.opaque,
            nonce=ask.nonce,
            attempt=attempt,
            request=a_request(),
        )
        return drive(_within(self.provider.verify(presented), self.provider.deadline_s), self.world)


def _within(flow: Flow[Verdict], seconds: float) -> Flow[Verdict]:
    try:
        effect = flow.send(None)
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    found = yield Deadline(flow=flow, effect=effect, seconds=seconds)
    return Unknown() if found is TIMED_OUT else found


# --- broken payloads -------------------------------------------------------------------------------------

STEERING: Final = ("/../", "?flovia=1", "#flovia", "&flovia=1", "\r\nFlovia: 1", " flovia ")
"""Texts that change what is asked of a backend, if a client's text is put into a call as it is."""


def _deep(levels: int = 28) -> JsonValue:
    value: JsonValue = "x"
    for _ in range(levels):
        value = [value]
    return value


WRONG: Final[tuple[JsonValue, ...]] = (
    *(None, True, False, 0, -1, 1.5, 2**53 - 1, "", " ", "-", "0", "null"),
    *("\n", "é", "\U0001f363", "\u202e", "'; --", "<x>", "%00", "{}", "[]", "A" * 8000, *STEERING),
    *([], {}, [None], {"": ""}, {"id": {"id": "x"}}, ["x"] * 500, _deep()),
)
"""What a member of a payload is not supposed to be."""


def garbage(payload: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Payloads that pay for nothing, each with the name of the member it breaks ("" for none of them)."""
    yield "", {}
    yield "", {"unknown": "x"}
    yield "", {f"unknown{number}": number for number in range(500)}
    yield "", {"unknown": _deep()}
    for name, good in payload.items():
        others = {key: value for key, value in payload.items() if key != name}
        yield name, others
        for wrong in (*WRONG, [good], {"value": good}, {name: good}):
            yield name, {**others, name: wrong}


def texts(value: JsonValue) -> Iterator[str]:
    """Every text in a JSON value, member names aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def respelt(payload: JsonObject) -> Iterator[JsonObject]:
    """The payload with each of its texts written another way that a careless backend takes for the same."""
    for name, text in payload.items():
        if isinstance(text, str) and text:
            ways = [text.upper(), text.lower(), f" {text}", f"{text} ", f"{text}\n", f"./{text}", f"{text}/"]
            ways += [f"{text}?", f"{text}?x=1", f"{text}#", f"%{ord(text[0]):02x}{text[1:]}", f"0{text}", f"{text}%20"]
            for way in ways:
                if way != text:
                    yield {**payload, name: way}


# --- failing backends ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Fault:
    """One way for a call to fail. ``reaches``: the backend has done what it was asked for all the same."""

    name: str
    reaches: bool
    status: int | None = None
    sent: bool = True
    body: Callable[[bytes], bytes] | None = None
    location: bool = False

    def reply(self, good: HttpReply | None) -> HttpReply:
        """What the caller gets in place of ``good``.

        Raises:
            HttpError: no answer at all.
        """
        if self.status is None and self.body is None:
            raise HttpError(f"test: {self.name}", sent=self.sent)
        status = self.status or (200 if good is None else good.status)
        headers = (("location", "https://elsewhere.test/"),) if self.location else ()
        body = b'{"error":"test"}' if good is None else good.body
        return HttpReply(status=status, headers=headers, body=self.body(body) if self.body else body)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _no_members(body: bytes) -> bytes:
    return b"{}"


def _null_members(body: bytes) -> bytes:
    try:
        found = loads_object(body)
    except ParseError:
        return b"null"
    return canonical(dict.fromkeys(found))


def _page(body: bytes) -> bytes:
    return b"<!doctype html><title>Bad gateway</title>"


FAULTS: Final = (
    Fault(name="the call never left", reaches=False, sent=False),
    Fault(name="the answer was lost", reaches=True),
    *(Fault(name=f"status {status}", reaches=True, status=status) for status in (500, 502, 503, 504)),
    *(
        Fault(name=f"status {status}", reaches=False, status=status)
        for status in (400, 401, 402, 403, 404, 408, 409, 410, 422, 425, 429)
    ),
    *(Fault(name=f"redirect {status}", reaches=False, status=status, location=True) for status in (301, 302, 307)),
    Fault(name="a page instead of JSON", reaches=True, body=_page),
    Fault(name="half an answer", reaches=True, body=_half),
    Fault(name="an empty answer", reaches=True, body=lambda _: b""),
    Fault(name="an answer without members", reaches=True, body=_no_members),
    Fault(name="an answer full of nulls", reaches=True, body=_null_members),
    Fault(name="an answer that is no UTF-8", reaches=True, body=lambda body: b"\xff" + body),
    Fault(name="deeply nested JSON", reaches=True, body=lambda _: b"[" * 20_000),
)


class Failing:
    """A backend whose calls from number ``first`` (from 0) on fail in one way, until ``healed``.

    ``acted``: it was asked to do something, and did, before or while it failed. ``same``: nobody could tell, because
    no call failed or the answer had nothing in it that could break.
    """

    def __init__(self, backend: Callable[[HttpCall], HttpReply], fault: Fault, first: int) -> None:
        self.backend = backend
        self.fault = fault
        self.first = first
        self.count = 0
        self.acted = False
        self.same = True
        self.failed: HttpCall | None = None
        self.healed = False

    def __call__(self, call: HttpCall) -> HttpReply:
        """The answer to one call."""
        number, self.count = self.count, self.count + 1
        fails = number >= self.first and not self.healed
        if fails and self.failed is None:
            self.failed = call
        good: HttpReply | None = None
        if not fails or self.fault.reaches:
            self.acted = self.acted or call.http_method not in READING
            good = self.backend(call)
        if not fails and good is not None:
            return good
        if good is not None and self.fault.body is not None and not good.body:
            return good
        self.same = False
        return self.fault.reply(good)


def parts_of(call: HttpCall) -> set[tuple[str, str]]:
    """Everything in a call that can carry an idempotency key."""
    parts = {("url", call.url), ("body", call.body.decode("latin-1")), *call.headers}
    try:
        body = loads_object(call.body)
    except ParseError:
        return parts
    return parts | {(f"member {name}", repr(value)) for name, value in body.items()}


# --- logs ------------------------------------------------------------------------------------------------


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Generator[list[str]]:
    """Everything that is logged meanwhile, tracebacks included."""
    handler, root = _Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
