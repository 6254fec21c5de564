"""Money in = receipts + refunds due, whatever happens in which order: one seed is one story.

::

    python -m tests.campaigns.hitpay --seeds 10000

A story has one to four agents, their payers, the faults of the sandbox, lost calls and answers, deadlines and dying
processes. Then the storm is over, everybody insists, every webhook is sent once more, and the books must balance.
"""

import argparse
import sys
import time
from typing import Final

from tests.campaigns.hitpay_agents import PRICE, Agent
from tests.campaigns.hitpay_world import HitPayWorld, Odds

FAULTS: Final = (
    {"knob": "webhook", "value": "lost"},
    {"knob": "webhook", "value": "duplicate"},
    {"knob": "webhook", "value": "delayed", "seconds": 60},
    {"knob": "webhook", "value": "out_of_order", "hold": 30},
    {"knob": "webhook", "value": "bad_signature", "next": 2},
    {"knob": "webhook", "value": "wrong_salt", "next": 1},
    {"knob": "webhook", "value": "enveloped"},
    {"knob": "webhook", "value": "truncated", "next": 1},
    {"knob": "webhook", "value": "foreign"},
    {"knob": "pr_lag", "value": "seconds", "seconds": 45},
    {"knob": "pr_lag", "value": "forever"},
    {"knob": "broker_status_stuck", "value": "status"},
    {"knob": "broker_status_stuck", "value": "verify", "next": 5},
    {"knob": "http", "value": "503", "route": "B3", "next": 2},
    {"knob": "http", "value": "500", "route": "B3", "next": 2, "after_commit": True},
    {"knob": "http", "value": "429", "route": "B1", "next": 1, "retry_after": 3},
    {"knob": "http", "value": "reset", "route": "B1", "next": 1, "after_commit": True},
    {"knob": "http", "value": "hang", "route": "B3", "next": 1},
    {"knob": "http", "value": "non_json", "route": "B3", "next": 1},
    {"knob": "http", "value": "extra_fields"},
    {"knob": "http", "value": "missing_fields", "next": 1},
    {"knob": "http", "value": "redirect", "next": 1},
    {"knob": "jws", "value": "rotate", "next": 1},
    {"knob": "jws", "value": "bad_signature", "next": 1},
    {"knob": "jws", "value": "wrong_kid", "next": 1},
    {"knob": "jws", "value": "wrong_hash", "next": 1},
    {"knob": "jws", "value": "wrong_charge", "next": 1},
    {"knob": "jws", "value": "alg_none", "next": 1},
    {"knob": "jwks", "value": "down", "next": 3},
    {"knob": "jwks", "value": "empty", "next": 2},
    {"knob": "nonce", "value": "duplicate", "next": 1},
    {"knob": "verify", "value": "pending", "times": 3},
    {"knob": "verify", "value": "single_use"},
)


def story(seed: int) -> HitPayWorld:
    """Run one seed to its end and check the books.

    Raises:
        AssertionError: they do not balance; ``world.trace`` tells the story.
    """
    world = HitPayWorld(seed)
    for fault in world.random.sample(FAULTS, world.random.choice((0, 0, 1, 2, 4))):
        world.control("PUT", "faults", dict(fault))
    if world.random.random() < 0.7:
        rate = world.random.choice((0.02, 0.1, 0.25))
        world.odds = Odds(unsent=rate, lost=rate, slow=rate / 2, crash=rate / 8)
    agents = [Agent(world, number + 1) for number in range(world.random.randint(1, 4))]
    try:
        world.run()
        _calm(world, agents)
        _check(world, agents)
    except AssertionError as error:
        error.add_note("\n".join([f"seed {seed}", *world.trace[-60:]]))
        raise
    return world


def _calm(world: HitPayWorld, agents: list[Agent]) -> None:
    """Everything works again: what was paid is redeemed, and every webhook comes once more."""
    world.odds = Odds()
    world.control("DELETE", "faults")
    world.trace.append("calm")
    for agent in agents:
        world.spawn(f"agent {agent.client} insists", agent.insist())
    world.run()
    for _ in range(2):
        for delivery in list(world.state.deliveries):
            world.control("POST", f"webhooks/{delivery}/redeliver")
        world.run()


def _check(world: HitPayWorld, agents: list[Agent]) -> None:
    events = world.events()
    flagged = {event.payment_id for event in events if event.type in ("payment.late", "payment.unmatched")}
    settled = [event.payment_id for event in events if event.type == "payment.settled"]
    recorded = [event.payment_id for event in events if event.type in ("payment.delivered", "payment.redelivered")]
    assert len(settled) == len(set(settled)), "settled twice"
    assert len(recorded) == len(set(recorded)), "delivered twice"
    assert set(recorded) <= set(settled), "delivered without a settlement"
    money_in = sum(payment.amount for payment in world.state.payments.values() if payment.status != "failed")
    accounted = 0
    for agent in agents:
        for charge in agent.challenges:
            ending = agent.endings.get(charge)
            first, *more = world.payments(charge) or [None]
            if first is None:
                assert charge not in settled, f"{charge}: settled and nobody paid"
                continue
            if charge in settled:
                assert first.amount == PRICE, f"{charge}: settled, and another amount was paid"
                assert ending == "delivered", f"{charge}: paid, settled, and never delivered ({ending})"
                accounted += first.amount
            else:
                # Whoever paid in time and in full is not asked again.
                late = first.at >= world.state.charges[charge].expires_at
                assert late or first.amount != PRICE, f"{charge}: paid in full and in time, and {ending}"
                assert charge in flagged, f"{charge}: {ending}, and nobody says that the money has to go back"
                accounted += first.amount
            for payment in more:
                assert payment.id in flagged, f"{charge}: paid again, and nobody says so"
                accounted += payment.amount
    assert money_in == accounted, f"{money_in} came in, {accounted} is accounted for"
    if not world.graves:
        assert all(times == 1 for times in world.handed_over.values()), f"handed over twice: {world.handed_over}"


def main() -> int:
    """Run many seeds; prints the first that fails."""
    parser = argparse.ArgumentParser(description="many stories of payers, agents, HitPay and failures")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    paid = delivered = graves = 0
    for seed in range(options.first, options.first + options.seeds):
        world = story(seed)
        paid += sum(payment.status != "failed" for payment in world.state.payments.values())
        delivered += len(world.handed_over)
        graves += len(world.graves)
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{options.seeds} stories, {paid} payments, {delivered} deliveries, {graves} dead flows, {seconds:.0f} s: ok\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
