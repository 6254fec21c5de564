"""What the interop tests share: one Node process for the whole run."""

from collections.abc import Iterator

import pytest

from tests.interop.javascript import Javascript


@pytest.fixture(scope="session")
def javascript() -> Iterator[Javascript]:
    """mppx, in a Node process that lives as long as the tests."""
    with Javascript() as process:
        yield process
