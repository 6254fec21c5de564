"""Giving money back, as a flow: the order first, then the provider's word, then the record.

The order is on record with its nonce before the provider is asked, so whatever happens in between, the same refund is
asked for again and not another one.
"""

import logging
from collections.abc import Iterable
from typing import Final, Literal, cast

import attrs

from flovia.core import events as ev
from flovia.core.effects import TIMED_OUT, Deadline, Flow, now, token
from flovia.core.errors import CallerError, LedgerError, WiringError
from flovia.core.events import Event, EventRow
from flovia.core.money import Price
from flovia.core.operator import Operator
from flovia.core.owed import (
    CloseRefund,
    FindDue,
    FindPaid,
    OpenRefund,
    PaidView,
    RefundDue,
    RefundEnd,
    RefundOpening,
    challenge_of,
)
from flovia.core.provider import Provider
from flovia.core.refund import (
    CheckedRefunds,
    NotRefunded,
    Refunded,
    RefundingProvider,
    RefundOrder,
    RefundUnknown,
    RefundVerdict,
)

_log = logging.getLogger("flovia")

MARGIN_S: Final = 5.0
"""How much longer than its deadline a provider's answer may be on its way to the record."""
_VERDICTS: Final = (Refunded, NotRefunded, RefundUnknown)

RefundCode = Literal[
    "unknown",
    "unsupported",
    "delivering",
    "busy",
    "refunded",
    "too_much",
    "other_currency",
    "other_amount",
    "no_amount",
]


class RefundError(CallerError):
    """A refund that cannot be asked for, or not now; nothing was changed. ``code`` says why, the message what to do.

    ``delivering`` and ``busy`` pass: call again after ``retry_after_s`` seconds.

    ``done``: with ``refunded``, the refund that was made, if that is what was asked for (without an amount: all that
    was paid); then nothing is left to do.
    """

    def __init__(
        self,
        code: RefundCode,
        message: str,
        retry_after_s: int | None = None,
        *,
        done: "RefundResult | None" = None,
    ) -> None:
        super().__init__(message)
        self.code: RefundCode = code
        self.retry_after_s = retry_after_s
        self.done = done


@attrs.frozen(kw_only=True)
class RefundResult:
    """What became of a refund that was asked for.

    * ``refunded``: the money is on its way back; ``refund_id`` is the provider's name for that.
    * ``refused``: the provider refused, nothing has moved, ``reason`` says why. It can be tried again.
    * ``unknown``: nobody can say. Call again with the same amount: the same refund is asked for, not another one.

    ``amount``: base units of ``currency``.
    """

    status: Literal["refunded", "refused", "unknown"]
    payment_id: str
    challenge_id: str
    amount: int
    currency: str
    refund_id: str | None = None
    reason: str | None = None


def refund(
    payment_id: str, amount: Price | None, providers: Iterable[Provider], rail: str, by: Operator | None = None
) -> Flow[RefundResult]:
    """Give back a payment that one of the providers took; ``amount`` None for all of it.

    ``by``: who wants it. Then an event says so before the provider is asked, whoever may record the answer, and what
    became of it is an event too, also if nothing went back.

    Raises:
        RefundError: it cannot be asked for; see its ``code``.
        LedgerError: the ledger does not answer; nothing was asked for.
    """
    provider, paid = yield from _provider_of(payment_id, providers)
    if not isinstance(provider, RefundingProvider):
        raise RefundError(
            "unsupported",
            f"provider {provider.name!r} cannot give money back through flovia; refund {payment_id} where you manage"
            " your payments with it",
        )
    lacking = provider.refunds_lack() if isinstance(provider, CheckedRefunds) else None
    if lacking is not None:
        raise RefundError("unsupported", f"{lacking}; nothing was asked for")
    proof = f"{provider.method}|{payment_id}"
    units, currency = (None, None) if amount is None else (amount.amount, amount.currency)
    nonce = yield from token()
    asked: tuple[EventRow, ...] = ()
    if by is not None:
        money = (units, currency) if amount is not None else (paid.amount, paid.currency)
        about = (challenge_of(paid.key) if paid.key else "", payment_id)
        id_ = "refund_" + (yield from token()), 1
        at = yield from now()
        asked = (moved_event(ev.PAYMENT_REFUND_ASKED, at, id_, provider.name, rail, money, about, by).to_row(),)
    order_it = OpenRefund(proof, units, currency, nonce, provider.deadline_s + MARGIN_S, asked)
    opening = cast("RefundOpening", (yield order_it))
    if opening.outcome != "open":
        raise _refusal(payment_id, amount, opening)
    order = RefundOrder(
        method=provider.method,
        payment_id=payment_id,
        challenge_id=challenge_of(opening.key),
        amount=opening.amount,
        paid=opening.paid,
        currency=opening.currency,
        nonce=opening.nonce,
    )
    try:
        verdict = yield from _ask(provider, order, provider.deadline_s)
    except GeneratorExit:
        raise  # nobody drives this flow any more: the order's lease ends by itself
    except BaseException:
        yield CloseRefund(proof, opening.fence, "unknown", 0, "", "", ())
        raise
    return (yield from _record(provider.name, rail, order, proof, opening.fence, verdict, by))


def refunds_due(limit: int) -> Flow[list[RefundDue]]:
    """The payments whose refund is due, oldest first."""
    return list(cast("Iterable[RefundDue]", (yield FindDue(limit))))


def moved_event(
    type_: str,
    at: float,
    id_: tuple[str, int],
    provider: str,
    rail: str,
    money: tuple[int | None, str | None],
    paid: tuple[str, str],
    by: Operator | None = None,
) -> Event:
    """The event of money that moved outside of any request, so there is no route and no HTTP method in it.

    ``id_``: request id and number. ``money``: base units and currency, None where they are not known. ``paid``:
    challenge id ("" if nobody knows it) and payment id ("" if there is none). ``by``: who did it.
    """
    return Event(
        type=type_,
        at=at,
        request_id=id_[0],
        seq=id_[1],
        endpoint="",
        http_method="",
        provider=provider,
        rail=rail,
        amount=money[0],
        currency=money[1],
        challenge_id=paid[0] or None,
        payment_id=paid[1] or None,
        operator=None if by is None else by.name,
        note=(by.note or None) if by is not None else None,
    )


def _provider_of(payment_id: str, providers: Iterable[Provider]) -> Flow[tuple[Provider, PaidView]]:
    """The provider whose method the payment was made with, and the payment; one that can give back goes first."""
    found: dict[str, tuple[Provider, PaidView]] = {}
    for provider in sorted(providers, key=lambda one: not isinstance(one, RefundingProvider)):
        if provider.method not in found:
            paid = cast("PaidView | None", (yield FindPaid(f"{provider.method}|{payment_id}")))
            if paid is not None:
                found[provider.method] = provider, paid
    if not found:
        raise _unknown(payment_id)
    if len(found) > 1:
        raise RefundError(
            "unknown",
            f"{payment_id} is a payment of {' and of '.join(sorted(found))}; say which: refund(…, provider=…)",
        )
    return next(iter(found.values()))


def _unknown(payment_id: str) -> RefundError:
    return RefundError(
        "unknown",
        f"no payment {payment_id!r} is in this ledger; payment ids are in `flovia events --paid`, in Grant.payment_id"
        " and in receipts. Does this Flovia have the ledger and the provider that took it?",
    )


def _done(payment_id: str, asked: Price | None, opening: RefundOpening) -> RefundResult | None:
    """The refund that was made before, if it is the one that is asked for."""
    units, currency = (opening.paid, opening.currency) if asked is None else (asked.amount, asked.currency)
    if (units, currency) != (opening.amount, opening.currency):
        return None
    return RefundResult(
        status="refunded",
        payment_id=payment_id,
        challenge_id=challenge_of(opening.key) if opening.key else "",
        amount=opening.amount,
        currency=opening.currency,
        refund_id=opening.refund_id or None,
        reason="it was given back before",
    )


def _refusal(payment_id: str, asked: Price | None, opening: RefundOpening) -> RefundError:
    def money(amount: int) -> str:
        try:
            return str(Price(amount=amount, currency=opening.currency))
        except WiringError:  # a currency of the payment method's own
            return f"{amount} {opening.currency}"

    wait = opening.retry_after_s
    match opening.outcome:
        case "delivering":
            return RefundError(
                "delivering",
                f"what {payment_id} paid for is being delivered at this moment; call again when that has ended, in"
                f" {wait} s at the latest unless it is still streaming",
                wait,
            )
        case "busy":
            text = f"another call is asking for the refund of {payment_id}; call again in {wait} s to learn the outcome"
            return RefundError("busy", text, wait)
        case "refunded":
            back = money(opening.amount)
            if opening.paid > opening.amount:
                back = f"{back} of {money(opening.paid)}"
            text = f"{payment_id} was given back already ({back}); there is one refund for a payment"
            return RefundError("refunded", text, done=_done(payment_id, asked, opening))
        case "too_much":
            text = f"{payment_id} paid {money(opening.paid)}, so no more can go back; give that or less"
            return RefundError("too_much", text)
        case "other_currency":
            text = f"{payment_id} paid {money(opening.paid)}; name the amount in {opening.currency.upper()}"
            return RefundError("other_currency", text)
        case "other_amount":
            return RefundError(
                "other_amount",
                f"a refund of {money(opening.amount)} was begun for {payment_id} and its outcome is unknown; ask for"
                " that amount again first",
            )
        case "no_amount":
            return RefundError(
                "no_amount",
                f"what {payment_id} paid is no longer on record, it is from an earlier version; refund it where you"
                " manage your payments with the provider",
            )
        case _:  # unknown: forgotten between two questions
            return _unknown(payment_id)


def _ask(provider: RefundingProvider, order: RefundOrder, seconds: float) -> Flow[RefundVerdict]:
    """The provider's word; an exception, a passed deadline and what is no verdict count as unknown."""
    try:
        flow = provider.refund(order)
        try:
            effect = flow.send(None)
        except StopIteration as stop:
            verdict = stop.value
        else:
            verdict = yield Deadline(flow=flow, effect=effect, seconds=seconds)
    except Exception:
        _log.exception("provider %s raised during a refund; its outcome counts as unknown", provider.name)
        return RefundUnknown()
    if isinstance(verdict, Refunded) and not _is_sane(verdict, order):
        _log.error("provider %s said Refunded with another currency, or more than was paid", provider.name)
        return RefundUnknown()
    if isinstance(verdict, _VERDICTS):
        return verdict
    if verdict is TIMED_OUT:
        _log.warning("provider %s took longer than %s s for a refund; its outcome is unknown", provider.name, seconds)
    else:
        _log.error("provider %s returned %s instead of a verdict", provider.name, type(verdict).__name__)
    return RefundUnknown()


def _is_sane(refunded: Refunded, order: RefundOrder) -> bool:
    whole = type(refunded.amount) is int and 0 < refunded.amount <= order.paid
    named = isinstance(cast("object", refunded.refund_id), str)
    return whole and named and refunded.currency.lower() == order.currency.lower()


def _record(
    name: str,
    rail: str,
    order: RefundOrder,
    proof: str,
    fence: int,
    verdict: RefundVerdict,
    by: Operator | None,
) -> Flow[RefundResult]:
    result = RefundResult(
        status="unknown",
        payment_id=order.payment_id,
        challenge_id=order.challenge_id,
        amount=order.amount,
        currency=order.currency,
        reason="the provider gave no clear answer; ask for the same refund again",
    )
    end: RefundEnd = "unknown"
    events: tuple[EventRow, ...] = ()
    if isinstance(verdict, Refunded):
        end = "refunded"
        result = attrs.evolve(result, status=end, amount=verdict.amount, refund_id=verdict.refund_id, reason=None)
    elif isinstance(verdict, NotRefunded):
        end = "refused"
        result = attrs.evolve(result, status=end, reason=verdict.reason)
    if end == "refunded" or by is not None:
        at, id_ = (yield from now()), "refund_" + (yield from token())
        paid = (order.challenge_id, order.payment_id)
        type_ = ev.PAYMENT_REFUNDED if end == "refunded" else ev.PAYMENT_REFUND_FAILED
        told = moved_event(type_, at, (id_, 1), name, rail, (result.amount, order.currency), paid, by)
        events = ((told if end == "refunded" else attrs.evolve(told, reason=end)).to_row(),)
    try:
        close = CloseRefund(proof, fence, end, result.amount, result.refund_id or "", result.reason or "", events)
        done = cast("bool", (yield close))
    except LedgerError as error:
        _log.warning("the ledger does not answer (%s); a refund's order stays open", error)
        return attrs.evolve(
            result,
            status="unknown",
            refund_id=None,
            reason="the provider has answered, but that could not be recorded; ask for the same refund again",
        )
    if not done:
        _log.info("the refund of %s was recorded by another call", order.payment_id)
    return result
