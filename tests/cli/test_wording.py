"""Numbers of things, and the command that resumes a payment."""

from pathlib import Path

import pytest

from flovia.cli.wording import in_commands, resuming
from flovia.words import counted


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 payments"), (1, "1 payment"), (2, "2 payments"), (1000, "1000 payments")]
)
def test_counted(count: int, expected: str) -> None:
    """One of a thing is one, everything else is several."""
    assert expected == counted(count, "payment")


def test_counted_otherwise() -> None:
    """Words with a plural of their own, whole beginnings of a sentence, and counts that ended early."""
    assert ("1 delivery", "0 deliveries") == (
        counted(1, "delivery", "deliveries"),
        counted(0, "delivery", "deliveries"),
    )
    assert "1 event was" == counted(1, "event was", "events were")
    assert "1 or more payments" == counted(1, "payment", or_more=True)


def test_resuming() -> None:
    """The folder is named if it was given, quoted for the shell; wherever an error says resume(reference)."""
    folder = Path("/tmp/kept here")
    assert "flovia pay --resume abc" == resuming("abc", None)
    assert "flovia pay --resume abc --state '/tmp/kept here'" == resuming("abc", folder)
    assert "flovia pay --resume REFERENCE --state '/tmp/kept here' --data @FILE" == in_commands(
        "resume(reference, content=…)", None, folder
    )
