"""Rows about ``Idempotency-Key``: an answer that got lost is fetched again, by whom it belongs to and nobody else."""

from tests.adapters.behaviour.deliveries import CHUNKS
from tests.adapters.behaviour.table import FASTAPI_405, Ask, Pay, advance, ask, case, configure, unpaid

KEY = ("Idempotency-Key", '"8e03978e-40d5-43dd-bc93-6894a57f9324"')
BARE = ("Idempotency-Key", "8e03978e-40d5-43dd-bc93-6894a57f9324")
OTHER = ("Idempotency-Key", '"another key"')
INVALID = "idempotency-key-invalid"


def order(pay: Pay | None, *headers: tuple[str, str]) -> Ask:
    """An order: what must happen once."""
    return ask("/order", http_method="POST", pay=pay, headers=headers)


case(
    "repeated",
    "S41 S42 S44",
    "With a valid credential and the key it was delivered under, the stored response comes again: status, fields and"
    " body, receipt included. The handler does not run, nothing is delivered twice.",
    order(None, KEY).gets(402, "payment-required"),
    order(Pay(), KEY).gets(200, receipt=True, json={"order": "order-1"}),
    *[order(Pay(of=0), KEY).gets(200, receipt=True, same_as=1) for _ in range(2)],
    order(Pay(of=0), BARE).gets(200, receipt=True, same_as=1),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 1},
    events=("payment.replayed",),
)
case(
    "repeated-after-expiry",
    "S41 S05",
    "The stored response outlives its challenge, and ends with its own time.",
    unpaid(),
    ask(pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    advance(86_399),
    ask(pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, same_as=1),
    advance(1),
    ask(pay=Pay(of=0), headers=[KEY]).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "repeated-under-another-key",
    "S41 S44",
    "Another key, or none, gets nothing: the credential is used.",
    unpaid(),
    ask(pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    ask(pay=Pay(of=0), headers=[OTHER]).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "first-without-a-key",
    "S41 S44",
    "What was delivered to a request without a key is not kept, so a key comes too late.",
    unpaid(),
    ask(pay=Pay()).gets(200, receipt=True),
    ask(pay=Pay(of=0), headers=[KEY]).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "key-with-another-body",
    "S41 S15 S17",
    "The same credential and key with another body is another request: 422, no challenge, and the first stays.",
    unpaid("/echo", http_method="POST", body=b"one"),
    ask("/echo", http_method="POST", body=b"two", pay=Pay(), headers=[KEY]).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=b"one", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, body=b"one"),
    ask("/echo", http_method="POST", body=b"two", pay=Pay(of=0), headers=[KEY]).gets(422, "idempotency-key-reused"),
    ask("/echo", http_method="POST", pay=Pay(of=0), headers=[KEY]).gets(422, "idempotency-key-reused"),
    ask("/echo", http_method="POST", body=b"two", pay=Pay(of=0), headers=[OTHER]).gets(402, "invalid-challenge"),
    ask("/echo", http_method="POST", body=b"one", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, same_as=2),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "key-on-another-route",
    "S41 S10",
    "So is another path or query.",
    unpaid("/search?q=a"),
    ask("/search?q=a", pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    ask("/search?q=b", pay=Pay(of=0), headers=[KEY]).gets(422, "idempotency-key-reused"),
    ask("/paid", pay=Pay(of=0), headers=[KEY]).gets(422, "idempotency-key-reused"),
    ask("/search?q=a", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, same_as=1),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "key-while-undelivered",
    "S41 S43",
    "A credential that is paid and not delivered is not taken for another request either.",
    unpaid("/raise-once"),
    ask("/raise-once", pay=Pay(), headers=[KEY]).gets(500, "delivery-failed"),
    ask("/paid", pay=Pay(of=0), headers=[KEY]).gets(422, "idempotency-key-reused"),
    ask("/raise-once", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, json={"foo": "bar"}),
    ask("/raise-once", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, same_as=3),
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 1},
)
case(
    "key-of-two-payers",
    "S41",
    "One key in two hands is two keys: each gets an answer of its own, and nobody another's.",
    unpaid("/order", http_method="POST"),
    unpaid("/order", http_method="POST"),
    order(Pay(of=0, proof="ok-1"), KEY).gets(200, receipt=True, json={"order": "order-1"}),
    order(Pay(of=1, proof="ok-2"), KEY).gets(200, receipt=True, json={"order": "order-2"}),
    order(Pay(of=0, proof="ok-1"), KEY).gets(200, receipt=True, same_as=2),
    order(Pay(of=1, proof="ok-2"), KEY).gets(200, receipt=True, same_as=3),
    order(None, KEY).gets(402, "payment-required"),
    counts={"handler_calls": 2, "settlements": 2, "deliveries": 2},
)
case(
    "key-stolen",
    "S41 H02",
    "Who knows the key and the challenge but not the proof gets nothing.",
    unpaid(),
    ask(pay=Pay(proof="ok-mine"), headers=[KEY]).gets(200, receipt=True),
    ask(pay=Pay(of=0, proof="ok-yours"), headers=[KEY]).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, proof="ok-mine", more={"note": "added"}), headers=[KEY]).gets(402, "invalid-challenge"),
    ask("/paid-b", pay=Pay(of=0, proof="ok-yours"), headers=[KEY]).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "repeated-stream",
    "S41",
    "A streamed answer is kept while it passes, and comes again whole.",
    unpaid("/stream"),
    ask("/stream", pay=Pay(), headers=[KEY]).gets(200, receipt=True, body=CHUNKS),
    ask("/stream", pay=Pay(of=0), headers=[KEY]).gets(200, receipt=True, body=CHUNKS, same_as=None),
    counts={"handler_calls": 1, "deliveries": 1},
    events=("payment.replayed",),
)
for status in (201, 204, 302):
    case(
        f"repeated-{status}",
        "S41",
        f"{status} comes again as it was.",
        unpaid(f"/status/{status}"),
        ask(f"/status/{status}", pay=Pay(), headers=[KEY]).gets(status, receipt=None),
        ask(f"/status/{status}", pay=Pay(of=0), headers=[KEY]).gets(status, receipt=None, same_as=1),
        counts={"handler_calls": 1, "deliveries": 1},
    )
case(
    "too-long-to-keep",
    "S41 S44",
    "An answer above the limit passes as it comes and is not kept: whoever repeats the request finds it used.",
    configure(delivery={"/echo": {"idempotency_max_bytes": 100}}),
    unpaid("/echo", http_method="POST", body=b"x" * 101),
    ask("/echo", http_method="POST", body=b"x" * 101, pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    ask("/echo", http_method="POST", body=b"x" * 101, pay=Pay(of=0), headers=[KEY]).gets(402, "invalid-challenge"),
    unpaid("/echo", http_method="POST", body=b"x" * 100),
    ask("/echo", http_method="POST", body=b"x" * 100, pay=Pay(proof="ok-2"), headers=[KEY]).gets(200, receipt=True),
    ask("/echo", http_method="POST", body=b"x" * 100, pay=Pay(of=3, proof="ok-2"), headers=[KEY]).gets(
        200, receipt=True, same_as=4
    ),
    counts={"handler_calls": 2, "deliveries": 2},
)
case(
    "keeping-switched-off",
    "S41",
    "A route that keeps no answers ignores the field.",
    configure(delivery={"/paid": {"idempotency_ttl": 0}}),
    ask(headers=[("Idempotency-Key", '"')]).gets(402, "payment-required"),
    ask(pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    ask(pay=Pay(of=0), headers=[KEY]).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "repeated-failure",
    "S41 S24",
    "Where a failed answer is the delivery, it comes again like any other.",
    configure(delivery={"/raise": {"on_failure": "keep"}, "/status/{code}": {"on_failure": "keep"}}),
    unpaid("/raise"),
    ask("/raise", pay=Pay(), headers=[KEY]).gets(500, "delivery-final"),
    ask("/raise", pay=Pay(of=0), headers=[KEY]).gets(500, "delivery-final", same_as=1),
    unpaid("/status/503"),
    ask("/status/503", pay=Pay(proof="ok-2"), headers=[KEY]).gets(503),
    ask("/status/503", pay=Pay(of=3, proof="ok-2"), headers=[KEY]).gets(503, same_as=4),
    counts={"handler_calls": 2, "deliveries": 2},
    events=("payment.replayed",),
)
for number, value in enumerate(
    ['"', '""', '"a', 'a"', '"a"b', '"a", "b"', "a, b", "a b", "(a)", ":YQ==:", "", '"é"', '"\t"', "x" * 256]
):
    case(
        f"key-malformed-{number}",
        "S41",
        "A key that cannot be read is refused before anybody pays.",
        ask(headers=[("Idempotency-Key", value)]).gets(400, INVALID),
        unpaid(),
        ask(pay=Pay(), headers=[("Idempotency-Key", value)]).gets(400, INVALID),
        ask(pay=Pay(of=1)).gets(200, receipt=True),
        counts={"handler_calls": 1, "settlements": 1},
    )
case(
    "key-twice",
    "S41",
    "Two keys are none.",
    unpaid(),
    ask(pay=Pay(), headers=[KEY, OTHER]).gets(400, INVALID),
    ask(pay=Pay(of=0), headers=[KEY, KEY]).gets(400, INVALID),
    counts={"handler_calls": 0, "settlements": 0},
)
for number, value in enumerate(['"' + "x" * 255 + '"', r'"a\"b\\c"', '"a";p=1', "a/b=c.d~e!f", '"é"'.encode().hex()]):
    case(
        f"key-spelling-{number}",
        "S41",
        "Any quoted string is a key, whatever escapes and parameters it has, and so is a bare word.",
        unpaid(),
        ask(pay=Pay(), headers=[("Idempotency-Key", value)]).gets(200, receipt=True),
        ask(pay=Pay(of=0), headers=[("Idempotency-Key", value)]).gets(200, receipt=True, same_as=1),
        counts={"handler_calls": 1},
    )
case(
    "key-of-head",
    "S41 S42",
    "HEAD gets no stored response either.",
    unpaid(),
    ask(pay=Pay(), headers=[KEY]).gets(200, receipt=True),
    ask(http_method="HEAD", pay=Pay(of=0), headers=[KEY]).gets(402, "payment-required", body=b"", own=FASTAPI_405),
    counts={"handler_calls": 1},
)
