"""What really happened, in the world's own words: plain records, written by whoever made it happen.

Nothing of flovia is used here. A request is written down, with the answer that is due to it, before the gate sees it;
what only the answer can say (its challenge's id, when it came) is added afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

START_MS = 1_704_067_200_000
"""Monday, 1 January 2024, 00:00 UTC."""
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


@dataclass(slots=True, kw_only=True, eq=False)
class Ask:
    """One HTTP request to a paid route, and the answer it has to get.

    ``at`` and ``until``: ms since 1970, when it came and when its answer had gone. ``brings``: the story whose
    credential it carries, ``shows``: the one whose challenge its answer carries. ``own``: the story in which it counts.
    """

    id: str
    at: int
    verb: str
    status: int
    problem: str | None
    brings: "Story | None" = None
    shows: "Story | None" = None
    own: "Story | None" = None
    until: int = 0

    @property
    def ms(self) -> int:
        """How long it took."""
        return self.until - self.at


@dataclass(slots=True, kw_only=True, eq=False)
class Story:
    """One attempt: somebody sees a price (or only money comes), and what becomes of it.

    ``kind``: ``attempt``, ``probe``, ``turned_away`` or ``money``. ``item``: which thing of the route. ``caller``: who
    asks, as the shop itself knows it. ``price``: base units of ``currency``. Times are ms since 1970: ``shown_at`` the
    price, ``brought_at`` the first credential, ``paid_at``, ``delivered_at``, ``last_at`` what happened outside of
    requests. ``verdict_ms``: how long the bank took to say that it was paid; ``handler_ms``: the answer that was
    delivered. ``fate``: what became of it. ``came``, ``came_in``: the money; ``back``: what of it was given back.
    ``explained``: an operator has said that nothing is to be done about it.
    """

    number: int
    kind: str
    endpoint: str
    provider: str | None
    at: int
    item: int = 0
    price: int | None = None
    currency: str | None = None
    challenge_id: str | None = None
    payment_id: str | None = None
    payer: str | None = None
    caller: str | None = None
    workflow: str | None = None
    shown_at: int | None = None
    brought_at: int | None = None
    paid_at: int | None = None
    delivered_at: int | None = None
    verdict_ms: int | None = None
    handler_ms: int | None = None
    failures: int = 0
    fate: str = "not_paid"
    came: int | None = None
    came_in: str | None = None
    back: int | None = None
    last_at: int = 0
    explained: bool = False
    asks: list[Ask] = field(default_factory=list[Ask])

    @property
    def own(self) -> list[Ask]:
        """The requests that count here and nowhere else."""
        return [ask for ask in self.asks if ask.own is self]

    @property
    def telling(self) -> Ask | None:
        """The request that says how it ended: the one that delivered, else the last that paid, else the last."""
        brought = [ask for ask in self.asks if ask.brings is self]
        delivered = [ask for ask in brought if self.delivered_at is not None and ask.until == self.delivered_at]
        found = delivered[:1] or brought[-1:] or self.asks[-1:]
        return found[0] if found else None

    @property
    def problem(self) -> str | None:
        """What its telling request was refused with; that a price was shown is no refusal."""
        telling = self.telling
        return None if telling is None or telling.problem == "payment-required" else telling.problem

    @property
    def money_in(self) -> int:
        """Base units that came, also what buys nothing."""
        return self.came or 0


class Truth:
    """Everything that happened, and what the world planted."""

    def __init__(self) -> None:
        self.stories: list[Story] = []
        self.asks = 0
        self.now = START_MS

    def story(self, kind: str, endpoint: str, provider: str | None, at: int, workflow: str | None = None) -> Story:
        """A new story."""
        found = Story(
            number=len(self.stories), kind=kind, endpoint=endpoint, provider=provider, at=at, workflow=workflow
        )
        found.item = found.number % 50
        self.stories.append(found)
        return found

    def chained(self, first: Story, ask: Ask) -> Story:
        """The story of a price that was shown in answer to a credential of another one."""
        found = self.story("attempt", first.endpoint, first.provider, ask.at, first.workflow)
        found.item, found.caller, found.payer = first.item, first.caller, first.caller
        found.asks.append(ask)
        ask.shows = found
        return found

    def ask(self, story: Story, at: int, verb: str, status: int, problem: str | None, *, brings: bool) -> Ask:
        """A request that is about to be sent, with the answer it has to get."""
        self.asks += 1
        found = Ask(
            id=f"req_{self.asks:07d}",
            at=at,
            verb=verb,
            status=status,
            problem=problem,
            brings=story if brings else None,
            shows=None if brings else story,
            own=story,
        )
        story.asks.append(found)
        if brings and story.brought_at is None:
            story.brought_at = at
        return found

    def money(self, of: Story, payment_id: str, amount: int, currency: str, at: int) -> Story:
        """Money that no request brought: a second payment of a story's challenge."""
        found = self.story("money", "", of.provider, at)
        found.challenge_id, found.payment_id = of.challenge_id, payment_id
        found.came, found.came_in, found.last_at = amount, currency, at
        return found

    def attempts(self) -> Iterator[Story]:
        """Those who saw a price, or paid."""
        return (story for story in self.stories if story.kind == "attempt")
