"""Reading the members of a request, strictly, with the error shape of whichever side is asked."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from flovia.sandbox.faults import LIMITS
from flovia.sandbox.records import Merchant
from flovia.sandbox.state import Draft
from flovia.sandbox.wire import Call, Json, Refused, api_error, broker_error, members

Problem = Callable[[str, str], Refused]
"""Makes the error for a member, and what is wrong with it."""

HASH: Final = re.compile(r"[A-Za-z0-9_=:+/.-]{16,200}").fullmatch
"""What may be a request hash: the broker only compares it."""

NONCE: Final = re.compile(r"[\x21-\x7e]{8,200}").fullmatch
_WINDOW_MS: Final = 60_000


def broker_problem(name: str, text: str) -> Refused:
    """422 of the broker."""
    return broker_error(422, f"invalid_{name}", f"{name}: {text}")


def api_problem(name: str, text: str) -> Refused:
    """422 of HitPay's API."""
    return api_error(422, "The given data was invalid.", {name: text})


def read_json(call: Call) -> Json:
    """The JSON object of the body.

    Raises:
        Refused: 400.
    """
    try:
        found = members(json.loads(call.body))
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise broker_error(400, "bad_request", "the body is one JSON object")
    return found


def read_body(call: Call) -> Json:
    """The members of a body in JSON or, as HitPay's older guides have it, a form (``name[]`` repeats).

    Raises:
        Refused: 400.
    """
    if "x-www-form-urlencoded" not in (call.header("content-type") or ""):
        return read_json(call)
    pairs = parse_qsl(call.body.decode("latin-1"), keep_blank_values=True)
    found: Json = {name: value for name, value in pairs if not name.endswith("[]")}
    for name in {name for name, _ in pairs if name.endswith("[]")}:
        found[name[:-2]] = [value for other, value in pairs if other == name]
    return found


def text(body: Json, name: str, problem: Problem, *, most: int = 255, required: bool = False) -> str:
    """A textual member; "" if it is left out or null.

    Raises:
        Refused: 422.
    """
    found = body.get(name)
    if found is None and not required:
        return ""
    if not isinstance(found, str) or (required and not found):
        raise problem(name, "a text is required")
    if len(found) > most:
        raise problem(name, f"at most {most} characters")
    return found


def flag(body: Json, name: str) -> bool:
    """A yes-or-no member, in any of the spellings forms have."""
    return body.get(name) in (True, 1, "1", "true", "True")


# --- who asks -----------------------------------------------------------------------------------------


def merchant(d: Draft, api_key: object, *, creates: bool = False) -> Merchant | None:
    """Whoever holds ``api_key``, or None: any key that starts with ``test_`` is a merchant here.

    Raises:
        Refused: 429, above one of the rates.
    """
    if not isinstance(api_key, str) or not api_key.startswith("test_") or not 6 <= len(api_key) <= 200:
        return None
    found = d.merchant(api_key)
    calls = tuple(at for at in found.calls if at > d.now - _WINDOW_MS)
    creations = tuple(at for at in found.creations if at > d.now - _WINDOW_MS)
    for past, name in ((calls, "calls_per_minute"), (creations, "creations_per_minute") if creates else ((), "")):
        most = round(d.limit(name)) if name in LIMITS else 0
        if most and len(past) >= most:
            wait = max(1, -(-(past[-most] + _WINDOW_MS - d.now) // 1000))
            raise broker_error(429, "too_many_requests", f"{name} is {most}", ("retry-after", str(wait)))
    counted = d.limit("calls_per_minute") > 0, creates and d.limit("creations_per_minute") > 0
    if any(counted):
        d.note_calls(found, (*calls, d.now) if counted[0] else (), (*creations, d.now) if counted[1] else creations)
    return d.merchant(api_key)


def broker_merchant(d: Draft, api_key: object, *, creates: bool = False) -> Merchant:
    """The merchant of a call to the broker.

    Raises:
        Refused: 401 or 429.
    """
    found = merchant(d, api_key, creates=creates)
    if found is None:
        raise broker_error(401, "invalid_api_key", "the sandbox takes keys that start with test_ and no others")
    return found


def api_merchant(d: Draft, call: Call, *, creates: bool = False) -> Merchant:
    """The merchant of a call to HitPay's API, by ``X-BUSINESS-API-KEY``.

    Raises:
        Refused: 401 or 429.
    """
    found = merchant(d, call.header("x-business-api-key"), creates=creates)
    if found is None:
        raise api_error(401, "Unauthenticated. The sandbox takes keys that start with test_ and no others.")
    return found


def fingerprint(body: Json) -> str:
    """What makes two bodies the same request: every member but the key and the salt."""
    kept = {name: value for name, value in body.items() if name not in ("api_key", "webhook_salt")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
