"""The live page's stream: what the one reader has seen, to each page that watches."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio

from flovia.core.encoding import JsonValue
from flovia.dashboard.joined_rows import row_of

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Keeper, Seen

LOOK_S: Final = 0.25
"""How often a stream looks at what was seen. In memory: the ledger is not asked."""
BREATH_S: Final = 15.0
"""After so long without anything a comment is sent, so that nothing in between takes the connection for dead."""
RETRY_MS: Final = 2000
Wanted = Callable[["Seen"], bool]
Address = Callable[[str], str]


def news(keeper: "Keeper", number: int, wanted: Wanted, address: Address) -> dict[str, JsonValue]:
    """What came after this number: rows, the oldest first, and the number to ask with next."""
    seen = keeper.since(number)
    # Numbers begin anew with each process: a page that knows a larger one was told so by another.
    if number > keeper.newest:
        seen = ()
    newest = seen[-1].number if seen else keeper.newest
    return {"after": newest, "rows": [row_of(one.kept, address) for one in _last_of_each(seen) if wanted(one)]}


async def stream(keeper: "Keeper", number: int, wanted: Wanted, address: Address) -> AsyncIterator[str]:
    """Server-sent events, one for each look that found something, for as long as somebody reads."""
    yield f"retry: {RETRY_MS}\n\n"
    number = min(number, keeper.newest)
    quiet = 0.0
    while True:
        keeper.look()
        if keeper.newest > number:
            found = news(keeper, number, wanted, address)
            number = keeper.newest if found["after"] is None else int(str(found["after"]))
            if found["rows"]:
                yield f"id: {number}\ndata: {json.dumps(found)}\n\n"
                quiet = 0.0
        quiet += LOOK_S
        if quiet >= BREATH_S:
            yield ": still here\n\n"
            quiet = 0.0
        await anyio.sleep(LOOK_S)


def _last_of_each(seen: "Sequence[Seen]") -> "Sequence[Seen]":
    """Each attempt as it is by now."""
    return list({one.kept.attempt.key: one for one in seen}.values())
