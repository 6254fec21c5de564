"""``flovia ledger reconcile``, ``redeliver``, ``prune`` and ``forget``."""

import shlex
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt
from rich.text import Text

from flovia.api import Flovia
from flovia.cli.console import complain, console, hint, in_line
from flovia.cli.ledger_opening import opened, write_json
from flovia.cli.moments import parse_moment
from flovia.cli.operating import operator_of
from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError
from flovia.core.hiding import PAYER, hider
from flovia.core.reconciling import Finding
from flovia.settings import read_settings
from flovia.words import counted, moment, money, safe

if TYPE_CHECKING:
    from flovia.ledger.retention import Doomed
    from flovia.ledger.sql import SqlLedger

PRUNE_PAUSE_S: Final = 0.02
"""Between two batches, so that paid requests get their turn."""


def reconcile(
    *,
    provider: str = "hitpay",
    since: str | None = None,
    limit: PositiveInt = 500,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Ask the provider about every charge that is due a look, and put on record what nobody told of.

    For lost webhooks and agents that died after paying. Run it every few minutes, on as many machines as you like. The
    provider takes its settings from the environment, as in the app. Exit status 1 if something could not be found out.

    Args:
        provider: the provider's name.
        since: leave charges alone that expired before, like 2026-01-31 or 2026-01-31T12:00:00Z.
        limit: charges to ask about, at most.
        everything: every charge that is still known (30 days), also those that are settled or closed.
        dry_run: write nothing, and say what would be written.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object a line.
    """
    after = 0.0 if since is None else parse_moment(since)
    with opened(ledger) as found:
        flo = Flovia(provider=provider, ledger=found)
        run = flo.reconcile(provider=provider, since=after, limit=limit, everything=everything, dry_run=dry_run)
    for finding in run.findings:
        if as_json:
            amount = None if finding.amount is None else str(finding.amount)
            write_json({**attrs.asdict(finding), "amount": amount, **({"dry_run": True} if dry_run else {})})
        else:
            console().print(Text("dry run  " if dry_run else "", style="dim") + _line(finding))
    if not as_json:
        asked, findings = counted(run.asked, "charge"), counted(len(run.findings), "finding")
        counts = f"{asked} asked about, {run.in_order} in order, {findings}"
        console().print(f"dry run, nothing was written: {counts}" if dry_run else counts)
        if not run.asked and not run.findings and not everything:
            console().print("none is due a look; --all asks about every charge that is still known")
    if not run.complete:
        complain(
            "not everything that is due was looked at: the provider could not be asked (the reason stands above), or"
            " there was more; run again"
        )
    return 1 if not run.complete or any(finding.status == "unknown" for finding in run.findings) else 0


def _line(finding: Finding) -> Text:
    parts = (
        finding.charge or finding.challenge_id,
        money(finding.amount, finding.currency),
        finding.payment_id if finding.payment_id != finding.charge else "",
        finding.reason,
        f"its agent can still come for it; to give it back: flovia refund {finding.payment_id}"
        if finding.status == "waiting"
        else "",
    )
    style = "red" if finding.status in ("unknown", "refunded_in_part") else "yellow"
    return Text(f"{finding.status:<17}", style=style) + in_line(parts)


def redeliver(
    ident: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    by: str | None = None,
    note: str = "",
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Make a payment that was taken and not delivered redeemable again, with its deliveries counted anew.

    Its own credential still has to be presented. What was delivered or given back, or is to be given back, is refused.
    It is on record as payment.reopened, with who did it. Exit status 1 if it was refused.

    Args:
        ident: of the challenge, the payment or a request.
        force: end a delivery that still holds its lease; if it is alive, the same may be delivered twice.
        by: who does it; if left out, the user that runs the command.
        note: why, for whoever looks at it later.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    from flovia.remedies import redeliver as let_again

    operator = operator_of(by, note)
    with opened(ledger) as found:
        again = let_again(found, ident, operator, force=force)
    result = again.reopening
    if result is None:
        what = "more than one payment" if again.several else "no payment whose row is still there"
        there = "" if ledger is None else " (with the same --ledger)"
        complain(f"{ident!r} is {what}; see what is known: flovia ledger show {shlex.quote(ident)}{there}")
        return 1
    challenge_id, payment_id = again.challenge_id, again.payment_id
    if as_json:
        write_json({"challenge_id": challenge_id, "payment_id": payment_id, **attrs.asdict(result)})
    if result.outcome == "reopened":
        if not as_json:
            console().print(Text(f"redeemable again: {safe(challenge_id)}  {safe(payment_id)}", style="green"))
        if result.until:
            hint(
                f"a delivery had it until {moment(result.until)}, and that was ended: if its process is alive, the same"
                " may be delivered twice"
            )
        return 0
    complain(
        {
            "delivering": f"it is being delivered until {moment(result.until)}; wait, or end that with --force",
            "refund_due": "its money is to go back: flovia refunds",
            "refused": f"it is {result.state}, and only what is paid and not delivered can be redelivered",
            "changed": f"somebody did something about it a moment ago: flovia ledger show {shlex.quote(ident)}",
            "unknown": "it was forgotten a moment ago",
        }[result.outcome]
    )
    return 1


def prune(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    export: Path | None = None,
    events_days: PositiveInt | None = None,
    unpaid_events_days: PositiveInt | None = None,
    delivered_days: NonNegativeInt | None = None,
    attempts_days: PositiveInt | None = None,
    ledger: str | None = None,
) -> int:
    """Forget what is past its time, in small batches while the app goes on: what the app does by itself, all at once.

    The policy is FLOVIA_RETENTION, unless it is given here. Never forgotten are used proofs, refunds, payments whose
    outcome is unknown, and paid ones that are not delivered. What an exporter has not got yet stays; what reports have
    not read yet is read first.

    Args:
        dry_run: only count the events and rows that would go.
        export: append the events to this file first, one JSON object a line, on disk before they are deleted. A new
            file can be read by its owner only.
        events_days: keep events for so many days.
        unpaid_events_days: keep events of requests that nobody paid for, for so many days.
        delivered_days: keep rows of delivered payments for so many days, if that is longer than they redeem.
        attempts_days: keep what reports know of each attempt for so many days; the counts by day stay.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
    """
    from flovia.cli.prune_file import PruneFile
    from flovia.ledger.attempts import has_attempts
    from flovia.ledger.retention import events_of, find_doomed, find_held, unpaid_cursor
    from flovia.reports.reading import catch_up

    settings = read_settings()
    given = {
        "events_days": events_days,
        "unpaid_events_days": unpaid_events_days,
        "delivered_days": delivered_days,
        "attempts_days": attempts_days,
    }
    retention = attrs.evolve(settings.retention, **{name: value for name, value in given.items() if value is not None})
    gone = rows = 0
    with opened(ledger, attrs.evolve(settings, retention=retention)) as found, ExitStack() as stack:
        file = None
        if export is not None and not dry_run:
            file = stack.enter_context(closing(PruneFile(export, found.database)))
        if not dry_run and has_attempts(found.database):
            catch_up(found)  # what reports have not read yet, they could not read any more
        database, now, head = found.database, found.now(), 0
        unpaid, more = unpaid_cursor(database), not retention.for_ever
        while more:
            doomed = find_doomed(database, retention, now, head=head, unpaid=unpaid)
            if dry_run:
                gone += len(doomed.positions)
            else:
                if file is not None:
                    file.append(events_of(database, doomed))
                gone += database.call(partial(_remove, found, doomed))
                time.sleep(PRUNE_PAUSE_S)
            head, unpaid, more = doomed.head, doomed.unpaid, doomed.more
        would_go = found.count_forgettable() if dry_run else {}
        while not dry_run and (done := found.prune()):
            rows += done
            time.sleep(PRUNE_PAUSE_S)
        held = find_held(database, retention, now)
    if dry_run:
        kinds = [counted(count, kind.removesuffix("s")) for kind, count in would_go.items()]
        console().print(f"dry run: {', '.join([counted(gone, 'event'), *kinds])} would be pruned")
    else:
        pruned = counted(gone, "event was", "events were")
        console().print(f"{pruned} pruned" + (f", and {counted(rows, 'row')}" if rows else ""))
    if held is not None:
        past = counted(held.events, "event past its time waits", "events past their time wait")
        names = ", ".join(map(safe, held.sinks))
        hint(
            f"{past} for {names}, which {'has' if len(held.sinks) == 1 else 'have'} not got them yet: start the"
            f" exporter, or forget a sink that is no more: flovia events sinks --forget {shlex.quote(held.sinks[0])}"
        )
    return 0


def forget(
    *,
    payer: str | None = None,
    keyed: Annotated[bool, Parameter(name="--hash", negative="")] = False,
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Take a payer out of all events, with the workflows of the same requests; amounts and payments stay.

    It may be repeated. Run it again some minutes later: events wait in the app before they are written.

    Args:
        payer: as events name it. Required.
        keyed: write a keyed hash in place of each name (FLOVIA_SECRET), so that what is left still joins.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    from flovia.core.hiding import PREFIX
    from flovia.ledger.forgetting import forget as take_out
    from flovia.ledger.forgetting import hides_names

    if not payer:
        raise CallerError(
            "who is to be forgotten? flovia ledger forget --payer NAME; flovia events --raw has the names"
        )
    settings = read_settings()
    if keyed and not settings.hiding_keys:
        raise CallerError("--hash needs the key: set FLOVIA_SECRET as in the app")
    names = {payer, *(hider(key)(payer) for key in settings.hiding_keys)}
    hide = hider(settings.hiding_keys[0]) if keyed else None
    with opened(ledger) as found:
        hashed = not payer.startswith(PREFIX) and hides_names(found.database)
        if hashed and not settings.hiding_keys:
            raise CallerError(
                "this ledger names payers by a keyed hash, and without the key nobody knows which is this one: set"
                " FLOVIA_SECRET (and FLOVIA_PAYER_KEY, if the app has one) as in the app; nothing was changed"
            )
        result = take_out(found.database, names if hide is None else names - {hide(payer)}, hide)
    shown: dict[str, JsonValue] = dict(attrs.asdict(result))
    if as_json:
        write_json(shown)
    else:
        done = {"answers": "deleted"}
        told = (
            f"{counted(count, name.replace('_', ' ').removesuffix('s'))} {done.get(name, 'changed')}"
            for name, count in attrs.asdict(result).items()
        )
        console().print(", ".join(told))
    if hashed and not any(attrs.astuple(result)):
        complain(
            "nobody here has that name, in clear or under FLOVIA_PAYER_KEY and FLOVIA_SECRET as they are set; if the"
            " app had another key before, set that one"
        )
        return 1
    return 0


def hash_payers(
    *, ledger: str | None = None, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> int:
    """Write a keyed hash in place of every payer that events and reports still name, as the app does from now on.

    For a ledger from before payers were hashed by default, so that each is one payer in reports again. Amounts,
    payments and workflows stay. In batches, while the app goes on; it may be repeated.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    from flovia.ledger.forgetting import hash_names

    settings = read_settings()
    if not settings.hiding_keys:
        raise CallerError("hashing payers needs the key: set FLOVIA_SECRET as in the app")
    with opened(ledger) as found:
        result = hash_names(found.database, hider(settings.hiding_keys[0], (PAYER,)))
    if as_json:
        write_json({"events": result.events, "attempts": result.attempts})
    else:
        console().print(f"{counted(result.events, 'event')} changed, {counted(result.attempts, 'attempt')} changed")
    return 0


def _remove(ledger: "SqlLedger", doomed: "Doomed") -> int:
    from flovia.ledger.retention import remove

    with ledger.database.write() as connection:
        return remove(ledger.database, connection, doomed)
