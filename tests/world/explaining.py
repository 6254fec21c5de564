"""An operator who looks through the queue at the end, and says of some that nothing is to be done about them."""

from collections.abc import Iterator

from flovia.core.events import Event
from flovia.core.operator import Operator
from flovia.insights.attempt import attempts
from flovia.insights.explaining import explained_event
from flovia.ledger.base import Ledger
from tests.world.counting_money import NEEDS_SOMEBODY, key_of
from tests.world.truth import Story, Truth

ALICE = Operator(name="alice", note="settled by telephone")
PAGE = 5000


def explain_some(ledger: Ledger, truth: Truth) -> int:
    """Explain about a third of what needs somebody, of each fate that more than one had; how many."""
    known = {one.key: one for one in attempts(_events(ledger))}
    chosen = [story for fate in NEEDS_SOMEBODY for story in _of(truth, fate)[1::3]]
    for number, story in enumerate(chosen):
        story.explained, story.last_at = True, max(story.last_at, truth.now)
        ledger.append([explained_event(known[key_of(story)], truth.now / 1000, f"explain_{number}", ALICE).to_row()])
    ledger.flush()
    return len(chosen)


def _of(truth: Truth, fate: str) -> list[Story]:
    return [story for story in truth.stories if story.fate == fate and story.kind in ("attempt", "money")]


def _events(ledger: Ledger) -> Iterator[Event]:
    position = 0
    while found := ledger.read_events(position, PAGE):
        yield from (event for _, event in found)
        position = found[-1][0]
