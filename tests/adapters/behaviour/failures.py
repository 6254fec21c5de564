"""Rows about a ledger, a backend or an event sink that fails: closed, never free, and nobody pays twice."""

from tests.adapters.behaviour.table import FASTAPI_405, Pay, advance, ask, case, configure, fault, healed, unpaid

LEASE_S = 16
"""A claim's lease: the provider's deadline of 10 s, 5 s more, and one."""
DELIVERY_S = 61
"""A delivery's lease, and a second more."""

# --- the ledger ------------------------------------------------------------------------------------------------

for mode in ("down", "hang"):
    case(
        f"ledger-{mode}-unpaid",
        "S02 S31",
        f"While the ledger is known to be unavailable ({mode}), nobody is asked to pay.",
        fault("ledger", mode),
        ask().gets(503, "ledger-unavailable"),
        ask("/free").gets(200),
        healed(),
        unpaid(),
        counts={"settlements": 0},
    )
for mode in ("down", "hang", "error", "garbage", "rate_limited"):
    case(
        f"ledger-{mode}",
        "S02 S31 S42",
        f"A ledger that fails ({mode}) lets nobody in; afterwards the same credential is good.",
        unpaid(),
        fault("ledger", mode, 0.2 if mode == "hang" else None),
        ask(pay=Pay()).gets(503, "ledger-unavailable"),
        healed(),
        ask(pay=Pay(of=0)).gets(200, receipt=True),
        ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 1},
    )
case(
    "ledger-slow",
    "S42",
    "A slow ledger takes longer, and changes nothing else.",
    fault("ledger", "slow", 0.05),
    unpaid(),
    ask(pay=Pay()).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "ledger-lost-answer",
    "S02 S42 S43",
    "A ledger whose answer is lost: the claim it made ends with its lease, and then the credential is good.",
    unpaid(),
    fault("ledger", "lost_ack"),
    ask(pay=Pay()).gets(503, "ledger-unavailable"),
    healed(),
    ask(pay=Pay(of=0)).gets(409, "in-flight"),
    advance(LEASE_S),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "ledger-raises",
    "S02 S42",
    "A ledger with a bug opens nothing: 500 without a challenge, and afterwards the credential is good.",
    unpaid(),
    fault("ledger", "raises"),
    ask(pay=Pay()).gets(500, "internal-payment-error"),
    healed(),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1},
)
case(
    "ledger-fails-for-junk",
    "S40",
    "What is not authentic is refused before the ledger is asked.",
    unpaid(),
    fault("ledger", "error"),
    ask(pay=Pay(token=lambda good: "e30")).gets(402, "malformed-credential"),
    counts={"handler_calls": 0, "ledger_keys": 0},
)

# --- the backend -----------------------------------------------------------------------------------------------

for mode, seconds in [
    ("down", None),
    ("hang", None),
    ("slow", 5.0),
    ("error", None),
    ("garbage", None),
    ("lost_ack", None),
    ("raises", None),
]:
    case(
        f"backend-{mode}",
        "S02 S31 S42 C14",
        f"A backend that fails ({mode}) leaves the outcome unknown: 503, no challenge; later the same credential pays.",
        configure(provider_deadline_s=0.2),
        unpaid(),
        fault("backend", mode, seconds),
        ask(pay=Pay()).gets(503, "outcome-unknown"),
        unpaid(),
        healed(),
        ask(pay=Pay(of=0)).gets(200, receipt=True),
        ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
        counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 2},
        events=("payment.unknown", "payment.settled"),
    )
case(
    "backend-rate-limited",
    "S31",
    "A backend that wants us to wait makes the client wait as long.",
    unpaid(),
    fault("backend", "rate_limited", 7),
    ask(pay=Pay()).gets(503, "outcome-unknown", retry_after=7),
    healed(),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"settlements": 1},
)
case(
    "unknown-then-expired",
    "S05 S43",
    "A payment whose outcome was unknown is still found after its challenge expired.",
    unpaid(),
    fault("backend", "lost_ack"),
    ask(pay=Pay()).gets(503, "outcome-unknown"),
    healed(),
    advance(86_400),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"settlements": 1, "deliveries": 1},
)
case(
    "unknown-keeps-others-out",
    "S43 H02",
    "While a payment's outcome is unknown, another proof for the same challenge has to wait.",
    unpaid(),
    fault("backend", "lost_ack"),
    ask(pay=Pay(proof="ok-1")).gets(503, "outcome-unknown"),
    healed(),
    ask(pay=Pay(of=0, proof="ok-2")).gets(409, "in-flight"),
    ask(pay=Pay(of=0, proof="ok-1")).gets(200, receipt=True),
    counts={"settlements": 1, "deliveries": 1},
)

# --- the sink --------------------------------------------------------------------------------------------------

for mode in ("down", "hang", "error", "raises", "lost_ack", "slow", "garbage", "rate_limited"):
    case(
        f"sink-{mode}",
        "S23",
        f"An event sink that fails ({mode}) changes no answer and loses no event.",
        fault("sink", mode, 0.05),
        unpaid(),
        ask(pay=Pay()).gets(200, receipt=True),
        counts={"settlements": 1, "deliveries": 1},
        events=("paid_api.challenge_issued", "payment.settled", "payment.delivered", "paid_api.request_completed"),
    )

# --- limits ----------------------------------------------------------------------------------------------------

case(
    "limit-challenges",
    "S47 S31",
    "Over the limit of challenges a client gets 429 and a time to wait; what it has paid for is not affected.",
    configure(limit="challenges=2/h"),
    unpaid(),
    unpaid(),
    ask().gets(429, "rate-limited"),
    ask(http_method="HEAD").gets(429, "rate-limited", body=b"", own=FASTAPI_405),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "limit-challenges-for-junk",
    "S47",
    "A credential made of junk gets no challenge past the limit either.",
    configure(limit="challenges=1/h"),
    unpaid(),
    ask(headers=[("Authorization", "Payment ,")]).gets(429, "rate-limited"),
    ask(headers=[("Authorization", "Payment e30")]).gets(429, "rate-limited"),
    ask(pay=Pay(of=0, proof="declined")).gets(429, "rate-limited"),
    ask(pay=Pay(of=0, proof="pending")).gets(402, "verification-failed", challenge_of=0),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"settlements": 1},
)
case(
    "limit-verifications",
    "S47 S31",
    "Over the limit of verifications a client gets 429 before anything is verified, and the credential stays good.",
    configure(limit="verifications=2/h"),
    unpaid(),
    ask(pay=Pay(proof="declined")).gets(402, "verification-failed"),
    ask(pay=Pay(of=0, token=lambda good: "e30")).gets(402, "malformed-credential"),
    ask(pay=Pay(of=0)).gets(429, "rate-limited"),
    unpaid(),
    configure(limit=None),
    ask(pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 2},
)
case(
    "limit-total",
    "S47",
    "A limit for all clients together holds as well.",
    configure(limit="total_challenges=2/h,total_verifications=1/h"),
    unpaid(),
    ask(pay=Pay(of=0, proof="declined")).gets(402, "verification-failed"),
    ask().gets(429, "rate-limited"),
    ask(pay=Pay(of=0)).gets(429, "rate-limited"),
    counts={"handler_calls": 0, "backend_calls": 1},
)

# --- external ids ----------------------------------------------------------------------------------------------

case(
    "external-id",
    "S25 H03",
    "An external id in the challenge must come back in the payload, and is in the receipt.",
    configure(external_id="server-order-123"),
    unpaid(),
    ask(pay=Pay(proof="ok-1", more={"externalId": "attacker-order-999"})).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, proof="ok-2")).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, proof="ok-3", more={"externalId": "server-order-123"})).gets(200, receipt=True),
    counts={"settlements": 1},
)
