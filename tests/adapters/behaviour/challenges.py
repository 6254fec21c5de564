"""Rows about what an unpaid request gets."""

from tests.adapters.behaviour.table import Answer, Own, Seen, advance, ask, case, configure, unpaid

FASTAPI_405 = {"fastapi": Own(answer=Answer(status=405), reason="FastAPI serves the verbs a route names, no others")}


def says(description: str) -> dict[str, str]:
    """The description parameter of a challenge."""
    return {"description": description}


def amounts(*wanted: str) -> object:
    """A check that the challenges ask for these amounts, in base units of usd."""

    def check(seen: Seen) -> None:
        assert list(wanted) == [request["amount"] for request in seen.requests]
        assert {"usd"} == {request["currency"] for request in seen.requests}

    return check


def _one_dollar(seen: Seen) -> None:
    assert {"amount": "100", "currency": "usd"} == seen.requests[0]


def _fifty_dollars(seen: Seen) -> None:
    assert {"amount": "5000", "currency": "usd"} == seen.requests[0]


def _premium_tier(seen: Seen) -> None:
    assert {"amount": "500", "currency": "usd"} == seen.requests[0]


def _unicode(seen: Seen) -> None:
    assert 'Zwölf Rezepte für 🍣, "günstig" \\ 値段' == seen.requests[0]["description"]
    assert seen.challenges[0]["description"].isascii()
    assert seen.challenges[0]["description"].isprintable()


def _injected(seen: Seen) -> None:
    assert "x-injected" not in seen.headers
    assert "set-cookie" not in seen.headers


def _in_order(seen: Seen) -> None:
    assert ["1.00", "alt"][1] == seen.challenges[1]["method"]


case(
    "unpaid",
    "S01 S02 S26",
    "Every unpaid request gets a 402 with a challenge of its own.",
    ask("/paid").gets(402, "payment-required", check=_one_dollar, headers={"retry-after": None}),
    ask("/paid").gets(402, "payment-required"),
    ask("/premium").gets(402, "payment-required", check=_fifty_dollars),
    counts={"handler_calls": 0, "settlements": 0, "ledger_keys": 0, "backend_calls": 0},
    events=("paid_api.request_started", "paid_api.challenge_issued", "paid_api.request_completed"),
)
case(
    "unpaid-leaves-nothing",
    "S40",
    "Unpaid requests store no payment, call no handler and ask no backend.",
    *[unpaid("/order", http_method="POST", body=b"x" * n) for n in range(1, 30)],
    counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0, "settlements": 0},
)
case(
    "free",
    "S08",
    "A route without a price stays free, and gets no receipt.",
    ask("/free").gets(200, json={"foo": "bar"}, headers={"payment-receipt": None, "cache-control": None}),
    counts={"handler_calls": 1, "settlements": 0},
)
case(
    "unknown-path",
    "S08",
    "A path that does not exist is 404, not 402: nobody is asked to pay for it.",
    ask("/nothing-here").gets(404),
    counts={"handler_calls": 0},
)
case(
    "wrong-verb",
    "S08",
    "A verb that a paid route does not serve is 405, not 402.",
    ask("/paid", http_method="POST", body=b"x").gets(405),
    ask("/order").gets(405),
    counts={"handler_calls": 0},
)
case(
    "head-unpaid",
    "S01",
    "HEAD gets the 402 that a GET would get, without its body.",
    ask("/paid", http_method="HEAD").gets(402, body=b"", own=FASTAPI_405),
    counts={"handler_calls": 0},
)
case(
    "options",
    "S02",
    "OPTIONS asks what is allowed: it is never paid for, and reaches no handler.",
    ask("/paid", http_method="OPTIONS").gets(
        204,
        own={
            **FASTAPI_405,
            "flask": Own(answer=Answer(status=200), reason="Flask answers OPTIONS itself, with Allow"),
            "hono": Own(answer=Answer(status=405), reason="a router without a route for OPTIONS says 405"),
        },
    ),
    counts={"handler_calls": 0, "settlements": 0},
)
case(
    "description-unicode",
    "S14",
    "A description in any script goes into the request as it is, and into the header in ASCII.",
    ask("/unicode-description").gets(402, "payment-required", check=_unicode),
)
case(
    "description-long",
    "S34",
    "A long description still fits the 4 KB a challenge may have.",
    unpaid("/long-description"),
    ask("/long-description", pay=None).gets(402, "payment-required"),
)
case(
    "description-hostile",
    "S34 S37",
    "Line breaks in a description do not become header fields.",
    configure(description='a"b\r\nX-Injected: yes\r\nSet-Cookie: a=b\x00\x7f'),
    ask("/paid").gets(402, "payment-required", check=_injected),
)
case(
    "recipient-unicode",
    "S14",
    "The request is canonical JSON with non-ASCII and astral characters too.",
    configure(recipient="händler-🍣-\U0001f9ff", external_id="ord\u00e9r/1"),
    unpaid(),
)
case(
    "realm-spoofed-host",
    "S12 S36",
    "Without a public origin, a request for another Host is refused, and nothing of that name comes back.",
    ask("/paid", headers=[("Host", "evil.example")]).gets(400, "bad-request"),
    ask("/paid", headers=[("Host", "127.0.0.1.evil.example")]).gets(400, "bad-request"),
    ask("/paid", headers=[("X-Forwarded-Host", "evil.example")]).gets(400, "bad-request"),
    ask("/paid", headers=[("Forwarded", "host=evil.example;proto=https")]).gets(400, "bad-request"),
    ask("/paid", headers=[("X-Forwarded-Proto", "https")]).gets(400, "bad-request"),
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "realm-public-origin",
    "S12 S36",
    "With a public origin, the realm stays the configured one under every Host.",
    configure(public_origin="https://api.example.com"),
    ask("/paid", headers=[("Host", "evil.example")]).gets(402, "payment-required"),
    ask("/paid", headers=[("X-Forwarded-Host", "evil.example")]).gets(402, "payment-required"),
)
case(
    "origin-plain-http",
    "S36",
    "A public origin over plain HTTP is refused as a setting.",
    _refused := __import__("tests.adapters.behaviour.table", fromlist=["Set"]).Set(
        name="config", given={"public_origin": "http://api.example.com"}, refused=True
    ),
    unpaid(),
)
