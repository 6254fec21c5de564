"""Damaged credentials over HTTP: nothing crashes, and nothing is given away that was not paid for.

``FLOVIA_FUZZ_HTTP=20000`` sends as many requests to every adapter; the default is small. A failure prints the
seed of its request.
"""

import json
import os
import random
from collections.abc import Generator
from typing import cast

import pytest

from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.encoding import JsonValue
from flovia.testing.fixture import ADAPTERS, serve
from tests.adapters.behaviour.runner import parameters
from tests.adapters.behaviour.table import Json, encode
from tests.adapters.behaviour.wire import Reply, control, exchange, head

COUNT = int(os.environ.get("FLOVIA_FUZZ_HTTP", "150"))
PATHS = ("/paid", "/items/7", "/search?q=a", "/two", "/dynamic?tier=premium", "/cc-public", "/deny", "/status/302")
STRANGE: list[JsonValue] = [
    *(None, True, 0, -1, 1.5, 2**53, 1e308, "", "\x00", "é", "\ud83d\ude00", "a" * 300, "|", '"', "\\", "\r\nX: y"),
    *([], {}, [[[]]], {"": ""}, {"proof": "ok"}),
    *("Payment", "0", "00", "١", "e30", "sha-256=::", "2099-01-01T00:00:00Z"),
]


def strange(dice: random.Random) -> JsonValue:
    """A value that does not belong there."""
    return dice.choice(STRANGE)


def member(dice: random.Random, credential: Json) -> Json:
    """Damage one member, of the credential, its challenge or its payload."""
    inner: list[Json] = [value for value in credential.values() if isinstance(value, dict)]
    part = dice.choice([credential, *inner])
    name = dice.choice([*part, "extra"])
    if dice.random() < 0.3:
        part.pop(name, None)
    else:
        part[name] = strange(dice)
    return credential


def text(dice: random.Random, raw: bytes) -> bytes:
    """Damage the JSON text."""
    at = dice.randrange(len(raw))
    junk = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 4)))
    return dice.choice(
        [raw[:at], raw[:at] + junk + raw[at:], raw[:at] + junk + raw[at + 1 :], raw[:at] + raw[at + 1 :], raw + raw]
    )


def token(dice: random.Random, good: str) -> str:
    """Damage the token."""
    at = dice.randrange(len(good))
    junk = dice.choice(["=", "+", "/", "-", "_", " ", ",", "\t", "é", "\x01", '"', "A", "\\", "~", "Payment "])
    return dice.choice([good[:at] + junk + good[at:], good[:at] + junk + good[at + 1 :], good[at:], good + good])


def field(dice: random.Random, good: str) -> list[tuple[str, str]]:
    """The header fields that carry the token, more or less."""
    values = [
        f"Payment {good}",
        f"payment  {good}",
        f"Payment {good},",
        f", Payment {good}",
        f"Bearer abc, Payment {good}",
        f'Digest a="b, c", Payment {good}',
        f"Payment {good}, Payment {good}",
        f"Payment{good}",
        f'Payment token="{good}"',
        f"{good}",
    ]
    names = ["Authorization", "authorization", "Payment-Authorization", "Proxy-Authorization"]
    return [(dice.choices(names, [8, 2, 1, 1])[0], dice.choice(values)) for _ in range(dice.choice([1, 1, 1, 2]))]


def damaged(dice: random.Random, challenge: Challenge, number: int) -> str:
    """A token of a credential for this challenge, with something wrong in it, or nothing."""
    credential: Json = {
        "challenge": cast("JsonValue", parameters(challenge)),
        "payload": {"proof": dice.choice(["ok", "pending", "declined", "unknown"]) + str(number)},
    }
    for _ in range(dice.choice([0, 1, 1, 2])):
        credential = member(dice, credential)
    raw = json.dumps(credential, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    match dice.randrange(3):
        case 0:
            return encode(raw)
        case 1:
            return encode(text(dice, raw))
        case _:
            return token(dice, encode(raw))


@pytest.fixture(scope="module", params=ADAPTERS)
def served(request: pytest.FixtureRequest) -> Generator[str]:
    """Each adapter, on the server it is usually run with."""
    with serve(request.param, server="waitress" if request.param in ("wsgi", "flask") else "uvicorn") as url:
        yield url


def test_damaged_credentials(served: str) -> None:
    """No request ends in 5xx or without an answer, and handlers are called once per payment (S03 S04 S42)."""
    control(served, "POST", "reset")
    host = ("Host", served.removeprefix("http://"))

    def get(path: str, headers: list[tuple[str, str]]) -> Reply:
        return exchange(served, head("GET", path, [host, ("Connection", "close"), *headers]), "GET")

    from_handlers = 0
    for seed in range(COUNT):
        dice = random.Random(seed)
        path = dice.choice(PATHS)
        challenge = dice.choice(parse_challenges(get(path, []).all("www-authenticate")))
        reply = get(path, field(dice, damaged(dice, challenge, seed)))
        unknown = reply.status == 503 and b"outcome-unknown" in reply.body
        assert unknown or reply.status in (200, 302, 400, 402, 403, 409), f"seed {seed}: {reply}"
        from_handlers += reply.status in (200, 302, 403)
    counted = control(served, "GET", "counters")
    assert from_handlers == counted["handler_calls"] == counted["settlements"]
    assert "Traceback" not in str(control(served, "GET", "log")["text"])
