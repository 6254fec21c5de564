"""Hearing a webhook, as a flow: the provider's check, its notices into the ledger, a small answer.

Everything here may happen twice, in any order and at the same time: what was written once is not written again, and
whatever fails is answered 503, so that the sender comes back.
"""

import json
import logging
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final, cast

import attrs

from flovia.core import events as ev
from flovia.core.effects import TIMED_OUT, Deadline, Find, Flow, PaymentView, now, token
from flovia.core.errors import LedgerError
from flovia.core.events import EventRow
from flovia.core.guard import as_payer
from flovia.core.http import Headers, HttpResponse
from flovia.core.owed import Late, challenge_of, late_key
from flovia.core.reconciling import sold_otherwise
from flovia.core.refunding import moved_event
from flovia.core.returned import record_returned
from flovia.core.webhook import Heard, LatePayment, Notice, RefundedPayment, WaitingPayment, WebhookProvider

_log = logging.getLogger("flovia")

WITHIN_S: Final = 20.0
"""How long a provider may take over one webhook. Senders wait about 30 seconds."""
KEEP_S: Final = 7 * 86400.0
"""How long a ledger that forgets keeps a late payment, seconds."""
RETRY_AFTER_S: Final = 30
MAX_TEXT: Final = 255

TEXTS: Final = MappingProxyType(
    {
        "accepted": "Understood.",
        "duplicate": "Understood before.",
        "ignored": "Understood; it changes nothing here.",
        "bad-signature": "The signature does not fit this body. Check the secret on both sides.",
        "malformed": "This is no event.",
        "not-configured": "Webhooks are not set up here. Send it again later.",
        "try-again": "It could not be checked or recorded now. Send it again later.",
        "method-not-allowed": "Webhooks are sent with POST.",
        "length-required": "The end of this body cannot be seen here. Send it with Content-Length.",
        "body-too-large": "This body is larger than any webhook.",
    }
)
"""What the answer says, by code: fixed texts, nothing of the sender's."""
SELDOM_S: Final = 60.0
"""At most one warning in so many seconds tells of wrong signatures: anybody can send them."""
_STATUSES: Final = frozenset({200, 400, 401, 503})
_UNMATCHED: Final = "unmatched"
_REASONS: Final = frozenset({ev.LATE, ev.DUPLICATE, _UNMATCHED})


class Seldom:
    """Which warnings are due, and how many were not. Not locked: a race gives a line more or a wrong count."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, int]] = {}

    def due(self, name: str, now: float) -> int | None:
        """None, or if the warning is due: how many there were since the last one, this one included."""
        at, missed = self._told.get(name, (now - SELDOM_S, 0))
        if 0 <= now - at < SELDOM_S:
            self._told[name] = (at, missed + 1)
            return None
        self._told[name] = (now, 0)
        return missed + 1


def answer(status: int, code: str) -> HttpResponse:
    """The answer to a webhook: a status, and a code with its text as JSON."""
    body = json.dumps({"code": code, "detail": TEXTS[code]}).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]
    if status == 405:
        headers.append(("allow", "POST"))
    if status == 503:
        headers.append(("retry-after", str(RETRY_AFTER_S)))
    return HttpResponse(status, tuple(headers), body)


def hear(
    provider: WebhookProvider, headers: Headers, body: bytes, *, realm: str, rail: str, seldom: Seldom | None = None
) -> Flow[HttpResponse]:
    """Let the provider check one webhook and write what follows from it. Never raises for what anybody sends."""
    try:
        heard = yield from _check(provider, headers, body)
        if heard.notices and heard.status not in (200, 503):
            _log.error("provider %s refused a webhook and told notices all the same; none is written", provider.name)
        elif heard.notices:
            yield from _write(heard.notices, provider.name, realm, rail)
    except LedgerError as error:
        _log.warning("the ledger does not answer (%s); a webhook is to be sent again", error)
        heard = Heard(status=503, code="try-again")
    except Exception:
        _log.exception("a webhook of %s could not be processed and is to be sent again", provider.name)
        heard = Heard(status=503, code="try-again")
    if (
        heard.code == "bad-signature"
        and seldom is not None
        and (count := seldom.due(provider.name, (yield from now()))) is not None
    ):
        _log.warning(
            "webhooks of %s refused because no signature fits: %d since the last such line. If the provider sent them,"
            " the secret (or salt) that is set here is not that of its webhook endpoint",
            provider.name,
            count,
        )
    _log.info("webhook of %s: %d %s", provider.name, heard.status, heard.code)
    return answer(heard.status, heard.code)


def _check(provider: WebhookProvider, headers: Headers, body: bytes) -> Flow[Heard]:
    flow = provider.webhook(headers, body)
    try:
        effect = flow.send(None)
    except StopIteration as stop:
        heard: object = stop.value
    else:
        heard = yield Deadline(flow=flow, effect=effect, seconds=WITHIN_S)
    if heard is TIMED_OUT:
        _log.warning("provider %s took longer than %s s over a webhook", provider.name, WITHIN_S)
        return Heard(status=503, code="try-again")
    if not isinstance(heard, Heard) or heard.status not in _STATUSES or heard.code not in TEXTS:
        _log.error("provider %s answered a webhook with what is no Heard, or with an unknown code", provider.name)
        return Heard(status=503, code="try-again")
    return heard


def _write(notices: Iterable[Notice], name: str, realm: str, rail: str) -> Flow[None]:
    at, id_ = (yield from now()), "webhook_" + (yield from token())
    for number, notice in enumerate(notices, 1):
        _check_notice(notice)
        proof = f"{notice.method}|{notice.payment_id}"
        money = (notice.amount, notice.currency.lower())
        if not isinstance(notice, RefundedPayment):
            view = cast("PaymentView | None", (yield Find(f"{realm}|{notice.challenge_id}")))
            second = sold_otherwise(view, notice.payment_id)
            if isinstance(notice, WaitingPayment) and not second:
                continue
            paid = (notice.challenge_id, notice.payment_id)
            unmatched = isinstance(notice, LatePayment) and notice.reason == _UNMATCHED
            late = ev.DUPLICATE if second or isinstance(notice, WaitingPayment) else notice.reason
            type_, reason = (ev.PAYMENT_UNMATCHED, None) if unmatched else (ev.PAYMENT_LATE, late)
            event = moved_event(type_, at, (id_, number), name, rail, money, paid)
            event = attrs.evolve(event, payer=as_payer(notice.payer), reason=reason)
            key = late_key(realm, notice.challenge_id, proof)
            yield Late(key, proof, notice.payment_id, *money, at + KEEP_S, (event.to_row(),))
        else:
            yield from _note(notice, proof, money, at, (id_, number), name, rail)


def _note(
    notice: RefundedPayment,
    proof: str,
    money: tuple[int, str],
    at: float,
    id_: tuple[str, int],
    name: str,
    rail: str,
) -> Flow[None]:
    def told(key: str) -> EventRow:
        paid = (challenge_of(key) if key else notice.challenge_id or "", notice.payment_id)
        return moved_event(ev.PAYMENT_REFUNDED, at, id_, name, rail, money, paid).to_row()

    yield from record_returned(proof, money, told)


def _check_notice(notice: Notice) -> None:
    """Refuse what no ledger should hold: a bug of the provider, which is told in the log.

    Raises:
        ValueError: a text is empty, too long or holds a separator; the amount is no positive int; an unknown reason.
    """
    challenge_id = notice.challenge_id
    if isinstance(notice, LatePayment) and notice.reason not in _REASONS:
        raise ValueError("a notice of a webhook has a reason that is none")
    texts = [notice.method, notice.payment_id, notice.currency, *([] if challenge_id is None else [challenge_id])]
    for text in texts:
        if not text or len(text) > MAX_TEXT or not text.isprintable():
            raise ValueError("a notice of a webhook has a text that is empty, too long or not printable")
    if "|" in notice.method or "|" in (challenge_id or ""):
        raise ValueError("a notice of a webhook has a separator in its method or challenge id")
    if type(notice.amount) is not int or notice.amount <= 0:
        raise ValueError("a notice of a webhook has an amount that is no positive int of base units")
