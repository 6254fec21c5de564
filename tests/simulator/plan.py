"""What a seed stands for: who takes part and what goes wrong, drawn once. A failing story is told again with less."""

import random
from typing import Final, Literal

import attrs

LedgerKind = Literal["direct", "memory", "sql"]
ProviderKind = Literal["mock", "push", "pull", "hitpay"]
AgentKind = Literal["honest", "impatient", "greedy"]

MAX_SKEW_MS: Final = 1000
"""How far a worker's clock may be off, either way: two differ by two seconds at most, as the SQL ledger demands."""
HITPAY_EVERY: Final = 48
"""One seed in so many is about HitPay: its sandbox costs as much as ten of the others."""


@attrs.frozen(kw_only=True)
class Plan:
    """One story. Rates are per effect, in 1; instants and lengths in ms from the beginning.

    ``expires_in_s``: life of a challenge. ``max_deliveries``: and
    ``redeem_for_s``: as the gate's. ``operators``: people who give money back,
    at any time. ``rising``: the price goes up in the middle. ``cancels``: the server cancels a request whose client is
    gone. ``pays_back``: at the end somebody gives back all that is due.
    """

    seed: int
    ledger: LedgerKind
    provider: ProviderKind
    skews_ms: tuple[int, ...]
    agents: tuple[AgentKind, ...]
    store_fails: float = 0.0
    ack_lost: float = 0.0
    store_slow: float = 0.0
    outages: tuple[tuple[int, int], ...] = ()
    unsent: float = 0.0
    answer_lost: float = 0.0
    broker_slow: float = 0.0
    broker_fails: float = 0.0
    client_lost: float = 0.0
    dies: float = 0.0
    freezes: float = 0.0
    handler_fails: float = 0.0
    operators: int = 0
    rising: bool = False
    cancels: bool = False
    pays_back: bool = False
    sink_blocked: bool = False
    expires_in_s: int = 300
    max_deliveries: int = 1000
    redeem_for_s: float = 604800.0

    @property
    def tolerance_ms(self) -> int:
        """By how much two ideas of a lease's end may differ."""
        return max(self.skews_ms) - min(self.skews_ms) if self.ledger == "sql" else 0


def draw(seed: int, provider: ProviderKind | None = None) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    chance, choice = rng.random, rng.choice
    if provider is None:
        provider = choice(("mock", "push", "push", "pull", "pull"))
        if seed % HITPAY_EVERY == HITPAY_EVERY - 1:
            provider = "hitpay"
    luck = chance()
    ledger: LedgerKind = "direct" if luck < 0.12 else "sql" if luck < 0.22 else "memory"
    direct = ledger == "direct"
    workers = 1 if direct else choice((1, 2, 2, 3))
    agents = [choice(("honest", "honest", "impatient", "greedy")) for _ in range(choice((1, 1, 2, 2, 3)))]
    if provider == "hitpay":
        agents = agents[:2]
    storm = 0.0 if direct or chance() < 0.25 else choice((0.01, 0.05, 0.15))
    broker = 0.0 if chance() < 0.3 else choice((0.03, 0.12, 0.3))
    # A store that is away for longer than a delivery's lease is told apart from one that forgets.
    outages = tuple(
        (rng.randrange(20_000), choice((500, 3_000, 25_000))) for _ in range(0 if direct else choice((0, 0, 1)))
    )
    skew = 0 if direct or chance() < 0.5 else MAX_SKEW_MS
    return Plan(
        seed=seed,
        ledger=ledger,
        provider=provider,
        skews_ms=tuple(rng.randint(-skew, skew) for _ in range(workers)),
        agents=tuple(agents),
        store_fails=storm,
        ack_lost=storm,
        store_slow=storm / 5,
        outages=outages,
        unsent=broker / 2,
        answer_lost=broker,
        broker_slow=broker / 2,
        broker_fails=broker / 2,
        client_lost=choice((0.0, 0.05, 0.2)),
        dies=0.0 if direct else choice((0.0, 0.0, 0.01, 0.04)),
        freezes=0.0 if direct else choice((0.0, 0.0, 0.01, 0.03)),
        handler_fails=choice((0.0, 0.1, 0.3)),
        operators=choice((0, 0, 0, 1, 2)),
        rising=provider != "hitpay" and chance() < 0.1,
        cancels=chance() < 0.3,
        pays_back=chance() < 0.5,
        sink_blocked=chance() < 0.3,
        expires_in_s=choice((300, 300, 300, 30)) if provider != "hitpay" else 600,
        max_deliveries=choice((1000, 1000, 1000, 2)),
        redeem_for_s=choice((604800.0, 604800.0, 604800.0, 200.0)),
    )


REDUCTIONS: Final[dict[str, dict[str, object]]] = {
    "deaths": {"dies": 0.0},
    "freezes": {"freezes": 0.0},
    "store": {"store_fails": 0.0, "ack_lost": 0.0, "store_slow": 0.0, "outages": ()},
    "broker": {"unsent": 0.0, "answer_lost": 0.0, "broker_slow": 0.0, "broker_fails": 0.0},
    "network": {"client_lost": 0.0, "cancels": False},
    "handler": {"handler_fails": 0.0},
    "refunds": {"operators": 0, "pays_back": False},
    "sink": {"sink_blocked": False},
    "rise": {"rising": False},
}
"""What can be left out of a story, by the word of ``--without``."""


def reductions(plan: Plan) -> list[str]:
    """The words that change this plan, in the order in which they are worth trying."""
    words = [f"agent{number}" for number in range(len(plan.agents) - 1, -1, -1)] if len(plan.agents) > 1 else []
    words += [
        word for word, parts in REDUCTIONS.items() if any(getattr(plan, name) != off for name, off in parts.items())
    ]
    if any(plan.skews_ms):
        words.append("skew")
    if len(plan.skews_ms) > 1:
        words.append("workers")
    return words


def without(plan: Plan, words: tuple[str, ...] | list[str]) -> Plan:
    """The plan with less in it. ``agentN`` counts the agents of the whole plan, from 0.

    Raises:
        ValueError: no such word.
    """
    gone = {int(word.removeprefix("agent")) for word in words if word.startswith("agent")}
    agents = tuple(kind for number, kind in enumerate(plan.agents) if number not in gone)
    plan = attrs.evolve(plan, agents=agents)
    for word in words:
        if word == "skew":
            plan = attrs.evolve(plan, skews_ms=(0,) * len(plan.skews_ms))
        elif word == "workers":
            plan = attrs.evolve(plan, skews_ms=plan.skews_ms[:1])
        elif not word.startswith("agent"):
            if word not in REDUCTIONS:
                raise ValueError(f"--without takes agentN, skew, workers, {', '.join(REDUCTIONS)}; not {word}")
            plan = attrs.evolve(plan, **REDUCTIONS[word])  # type: ignore[arg-type]  # names and values stand side by side
    return plan
