"""``flovia events tail``: joined events as they come, and again whenever something comes for them."""

import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from flovia.cli.console import complain, console, hint
from flovia.cli.ending import until_told
from flovia.cli.event_line import event_line
from flovia.cli.events import ledger_of
from flovia.cli.ledger_opening import opened
from flovia.cli.moments import HYPHENS, moment_of
from flovia.cli.report_options import PATIENCE_S, tell_of_many
from flovia.core.errors import LedgerError
from flovia.ledger.opening import shown
from flovia.reports.reading import fold_new, fold_on

if TYPE_CHECKING:
    from flovia.insights.joined import Kept
    from flovia.ledger.sql import SqlLedger

POLL_S: Final = 1.0
"""How often it is looked for what is new."""
Wait = Callable[[float], bool]
Show = Callable[["Sequence[Kept]"], None]


def tail(
    *,
    ledger: str | None = None,
    since: Annotated[str | None, HYPHENS] = None,
    endpoint: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Print joined events as they come, until SIGTERM or Ctrl-C: one for each attempt that is new or has changed.

    An attempt is printed as it is by then: again when it is paid, delivered or refunded. Exit status 0 when it was
    told to end.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        since: begin with the attempts that began at this time or later, like 2026-01-31, 2026-01-31T12:00:00Z or 30d
            (ago); if left out, with what comes from now on.
        endpoint: only this one, as flovia events names it.
        as_json: one JSON object a line, as flovia events schema describes it.
    """
    with opened(ledger, patience_s=PATIENCE_S) as found, until_told() as wait:
        start = moment_of(since, found.now())
        show = _Printer(as_json)

        def over(seconds: float) -> bool:
            return wait(seconds) or reader_gone(sys.stdout.fileno())

        try:
            follow(found, start, endpoint, show, over, shown(ledger_of(ledger)))
        except BrokenPipeError:
            # Nobody reads any more. Python would try to write what is left when it ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def follow(ledger: "SqlLedger", since: float | None, endpoint: str | None, show: Show, wait: Wait, name: str) -> None:
    """Show the attempts that began at a time, and those that change from now on, until ``wait`` says: enough.

    Raises:
        LedgerError: the ledger does not answer at the beginning; later it is tried again.
    """
    from flovia.insights.sql_joined import began, changed

    def told() -> bool:
        return wait(0.0)

    database = ledger.database
    position = fold_new(ledger, told, lambda cursor: tell_of_many(ledger, cursor))
    if since is not None:
        for page in began(database, since, endpoint=endpoint, position=position):
            show(page)
            if told():
                return
    elif sys.stderr.isatty():
        hint(f"waiting for what comes into {name}; Ctrl-C ends")
    failing = False
    while not wait(POLL_S):
        try:
            head = fold_on(ledger, told)
            for page in changed(database, position, head, endpoint=endpoint) if head > position else ():
                show(page)
                if told():
                    return
            position, failing = head, False
        except LedgerError as error:
            # What was printed of this round comes again: better twice than never.
            if not failing:
                complain(f"{error}; it is tried again")
            failing = True


def reader_gone(descriptor: int) -> bool:
    """Whether what is written to it can reach nobody any more: the other end of a pipe or socket is closed."""
    watched = select.poll()
    watched.register(descriptor, 0)
    return any(what & (select.POLLERR | select.POLLHUP) for _, what in watched.poll(0))


class _Printer:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, page: "Sequence[Kept]") -> None:
        from flovia.insights.joined import line

        out = console()
        for one in page:
            if self._as_json:
                sys.stdout.write(line(one.to_json()) + "\n")
            else:
                # Not printed by rich itself: where nobody reads any more, that ends the program.
                with out.capture() as told:
                    out.print(event_line(one.attempt))
                sys.stdout.write(told.get())
        sys.stdout.flush()
