"""How long tests wait, at most, for what is certain to come.

A slow machine is not a wrong answer, and a time limit that is never reached costs nothing: every wait for an
event, an answer or a process may take this long. Short limits stand only where running into them is the point.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from flovia.ledger import postgres, sqlite

T = TypeVar("T")

PATIENT_S: Final = 60.0
"""Longest wait for one answer or event."""
PROGRAM_S: Final = 180.0
"""Longest wait for a program that has Python and a framework to load first."""

PROMISED_S: Final = sqlite.PATIENCE_S
"""How long a SQLite ledger really waits for its turn, before :func:`be_patient`."""
PROMISED_POSTGRES_S: Final = postgres.PATIENCE_S
"""How long a call of a PostgreSQL ledger may really take, before :func:`be_patient`."""


def be_patient() -> None:
    """Let this process's SQL ledgers wait longer for their turn: a stalled disk would be an outage otherwise."""
    sqlite.PATIENCE_S = PATIENT_S  # type: ignore[misc]  # Final for everybody else
    postgres.PATIENCE_S = PATIENT_S  # type: ignore[misc]


def eventually(look: Callable[[], T], good: Callable[[T], bool], *, every_s: float = 0.01) -> T:
    """What ``look`` finds, once it is ``good``, or what it found last when patience is at an end."""
    give_up = time.monotonic() + PATIENT_S
    while not good(found := look()) and time.monotonic() < give_up:
        time.sleep(every_s)
    return found
