"""Request ids that lead into the caller's own tracing: W3C trace context, https://www.w3.org/TR/trace-context/.

A traceparent is the client's word, and one client may send the same one with every request. What keeps two requests
apart is therefore never in it: each id ends in a token of our own.
"""

import re
from typing import Final

from flovia.core.http import Headers

TRACEPARENT: Final = "traceparent"
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_TRACED: Final = re.compile(r"(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-")
_MAX: Final = 512
"""Characters of a header that are looked at: a later version may have more members, but not without an end."""


def request_id(headers: Headers, token: str) -> str:
    """A request's id: ``<trace id>-<parent id>-<token>``, or ``req_<token>`` without a valid traceparent.

    ``token`` is what makes it unique: 22 characters of base64url, 128 random bits.
    """
    value = headers.get(TRACEPARENT)
    found = None if value is None or len(value) > _MAX else _FORM.fullmatch(value)
    # Of version 00 all is known, so nothing may follow; of a later one only its beginning.
    if found is None or (found[1] == "00" and found[4] is not None):
        return "req_" + token
    return traced_id(found[2], found[3], token)


def traced_id(trace_id: str, span_id: str, token: str) -> str:
    """The id of a request that was seen in this span; trace id 32, span id 16 lower-case hexadecimal digits."""
    return f"{trace_id}-{span_id}-{token}"


def trace_of(request_id: str) -> tuple[int, int] | None:
    """The trace id and the span id in a request's id; None if there are none."""
    found = _TRACED.match(request_id)
    return None if found is None else (int(found[1], 16), int(found[2], 16))
