"""Rows about requests with a body: the challenge is bound to it."""

import base64
import hashlib

from tests.adapters.behaviour.credentials import echo, mac_of
from tests.adapters.behaviour.table import TEST_SECRET, Pay, Seen, ask, case, own, unpaid

BODY = b'{"items":[1,2,3],"name":"z\xc3\xbcrich"}'
DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"
CHUNKED_411 = {
    "wsgiref": own(411, "wsgiref does not say where chunked input ends", "length-required"),
}
JSON = [("Content-Type", "application/json")]


def _bound(seen: Seen) -> None:
    assert DIGEST == seen.challenges[0]["digest"]


def _unbound(seen: Seen) -> None:
    assert "digest" not in seen.challenges[0]


case(
    "body",
    "S15 S16 S17",
    "The challenge carries the body's digest; the same body is let in and reaches the handler unchanged.",
    ask("/echo", http_method="POST", body=BODY, headers=JSON).gets(402, "payment-required", check=_bound),
    ask("/echo", http_method="POST", body=BODY, headers=JSON, pay=Pay()).gets(
        200, receipt=True, body=BODY, headers={"content-type": "application/json"}
    ),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "body-changed",
    "S17 S10",
    "Another body, an empty one or none does not fit the challenge.",
    unpaid("/echo", http_method="POST", body=BODY),
    ask("/echo", http_method="POST", body=BODY + b" ", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=BODY[:-1], pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=b"", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=BODY, pay=Pay(of=0, echo=echo(digest=None))).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=BODY, pay=Pay(of=0, echo=echo(digest=DIGEST.replace(":", "")))).gets(
        402, "invalid-challenge"
    ),
    ask("/echo", http_method="POST", body=BODY, pay=Pay(of=0)).gets(200, receipt=True, body=BODY),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 1},
)
case(
    "body-added",
    "S15 S17",
    "A challenge for a request without a body does not fit one with a body.",
    ask("/echo", http_method="POST").gets(402, "payment-required", check=_unbound),
    ask("/echo", http_method="POST", body=BODY, pay=Pay()).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", pay=Pay(of=0)).gets(200, receipt=True, body=b""),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "body-of-get",
    "S15 S17",
    "The body of a GET is bound like any other.",
    ask("/paid", body=b"hello").gets(402, "payment-required"),
    ask("/paid", pay=Pay()).gets(402, "invalid-challenge"),
    ask("/paid", body=b"hello", pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "digest-without-colons",
    "S16",
    "The form of a digest that some peers write, signed with our secret, is read too.",
    unpaid("/echo", http_method="POST", body=BODY),
    ask("/echo", http_method="POST", body=BODY, pay=Pay(echo=mac_of(TEST_SECRET, digest=DIGEST.replace(":", "")))).gets(
        200, receipt=True, body=BODY
    ),
)
case(
    "body-chunked",
    "S15 S17",
    "A chunked body is the same body.",
    ask("/echo", http_method="POST", body=BODY, chunked=True).gets(
        402, "payment-required", check=_bound, own=CHUNKED_411
    ),
    unpaid("/echo", http_method="POST", body=BODY),
    ask("/echo", http_method="POST", body=BODY, chunked=True, pay=Pay(of=1)).gets(
        200, receipt=True, body=BODY, own=CHUNKED_411
    ),
    ask("/echo", http_method="POST", body=BODY + b"x", chunked=True, pay=Pay(of=1)).gets(
        402, "invalid-challenge", own=CHUNKED_411
    ),
)
case(
    "body-chunked-empty",
    "S15",
    "A chunked body of nothing is no body.",
    ask("/echo", http_method="POST", body=b"", chunked=True).gets(
        402, "payment-required", check=_unbound, own=CHUNKED_411
    ),
)
case(
    "body-large",
    "S15 S17",
    "A body of 1 MiB is bound.",
    unpaid("/echo", http_method="POST", body=b"x" * (1 << 20)),
    ask("/echo", http_method="POST", body=b"x" * (1 << 20), pay=Pay()).gets(200, receipt=True, body=b"x" * (1 << 20)),
)
case(
    "body-too-large",
    "S15 S40",
    "A larger body gets 413, whether declared or not: without a challenge, so nobody pays for it.",
    ask("/echo", http_method="POST", body=b"x" * ((1 << 20) + 1)).gets(413, "body-too-large"),
    ask("/echo", http_method="POST", body=b"x" * ((1 << 20) + 1), chunked=True).gets(
        413, "body-too-large", own=CHUNKED_411
    ),
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "body-binary",
    "S15 S17",
    "A body is bytes: any will do.",
    unpaid("/echo", http_method="POST", body=bytes(range(256))),
    ask("/echo", http_method="POST", body=bytes(range(256)), pay=Pay()).gets(200, receipt=True, body=bytes(range(256))),
)
case(
    "body-form",
    "S15 S17",
    "A form is bound as the bytes it came in.",
    *[
        ask(
            "/echo",
            http_method="POST",
            body=b"a=1&b=%20",
            headers=[("Content-Type", "application/x-www-form-urlencoded")],
            pay=Pay() if number else None,
        ).gets(200 if number else 402, None if number else "payment-required", receipt=bool(number))
        for number in range(2)
    ],
)
