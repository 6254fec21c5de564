"""Where a secret may be seen, and why: by the beginning of a test's id, the kinds that it may show.

Each entry is a place where showing the thing is the feature, or where a test shows it on purpose. Kinds are those of
:mod:`tests.leaks.search` and :mod:`tests.leaks.spies`; ``*`` is all of them.
"""

from typing import Final

ALLOWED: Final[dict[str, tuple[frozenset[str], str]]] = {}
