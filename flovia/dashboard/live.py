"""The live page's stream: what the one reader has seen, to each page that watches."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from flovia.core.errors import FloviaError
from flovia.dashboard.http import in_thread
from flovia.dashboard.joined_rows import row_of
from flovia.insights.attempt import superseded
from flovia.words import safe

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Keeper, Seen
    from flovia.dashboard.linking import Linker

LOOK_S: Final = 0.25
"""How often a stream looks at what was seen. In memory: the ledger is not asked."""
BREATH_S: Final = 5.0
"""After so long without anything a comment is sent, so that nothing in between takes the connection for dead."""
RETRY_MS: Final = 250
LASTS_S: Final = 8.0
"""How long one stream lasts. The browser asks for the next one by itself and is asked again who is there; and no server
that is told to end waits longer: less than the ten seconds after which many who run servers kill them."""
MOST_STREAMS: Final = 200
"""Streams of one process at once."""
Wanted = Callable[["Seen"], bool]


@attrs.frozen
class News:
    """What came: the event to ask with next, rows as JSON, the oldest first, and the ids of rows that are gone, because
    they are none of the wanted any more, or part of another one.
    """

    after: int
    rows: Sequence[str]
    gone: Sequence[str]

    def __str__(self) -> str:
        """The same as one JSON object."""
        return f'{{"after": {self.after}, "rows": [{", ".join(self.rows)}], "gone": {json.dumps([*self.gone])}}}'


async def news(keeper: "Keeper", position: int, wanted: Wanted, link: "Linker") -> News:
    """What came behind this event.

    Raises:
        LedgerError: it had to be asked, and does not answer, or it is not there any more.
    """
    keeper.check()
    found = keeper.at_hand(position)
    if found is None:
        found = await in_thread(lambda: keeper.since(position), abandon=True)
    after, seen = found
    rows = [_text(one, link) for one in seen if wanted(one)]
    gone = [key for one in seen for key in superseded(one.kept.attempt)]
    gone += [one.kept.attempt.key for one in seen if not wanted(one)]
    return News(after, rows, [safe(key) for key in gone])


async def stream(keeper: "Keeper", position: int, wanted: Wanted, link: "Linker") -> AsyncIterator[str]:
    """Server-sent events, one for each look that found something, for a while.

    Their ids are positions in the ledger, so that the next stream may be another process's.
    """
    yield f"retry: {RETRY_MS}\n\n"
    quiet, told, said = 0.0, None, position
    for _ in range(round(LASTS_S / LOOK_S)):
        if keeper.closed:
            return
        keeper.look()
        if keeper.failing:
            return  # the next one is refused, so that its page knows
        if keeper.told is not told:
            told = keeper.told
            try:
                found = await news(keeper, position, wanted, link)
            except FloviaError:
                return  # the browser asks for the next one
            position = found.after
            if found.rows or found.gone:
                said, quiet = position, 0.0
                yield f"id: {position}\ndata: {found}\n\n"
        quiet += LOOK_S
        if quiet >= BREATH_S:
            # An id alone is told to nobody, but the next stream begins there.
            yield f": still here\n{_mark(position, said)}\n"
            said, quiet = position, 0.0
        await anyio.sleep(LOOK_S)
    yield f"{_mark(position, said) or ': until then'}\n"


def _mark(position: int, said: int) -> str:
    return "" if position == said else f"id: {position}\n"


def _text(one: "Seen", link: "Linker") -> str:
    """A row as JSON, written once for all who watch."""
    found = one.texts.get(link.root)
    if found is None:
        found = one.texts[link.root] = json.dumps(row_of(one.kept, link.attempt))
    return found
