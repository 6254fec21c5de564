"""What the commands about a ledger have in common."""

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from flovia.cli.events import ledger_of
from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.ledger.opening import open_ledger
from flovia.settings import Settings

if TYPE_CHECKING:
    from flovia.ledger.sql import SqlLedger


@contextmanager
def opened(
    ledger: str | None, settings: Settings | None = None, *, patience_s: float | None = None
) -> "Generator[SqlLedger]":
    """The ledger in a database that a command is about. ``patience_s``: how long one call may take, if not the usual.

    Raises:
        WiringError: it is not there, or lives in memory.
    """
    url = ledger_of(ledger)
    retention = None if settings is None else settings.retention
    found = open_ledger(url, create=False, retention=retention, patience_s=patience_s)
    try:
        if not hasattr(found, "database"):
            raise WiringError("this command looks after ledgers in a database only: --ledger sqlite:///flovia.db")
        yield cast("SqlLedger", found)
    finally:
        found.close()


def write_json(members: Mapping[str, JsonValue]) -> None:
    """One JSON object on a line."""
    sys.stdout.write(json.dumps(members) + "\n")
