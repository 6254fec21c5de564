"""Reading the members of a request, strictly, with the error shape of whichever side is asked."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Final, TypeGuard
from urllib.parse import parse_qsl

import attrs

from flovia.sandbox.records import Merchant
from flovia.sandbox.state import Draft
from flovia.sandbox.wire import Call, Json, Refused, api_error, broker_error, members

Problem = Callable[[str, str], Refused]
"""Makes the error for a member, and what is wrong with it."""

HASH: Final = re.compile(r"[A-Za-z0-9_=:+/.-]{16,200}").fullmatch
"""What may be a request hash: the broker only compares it."""

NONCE: Final = re.compile(r"[\x21-\x7e]{8,200}").fullmatch
_WINDOW_MS: Final = 60_000
_TOO_MANY: Final = "Too many requests: wait and try again."


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


_KEY_HINT: Final = "the sandbox takes keys that start with test_ and no others"


def broker_merchant(d: Draft, api_key: object, *, creates: bool = False) -> Merchant:
    """The merchant of a call to the broker: any key that starts with ``test_`` is one here.

    Raises:
        Refused: 401, or 429 above one of the rates.
    """
    if not is_key(api_key):
        raise broker_error(401, "invalid_api_key", _KEY_HINT)
    found = d.merchant(api_key)
    if (wait := _count(d, found, creates=creates)) is not None:
        raise broker_error(429, "too_many_requests", _TOO_MANY, ("retry-after", str(wait)))
    return found


def api_merchant(d: Draft, call: Call, *, creates: bool = False) -> Merchant:
    """The merchant of a call to HitPay's API, by ``X-BUSINESS-API-KEY``.

    Raises:
        Refused: 401, or 429 above one of the rates.
    """
    api_key = call.header("x-business-api-key")
    if not is_key(api_key):
        raise api_error(401, f"Unauthenticated: {_KEY_HINT}.")
    found = d.merchant(api_key)
    if (wait := _count(d, found, creates=creates)) is not None:
        raise api_error(429, _TOO_MANY, None, ("retry-after", str(wait)))
    return found


def is_key(value: object) -> TypeGuard[str]:
    """Whether this is a key the sandbox takes; never a live one."""
    return isinstance(value, str) and value.startswith("test_") and 6 <= len(value) <= 200


def _count(d: Draft, found: Merchant, *, creates: bool) -> int | None:
    """Count a call against the rates; if it is above one, the seconds until there is room instead."""
    calls = tuple(at for at in found.calls if at > d.now - _WINDOW_MS)
    creations = tuple(at for at in found.creations if at > d.now - _WINDOW_MS)
    most_calls, most_creations = (round(d.limit(name)) for name in ("calls_per_minute", "creations_per_minute"))
    for past, most in ((calls, most_calls), (creations, most_creations if creates else 0)):
        if most and len(past) >= most:
            return max(1, -(-(past[-most] + _WINDOW_MS - d.now) // 1000))
    counted = (*calls, d.now) if most_calls else (), (*creations, d.now) if most_creations and creates else creations
    if counted != (found.calls, found.creations):
        d.put_merchant(attrs.evolve(found, calls=counted[0], creations=counted[1]))
    return None


def fingerprint(body: Json) -> str:
    """What makes two bodies the same request: every member but the key and the salt."""
    kept = {name: value for name, value in body.items() if name not in ("api_key", "webhook_salt")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
