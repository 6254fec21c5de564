"""Hostile input: only our own errors, and time in proportion to its length.

``FLOVIA_FUZZ`` sets how many inputs; CI takes 200,000. Two million: ``python -m tests.fuzz --count 2000000``.
"""

import contextlib
import gc
import os
import time
from collections.abc import Callable

import pytest

from flovia.core.challenge import read_challenges
from flovia.core.credential import parse_credential
from flovia.core.encoding import b64url_encode, loads
from flovia.core.errors import FloviaError
from flovia.core.fields import digest_matches, payment_credentials
from flovia.core.money import Price
from flovia.core.negotiation import rank
from flovia.core.receipt import parse_receipt
from tests.fuzz.wire import TARGETS, FuzzFailure, run

COUNT = int(os.environ.get("FLOVIA_FUZZ") or 5000)
HEAD = 'Payment id="x", realm="r", method="mock", intent="charge", request="e30"'


@pytest.mark.timeout(900)
def test_only_our_own_errors() -> None:
    """S03, S37: no input makes a parser raise anything but flovia's errors; what it accepts survives a round trip."""
    figures = run(COUNT, seed=1)
    assert COUNT == figures.accepted.total() + figures.refused.total()
    # Inputs that are all refused, or all accepted, would test little.
    for name in ("WWW-Authenticate", "Authorization", "JSON", "Payment-Receipt"):
        assert figures.accepted[name] > 0
        assert figures.refused[name] > 0


def test_a_failure_names_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign exception ends the run with the target, the seed and the input, so that it can be repeated."""

    def broken(_value: object) -> None:
        raise IndexError

    monkeypatch.setitem(TARGETS, "time", (lambda _maker: "the input", broken))
    with pytest.raises(FuzzFailure, match=r"time, seed 3, input \d+: IndexError for 'the input'"):
        run(100, seed=3)


SHAPES: dict[str, Callable[[int], str]] = {
    "escaped backslashes": lambda n: HEAD + ', description="' + "\\\\" * (n // 2) + '"',
    "escaped quotes, open": lambda n: HEAD + ', description="' + '\\"' * (n // 2),
    "backslashes, open": lambda n: HEAD + ', x="' + "\\" * n,
    "quotes": lambda n: HEAD + '"' * n,
    "quoted commas": lambda n: HEAD + '",' * (n // 2),
    "plain text": lambda n: HEAD + ', description="' + "a" * n + '"',
    "parameters": lambda n: HEAD + "".join(f', p{i}="x"' for i in range(n // 12)),
    "one name": lambda n: HEAD + ", " + "a" * n,
    "spaces": lambda n: HEAD + ", a" + " " * n,
    "spaces and equals": lambda n: HEAD + ", a" + " =" * (n // 2),
    "commas": lambda n: HEAD + "," * n,
    "spaces and commas": lambda n: HEAD + " ,\t" * (n // 3) + "x",
    "schemes": lambda n: "Payment a, " * (n // 11) + HEAD,
    "request": lambda n: HEAD.replace("e30", b64url_encode(b'{"a":"' + b"a" * (n * 3 // 4) + b'"}')),
    "nested": lambda n: "Payment " + b64url_encode(b"[" * (n * 3 // 4)),
    "nested in strings": lambda n: "Payment " + b64url_encode(b'{"a":"' + b'\\"[' * (n // 4) + b'"}'),
    "open string": lambda n: "Payment " + b64url_encode(b'{"' + b"[" * 33 + b'"' + b'\\"' * (n // 3)),
    "members": lambda n: "Payment " + b64url_encode(b"{%s}" % b",".join(b'"%d":1' % i for i in range(n // 14))),
    "digits": lambda n: "Payment " + b64url_encode(b'{"a":' + b"9" * (n * 3 // 4) + b"}"),
    "ranges": lambda n: "a/b;q=0.1," * (n // 10),
    "spaced ranges": lambda n: "a/b" + " ;" * (n // 2),
    "digests": lambda n: "a=:AA==:," * (n // 9),
}
PARSERS: dict[str, Callable[[str], object]] = {
    "challenges": lambda text: read_challenges([text]),
    "challenges, split": lambda text: read_challenges([text, "Negotiate"]),
    "credentials": lambda text: payment_credentials([text, "Basic x"]),
    "credential": parse_credential,
    "receipt": lambda text: parse_receipt(text[8:]),
    "json": loads,
    "rank": lambda text: rank(text, ["mock/charge", "alt/charge"]),
    "digest": lambda text: digest_matches(text, b"\0" * 32),
    "price": Price.parse,
}


def cost(parse: Callable[[str], object], text: str) -> float:
    """CPU seconds of one parse: the best of several, without what other threads and the garbage collector take."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(5):
            start = time.thread_time()
            for _ in range(3):
                with contextlib.suppress(FloviaError):
                    parse(text)
            best = min(best, time.thread_time() - start)
    finally:
        gc.enable()
    return best / 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parser", PARSERS)
def test_time_grows_with_length_and_no_faster(parser: str, shape: str) -> None:
    """T13: sixteen times the length takes about sixteen times as long, where a quadratic parser takes 256 times.

    No limit in seconds: only the ratio counts, and it is taken again before it is believed.
    """
    make, parse = SHAPES[shape], PARSERS[parser]
    short, long = make(3_800), make(60_800)
    ratio = 0.0
    for _ in range(3):
        # Below some 50 microseconds the fixed cost of a call would be measured, not the growth.
        ratio = cost(parse, long) / max(cost(parse, short), 50e-6)
        if ratio < 64:
            return
    assert ratio < 64
