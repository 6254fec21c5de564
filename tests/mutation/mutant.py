"""One mistake."""

from itertools import takewhile
from typing import Final

import attrs

AROUND: Final = 60
"""Characters of a statement that are shown on either side of what changes."""


@attrs.frozen(kw_only=True)
class Mutant:
    """A module with one mistake in it.

    ``function`` is the name and first line of the outermost function around it, None where it takes effect while the
    module is loaded; ``lines`` are those that run it, ``()`` for any of the module.
    """

    id: str
    module: str
    line: int
    function: tuple[str, int] | None
    lines: tuple[int, ...]
    was: str
    now: str
    source: str = attrs.field(repr=False)

    @property
    def around(self) -> tuple[str, str]:
        """What it was and what is planted: of a long statement what changes, with a little on either side."""
        was, now = self.was, self.now
        begin, end = _same(was, now), _same(was[::-1], now[::-1])
        end = min(end, len(was) - begin, len(now) - begin)
        return _cut(was, begin, end), _cut(now, begin, end)

    @property
    def shown(self) -> str:
        """A line that says what was planted."""
        was, now = self.around
        return f"{self.module}:{self.line} [{self.id}] {was}  ->  {now}"


def _cut(text: str, begin: int, end: int) -> str:
    """The text but for most of its first ``begin`` and its last ``end`` characters, which are the same in both."""
    first = max(0, begin - AROUND)
    last = min(len(text), len(text) - end + AROUND)
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"


def _same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
