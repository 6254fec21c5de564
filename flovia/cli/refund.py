"""``flovia refund`` gives a payment back, ``flovia refunds`` lists what is due."""

import json
import sys
from contextlib import closing
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.text import Text

from flovia.api import Flovia
from flovia.cli.console import complain, console, money, safe
from flovia.cli.events import ledger_of
from flovia.ledger.opening import open_ledger


def refund(
    payment_id: str,
    /,
    *,
    provider: str,
    amount: str | None = None,
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Give a payment back, in full or in part, through the provider that took it; there is one refund for a payment.

    The provider takes its settings from the environment, as in the app. Exit status 0 if the money is on its way
    back, 1 if not; if the outcome is unknown, run the same command again: it asks for the same refund.

    Args:
        payment_id: the provider's reference of the payment, as in flovia events.
        provider: the provider's name.
        amount: with its currency, like "0.50 SGD"; all of it if left out.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    with closing(open_ledger(ledger_of(ledger), create=False)) as opened:
        result = Flovia(provider=provider, ledger=opened).refund(payment_id, amount)
    if as_json:
        shown = {**attrs.asdict(result), "amount": str(result.amount)}
        sys.stdout.write(json.dumps(shown) + "\n")
    elif result.status == "refunded":
        parts = ("refunded", money(result.amount, result.currency), result.payment_id, result.refund_id or "")
        console().print(Text("  ".join(safe(part) for part in parts if part), style="green"))
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
    with closing(open_ledger(ledger_of(ledger), create=False)) as opened:
        found = opened.find_due(limit)
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
            sys.stdout.write(json.dumps(shown) + "\n")
        else:
            begun = "" if due.ordered is None else f"refund of {money(due.ordered, due.currency)} begun"
            parts = (due.method, due.payment_id, money(due.amount, due.currency), begun)
            console().print(Text("  ".join(safe(part) for part in parts if part), style=""))
    return 0
