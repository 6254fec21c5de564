"""Rows about routes that say themselves what counts as delivered, and what becomes of a payment that does not."""

from flovia.core.encoding import JsonValue
from tests.adapters.behaviour.table import Pay, Set, ask, case, configure, own, refused, unpaid

HTTP_1_0 = "wsgiref speaks HTTP/1.0: the end of the connection is the end of the body"
FAILING = ("/status/{code}", "/err/{status}", "/raise", "/raise-once", "/deny", "/stream-fails", "/paid")


def policy(**settings: JsonValue) -> Set:
    """The routes that can fail, with these settings."""
    return configure(delivery={path: dict(settings) for path in FAILING})


case(
    "not-found-is-paid-for",
    "S23 S24",
    "Where 404 delivers, it is the answer that was paid for: no receipt, and the payment is used up.",
    configure(delivery={"/status/{code}": {"delivers": ["2xx", "3xx", 404]}}),
    unpaid("/status/404"),
    ask("/status/404", pay=Pay()).gets(404, headers={"payment-receipt": None, "cache-control": "private"}),
    ask("/status/404", pay=Pay(of=0)).gets(402, "invalid-challenge"),
    unpaid("/status/410"),
    *[ask("/status/410", pay=Pay(of=3, proof="ok-2")).gets(410) for _ in range(2)],
    counts={"handler_calls": 3, "settlements": 2, "deliveries": 1},
    events=("payment.delivered", "payment.delivery_failed"),
)
case(
    "redirect-does-not-deliver",
    "S23 S24",
    "Where only some statuses deliver, the others do not, and a 2xx among those gets no receipt.",
    configure(delivery={"/status/{code}": {"delivers": [200, "4xx"]}}),
    unpaid("/status/302"),
    ask("/status/302", pay=Pay()).gets(302),
    ask("/status/302", pay=Pay(of=0)).gets(302),
    unpaid("/status/202"),
    ask("/status/202", pay=Pay(proof="ok-2")).gets(202, receipt=False),
    ask("/status/202", pay=Pay(of=3, proof="ok-2")).gets(202, receipt=False),
    unpaid("/status/200"),
    ask("/status/200", pay=Pay(proof="ok-3")).gets(200, receipt=True),
    counts={"handler_calls": 5, "settlements": 3, "deliveries": 1},
)
for path, status, problem in [
    ("/status/503", 503, None),
    ("/err/404", 404, None),
    ("/status/402", 500, "refund-due"),
    ("/raise", 500, "refund-due"),
]:
    case(
        f"refund-{path}",
        "S24",
        f"Where a failure is refunded, {path} makes the refund due at once: the handler does not run again, and nobody"
        " is asked to pay again meanwhile.",
        policy(on_failure="refund"),
        unpaid(path),
        ask(path, pay=Pay()).gets(status, problem, headers={"payment-receipt": None}),
        *[ask(path, pay=Pay(of=0)).gets(500, "refund-due") for _ in range(2)],
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 0, "backend_calls": 1},
        events=("payment.delivery_failed",),
    )
    case(
        f"keep-{path}",
        "S24",
        f"Where a failure is kept, {path} is the delivery: no receipt, and the payment is used up.",
        policy(on_failure="keep"),
        unpaid(path),
        ask(path, pay=Pay()).gets(status, problem and "delivery-final", headers={"payment-receipt": None}),
        ask(path, pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 1},
        events=("payment.delivered",),
    )
for on_failure in ("refund", "keep"):
    case(
        f"{on_failure}-delivers",
        "S23 S42",
        f"With on_failure={on_failure} a success is delivered like anywhere, once.",
        policy(on_failure=on_failure),
        unpaid(),
        ask(pay=Pay()).gets(200, receipt=True),
        ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
    )
    case(
        f"{on_failure}-stream-fails",
        "S24 S43",
        f"With on_failure={on_failure}, too, a stream that fails in the middle stays redeemable: nobody gets most of an"
        " answer for nothing.",
        policy(on_failure=on_failure),
        unpaid("/stream-fails"),
        *[
            ask("/stream-fails", pay=Pay(of=0)).gets(
                200,
                receipt=True,
                truncated=True,
                own={"wsgiref": own(200, HTTP_1_0, receipt=True, truncated=False)},
            )
            for _ in range(2)
        ],
        counts={"handler_calls": 2, "settlements": 1, "deliveries": 0},
        events=("payment.delivery_failed",),
    )
case(
    "policy-contradicts-itself",
    "S02",
    "Settings that contradict themselves are refused.",
    refused(delivery={"/paid": {"delivers": [404]}}),
    refused(delivery={"/paid": {"delivers": ["2xx", 402]}}),
    refused(delivery={"/paid": {"delivers": ["2xx", 500]}}),
    refused(delivery={"/paid": {"delivers": ["2xx", 404], "on_failure": "keep"}}),
    refused(delivery={"/paid": {"on_failure": "charge"}}),
    unpaid(),
)
