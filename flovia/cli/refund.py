"""``flovia refund`` gives a payment back, ``flovia refunds`` lists what is due."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from flovia.api import Flovia
from flovia.cli.console import complain, console, hint, in_line
from flovia.cli.events import ledger_of
from flovia.cli.ledger_opening import opened, write_json
from flovia.cli.operating import operator_of
from flovia.core.errors import CallerError
from flovia.core.operator import Operator
from flovia.core.provider import Provider
from flovia.core.refunding import RefundError, RefundResult
from flovia.ledger.opening import open_ledger
from flovia.providers.registry import find_provider
from flovia.words import money

if TYPE_CHECKING:
    from flovia.ledger.sql import SqlLedger


def refund(
    payment_id: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    provider: str | None = None,
    amount: str | None = None,
    by: str | None = None,
    note: str = "",
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Give a payment back, in full or in part, through the provider that took it; there is one refund for a payment.

    The provider takes its settings from the environment, as in the app. Exit status 0 if the money that was asked for
    is on its way back, or went back before; 1 if not. If the outcome is unknown, run the same command again: it asks
    for the same refund.

    Args:
        payment_id: the provider's reference of the payment, as in flovia events.
        provider: the provider's name; if left out, the one that the ledger has for this payment.
        amount: with its currency, like "0.50 SGD"; all of it if left out.
        by: who does it; if left out, the user that runs the command.
        note: why, for whoever looks at it later.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    operator = operator_of(by, note)
    with opened(ledger) as found:
        flo = Flovia(provider=_provider_of(found, payment_id, provider), ledger=found)
        result, before = _refund(flo, payment_id, amount, operator)
    if as_json:
        shown = {**attrs.asdict(result), "amount": str(result.amount)}
        write_json(shown)
    elif result.status == "refunded":
        word = "refunded before, nothing was asked for now" if before else "refunded"
        parts = (word, money(result.amount, result.currency), result.payment_id, result.refund_id or "")
        console().print(in_line(parts, "green"))
    if result.status != "refunded":
        complain(f"{result.status}: {result.reason}")
        return 1
    return 0


def refunds(
    *,
    ledger: str | None = None,
    limit: PositiveInt = 100,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the payments whose refund is due or begun and not known to be made, the oldest first.

    Exit status 0, also if there are none.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        limit: how many, at most.
        as_json: one JSON object a line.
    """
    with closing(open_ledger(ledger_of(ledger), create=False)) as owing:
        found = owing.find_due(limit)
    for due in found:
        if as_json:
            shown = {
                "method": due.method,
                "payment_id": due.payment_id,
                "challenge_id": due.challenge_id,
                "amount": str(due.amount),
                "currency": due.currency,
                "ordered": None if due.ordered is None else str(due.ordered),
            }
            write_json(shown)
        else:
            begun = "" if due.ordered is None else f"refund of {money(due.ordered, due.currency)} begun"
            parts = (due.method, due.payment_id, money(due.amount, due.currency), begun)
            console().print(in_line(parts))
    if not found and not as_json:
        hint("nothing is to be given back")
    return 0


def _refund(flo: Flovia, payment_id: str, amount: str | None, by: Operator) -> tuple[RefundResult, bool]:
    """What became of the refund, and whether it was made before: a repeat is no failure."""
    try:
        return flo.refund(payment_id, amount, by=by), False
    except RefundError as error:
        if error.done is None:
            raise
        return error.done, True


def _provider_of(ledger: "SqlLedger", payment_id: str, named: str | None) -> Provider:
    """The provider that took a payment, as its events and its proof have it.

    Raises:
        CallerError: the ledger does not know the payment, knows more than one, or knows another than was named.
        WiringError: there is no such provider.
    """
    from flovia.ledger.history import look_up, methods_of_charge

    given = None if named is None else find_provider(named)
    history = look_up(ledger.database, payment_id)
    proofs = {str(row["proof"]) for row in history.proofs}
    names = {event.provider for event in history.events if event.payment_id == payment_id and event.provider}
    methods = {proof.partition("|")[0] for proof in proofs if proof.partition("|")[2] == payment_id}
    if not names and not methods:
        methods = methods_of_charge(ledger.database, payment_id)  # if nobody has presented it yet
    if not names and not methods:
        leads_to = {proof.partition("|")[2] for proof in proofs} | {event.payment_id or "" for event in history.events}
        if leads_to - {""}:
            ids = ", ".join(sorted(leads_to - {""}))
            raise CallerError(f"{payment_id!r} is no payment's id; it leads to: {ids}. Refund that")
    names = names or methods
    by = " and by ".join(sorted(names))
    if given is not None:
        if names and not names & {given.name, given.method}:
            raise CallerError(f"{payment_id!r} was paid by {by}, not by {named}: leave --provider out")
        return given
    if not names:
        raise CallerError(
            f"no payment {payment_id!r} is in this ledger; payment ids are in flovia events --paid and in receipts. Is"
            " it the ledger that the app writes (FLOVIA_LEDGER, --ledger)?"
        )
    if len(names) > 1:
        raise CallerError(f"{payment_id!r} was paid by {by}: say which with --provider")
    return find_provider(names.pop())
