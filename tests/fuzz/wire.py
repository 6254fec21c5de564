"""Structure-aware fuzzing of everything that reads what strangers send.

An input starts as a valid value and is damaged on one of its layers: the JSON's shape, its text, the base64,
the header around it. So most inputs get past the first check and meet the later ones. Every parser may only
return, or raise flovia's own errors; and what it returned must survive being written and read again.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from flovia.core.challenge import Challenge, format_challenge, parse_challenge, parse_expires, read_challenges
from flovia.core.credential import format_credential, parse_credential, parse_token
from flovia.core.encoding import b64url_decode, b64url_encode, canonical, loads
from flovia.core.errors import FloviaError, ParseError
from flovia.core.fields import digest_matches, payment_credentials, quote
from flovia.core.money import Price, check_amount
from flovia.core.negotiation import rank
from flovia.core.receipt import format_receipt, parse_receipt

Value = Any  # a JSON value, or what damage has made of one

ODD = (
    *(
        "",
        "\0",
        "\n",
        "\r\n",
        "\t",
        " ",
        '"',
        "\\",
        ",",
        "=",
        "|",
        "%",
        "é",
        "😀",
        "\ud800",
        "\udfff",
        "\ufeff",
        "\u2028",
    ),
    *(
        "\x7f",
        "\x85",
        "１",
        "NaN",
        "-0",
        "1e999",
        "9" * 30,
        "null",
        "__proto__",
        "Payment ",
        "payment",
        "\\u0000",
        "\\ud800",
    ),
    *('", id="', "//evil", "A" * 300, "[" * 40, '{"a":' * 40, "=" * 3, "-", "_", "+", "/"),
)
LEAVES: tuple[Value, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**53,
    -(2**53),
    2**53 - 1,
    10**40,
    1.5,
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
    [],
    {},
)


class Maker:
    """Makes inputs from one stream of randomness; the same seed gives the same inputs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def _damaged_text(self, text: str) -> str:
        pick = self.random.random
        for _ in range(1 + int(pick() * 3)):
            at = int(pick() * (len(text) + 1))
            kind = pick()
            if kind < 0.35:
                text = text[:at] + self.random.choice(ODD) + text[at:]
            elif kind < 0.6:
                text = text[:at] + text[at + 1 + int(pick() * 4) :]
            elif kind < 0.7:
                text = text[:at]
            elif kind < 0.8:
                text = text + text[at:]
            elif kind < 0.9:
                text = text[:at] + chr(int(pick() * 0x250)) + text[at + 1 :]
            else:
                text = text.swapcase() if pick() < 0.5 else text[at:] + text[:at]
        return text

    def _value(self, depth: int = 0) -> Value:
        kind = self.random.random()
        if kind < 0.4 or depth > 3:
            return self.random.choice(ODD)
        if kind < 0.8:
            return self.random.choice(LEAVES)
        if kind < 0.9:
            return [self._value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(ODD): self._value(depth + 1) for _ in range(self.random.randrange(4))}

    def _damaged_object(self, members: dict[str, Value]) -> dict[str, Value]:
        members = dict(members)
        name = self.random.choice(list(members))
        kind = self.random.random()
        if kind < 0.25:
            del members[name]
        elif kind < 0.6:
            members[name] = self._value()
        elif kind < 0.75:
            members[self.random.choice(ODD)] = self._value()
        elif isinstance(members[name], dict) and members[name]:
            members[name] = self._damaged_object(members[name])
        elif isinstance(members[name], str):
            members[name] = self._damaged_text(members[name])
        return members

    def _dumped(self, value: Value) -> str:
        """JSON text of any value, in one of several layouts, sometimes with the same member twice."""
        kind = self.random.random()
        text = json.dumps(value, ensure_ascii=kind < 0.5, indent=1 if kind > 0.9 else None)
        if 0.8 < kind < 0.83:
            text = text[:-1] + "," + text[1:]
        elif 0.83 < kind < 0.85:
            text = "[" * 40 + text + "]" * 40
        return text

    def _encoded(self, value: Value) -> str:
        text = self._dumped(value)
        if self.random.random() < 0.15:
            text = self._damaged_text(text)
        token = b64url_encode(text.encode("utf-8", "surrogatepass"))
        kind = self.random.random()
        if kind < 0.1:
            token = self._damaged_text(token)
        elif kind < 0.12:
            token += "=" * (-len(token) % 4)
        return token

    def _maybe(self, members: dict[str, Value]) -> dict[str, Value]:
        while self.random.random() < 0.6 and members:
            members = self._damaged_object(members)
        return members

    def _charge(self) -> dict[str, Value]:
        return {"amount": "100", "currency": "sgd", "recipient": "r", "methodDetails": {"chainId": 1}}

    def _members(self) -> dict[str, Value]:
        chosen = self.random.random
        members: dict[str, Value] = {
            "id": "Iuok2ub6m2Kp6XiBcJk2Re9yiC0jlZUr4XnRvg8mMdQ",
            "realm": "api.example.com",
            "method": "mock",
            "intent": "charge",
            "request": self._encoded(self._maybe(self._charge())) if chosen() < 0.5 else "e30",
        }
        if chosen() < 0.6:
            members["expires"] = self.time()
        if chosen() < 0.3:
            members["digest"] = self.digest()
        if chosen() < 0.3:
            members["opaque"] = self._encoded(self._maybe({"n": "x", "s": "y"}))
        if chosen() < 0.3:
            members["description"] = self.random.choice(ODD) + "pay"
        if chosen() < 0.1:
            members["header"] = self.random.choice(("Payment-Authorization", "Cookie", ""))
        return members

    def challenges(self) -> list[str]:
        """The values of a WWW-Authenticate field."""
        values: list[str] = []
        for _ in range(1 + int(self.random.random() * 1.5)):
            params = self._members()
            if self.random.random() < 0.3:
                params = self._maybe(params)
            parts = [
                f"{name}{self.random.choice(('=', '=', '=', ' = '))}"
                + (quote(text) if self.random.random() < 0.9 else text)
                for name, text in params.items()
                if isinstance(text, str)
            ]
            value = "Payment " + self.random.choice((", ", ", ", ",", " ,\t")).join(parts)
            kind = self.random.random()
            if kind < 0.4:
                value = self._damaged_text(value)
            elif kind < 0.5:
                value = f'Basic realm="Payment id=x", {value}, Negotiate abc=='
            elif kind < 0.53:
                value = value + ", " + value
            values.append(value)
        return values

    def authorization(self) -> list[str]:
        """The values of an Authorization field."""
        credential = {"challenge": self._members(), "payload": {"proof": "test-ok"}, "source": "did:test:1"}
        value = f"Payment {self._encoded(self._maybe(credential))}"
        kind = self.random.random()
        if kind < 0.15:
            value = self._damaged_text(value)
        elif kind < 0.2:
            value = f"Bearer test, {value}"
        elif kind < 0.22:
            value = f"{value}, {value}"
        return [value, "Basic dGVzdA=="] if kind > 0.97 else [value]

    def receipt(self) -> str:
        """A Payment-Receipt value."""
        receipt = {"status": "success", "method": "mock", "timestamp": self.time(), "reference": "test-1"}
        return self._encoded(self._maybe(receipt))

    def json(self) -> bytes | str:
        """A JSON text, as bytes or str."""
        text = self._dumped(self._maybe({"a": self._value(), "b": self._charge()}))
        if self.random.random() < 0.5:
            text = self._damaged_text(text)
        if self.random.random() < 0.5:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        at = self.random.randrange(len(raw) + 1)
        return raw if self.random.random() < 0.7 else raw[:at] + bytes([self.random.randrange(256)]) + raw[at:]

    def time(self) -> str:
        """An RFC 3339 time, or nearly."""
        number = self.random.randrange
        text = f"{number(1970, 2100):04d}-{number(1, 13):02d}-{number(1, 32):02d}T{number(25):02d}:{number(61):02d}:00Z"
        return text if self.random.random() < 0.8 else self._damaged_text(text)

    def price(self) -> str:
        """A price, or nearly."""
        code = self.random.choice(("SGD", "jpy", "KWD"))
        text = f"{self.random.randrange(10**4)}.{self.random.randrange(100):02d} {code}"
        return text if self.random.random() < 0.4 else self._damaged_text(text)

    def accept_payment(self) -> str:
        """An Accept-Payment field, or nearly."""
        ranges = [
            f"{self.random.choice(('mock', '*', 'alt'))}/{self.random.choice(('charge', '*'))}"
            f"{self.random.choice(('', ';q=0.5', ';q=0', '; Q=1.000'))}"
            for _ in range(self.random.randrange(4))
        ]
        text = ", ".join(ranges)
        return text if self.random.random() < 0.5 else self._damaged_text(text)

    def digest(self) -> str:
        """A digest parameter, or nearly."""
        text = "sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:"
        kind = self.random.random()
        return text if kind < 0.5 else f"sha-512=:AAAA:, {text}" if kind < 0.6 else self._damaged_text(text)


# --- what is fuzzed ------------------------------------------------------------------------------------------


def _read_challenges(values: list[str]) -> None:
    found = read_challenges(values)
    for one in found:
        if isinstance(one, Challenge):
            _written_again(one)
    if all(isinstance(one, ParseError) for one in found):
        raise ParseError("no usable challenge")  # only to be counted as refused


def _written_again(challenge: Challenge) -> None:
    assert challenge.request_json is not None
    try:
        value = format_challenge(challenge)
    except ParseError as error:
        # Some of what we accept we would not send ourselves; saying so is all that is allowed.
        assert error.kind == "format_error"  # noqa: PT017  # not a test function: this is the property
        return
    assert value.isascii()
    assert value.isprintable()
    again = parse_challenge(value)
    assert attrs.evolve(challenge, description=None) == attrs.evolve(again, description=None)


def _read_authorization(values: list[str]) -> None:
    for token in payment_credentials(values):
        credential = parse_token(token)
        assert credential == parse_credential(format_credential(credential))


def _read_receipt(value: str) -> None:
    receipt = parse_receipt(value)
    assert receipt == parse_receipt(format_receipt(receipt))


def _read_json(raw: bytes | str) -> None:
    value = loads(raw)
    text = canonical(value)
    try:
        assert value == loads(text)
    except ParseError:
        # A whole double from 2^53 up becomes an integer that is not read.
        assert any(mark in (raw if isinstance(raw, str) else raw.decode()) for mark in ".eE")


def _read_base64(value: str) -> None:
    assert value == b64url_encode(b64url_decode(value))


def _read_price(text: str) -> None:
    price = Price.parse(text)
    assert price == Price.parse(str(price))


def _check_amount(text: str) -> None:
    assert text == str(check_amount(text))


def _rank(text: str) -> None:
    assert set(rank(text, ["mock/charge", "alt/charge"])) <= {0, 1}


def _parse_time(text: str) -> None:
    parse_expires(text)


def _digest(text: str) -> None:
    digest_matches(text, bytes(range(32)))


Target = tuple[Callable[[Maker], Any], Callable[[Any], None]]
TARGETS: dict[str, Target] = {
    "WWW-Authenticate": (Maker.challenges, _read_challenges),
    "Authorization": (Maker.authorization, _read_authorization),
    "Payment-Receipt": (Maker.receipt, _read_receipt),
    "JSON": (Maker.json, _read_json),
    "base64url": (Maker.receipt, _read_base64),
    "time": (Maker.time, _parse_time),
    "price": (Maker.price, _read_price),
    "amount": (Maker.price, _check_amount),
    "Accept-Payment": (Maker.accept_payment, _rank),
    "digest": (Maker.digest, _digest),
}
# The parsers that strangers reach without paying get most of the inputs.
ORDER = (*("WWW-Authenticate", "Authorization", "JSON") * 4, *TARGETS)


@attrs.define
class Figures:
    """What a run saw."""

    accepted: Counter[str] = attrs.Factory(Counter[str])
    refused: Counter[str] = attrs.Factory(Counter[str])
    slowest: dict[str, float] = attrs.Factory(dict[str, float])
    """CPU seconds of the slowest single input."""


class FuzzFailure(AssertionError):
    """An input that got something other than an answer or our own error."""


def run(count: int, seed: int) -> Figures:
    """Feed ``count`` inputs to the parsers, in turn.

    Raises:
        FuzzFailure: names the target, the seed and the input.
    """
    maker, figures = Maker(seed), Figures()
    clock = time.thread_time
    for number in range(count):
        name = ORDER[number % len(ORDER)]
        make, check = TARGETS[name]
        given = make(maker)
        start = clock()
        try:
            check(given)
            figures.accepted[name] += 1
        except FloviaError:
            figures.refused[name] += 1
        except Exception as error:
            raise FuzzFailure(f"{name}, seed {seed}, input {number}: {type(error).__name__} for {given!r}") from error
        took = clock() - start
        if took > figures.slowest.get(name, 0.0):
            figures.slowest[name] = took
    return figures
