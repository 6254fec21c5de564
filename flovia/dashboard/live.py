"""The live page's stream: what the one reader has seen, to each page that watches."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio

from flovia.dashboard.joined_rows import row_of

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Keeper, Seen
    from flovia.dashboard.linking import Linker

LOOK_S: Final = 0.25
"""How often a stream looks at what was seen. In memory: the ledger is not asked."""
BREATH_S: Final = 15.0
"""After so long without anything a comment is sent, so that nothing in between takes the connection for dead."""
RETRY_MS: Final = 1000
LASTS_S: Final = 20.0
"""How long one stream lasts. The browser asks for the next one by itself and is asked again who is there; and no server
that is told to end waits longer."""
MOST_STREAMS: Final = 200
"""Streams of one process at once."""
Wanted = Callable[["Seen"], bool]


def news(keeper: "Keeper", number: int, wanted: Wanted, link: "Linker") -> tuple[int, list[str]]:
    """What came after this number: the number to ask with next, and rows as JSON, the oldest first."""
    seen = keeper.since(number)
    newest = seen[-1].number if seen else keeper.newest
    # Numbers begin anew with each process: a page that knows a larger one was told so by another.
    return newest, [_text(one, link) for one in _last_of_each(seen) if wanted(one)]


def message(newest: int, rows: Sequence[str]) -> str:
    """The same as one JSON object."""
    return f'{{"after": {newest}, "rows": [{", ".join(rows)}]}}'


async def stream(keeper: "Keeper", number: int, wanted: Wanted, link: "Linker") -> AsyncIterator[str]:
    """Server-sent events, one for each look that found something, for a while."""
    yield f"retry: {RETRY_MS}\n\n"
    number = min(number, keeper.newest)
    quiet = 0.0
    for _ in range(round(LASTS_S / LOOK_S)):
        if keeper.closed:
            return
        keeper.look()
        if keeper.newest > number:
            number, rows = news(keeper, number, wanted, link)
            if rows:
                yield f"id: {number}\ndata: {message(number, rows)}\n\n"
                quiet = 0.0
        quiet += LOOK_S
        if quiet >= BREATH_S:
            yield ": still here\n\n"
            quiet = 0.0
        await anyio.sleep(LOOK_S)


def _text(one: "Seen", link: "Linker") -> str:
    """A row as JSON, written once for all who watch."""
    found = one.texts.get(link.root)
    if found is None:
        found = one.texts[link.root] = json.dumps(row_of(one.kept, link.attempt))
    return found


def _last_of_each(seen: "Sequence[Seen]") -> "Sequence[Seen]":
    """Each attempt as it is by now."""
    return list({one.kept.attempt.key: one for one in seen}.values())
