"""Who runs a command that does something about a payment, and ``flovia ledger explain``."""

import getpass
import os
import shlex
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from flovia.cli.console import complain, console
from flovia.cli.ledger_opening import opened, write_json
from flovia.core.errors import CallerError
from flovia.core.operator import Operator
from flovia.words import safe


def operator_of(by: str | None, note: str = "") -> Operator:
    """Who does it: the name that was given, else the system's user.

    Raises:
        CallerError: nobody knows who, or the name or the note cannot be kept.
    """
    return Operator.checked(by if by is not None else _user(), note)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        uid = getattr(os, "getuid", None)
        if uid is None:
            raise CallerError("nobody knows who runs this: say so with --by NAME") from None
        return f"uid {uid()}"


def explain(
    ident: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    note: str | None = None,
    by: str | None = None,
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Take a finding out of the integrity queue: say why nothing is to be done about it.

    It is on record as payment.explained and changes nothing else: what is paid and not delivered can still be
    redeemed or given back. If something happens later that needs somebody, it is in the queue again. Exit status 1 if
    there was nothing to explain.

    Args:
        ident: of the payment, the challenge, a request or the attempt.
        note: why. Required.
        by: who says so; if left out, the user that runs the command.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    from flovia.remedies import explain as say_why

    if not (note or "").strip():
        raise CallerError("why is nothing to be done? flovia ledger explain ID --note TEXT")
    operator = operator_of(by, note or "")
    with opened(ledger) as found:
        result = say_why(found, ident, operator)
    done = result.outcome == "explained"
    if as_json:
        told = [{"attemptId": one.key, "paymentId": one.payment_id, "outcome": one.outcome} for one in result.attempts]
        write_json({"outcome": result.outcome, "by": operator.name, "attempts": [dict(one) for one in told]})
    if done:
        if not as_json:
            one = result.attempts[0]
            named = one.payment_id or one.challenge_id or one.key
            console().print(Text(f"explained by {safe(operator.name)}: {safe(named)}  {one.insight}", style="green"))
        return 0
    due = [one.payment_id or one.key for one in result.attempts if one.due]
    there = "" if ledger is None else f" --ledger {shlex.quote(ledger)}"
    told_before = next((one for one in result.attempts if one.explained), None)
    complain(
        {
            "explained_before": f"{told_before.explained_by} explained it before: {told_before.explanation}"
            if told_before is not None
            else "",
            "not_due": f"nothing is to be done about {ident!r}: " + ", ".join(one.insight for one in result.attempts),
            "several": f"{ident!r} leads to {len(due)} that need somebody; name one of {', '.join(due)}",
            "unknown": f"nothing in this ledger has the id {ident!r}; the queue is: flovia report integrity{there}",
        }[result.outcome]
    )
    return 1
