"""Rows about what an unpaid request gets."""

from tests.adapters.behaviour.table import FASTAPI_405, Check, Pay, Seen, ask, case, configure, own, refused, unpaid

WAITRESS_STRIPS = own(402, "waitress removes what proxies add, unless told to trust them", "payment-required")


def _asks_for(amount: str) -> Check:
    def check(seen: Seen) -> None:
        assert [{"amount": amount, "currency": "usd"}] == list(seen.requests)

    return check


def _unicode(seen: Seen) -> None:
    assert 'Zwölf Rezepte für 🍣, "günstig" \\ 値段' == seen.requests[0]["description"]
    assert seen.challenges[0]["description"].isascii()
    assert seen.challenges[0]["description"].isprintable()


def _nothing_injected(seen: Seen) -> None:
    assert "x-injected" not in seen.headers
    assert "set-cookie" not in seen.headers


def _names_recipient(seen: Seen) -> None:
    assert "händler-🍣-\U0001f9ff" == seen.requests[0]["recipient"]
    assert "ordér/1" == seen.requests[0]["externalId"]


case(
    "unpaid",
    "S01 S02 S26 H01",
    "Every unpaid request gets a 402 with a challenge of its own.",
    ask("/paid").gets(402, "payment-required", check=_asks_for("100"), headers={"retry-after": None}),
    ask("/paid").gets(402, "payment-required"),
    ask("/premium").gets(402, "payment-required", check=_asks_for("5000")),
    ask("/dynamic?tier=premium").gets(402, "payment-required", check=_asks_for("500")),
    counts={"handler_calls": 0, "settlements": 0, "ledger_keys": 0, "backend_calls": 0},
    events=("paid_api.request_started", "paid_api.challenge_issued", "paid_api.request_completed"),
)
case(
    "unpaid-leaves-nothing",
    "S40",
    "Unpaid requests store no payment, call no handler and ask no backend.",
    *[unpaid("/order", http_method="POST", body=b"x" * length) for length in range(1, 30)],
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
    ask("/paid", http_method="HEAD").gets(402, "payment-required", body=b"", own=FASTAPI_405),
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
            "flask": own(200, "Flask answers OPTIONS itself, with Allow"),
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
    "A long description still fits into the 4 KB of a challenge.",
    unpaid("/long-description"),
)
case(
    "description-hostile",
    "S14",
    "Line breaks and controls in a description do not become header fields.",
    configure(description='a"b\r\nX-Injected: yes\r\nSet-Cookie: a=b\x01\x7f'),
    ask("/paid").gets(402, "payment-required", check=_nothing_injected),
)
case(
    "recipient-unicode",
    "S14",
    "The request is canonical JSON with non-ASCII and astral characters too.",
    configure(recipient="händler-🍣-\U0001f9ff", external_id="ordér/1"),
    ask("/paid").gets(402, "payment-required", check=_names_recipient),
)
case(
    "host-spoofed",
    "S12 S36",
    "Without a public origin only this machine's own name is served, and nothing of another one comes back.",
    ask("/paid", headers=[("Host", "evil.example")]).gets(400, "bad-request"),
    ask("/paid", headers=[("Host", "127.0.0.1.evil.example")]).gets(400, "bad-request"),
    *[
        ask("/paid", headers=[(name, value)]).gets(400, "bad-request", own={"waitress": WAITRESS_STRIPS})
        for name, value in [
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Forwarded", "host=evil.example;proto=https"),
        ]
    ],
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "public-origin",
    "S12 S36",
    "With a public origin the realm stays the configured one under every Host.",
    configure(public_origin="https://api.example.com"),
    ask("/paid", headers=[("Host", "evil.example")]).gets(402, "payment-required"),
    ask("/paid", headers=[("X-Forwarded-Host", "evil.example")]).gets(402, "payment-required"),
)
case(
    "public-origin-plain-http",
    "S36",
    "A public origin over plain HTTP is refused as a setting; a loopback one is not.",
    refused(public_origin="http://api.example.com"),
    configure(public_origin="http://127.0.0.1"),
    ask("/paid", headers=[("Host", "api.example.com")]).gets(400, "bad-request"),
    unpaid(),
)
case(
    "settings-refused",
    "S39",
    "A short secret, a price that is none and an unknown setting are refused, and change nothing.",
    refused(secret="a short test one"),
    refused(prices={"/paid": "1.005"}),
    refused(prices={"/paid": "0"}),
    refused(prices={"/paid": "-1.00"}),
    refused(prices={"/paid": "1.00 XXQ"}),
    refused(limit="5 per minute"),
    refused(colour="blue"),
    ask("/paid").gets(402, "payment-required", check=_asks_for("100")),
)

# --- negotiation ---------------------------------------------------------------------------------------------

for number, (accepts, methods) in enumerate(
    [
        (None, ("mock", "alt")),
        ("alt/charge", ("alt",)),
        ("ALT/Charge", ("mock", "alt")),
        ("mock/charge;q=0.1, alt/charge;q=0.9", ("alt", "mock")),
        ("alt/*", ("alt",)),
        ("*/*", ("mock", "alt")),
        ("*/*;q=0.9, mock/charge;q=0", ("alt",)),
        ("*/*;q=0.5, alt/charge;q=0.4", ("mock", "alt")),
        ("nobody/charge", ("mock", "alt")),
        ("*/*;q=0", ("mock", "alt")),
        ("alt/charge;q=2", ("mock", "alt")),
        (",;=,=", ("mock", "alt")),
        ("mock/charge;q=0.1, mock/charge;q=0.8", ("mock",)),
    ]
):
    fields = [] if accepts is None else [("Accept-Payment", accepts)]
    case(
        f"accept-payment-{number}",
        "S32 S33 S01",
        f"Accept-Payment: {accepts} makes the offers {', '.join(methods)}.",
        ask("/two", headers=fields).gets(402, "payment-required", methods=methods),
    )
case(
    "two-offers-paid",
    "S33 S23",
    "Any one of several offers can be paid, each with its own challenge.",
    ask("/two").gets(402, "payment-required", methods=("mock", "alt")),
    ask("/two", pay=Pay(offer=1, proof="ok-alt")).gets(200, receipt=True, json={"foo": "bar"}),
    ask("/two", pay=Pay(offer=0, proof="ok-mock")).gets(200, receipt=True),
    ask("/two", pay=Pay(of=0, offer=1, proof="ok-alt")).gets(402, "invalid-challenge", methods=("mock", "alt")),
    counts={"handler_calls": 2, "settlements": 2, "deliveries": 2},
)
