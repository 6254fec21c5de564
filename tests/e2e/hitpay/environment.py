"""The environment that the HitPay examples are run in: a broker on this machine, and nothing of the reader's own."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flovia.sandbox import Sandbox, serving


@contextmanager
def examples_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Generator[Sandbox]:
    """A sandbox whose settings are in the environment; the app makes its ledger in the folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("flovia.api._default", None)
    for name in ("FLOVIA_LEDGER", "FLOVIA_PRICE", "FLOVIA_SECRET", "FLOVIA_PUBLIC_ORIGIN"):
        monkeypatch.delenv(name, raising=False)
    with serving() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found
