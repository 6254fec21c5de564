"""One finding as its page shows it: what is known, what was done about it, and what can be done now."""

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.core.exchange import DELIVERED, DELIVERING, REFUNDED, SETTLED
from flovia.insights.integrity import finding, remedied
from flovia.ledger.history import History, look_up
from flovia.providers.registry import is_registered
from flovia.words import moment, money

if TYPE_CHECKING:
    from flovia.insights.attempt import Attempt
    from flovia.ledger.history import Row
    from flovia.ledger.sql import SqlLedger

_DEEDS: Final = {
    ev.PAYMENT_EXPLAINED: "explained",
    ev.PAYMENT_REOPENED: "made redeemable again",
    ev.PAYMENT_REFUND_ASKED: "asked to give back",
    ev.PAYMENT_REFUNDED: "given back",
    ev.PAYMENT_REFUND_FAILED: "not given back",
}
_OF_MONEY: Final = frozenset({ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED, ev.PAYMENT_REFUND_FAILED})
_TRIED: Final = frozenset({ev.ACCESS_GRANTED, ev.PAYMENT_DELIVERY_FAILED, ev.PAYMENT_DELIVERED})
_ENDS: Final = {"refused": "the provider refused", "unknown": "nobody knows the outcome"}


@attrs.frozen(kw_only=True)
class Deed:
    """What somebody did, for people. ``who`` is "" where a program did it, or nobody said who."""

    when: str
    who: str
    what: str
    result: str
    note: str


@attrs.frozen(kw_only=True)
class Refund:
    """What can go back, or went.

    ``state``: ``possible``, ``begun`` (asked for, and nobody knows the outcome: the same can be asked for again),
    ``refused`` (and can be tried again), ``done``, or "" if there is nothing to give back. ``paid`` and ``amount`` (of
    the order) are base units of ``currency``.
    """

    state: str = ""
    paid: int | None = None
    amount: int | None = None
    currency: str = ""
    reason: str = ""

    @property
    def possible(self) -> bool:
        """Whether it can be asked for."""
        return self.state in ("possible", "begun", "refused")

    @property
    def paid_words(self) -> str:
        """All that was paid."""
        return money(self.paid, self.currency or None)

    @property
    def amount_words(self) -> str:
        """What the order is about."""
        return money(self.amount, self.currency or None)


@attrs.frozen(kw_only=True)
class Work:
    """A finding and what can be done about it.

    ``delivered``: whether somebody got what was paid for. ``delivery``: ``possible`` to make it redeemable again,
    ``running`` until ``until``, ``open`` if somebody did so and its agent has not come back yet (it can until
    ``until``; ``reopened`` says who did it and when), or "" if it is none of these. ``fence``: of the payment's row
    where it is one of them. ``foreign``: the provider that took it, if that is none of the app's, so that nothing goes
    back here; else "". ``commands``: whether the command line has that provider.
    """

    attempt: "Attempt"
    others: Sequence["Attempt"]
    events: Sequence[Event]
    deeds: Sequence[Deed]
    delivered: bool
    delivery: str
    until: str
    refund: Refund
    remedy: str
    reopened: Deed | None = None
    fence: int | None = None
    foreign: str = ""
    commands: bool = True

    @property
    def quoted_payment(self) -> str:
        """The payment's id, for a shell."""
        return shlex.quote(self.attempt.payment_id or "")

    @property
    def ident(self) -> str:
        """What a redelivery and a refund name it by."""
        return self.attempt.payment_id or self.attempt.challenge_id or self.attempt.key


def work_on(ledger: "SqlLedger", attempts: Sequence["Attempt"], has_provider: Callable[[str], bool]) -> Work:
    """What is known of the first of these attempts. ``has_provider``: of the app, by name.

    Raises:
        LedgerError: the ledger does not answer.
    """
    one, *others = attempts
    history = look_up(ledger.database, one.payment_id or one.challenge_id or one.request_id)
    row = _row_of(one, history)
    delivery, until = _delivery(row, ledger.now())
    reopened = _reopened(history.events, one) if delivery == "possible" else None
    if reopened is not None and row is not None and float(row["keep_until"] or 0) > ledger.now():
        delivery, until = "open", moment(row["keep_until"])
    foreign = "" if one.provider is None or has_provider(one.provider) else one.provider
    return Work(
        attempt=one,
        others=others,
        events=history.events,
        deeds=[_deed(event) for event in history.events if _is_deed(event, one)],
        delivered=_is_delivered(row),
        delivery=delivery,
        until=until,
        refund=_refund(one, row, history),
        remedy=remedied(finding(one), is_registered).remedy if one.due else "",
        reopened=None if reopened is None else _deed(reopened),
        fence=cast(int, row["fence"]) if row is not None and delivery else None,
        foreign=foreign,
        commands=not foreign or is_registered(foreign),
    )


def is_delivered(ledger: "SqlLedger", one: "Attempt") -> bool:
    """Whether somebody got what was paid for, as the ledger says it now.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return _is_delivered(_row_of(one, look_up(ledger.database, one.payment_id or one.challenge_id or one.request_id)))


def _is_delivered(row: "Row | None") -> bool:
    return row is not None and row["state"] == DELIVERED


def _reopened(events: Sequence[Event], one: "Attempt") -> Event | None:
    """That it was made redeemable again, if nobody has redeemed it since."""
    last = next((e for e in reversed(events) if e.type in (ev.PAYMENT_REOPENED, *_TRIED)), None)
    return last if last is not None and last.type == ev.PAYMENT_REOPENED and _is_deed(last, one) else None


def _row_of(one: "Attempt", history: History) -> "Row | None":
    """The payment's row, if it is still there."""
    own = [row for row in history.payments if one.payment_id is not None and row["payment_id"] == one.payment_id]
    if own or one.payment_id is not None:
        return own[0] if own else None
    return next((row for row in history.payments if str(row["key"]).count("|") == 1), None)


def _delivery(row: "Row | None", now: float) -> tuple[str, str]:
    if row is None or row["refund_due"] or row["state"] not in (SETTLED, DELIVERING) or str(row["key"]).count("|") != 1:
        return "", ""
    until = float(row["lease_until"] or 0)
    if row["state"] == DELIVERING and until > now:
        return "running", moment(until)
    return "possible", ""


def _refund(one: "Attempt", row: "Row | None", history: History) -> Refund:
    if one.payment_id is None:
        return Refund()
    order = next((order for order in history.refunds if order["payment_id"] == one.payment_id), None)
    proof = next((proof for proof in history.proofs if str(proof["proof"]).endswith(f"|{one.payment_id}")), None)
    if order is not None:
        state = {"open": "begun", "refused": "refused"}.get(str(order["state"]), "done")
        return Refund(
            state=state,
            paid=_whole(order["paid"]),
            amount=_whole(order["amount"]),
            currency=str(order["currency"]),
            reason=str(order["reason"] or ""),
        )
    if row is None and proof is None:
        return Refund()
    paid = row if row is not None and row["amount"] is not None else proof
    if paid is None or paid["amount"] is None or (row is not None and row["state"] == REFUNDED):
        return Refund(state="done" if row is not None and row["state"] == REFUNDED else "")
    if row is not None and row["state"] not in (SETTLED, DELIVERING, DELIVERED):
        return Refund()
    amount = _whole(paid["amount"])
    return Refund(state="possible", paid=amount, amount=amount, currency=str(paid["currency"] or ""))


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None


def _is_deed(event: Event, one: "Attempt") -> bool:
    return event.type in _DEEDS and (event.payment_id == one.payment_id or event.payment_id is None)


def _deed(event: Event) -> Deed:
    about = money(event.amount, event.currency) if event.type in _OF_MONEY else ""
    if event.type == ev.PAYMENT_REFUND_FAILED:
        about = f"{about}: {_ENDS.get(event.reason or '', '')}"
    return Deed(
        when=moment(event.at),
        who=event.operator or "",
        what=_DEEDS[event.type],
        result=about,
        note=event.note or "",
    )
