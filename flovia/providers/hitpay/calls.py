"""One call to HitPay: a deadline, a size cap, no redirect, strict JSON, and a breaker that fails closed.

No text of HitPay's and none of ours goes from here into an error, a log line or a repr: bodies carry keys and answers
carry checkout addresses.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import attrs

from flovia.core.effects import Flow, HttpCall, HttpReply, http, now, recall, remember, token
from flovia.core.encoding import JsonObject, JsonValue, canonical, loads
from flovia.core.errors import HttpError, LedgerError, ParseError, PeerError
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.names import member

NAMESPACE: Final = "hitpay"
"""Where the ledger keeps what this provider remembers."""

MAX_WAIT_S: Final = 60
_COUNTED_S: Final = 60.0
_BREAKER: Final = "breaker "


class HitPayDown(PeerError):
    """HitPay gave no answer that says anything. What was asked for may have happened all the same.

    ``retry_after_s``: whole seconds to wait. ``called``: False only if nothing was sent because the breaker is open.
    """

    def __init__(self, message: str, *, retry_after_s: int = 2, called: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.called = called


class NotCalled(LedgerError):
    """The ledger does not answer, and nothing was sent to HitPay."""

    called = False


@attrs.frozen(kw_only=True)
class Answer:
    """What HitPay answered: a status of 2xx or 4xx (429 aside), and the members of its JSON object, if it is one.

    ``code``: the error code, where the broker names one; only ever compared.
    """

    status: int
    members: JsonObject = attrs.field(repr=False, factory=dict[str, JsonValue])
    code: str = attrs.field(default="", repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is any 2xx."""
        return 200 <= self.status < 300


def segment(text: str) -> str:
    """A client's or HitPay's text as one segment of a path."""
    return quote(text, safe="")


def call(
    config: HitPayConfig,
    http_method: str,
    origin: str,
    path: str,
    *,
    body: Mapping[str, JsonValue] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Flow[Answer]:
    """Ask HitPay.

    Raises:
        HitPayDown: no answer, 5xx, 429, a redirect, or a 2xx that is no JSON object.
        LedgerError: the ledger does not answer; :class:`NotCalled` if that was before anything was sent.
    """
    try:
        breaker = yield from _enter(config, origin)
    except LedgerError as error:
        raise NotCalled(str(error)) from error
    fields = (("accept", "application/json"), *headers)
    if body is not None:
        fields += (("content-type", "application/json"),)
    request = HttpCall(
        http_method=http_method,
        url=origin + path,
        headers=fields,
        body=b"" if body is None else canonical(body),
        deadline_s=config.call_s,
        max_bytes=config.max_answer,
    )
    try:
        reply = yield from http(request)
    except HttpError:
        yield from _failed(config, origin, breaker)
        raise HitPayDown("HitPay does not answer: try again") from None
    if reply.status >= 500:
        yield from _failed(config, origin, breaker)
        raise HitPayDown("HitPay answers with a server error: try again", retry_after_s=_wait(reply))
    if breaker:
        yield from remember(NAMESPACE, _BREAKER + origin, "0 0", ttl_s=1.0)
    return _answer(reply, config.names.error_code)


def _answer(reply: HttpReply, code_name: str) -> Answer:
    if reply.status == 429:
        raise HitPayDown("HitPay is asked too often: try again later", retry_after_s=_wait(reply))
    if not (200 <= reply.status < 300 or 400 <= reply.status < 500):
        raise HitPayDown("HitPay answers with a redirect, which is not followed: is the endpoint right?")
    if reply.status == 204:
        return Answer(status=204)
    try:
        members = loads(reply.body)
    except ParseError:
        members = None
    if isinstance(members, dict):
        code = member(members, code_name)
        return Answer(status=reply.status, members=members, code=code if isinstance(code, str) else "")
    if reply.status >= 400:
        return Answer(status=reply.status)
    raise HitPayDown("HitPay's answer is not a JSON object: try again")


def _wait(reply: HttpReply) -> int:
    """``Retry-After`` in seconds, between 1 and 60; dates count as nothing said."""
    text = (reply.header("retry-after") or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return min(max(int(text), 1), MAX_WAIT_S)
    return 2


# --- the breaker ------------------------------------------------------------------------------------------


def _enter(config: HitPayConfig, origin: str) -> Flow[int]:
    """How many calls have failed in a row.

    Raises:
        HitPayDown: too many; it is not this caller's turn to see whether HitPay is back.
    """
    failures, until = _read((yield from recall(NAMESPACE, _BREAKER + origin)))
    if failures < config.breaker_failures:
        return failures
    left = until - (yield from now())
    if left <= 0:
        # One caller looks whether it is over; the others wait for what that one finds.
        own = yield from token()
        probe_s = config.call_s + 1.0
        if own == (yield from remember(NAMESPACE, f"probe {origin}", own, ttl_s=probe_s, if_absent=True)):
            return failures
        left = 1.0
    raise HitPayDown(
        "HitPay has failed several times in a row and is left alone for a while",
        retry_after_s=min(max(1, int(left) + 1), MAX_WAIT_S),
        called=False,
    )


def _failed(config: HitPayConfig, origin: str, before: int) -> Flow[None]:
    # Read again: others may have failed meanwhile. A lost count only lets one call more through.
    failures, _ = _read((yield from recall(NAMESPACE, _BREAKER + origin)))
    failures = max(before, failures) + 1
    until = (yield from now()) + config.breaker_s
    value = f"{failures} {until:.3f}"
    yield from remember(NAMESPACE, _BREAKER + origin, value, ttl_s=_COUNTED_S + config.breaker_s)


def _read(text: str | None) -> tuple[int, float]:
    count, _, until = (text or "0 0").partition(" ")
    return int(count), float(until)
