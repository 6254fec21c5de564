"""What tests of the sandbox share."""

import pytest

from tests.sandbox.local import Local


@pytest.fixture
def local() -> Local:
    """A sandbox of its own, without sockets."""
    return Local()
