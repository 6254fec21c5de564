"""flovia as a subject of the side-by-side benchmark: the wire, with every check that production runs.

Used by the benchmark's ``ops.py`` and ``hostile.py`` (``BENCH_SUBJECTS`` names this folder). The operations
are those of ``subjects/__init__.py`` there.
"""

import os
import time
from collections.abc import Callable

from data import EXPIRES, INTENT, METHOD, PAYLOAD, REALM, REFERENCE, REQUEST, SECRET, SOURCE
from subjects.flovia_gate import answer, asgi_apps, gate_ops

from flovia.core.binding import Keyring, authenticate, issue
from flovia.core.challenge import encode_opaque, format_challenge, format_expires, parse_challenge
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import b64url_encode, encode_param
from flovia.core.receipt import Receipt, format_receipt, parse_receipt

__all__ = ["asgi_apps", "hostile_parsers", "ops"]

KEYRING = Keyring([SECRET])


def issued() -> str:
    """A challenge whose request is encoded anew, as a dynamic price needs it."""
    return format_challenge(
        issue(
            KEYRING,
            realm=REALM,
            method=METHOD,
            intent=INTENT,
            request=encode_param(REQUEST),
            expires=EXPIRES,
        )
    )


def issued_fresh() -> str:
    """The same with an expiry from now and a random nonce."""
    return format_challenge(
        issue(
            KEYRING,
            realm=REALM,
            method=METHOD,
            intent=INTENT,
            request=encode_param(REQUEST),
            expires=format_expires(int(time.time()) + 300),
            opaque=encode_opaque({"nonce": b64url_encode(os.urandom(16))}),
        )
    )


def verify(authorization: str) -> Credential:
    """Parse a credential and authenticate its echo."""
    credential = parse_credential(authorization)
    if not authenticate(KEYRING, credential.challenge):
        raise ValueError
    return credential


def receipt() -> str:
    """A receipt of now."""
    timestamp = format_expires(int(time.time()))
    return format_receipt(Receipt(method=METHOD, timestamp=timestamp, reference=REFERENCE))


def ops() -> dict[str, Callable[[], object]]:
    """The timed operations."""
    header = issued_fresh()
    challenge = parse_challenge(header)
    authorization = answer(header)
    credential = verify(authorization)
    got = receipt()
    return {
        "issue": issued,
        "issue.fresh": issued_fresh,
        "parse.challenge": lambda: parse_challenge(header).request_json,
        "format.credential": lambda: format_credential(Credential(challenge=challenge, payload=PAYLOAD, source=SOURCE)),
        "parse.credential": lambda: parse_credential(authorization),
        "verify.id": lambda: authenticate(KEYRING, credential.challenge),
        "verify": lambda: verify(authorization),
        "format.receipt": receipt,
        "parse.receipt": lambda: parse_receipt(got),
        **gate_ops(),
    }


def hostile_parsers() -> dict[str, Callable[[str], object]]:
    """The parsers that face strangers."""
    return {"challenge": parse_challenge, "credential": parse_credential}
