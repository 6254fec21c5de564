"""The dashboard: what the ledger says about the business, as pages to mount behind your own authentication.

::

    from flovia.dashboard import Dashboard

    app.mount("/dashboard", Dashboard(flo, authorize=who_is_it))
"""

from flovia.dashboard.access import Visitor
from flovia.dashboard.app import Dashboard

__all__ = ["Dashboard", "Visitor"]
