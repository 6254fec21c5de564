"""What users may rely on: the names ``flovia`` exports, and only those."""

import importlib
import inspect
import subprocess
import sys

import pytest

import flovia
from tests.tree import ADAPTERS


def test_the_front_door_names_everything_once() -> None:
    """``__all__`` lists each name that can be loaded, once (ruff's RUF022 keeps it in order)."""
    assert sorted({*flovia._EXPORTS, "__version__"}) == sorted(flovia.__all__)


@pytest.mark.parametrize("name", sorted(flovia.__all__))
def test_every_exported_name_exists_and_is_documented(name: str) -> None:
    """What ``flovia`` exports can be imported, and a class or function says what it is for."""
    value = getattr(flovia, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value), f"flovia.{name} has no docstring"


def test_dir_shows_names_that_are_loaded_on_first_use() -> None:
    """Completion in an editor or a shell offers every exported name, loaded or not."""
    assert set(flovia.__all__) <= set(dir(flovia))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelled name fails as with any module, and says which name."""
    with pytest.raises(AttributeError, match="paid_apy"):
        getattr(flovia, "paid_" + "apy")


def test_a_star_import_works() -> None:
    """``from flovia import *`` binds every exported name."""
    code = "from flovia import *; import flovia; assert set(flovia.__all__) <= set(globals())"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_has_the_one_verb(adapter: str) -> None:
    """An adapter's verb is ``paid``, and its receiver ``webhooks``, documented, whatever the framework."""
    module = importlib.import_module(adapter)
    assert "paid" in module.__all__
    assert inspect.getdoc(module.paid)
    assert "webhooks" in module.__all__
    assert inspect.getdoc(module.webhooks)
