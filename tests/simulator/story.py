"""One seed from beginning to end: the storm, the calm, and the books."""

import flovia
from flovia.core.effects import Flow
from tests.simulator.agents import Agent, Purchase
from tests.simulator.hitpay import HitPayWorld
from tests.simulator.plan import Plan
from tests.simulator.scheduler import Wait
from tests.simulator.world import Odds, World

PAUSES_MS = (300, 3_000, 20_000, 90_000)


def tell(plan: Plan, *, tracing: bool = False) -> World:
    """Run one plan to its end.

    Raises:
        Violation: a promise was broken; the exception has the world as ``world``.
    """
    world = (HitPayWorld if plan.provider == "hitpay" else World)(plan, tracing=tracing)
    try:
        agents = [Agent(world, number, kind) for number, kind in enumerate(plan.agents)]
        for number in range(plan.operators):
            world.spawn(f"operator {number}", _operate(world))
        world.run()
        _calm(world, agents)
        _check(world)
        _replay(world, agents)
        world.model.check_events()
    except BaseException as error:
        error.world = world  # type: ignore[attr-defined]  # for whoever tells the story
        raise
    return world


def _operate(world: World) -> Flow[None]:
    """Somebody gives payments back, in full or in part, whenever it occurs to them."""
    rng = world.rng
    for _ in range(rng.choice((1, 2))):
        yield Wait(rng.choice(PAUSES_MS))  # type: ignore[misc]  # the scheduler's own effect
        settled = [one.payment_id for one in world.model.accounts.values() if one.settled]
        if settled:
            payment = rng.choice(settled)
            amount = rng.choice((None, "0.30 SGD"))
            price = None if amount is None else flovia.Price.parse(amount)
            for _ in range(rng.choice((1, 1, 2))):
                world.office("refund", world.give_back(payment, price))


def _calm(world: World, agents: list[Agent]) -> None:
    """Everything works again: everybody insists, every webhook comes once more, what is due goes back."""
    world.odds, world.outages = Odds(), ()
    world.note("calm")
    for worker in world.workers:
        worker.frozen_until = worker.down_until = 0
    for agent in agents:
        for purchase in agent.mine:
            if purchase.ending != "delivered":
                world.spawn(f"{agent.name} insists", agent.insist(purchase))
    if isinstance(world, HitPayWorld):
        world.calm()
    for payment_id in world.notices:
        world.hear(payment_id)
    world.run()
    for payment_id in world.notices:
        world.hear(payment_id)
    if isinstance(world, HitPayWorld):
        world.resend()
        world.run()
    if world.plan.pays_back:
        world.office("pays back", world.pay_back_all())
    world.run()


def _replay(world: World, agents: list[Agent]) -> None:
    """Much later, when the ledger may have forgotten it: whatever was presented is presented again."""
    world.now += 1_000_000
    for worker in world.workers:
        if world.store.tables is not None:
            worker.handle.core.prune()
    for agent in agents:
        for purchase in agent.mine:
            if purchase.ending == "delivered":
                world.spawn(f"{agent.name} replays", agent.send(agent.exchange(purchase, plain=False)))
    world.run()


def _check(world: World) -> None:
    model, plan = world.model, world.plan
    for purchase in world.purchases:
        _check_purchase(world, purchase)
    model.check_events()
    if isinstance(world, HitPayWorld):
        world.check_money()
    elif plan.provider != "mock":
        _check_money(world)
    due = {one.payment_id for one in world.workers[0].handle.core.find_due(1000)}
    for proof, account in ((one.proof, one) for one in model.accounts.values() if one.proof):
        payment = proof.partition("|")[2]
        owed = (account.settled and account.refund_due) or proof in model.late
        if owed and proof not in model.noted and payment not in due:
            raise model.broken(f"{proof}: to go back, and not among what is due")
        if plan.pays_back and proof not in model.noted and payment in due:
            raise model.broken(f"{proof}: still due after all was paid back")


def _check_purchase(world: World, purchase: Purchase) -> None:
    model = world.model
    account = model.accounts.get(purchase.key)
    if purchase.attacked:
        return
    if account is not None and account.settled and not account.over:
        if len(account.deliveries) < world.plan.max_deliveries and not model.lapsed(account):
            raise model.broken(f"{purchase.key}: paid, settled, and never delivered ({purchase.ending})")
        return
    nothing = account is None or not (account.over or account.settled)
    if nothing and purchase.honest and world.paid_for(purchase) and not world.stolen(purchase):
        raise model.broken(f"{purchase.key}: paid in time and in full, and never settled ({purchase.ending})")


def _check_money(world: World) -> None:
    """Money in = what bought something, what is to go back or went back, and what a thief has yet to use."""
    model, method = world.model, world.provider.method
    thieves = {one.reference for one in world.purchases if one.attacked or not one.honest}
    thieves |= {money.id for money in world.bank.payments.values() if money.challenge in _attacked(world)}
    for money in world.bank.payments.values():
        proof = f"{method}|{money.id}"
        if not money.paid or proof in model.proofs or proof in model.late or money.refunded == money.amount:
            continue
        if money.id not in thieves:
            raise model.broken(f"{money.id}: {money.amount} came in for {money.challenge}, and nobody accounts for it")


def _attacked(world: World) -> set[str]:
    return {one.challenge.id for one in world.purchases if one.attacked or not one.honest}
