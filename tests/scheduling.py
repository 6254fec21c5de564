"""Which tests one worker of pytest-xdist runs together, and in which order workers take them.

A file's tests stay together, because many start a server for all of them. The behaviour table is the exception: its
servers have nothing to do with each other, and together they would keep one worker busy long after the others are idle.
"""

from typing import Final

from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

SPLIT: Final = "tests/adapters/test_behaviour.py::test_row["
"""Split by the first part of the parameters: an adapter on a server."""

LONG: Final = (
    "tests/docs/",
    "tests/dashboard/",
    "tests/showcase/",
    "tests/world/",
    "tests/adapters/",
    "tests/client/",
    "tests/campaigns/",
    "tests/ledger/",
    "tests/e2e/",
    "tests/hooks/",
    "tests/properties/",
    "tests/leaks/",
    "tests/test_hygiene.py",
    "tests/cli/",
    "tests/sandbox/",
)
"""What takes longest, by wall clock, is begun first: otherwise the last worker is alone with it."""


def scope_of(nodeid: str) -> str:
    """The name of what is run together with this test: its class or file, or its row's server."""
    if nodeid.startswith(SPLIT):
        return nodeid.partition("-")[0]
    return nodeid.partition("[")[0].rpartition("::")[0]


def rank(scope: str) -> int:
    """The earlier, the smaller."""
    return next((place for place, start in enumerate(LONG) if scope.startswith(start)), len(LONG))


class LongestFirst(LoadScopeScheduling):
    """Classes and files as units of work, the longest first."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)
