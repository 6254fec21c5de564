"""Rows about what a paid request gets from its handler, and what becomes of the payment when that fails."""

from flovia.core.encoding import JsonValue
from tests.adapters.behaviour.table import FASTAPI_405, Pay, Seen, advance, ask, case, configure, own, unpaid

CHUNKS = b"".join(b"chunk %d of 5\n" % number for number in range(1, 6))
HTTP_1_0 = "wsgiref speaks HTTP/1.0: the end of the connection is the end of the body"


def _one_receipt(seen: Seen) -> None:
    assert "eyJmb3JnZWQiOnRydWV9" != seen.headers["payment-receipt"]


# --- what handlers return --------------------------------------------------------------------------------------

for path, expected in [
    ("/search?q=z%C3%BCrich+%F0%9F%8D%A3", {"q": "zürich 🍣"}),
    ("/search?q=a%2520b&p=c", {"q": "a%20b"}),
    ("/search", {"q": ""}),
    ("/items/7", {"id": "7"}),
    ("/items/a%20b", {"id": "a b"}),
    ("/items/%F0%9F%8D%A3", {"id": "🍣"}),
    ("/items/..", {"id": ".."}),
    ("/returns-dict", {"foo": "bar"}),
    ("/unicode-description", {"foo": "bar"}),
    ("/long-description", {"foo": "bar"}),
    ("/dynamic?tier=premium", {"foo": "bar"}),
    ("/slow", {"foo": "bar"}),
    ("/premium", {"foo": "bar"}),
]:
    case(
        f"answer-of-{path}",
        "S23",
        f"The handler of {path} answers as if it were not gated.",
        unpaid(path),
        ask(path, pay=Pay()).gets(200, receipt=True, json=expected),
        ask(path, pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
    )
case(
    "delete",
    "S23",
    "Another verb of the same path is another purchase.",
    unpaid("/item", http_method="DELETE"),
    ask("/item", http_method="DELETE", pay=Pay()).gets(200, receipt=True, json={"foo": "bar"}),
    counts={"handler_calls": 1, "deliveries": 1},
)
case(
    "side-effect-once",
    "S40 S42",
    "The handler's side effect happens once per payment.",
    unpaid("/order", http_method="POST"),
    ask("/order", http_method="POST", pay=Pay()).gets(200, receipt=True, json={"order": "order-1"}),
    ask("/order", http_method="POST", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask("/order", http_method="POST", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "cache-public",
    "S27",
    "What a handler says to shared caches is taken back.",
    unpaid("/cc-public"),
    ask("/cc-public", pay=Pay()).gets(200, receipt=True, headers={"cache-control": "private, max-age=60"}),
)
case(
    "cache-no-store",
    "S27 S28",
    "What a handler says more strictly stays.",
    unpaid("/cc-no-store"),
    ask("/cc-no-store", pay=Pay()).gets(200, receipt=True, headers={"cache-control": "no-store"}),
)
case(
    "receipt-forged",
    "S23 S25",
    "A receipt that the handler makes up is replaced by the real one.",
    unpaid("/spoof-receipt"),
    ask("/spoof-receipt", pay=Pay()).gets(200, receipt=True, check=_one_receipt),
)
case(
    "no-content",
    "S23",
    "204 is a success like any other.",
    unpaid("/status/204"),
    ask("/status/204", pay=Pay()).gets(204, receipt=True, body=b""),
    ask("/status/204", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"deliveries": 1},
)
case(
    "created",
    "S23",
    "201 is one too.",
    unpaid("/status/201"),
    ask("/status/201", pay=Pay()).gets(201, receipt=True),
)
for status in (301, 302, 304, 307):
    case(
        f"redirect-{status}",
        "S24",
        f"{status} after payment is delivered, without a receipt.",
        unpaid(f"/status/{status}"),
        ask(f"/status/{status}", pay=Pay()).gets(status, headers={"payment-receipt": None}),
        ask(f"/status/{status}", pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
    )
for path, status in [
    ("/status/400", 400),
    ("/status/401", 401),
    ("/status/404", 404),
    ("/status/429", 429),
    ("/status/500", 500),
    ("/status/503", 503),
    ("/err/404", 404),
    ("/err/418", 418),
    ("/err/500", 500),
]:
    case(
        f"failed-{path}",
        "S23 S24",
        f"{path} after payment: no receipt, no challenge, not for shared caches, and the credential stays good.",
        unpaid(path),
        *[ask(path, pay=Pay(of=0)).gets(status, headers={"payment-receipt": None}) for _ in range(2)],
        counts={"handler_calls": 2, "settlements": 1, "deliveries": 0, "backend_calls": 1},
        events=("payment.delivery_failed",),
    )
for path in ("/status/402", "/err/402"):
    case(
        f"view-answers-402-{path}",
        "S02",
        "A 402 of the handler's own, after payment, would ask twice: it becomes 500 delivery-failed.",
        unpaid(path),
        ask(path, pay=Pay()).gets(500, "delivery-failed"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 0},
    )
case(
    "view-answers-412",
    "S24 S43",
    "A 412 of the handler's own may carry the whole answer: its body is withheld, and the credential stays good.",
    unpaid("/status/412"),
    *[ask("/status/412", pay=Pay(of=0)).gets(412, "precondition-failed") for _ in range(2)],
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 0, "backend_calls": 1},
    events=("payment.delivery_failed",),
)
case(
    "denied",
    "S07 S24",
    "Paid, but the policy says no: 403 without a challenge, and the payment stays redeemable.",
    unpaid("/deny"),
    ask("/deny", pay=Pay()).gets(403, headers={"payment-receipt": None}),
    ask("/deny", pay=Pay(of=0)).gets(403),
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 0},
)
case(
    "raises-once",
    "S24 S43",
    "A handler that raises: 500, no receipt; the same credential gets the answer later, without paying again.",
    unpaid("/raise-once"),
    ask("/raise-once", pay=Pay()).gets(500, "delivery-failed"),
    ask("/raise-once", pay=Pay(of=0)).gets(200, receipt=True, json={"foo": "bar"}),
    ask("/raise-once", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 1, "backend_calls": 1},
    events=("payment.delivery_failed", "payment.redelivered"),
)
case(
    "raises-always",
    "S24 S43",
    "After five deliveries that failed the handler is not called any more, and nobody is asked to pay again.",
    unpaid("/raise"),
    *[ask("/raise", pay=Pay(of=0)).gets(500, "delivery-failed") for _ in range(5)],
    *[ask("/raise", pay=Pay(of=0)).gets(500, "delivery-exhausted") for _ in range(2)],
    counts={"handler_calls": 5, "settlements": 1, "deliveries": 0, "backend_calls": 1},
)
case(
    "redeemed-late",
    "S05 S43",
    "What was paid before the expiry and not delivered is redeemed after it.",
    unpaid("/raise-once"),
    ask("/raise-once", pay=Pay()).gets(500, "delivery-failed"),
    advance(6 * 86400),
    ask("/raise-once", pay=Pay(of=0)).gets(200, receipt=True),
    counts={"settlements": 1, "deliveries": 1},
)
case(
    "redeemed-by-another",
    "S43 H02",
    "Only the credential that paid redeems.",
    unpaid("/raise-once"),
    ask("/raise-once", pay=Pay(proof="ok-mine")).gets(500, "delivery-failed"),
    ask("/raise-once", pay=Pay(of=0, proof="ok-yours")).gets(402, "invalid-challenge"),
    ask("/raise-once", pay=Pay(of=0, proof="ok-mine", more={"note": "added"})).gets(402, "invalid-challenge"),
    ask("/raise-once", pay=Pay(of=0, proof="ok-mine")).gets(200, receipt=True),
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 1, "backend_calls": 1},
)

# --- streams ---------------------------------------------------------------------------------------------------

case(
    "stream",
    "S23",
    "A streamed answer arrives whole.",
    unpaid("/stream"),
    ask("/stream", pay=Pay()).gets(200, receipt=True, body=CHUNKS),
    ask("/stream", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "stream-fails",
    "S24 S43",
    "A stream that fails in the middle is no delivery: the credential stays good.",
    unpaid("/stream-fails"),
    *[
        ask("/stream-fails", pay=Pay(of=0)).gets(
            200,
            receipt=True,
            truncated=True,
            own={"wsgiref": own(200, HTTP_1_0, receipt=True, truncated=False, body=CHUNKS[:26])},
        )
        for _ in range(2)
    ],
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 0},
    events=("payment.delivery_failed",),
)

# --- HEAD and OPTIONS ------------------------------------------------------------------------------------------

case(
    "head-never-redeems",
    "S42",
    "HEAD with a credential redeems nothing: it gets the challenge, and the credential stays good.",
    unpaid(),
    ask(http_method="HEAD", pay=Pay()).gets(402, "payment-required", body=b"", own=FASTAPI_405),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 1},
)
case(
    "challenge-of-head",
    "S01",
    "The challenge that HEAD brought pays the GET.",
    ask(http_method="HEAD").gets(402, "payment-required", body=b""),
    ask(pay=Pay()).gets(200, receipt=True),
    counts={"settlements": 1},
    without={"fastapi": "HEAD gets 405 there"},
)
case(
    "options-never-redeems",
    "S42",
    "OPTIONS with a credential redeems nothing.",
    unpaid(),
    ask(http_method="OPTIONS", pay=Pay()).gets((204, 200, 405)),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 1},
)

# --- what the provider says ------------------------------------------------------------------------------------

case(
    "declined",
    "S06 H02",
    "A proof that fails gets 402 verification-failed with a fresh challenge.",
    unpaid(),
    ask(pay=Pay(proof="declined")).gets(402, "verification-failed", headers={"retry-after": None}),
    ask(pay=Pay(of=0, proof="nonsense")).gets(402, "verification-failed"),
    ask(pay=Pay(of=0, proof="ok")).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 3},
)
case(
    "pending",
    "S06 S31",
    "A payment that is merely pending gets the same challenge again, and a time to wait.",
    unpaid(),
    ask(pay=Pay(proof="pending")).gets(402, "verification-failed", challenge_of=0, retry_after=2),
    ask(pay=Pay(of=1, proof="pending")).gets(402, "verification-failed", challenge_of=0, retry_after=2),
    ask(pay=Pay(of=0, proof="ok")).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 3},
)
case(
    "unknown",
    "S02 S31",
    "Nobody knows whether it was paid: 503, no challenge, and the same credential may come again.",
    unpaid(),
    ask(pay=Pay(proof="unknown")).gets(503, "outcome-unknown", retry_after=2),
    ask(pay=Pay(of=0, proof="unknown")).gets(503, "outcome-unknown"),
    counts={"handler_calls": 0, "settlements": 0, "backend_calls": 2},
    events=("payment.unknown",),
)
case(
    "deadline",
    "S31 C14",
    "A provider that takes longer than its deadline leaves the outcome unknown.",
    configure(provider_deadline_s=0.1),
    unpaid(),
    ask(pay=Pay(proof="slow")).gets(503, "outcome-unknown"),
    counts={"handler_calls": 0, "settlements": 0, "backend_calls": 1},
)
PAYLOADS: list[dict[str, JsonValue]] = [{}, {"proof": 5}, {"proof": None}, {"proof": ["ok"]}, {"proofs": "ok"}]
for number, payload in enumerate(PAYLOADS):
    case(
        f"payload-{number}",
        "S06",
        "A payload that the payment method does not define gets 402 invalid-payload.",
        unpaid(),
        ask(pay=Pay(payload=payload)).gets(402, "invalid-payload"),
        ask(pay=Pay(of=0)).gets(200, receipt=True),
        counts={"handler_calls": 1, "settlements": 1},
    )

# --- amounts ---------------------------------------------------------------------------------------------------

CLAIMS: list[tuple[str, dict[str, JsonValue], str]] = [
    ("less", {"paid_amount": "99"}, "payment-insufficient"),
    ("nothing", {"paid_amount": "0"}, "payment-insufficient"),
    ("more", {"paid_amount": "101"}, "verification-failed"),
    ("another-currency", {"paid_currency": "sgd"}, "verification-failed"),
    ("cheap-currency", {"paid_amount": "100", "paid_currency": "vnd"}, "verification-failed"),
    ("decimals", {"paid_amount": "100.0"}, "invalid-payload"),
    ("exponent", {"paid_amount": "1e2"}, "invalid-payload"),
    ("leading-zero", {"paid_amount": "0100"}, "invalid-payload"),
    ("negative", {"paid_amount": "-100"}, "invalid-payload"),
    ("number", {"paid_amount": 100}, "invalid-payload"),
    ("other-digits", {"paid_amount": "\u0661\u0660\u0660"}, "invalid-payload"),
    ("currency-number", {"paid_currency": 840}, "invalid-payload"),
]
for name, more, problem in CLAIMS:
    case(
        f"paid-{name}",
        "H01 H03 H04 H05",
        f"A bank that was paid {more} was not paid what the challenge asked: refused, all or nothing.",
        unpaid(),
        ask(pay=Pay(more=more)).gets(402, problem),
        counts={"handler_calls": 0, "settlements": 0, "deliveries": 0},
    )
case(
    "price-rose",
    "H03 H04",
    "A computed price that rose since the challenge is not honoured: refused, and the payment is due for a refund.",
    unpaid("/dynamic"),
    configure(prices={"/dynamic": "2.00"}),
    ask("/dynamic", pay=Pay()).gets(402, "payment-insufficient"),
    ask("/dynamic", pay=Pay(of=0)).gets(402, "payment-insufficient"),
    counts={"handler_calls": 0, "settlements": 1, "deliveries": 0, "backend_calls": 1},
    events=("payment.late",),
)
case(
    "price-fell",
    "H03",
    "A computed price that fell is honoured as the challenge has it.",
    unpaid("/dynamic"),
    configure(prices={"/dynamic": "0.50"}),
    ask("/dynamic", pay=Pay()).gets(200, receipt=True),
    counts={"settlements": 1, "deliveries": 1},
)
case(
    "fixed-price-changed",
    "H03",
    "A fixed price is honoured as the challenge has it, whatever it is now.",
    unpaid(),
    configure(prices={"/paid": "3.00"}),
    ask(pay=Pay()).gets(200, receipt=True),
    counts={"settlements": 1, "deliveries": 1},
)
case(
    "price-function-fails",
    "S02",
    "A price function that raises, or returns nothing, opens no route: 500, no challenge.",
    ask("/price-raises").gets(500, "internal-payment-error"),
    ask("/price-none").gets(500, "internal-payment-error"),
    counts={"handler_calls": 0, "ledger_keys": 0},
)

# --- observers -------------------------------------------------------------------------------------------------

case(
    "observed",
    "S01 S23",
    "A handler with its own gate is left alone: its 402, its receipt.",
    ask("/observed").gets(402, "payment-required"),
    ask("/observed", pay=Pay()).gets(200, receipt=True, json={"foo": "bar"}),
    ask("/observed", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 0},
    events=("paid_api.challenge_issued", "paid_api.payment_context_attached", "paid_api.access_granted"),
)
case(
    "observed-open",
    "S02",
    "A handler that answers without any sign of a payment is not given away: withheld with 500.",
    ask("/observed-open").gets(500, "internal-payment-error"),
    counts={"handler_calls": 1, "settlements": 0},
    events=("paid_api.request_failed",),
)
