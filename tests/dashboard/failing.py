"""A ledger whose events cannot be read for a while, as seen by the dashboards of this process."""

import threading

import attrs
import pytest

from flovia.core.errors import LedgerError
from flovia.dashboard import keeper
from flovia.ledger.sql import SqlLedger
from flovia.reports import reading


@attrs.define
class Failing:
    """What was planted: reading fails while ``now`` is set."""

    now: threading.Event = attrs.Factory(threading.Event)
    only: SqlLedger | None = None
    """The one that fails; None for all. An earlier test's may still be read in this process, for two minutes."""
    tries: int = 0
    """How often it has failed."""


def plant(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """From now on reading can fail, until the test ends."""
    planted, real = Failing(), keeper.fold_on

    def sometimes(ledger: SqlLedger, *how: object) -> int:
        if planted.now.is_set() and planted.only in (None, ledger):
            planted.tries += 1
            raise LedgerError("the disk is full")
        return real(ledger, *how)  # type: ignore[arg-type] # what it is called with

    for one in (keeper, reading):
        monkeypatch.setattr(one, "fold_on", sometimes)
    return planted
