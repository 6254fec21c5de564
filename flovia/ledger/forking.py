"""What must happen to open databases when the process forks.

SQLite forbids to carry a connection into a child: the child would believe in locks that only the parent
holds. So connections are closed before a fork, and parent and child each open their own when they need one.
"""

import os
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """Something that cannot be carried into a child as it is."""

    def before_fork(self) -> None:
        """Finish what runs, close what must not be inherited, and let nothing start."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on."""
        ...

    def after_fork_in_child(self) -> None:
        """Start afresh, with new locks; also called where a C program forked without the first step."""
        ...


_watched: WeakSet[ForkAware] = WeakSet()


def watch(thing: ForkAware) -> None:
    """Tell ``thing`` about every fork, as long as it lives."""
    _watched.add(thing)


def _before() -> None:
    for thing in tuple(_watched):
        thing.before_fork()


def _in_parent() -> None:
    for thing in tuple(_watched):
        thing.after_fork_in_parent()


def _in_child() -> None:
    for thing in tuple(_watched):
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
