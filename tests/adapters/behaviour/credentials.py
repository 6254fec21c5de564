"""Rows about credentials that must not let anybody in, and about those that must."""

import json
from collections.abc import Callable

from flovia.core.binding import Keyring, slots
from flovia.core.encoding import JsonValue, decode_param, encode_param
from tests.adapters.behaviour.table import (
    SECOND_TEST_SECRET,
    TEST_SECRET,
    Change,
    Json,
    Pay,
    Seen,
    advance,
    ask,
    case,
    configure,
    encode,
    own,
    unpaid,
)

GUNICORN_8K = "gunicorn reads header fields of at most 8190 bytes"


def echo(**changes: JsonValue) -> Change:
    """Change members of the echoed challenge; None drops one."""

    def change(challenge: Json) -> Json:
        return {name: value for name, value in {**challenge, **changes}.items() if value is not None}

    return change


def mac_of(secret: str, **changes: str | None) -> Change:
    """Change members of the echoed challenge and sign it again: what somebody with that secret could do."""

    def change(challenge: Json) -> Json:
        changed = echo(**changes)(challenge)
        members = {name: str(value) for name, value in changed.items()}
        bound = slots(
            members["realm"],
            members["method"],
            members["intent"],
            members["request"],
            members.get("expires", ""),
            members.get("digest"),
            members.get("opaque", ""),
            members.get("header"),
        )
        return {**changed, "id": Keyring([secret]).sign(bound)}

    return change


def cheaper(challenge: Json) -> Json:
    """Ask for one cent instead."""
    request = decode_param(str(challenge["request"]))
    return {**challenge, "request": encode_param({**request, "amount": "1"})}


def spelled_otherwise(challenge: Json) -> Json:
    """The same request in other bytes."""
    text = json.dumps(decode_param(str(challenge["request"])), indent=1)
    return {**challenge, "request": encode(text.encode())}


def dropped(*names: str) -> Change:
    """Drop members of the credential."""
    return lambda credential: {name: value for name, value in credential.items() if name not in names}


# --- paying ------------------------------------------------------------------------------------------------------

case(
    "paid",
    "S01 S20 S23 S24 S25 S27 S37 S38 H01",
    "A paid request gets the answer, with a receipt, not for shared caches.",
    unpaid(),
    ask(pay=Pay()).gets(
        200, receipt=True, json={"foo": "bar"}, headers={"cache-control": "private", "www-authenticate": None}
    ),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 1, "ledger_keys": 1},
    events=("payment.settled", "paid_api.access_granted", "payment.delivered", "paid_api.request_completed"),
)
case(
    "used-twice",
    "S04 S42 S43 H02",
    "The same credential never works twice: it gets 402 invalid-challenge with a fresh challenge.",
    unpaid(),
    ask(pay=Pay()).gets(200, receipt=True),
    ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, proof="ok-other")).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 1, "deliveries": 1, "backend_calls": 1},
)
case(
    "proof-used-twice",
    "S44 H02",
    "A proof pays once, even under another challenge.",
    unpaid(),
    ask(pay=Pay(proof="ok-once")).gets(200, receipt=True),
    ask(pay=Pay(of=0, proof="ok-once")).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=2, proof="ok-once")).gets(402, "verification-failed"),
    ask("/paid-b").gets(402, "payment-required"),
    ask("/paid-b", pay=Pay(proof="ok-once")).gets(402, "verification-failed"),
    ask("/paid-b", pay=Pay(proof="ok-twice")).gets(200, receipt=True),
    counts={"handler_calls": 2, "settlements": 2, "deliveries": 2},
)
case(
    "many-proofs",
    "S23",
    "Different proofs are different payments.",
    unpaid(),
    unpaid(),
    ask(pay=Pay(of=1, proof="ok-1", source="did:example:payer")).gets(200, receipt=True),
    ask(pay=Pay(of=0, proof="ok-2")).gets(200, receipt=True),
    counts={"handler_calls": 2, "settlements": 2},
)
case(
    "scheme-spelling",
    "S03",
    "The scheme's name is case-insensitive, and more than one space may follow it.",
    unpaid(),
    ask(pay=Pay(proof="ok-1"), headers=[("authorization", "pAYMENT   {token}")]).gets(200, receipt=True),
    unpaid(),
    ask(pay=Pay(proof="ok-2"), headers=[("AUTHORIZATION", "Bearer abc, Payment {token}")]).gets(200, receipt=True),
)

# --- malformed ---------------------------------------------------------------------------------------------------

TOKENS: list[tuple[str, Callable[[str], str]]] = [
    ("foreign characters", lambda good: good[:-4] + "!!!!"),
    ("padding", lambda good: encode(b'{"a":1}') + "="),
    ("non-zero trailing bits", lambda good: "e31"),
    ("no JSON", lambda good: encode(b"no json")),
    ("JSON that is no object", lambda good: encode(b"[1]")),
    ("an empty object", lambda good: encode(b"{}")),
    ("no UTF-8", lambda good: encode(b'{"challenge":"\xff"}')),
    ("a byte order mark", lambda good: encode(b"\xef\xbb\xbf{}")),
    ("UTF-16", lambda good: encode('{"challenge":{}}'.encode("utf-16"))),
    ("nesting 33 deep", lambda good: encode(b'{"challenge":{},"payload":' + b"[" * 33 + b"]" * 33 + b"}")),
    ("nesting 3000 deep", lambda good: encode(b"[" * 3000 + b"]" * 3000)),
    ("NaN", lambda good: encode(b'{"challenge":{},"payload":{"proof":NaN}}')),
    ("an integer of 3000 digits", lambda good: encode(b'{"challenge":' + b"9" * 3000 + b"}")),
    ("an integer beyond 2^53", lambda good: encode(b'{"challenge":{},"payload":{"proof":9007199254740993}}')),
    ("a lone surrogate", lambda good: encode(b'{"challenge":{},"payload":{"proof":"\\ud800"}}')),
    ("a member twice", lambda good: encode(b'{"challenge":{},"challenge":{},"payload":{}}')),
    ("cut off", lambda good: good[: len(good) // 2]),
]
for number, (about, token) in enumerate(TOKENS):
    case(
        f"malformed-{number}",
        "S03 S37",
        f"A credential with {about} gets 402 malformed-credential and a fresh challenge.",
        unpaid(),
        ask(pay=Pay(token=token)).gets(402, "malformed-credential"),
        counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0},
    )
for number, (about, credential) in enumerate(
    [
        ("no challenge", Pay(whole=dropped("challenge"))),
        ("no payload", Pay(whole=dropped("payload"))),
        ("a payload that is text", Pay(whole=lambda credential: {**credential, "payload": "ok"})),
        ("a challenge that is a list", Pay(whole=lambda credential: {**credential, "challenge": []})),
        ("a source that is a number", Pay(whole=lambda credential: {**credential, "source": 1})),
        ("no id", Pay(echo=echo(id=None))),
        ("an empty id", Pay(echo=echo(id=""))),
        ("an id that is a number", Pay(echo=echo(id=5))),
        ("no request", Pay(echo=echo(request=None))),
        ("a request that is an object", Pay(echo=echo(request={"amount": "1"}))),
        ("no realm", Pay(echo=echo(realm=None))),
        ("no method", Pay(echo=echo(method=None))),
        ("no intent", Pay(echo=echo(intent=None))),
    ]
):
    case(
        f"malformed-member-{number}",
        "S03",
        f"A credential with {about} gets 402 malformed-credential and a fresh challenge.",
        unpaid(),
        ask(pay=credential).gets(402, "malformed-credential"),
        counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0},
    )
case(
    "no-token",
    "S03 S02",
    "The scheme alone, without a credential, gets a 402 with a challenge.",
    ask(headers=[("Authorization", "Payment")]).gets(402, "malformed-credential"),
    ask(headers=[("Authorization", "Payment ,")]).gets(402, "malformed-credential"),
    ask(headers=[("Authorization", 'Payment id="x"')]).gets(402, "malformed-credential"),
)
case(
    "other-scheme",
    "S01",
    "A credential of another scheme is none of ours: the request counts as unpaid.",
    ask(headers=[("Authorization", "Bearer Payment")]).gets(402, "payment-required"),
    ask(headers=[("Authorization", "Basic dXNlcjpwYXNz")]).gets(402, "payment-required"),
    ask(headers=[("Authorization", 'Digest username="Payment abc"')]).gets(402, "payment-required"),
    ask(headers=[("Authorization", "")]).gets(402, "payment-required"),
)
case(
    "big-credential",
    "S34",
    "A credential of 5 KB is accepted.",
    unpaid(),
    ask(pay=Pay(more={"padding": "x" * 3000})).gets(200, receipt=True),
)
case(
    "bigger-credential",
    "S34",
    "Up to 16 KiB a credential is read, longer ones are malformed.",
    unpaid(),
    ask(pay=Pay(more={"padding": "x" * 10_000})).gets(
        200, receipt=True, own={"gunicorn": own((400, 431), GUNICORN_8K)}
    ),
    ask(pay=Pay(of=0, proof="ok-2", more={"padding": "x" * 13_000})).gets(
        402, "malformed-credential", own={"gunicorn": own((400, 431), GUNICORN_8K)}
    ),
)

# --- tampered ----------------------------------------------------------------------------------------------------

TAMPERINGS: list[tuple[str, Change]] = [
    ("another id", echo(id="x" * 43)),
    ("an id that is not ASCII", echo(id="é" * 43)),
    ("another realm", echo(realm="other.example.com")),
    ("another method", echo(method="alt")),
    ("another intent", echo(intent="refund")),
    ("a lower amount", cheaper),
    ("the request in other bytes", spelled_otherwise),
    ("a request that is no base64url", echo(request="%%%")),
    ("another expiry", echo(expires="2099-01-01T00:00:00Z")),
    ("the expiry spelled otherwise", lambda it: {**it, "expires": str(it["expires"])[:-1] + "+00:00"}),
    ("no expiry", echo(expires=None)),
    ("an empty expiry", echo(expires="")),
    ("a digest", echo(digest="sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")),
    ("an empty digest", echo(digest="")),
    ("no opaque", echo(opaque=None)),
    ("another opaque", echo(opaque="eyJuIjoiMSJ9")),
    ("an empty opaque", echo(opaque="")),
    ("a header", echo(header="Payment-Authorization")),
    ("another header", echo(header="Cookie")),
    ("separators in the realm", lambda it: {**it, "realm": f"{it['realm']}|{it['method']}", "method": "mock"}),
]
for number, (about, change) in enumerate(TAMPERINGS):
    case(
        f"tampered-{number}",
        "S04 S10",
        f"A challenge echoed with {about} is invalid, whatever the proof says.",
        unpaid(),
        ask(pay=Pay(echo=change)).gets(402, "invalid-challenge"),
        ask(pay=Pay(of=0)).gets(200, receipt=True),
        counts={"handler_calls": 1, "settlements": 1},
    )
case(
    "description-altered",
    "S10",
    "The description is for people and not bound: altering or dropping it changes nothing.",
    unpaid("/unicode-description"),
    ask("/unicode-description", pay=Pay(echo=echo(description="something else"))).gets(200, receipt=True),
)
case(
    "unknown-members",
    "S03",
    "Members nobody knows are ignored, in the credential and in the echo.",
    unpaid(),
    ask(pay=Pay(echo=echo(colour="blue"), whole=lambda it: {**it, "extra": {"a": [1]}})).gets(200, receipt=True),
)
case(
    "signed-by-another",
    "S04",
    "A challenge signed with another secret is invalid.",
    unpaid(),
    ask(pay=Pay(echo=mac_of(SECOND_TEST_SECRET))).gets(402, "invalid-challenge"),
    counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0},
)
case(
    "signed-elsewhere",
    "S04 S10 S12",
    "Even with the right secret, a challenge for another realm, intent or without its parts does not fit.",
    unpaid(),
    ask(pay=Pay(echo=mac_of(TEST_SECRET, realm="other.example.com"))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, intent="refund"))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, expires=None))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, opaque=None))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, opaque="e30"))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, header="Payment-Authorization"))).gets(402, "invalid-challenge"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, digest="sha-256=:AAAA:"))).gets(402, "invalid-challenge"),
    counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0},
)
case(
    "method-unsupported",
    "S30",
    "A credential for a method that no offer of the app knows gets 400; one known elsewhere gets 402.",
    unpaid(),
    ask(pay=Pay(echo=mac_of(TEST_SECRET, method="nobody"))).gets(400, "method-unsupported"),
    ask(pay=Pay(of=0, echo=mac_of(TEST_SECRET, method="alt"))).gets(402, "invalid-challenge"),
    counts={"handler_calls": 0, "ledger_keys": 0, "backend_calls": 0},
)

# --- for this request and no other ---------------------------------------------------------------------------------

for name, bought, used, verb in [
    ("route", "/paid", "/paid-b", "GET"),
    ("price", "/paid", "/premium", "GET"),
    ("path", "/items/7", "/items/8", "GET"),
    ("query", "/search?q=a", "/search?q=b", "GET"),
    ("query-added", "/search", "/search?q=b", "GET"),
    ("query-order", "/search?q=a&p=1", "/search?p=1&q=a", "GET"),
    ("tier", "/dynamic?tier=basic", "/dynamic?tier=premium", "GET"),
    ("path-bytes", "/items/%ff", "/items/%5Cxff", "GET"),
    ("path-written-out", "/items/%5Cxff", "/items/%ff", "GET"),
    ("verb", "/item", "/item", "DELETE"),
]:
    case(
        f"bound-to-{name}",
        "S04 S10",
        f"A credential bought for GET {bought} does not open {verb} {used}.",
        unpaid(bought),
        ask(used, http_method=verb, pay=Pay()).gets(402, "invalid-challenge"),
        ask(bought, pay=Pay(of=0)).gets(200, receipt=True),
        counts={"handler_calls": 1, "settlements": 1},
    )

# --- time --------------------------------------------------------------------------------------------------------

case(
    "expired",
    "S05 C04",
    "At its expiry, to the second, a challenge is expired; the answer carries a fresh one.",
    unpaid(),
    advance(300),
    ask(pay=Pay()).gets(402, "payment-expired"),
    ask(pay=Pay(proof="ok-2")).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1, "backend_calls": 1},
)
case(
    "not-yet-expired",
    "S05",
    "One second before its expiry a challenge is good.",
    unpaid(),
    advance(299),
    ask(pay=Pay()).gets(200, receipt=True),
)
case(
    "long-expired",
    "S05",
    "A challenge that expired long ago is expired, not unknown.",
    unpaid(),
    advance(100_000_000),
    ask(pay=Pay()).gets(402, "payment-expired"),
)
case(
    "used-and-expired",
    "S04 S05",
    "A used credential stays used after its challenge expired.",
    unpaid(),
    ask(pay=Pay()).gets(200, receipt=True),
    advance(3000),
    ask(pay=Pay(of=0)).gets(402, "invalid-challenge"),
    counts={"handler_calls": 1, "settlements": 1},
)

# --- secrets -------------------------------------------------------------------------------------------------------

case(
    "rotation",
    "S39",
    "After a rotation the challenges of the older secret stay good, and new ones are of the new secret.",
    unpaid(),
    unpaid(),
    configure(secret=[SECOND_TEST_SECRET, TEST_SECRET]),
    ask(pay=Pay(of=0, proof="ok-1")).gets(200, receipt=True),
    unpaid(),
    configure(secret=SECOND_TEST_SECRET),
    ask(pay=Pay(of=3, proof="ok-2")).gets(200, receipt=True),
    ask(pay=Pay(of=1, proof="ok-3")).gets(402, "invalid-challenge"),
    counts={"handler_calls": 2, "settlements": 2},
)
case(
    "rotation-after-payment",
    "S39 S43",
    "What was paid and not delivered is redeemed after its secret is gone; what was delivered stays used.",
    unpaid("/raise-once"),
    ask("/raise-once", pay=Pay(proof="ok-1")).gets(500, "delivery-failed"),
    configure(secret=SECOND_TEST_SECRET),
    ask("/raise-once", pay=Pay(of=0, proof="ok-2")).gets(402, "invalid-challenge"),
    ask("/raise-once", pay=Pay(of=0, proof="ok-1")).gets(200, receipt=True),
    ask("/raise-once", pay=Pay(of=0, proof="ok-1")).gets(402, "invalid-challenge"),
    counts={"handler_calls": 2, "settlements": 1, "deliveries": 1, "backend_calls": 1},
)


# --- the field ---------------------------------------------------------------------------------------------------


def _selects_header(seen: Seen) -> None:
    assert "Payment-Authorization" == seen.challenges[0]["header"]


def _selects_none(seen: Seen) -> None:
    assert "header" not in seen.challenges[0]


BEARER = ("Authorization", "Bearer good")
KEY = ("X-Api-Key", "good")
case(
    "login-first",
    "S08",
    "Without the app's own login the answer is 401, not 402: authenticate first, then pay.",
    ask("/auth-and-paid").gets(401, headers={"www-authenticate": "Bearer"}),
    ask("/auth-and-paid", headers=[("Authorization", "Bearer bad")]).gets(401),
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "login-in-authorization",
    "S21 S22 S28",
    "When the login came in Authorization, the challenge selects Payment-Authorization, and only that field pays.",
    ask("/auth-and-paid", headers=[BEARER]).gets(402, "payment-required", check=_selects_header),
    ask("/auth-and-paid", headers=[("Authorization", "Bearer good, Payment {token}")], pay=Pay()).gets(
        402, "payment-required", check=_selects_header
    ),
    ask("/auth-and-paid", headers=[BEARER, ("Proxy-Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        402, "payment-required"
    ),
    ask("/auth-and-paid", headers=[("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(401),
    ask("/auth-and-paid", headers=[KEY, ("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        402, "invalid-challenge", check=_selects_none
    ),
    ask("/auth-and-paid", headers=[BEARER, ("Payment-Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        200, receipt=True, headers={"cache-control": "private"}
    ),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "login-elsewhere",
    "S21 S22",
    "When the login came in another field, the challenge selects none and Authorization pays.",
    ask("/auth-and-paid", headers=[KEY]).gets(402, "payment-required", check=_selects_none),
    ask("/auth-and-paid", headers=[KEY, ("Payment-Authorization", "Payment {token}")], pay=Pay()).gets(
        402, "payment-required"
    ),
    ask("/auth-and-paid", headers=[KEY, ("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(200, receipt=True),
    counts={"handler_calls": 1, "settlements": 1},
)
case(
    "unselected-fields",
    "S21 C10",
    "A credential in any field but Authorization is not looked at.",
    unpaid(),
    *[
        ask(headers=[(name, "Payment {token}")], pay=Pay(of=0)).gets(402, "payment-required")
        for name in ("Payment-Authorization", "Proxy-Authorization", "X-Payment", "Cookie", "WWW-Authenticate")
    ],
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "two-credentials",
    "S48",
    "More than one Payment credential gets 400, in two fields or in one.",
    unpaid(),
    unpaid(),
    ask(headers=[("Authorization", "Payment {token}"), ("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        400, "bad-request"
    ),
    ask(headers=[("Authorization", "Payment {token}, Payment {token}")], pay=Pay(of=0)).gets(400, "bad-request"),
    ask(headers=[("Authorization", "Payment {token}, Payment e30")], pay=Pay(of=0)).gets(400, "bad-request"),
    ask(headers=[("Authorization", "Payment e30"), ("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        400, "bad-request"
    ),
    ask(headers=[("Authorization", "Basic YTpi"), ("Authorization", "Payment {token}")], pay=Pay(of=0)).gets(
        200, receipt=True
    ),
    counts={"handler_calls": 1, "settlements": 1},
)
