"""What the tests of the fault knobs share: the note of which values they show."""

from typing import Final

import pytest

from flovia.sandbox.wire import Json
from tests.sandbox.local import Local

SHOWN: Final[set[tuple[str, str]]] = set()
"""Each knob and value that a test of a module imported so far shows."""


def shows(knob: str, *values: str) -> pytest.MarkDecorator:
    """Mark a test as the one that shows these values; it is run once for each of them, or once for all."""
    SHOWN.update((knob, value) for value in values)
    return pytest.mark.parametrize("local", values, ids=[f"{knob}-{value}" for value in values], indirect=True)


def listed(local: Local, what: str) -> list[Json]:
    """A list of the control API."""
    found = local.control(f"GET {what}")[what]
    assert isinstance(found, list)
    return found
