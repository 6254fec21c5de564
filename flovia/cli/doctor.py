"""``flovia doctor``: what is wrong with the setup, and what to do about it."""

from typing import Annotated, Final

import attrs
from cyclopts import Parameter
from rich.text import Text

from flovia.cli.console import console
from flovia.cli.ledger_opening import write_json
from flovia.doctor import examine
from flovia.words import safe

STYLES: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


def doctor(
    *,
    ledger: str | None = None,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Look at settings, versions, clocks, the ledger and what waits in it, and say what to do about each finding.

    It shows no secret and changes nothing; the ledger's speed is measured with a text that is gone a second later. Exit
    status 0 if nothing is to be done, 1 if something should be, 2 if something must be.

    Args:
        ledger: its URL; if left out, FLOVIA_LEDGER, and without that sqlite:///flovia.db.
        offline: do not ask the provider for its time.
        quiet: only what there is something to do about.
        as_json: one JSON object.
    """
    found = examine(ledger=ledger, offline=offline)
    shown = [one for one in found.findings if not quiet or one.level in ("warning", "error")]
    if as_json:
        write_json({"status": found.status, "findings": [attrs.asdict(one) for one in shown]})
        return found.status
    out = console()
    for one in shown:
        out.print(Text(f"{one.level:<8}", style=STYLES[one.level]) + Text(f"{one.check:<12}{safe(one.text)}", style=""))
        if one.remedy:
            out.print(Text(f"{'':<20}{safe(one.remedy)}", style="dim"))
    return found.status
