"""The dashboard: what the ledger says about the business, as pages to mount behind your own authentication.

::

    from flovia.dashboard import Dashboard

    app.mount("/dashboard", Dashboard(flo, authorize=who_is_it))
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flovia.dashboard.access import Visitor as Visitor
    from flovia.dashboard.app import Dashboard as Dashboard

# Loaded when first used: who only asks who is there need not wait for every page.
_EXPORTS = {"Dashboard": "flovia.dashboard.app", "Visitor": "flovia.dashboard.access"}

__all__ = ["Dashboard", "Visitor"]


def __getattr__(name: str) -> object:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'flovia.dashboard' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
