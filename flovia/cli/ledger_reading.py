"""``flovia ledger show``, ``undelivered`` and ``verify``: they read and change nothing."""

from collections.abc import Mapping
from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from rich.text import Text

from flovia.cli.console import complain, console, hint, in_line, members
from flovia.cli.ledger_opening import opened, write_json
from flovia.core.delivery import MAX_DELIVERIES
from flovia.core.encoding import JsonValue
from flovia.core.events import Event
from flovia.core.exchange import DELIVERING
from flovia.words import counted, moment, money, safe

WIDTH: Final = 14
_TIMES: Final = ("at", "created_at", "updated_at", "lease_until", "keep_until")
_REDEEMS: Final = {
    "redeemable": "redeems until {until}",
    "over": "redeems no more, since {until}",
    "exhausted": "redeems no more, its deliveries are used up",
    "perhaps_exhausted": f"redeems no more, unless its route allows more than {MAX_DELIVERIES} deliveries",
    DELIVERING: "",
}
_FLAGS: Final = ("refund_due", "was_due")
Row = Mapping[str, str | int | float | bool | None]


def show(
    ident: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    ledger: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show everything that a ledger knows about one payment: its rows, what it used up, its refund, its events.

    Nothing secret is shown: no receipt, no fingerprint, no nonce. Exit status 1 if nothing has this id.

    Args:
        ident: of the challenge, the payment, a request, the refund, or any of the provider's own.
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        as_json: one JSON object.
    """
    from flovia.ledger.history import look_up

    with opened(ledger) as found:
        history = look_up(found.database, ident)
    if not history.found:
        complain(f"nothing in this ledger has the id {ident!r}; is it the ledger that the app writes (FLOVIA_LEDGER)?")
        return 1
    parts = {"payment": history.payments, "used proof": history.proofs, "refund": history.refunds}
    if as_json:
        write_json(
            {
                "challenge_ids": list(history.challenge_ids),
                "payments": [_plain(row) for row in history.payments],
                "proofs": [_plain(row) for row in history.proofs],
                "refunds": [_plain(row) for row in history.refunds],
                "events": [_event(event) for event in history.events],
            }
        )
        return 0
    out = console()
    for title, rows in parts.items():
        for row in rows:
            out.print(Text(title, style="bold"))
            out.print(members(_readable(row), WIDTH))
    for event in history.events:
        parts_of_line = (
            moment(event.at),
            event.type,
            f"{event.http_method} {event.endpoint}".strip(),
            str(event.status or ""),
            money(event.amount, event.currency),
            event.problem or "",
            event.request_id,
            f"by {event.operator}" if event.operator else "",
            event.note or "",
        )
        out.print(in_line(parts_of_line))
    return 0


def undelivered(
    *,
    ledger: str | None = None,
    limit: PositiveInt = 100,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List the payments that were taken and are not delivered, the oldest first, and whether their credentials redeem.

    At the end come those that are being delivered: if such a process has died, its payment redeems when its time is
    over. Exit status 0, also if there are none. What redeems no more is for you to decide about: flovia ledger
    redeliver, or flovia refund.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        limit: how many, at most.
        as_json: one JSON object a line.
    """
    from flovia.ledger.delivering import find_delivering
    from flovia.ledger.exhausted import standings

    with opened(ledger) as found:
        now = found.now()
        rows = list(found.find_undelivered(limit))
        stands: list[str] = [*standings(found.database, rows, now)]
        running = find_delivering(found.database, now, limit - len(rows)) if len(rows) < limit else ()
    rows += running
    stands += [DELIVERING] * len(running)
    for one, standing in zip(rows, stands, strict=True):
        if as_json:
            shown: dict[str, JsonValue] = {
                **attrs.asdict(one),
                "amount": None if one.amount is None else str(one.amount),
            }
            write_json({"challenge_id": one.challenge_id, **shown, "standing": standing})
        else:
            parts = (
                one.challenge_id,
                one.payment_id,
                money(one.amount, one.currency),
                f"delivering until {moment(one.lease_until)}" if standing == DELIVERING else one.state,
                f"{counted(one.deliveries, 'delivery', 'deliveries')} begun",
                _REDEEMS[standing].format(until=moment(one.keep_until)),
            )
            console().print(in_line(parts))
    if not as_json and not rows:
        hint("nothing is paid and undelivered")
    if not as_json and any(standing not in ("redeemable", DELIVERING) for standing in stands):
        hint(
            "what redeems no more waits for you: flovia ledger redeliver ID makes it redeemable again, flovia refund ID"
            " gives the money back"
        )
    return 0


def verify(
    *,
    ledger: str | None = None,
    limit: PositiveInt = 100,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Check every invariant over the whole ledger, in pages; it may run while the app does.

    Exit status 1 if something does not hold.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        limit: findings that are printed, at most; all are counted.
        as_json: one JSON object a line.
    """
    from flovia.ledger.verifying import Counts
    from flovia.ledger.verifying import verify as check

    counts, wrong, of_events = Counts(), 0, False
    out = console()
    with opened(ledger) as found:
        for finding in check(found.database, counts):
            wrong += 1
            of_events = of_events or finding.subject.startswith("event ")
            if wrong > limit:
                continue
            if as_json:
                write_json(attrs.asdict(finding))
            else:
                line = Text(f"{finding.invariant:<{WIDTH}}", style="red")
                about = finding.subject
                if finding.ident not in ("", about):
                    about += f" ({finding.ident})"
                out.print(line + Text(f"{safe(about)}: {safe(finding.text)}", style=""))
    seen = {"payment": counts.payments, "proof": counts.proofs, "refund": counts.refunds, "event": counts.events}
    looked = ", ".join(counted(count, one) for one, count in seen.items())
    if wrong:
        complain(
            f"{counted(wrong, 'finding')} in {looked}; show each with: flovia ledger show ID"
            + (" (of an event: the id in brackets)" if of_events else "")
        )
        return 1
    if not as_json:
        out.print(Text(f"nothing is wrong: {looked}", style="green"))
    return 0


def _plain(row: Row) -> dict[str, JsonValue]:
    return {name: bool(value) if name in _FLAGS else value for name, value in row.items()}


def _readable(row: Row) -> dict[str, JsonValue]:
    """A row for people: times as times, amounts as money, nothing that is empty."""
    shown: dict[str, JsonValue] = {}
    currency = row.get("currency")
    for name, value in row.items():
        if name in _TIMES:
            value = moment(value)
        elif name in _FLAGS:
            value = "yes" if value else None
        elif name in ("amount", "paid") and isinstance(value, str) and value.isdecimal() and isinstance(currency, str):
            value = money(int(value), currency)
        if value not in (None, "") and name != "currency":
            shown[name] = value
    return shown


def _event(event: Event) -> dict[str, JsonValue]:
    return {**attrs.asdict(event), "amount": None if event.amount is None else str(event.amount)}
