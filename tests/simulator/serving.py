"""One request at a worker, as an adapter does it, and what must be true of every answer."""

import re
from json import loads
from typing import TYPE_CHECKING, Any, Final

from flovia.core.effects import Sleep
from flovia.core.http import Headers, HttpRequest
from tests.simulator.exchanges import Answer, Exchange, Flow
from tests.simulator.scheduler import Cancelled
from tests.simulator.workers import MAX_DEATHS, Worker

if TYPE_CHECKING:
    from tests.simulator.world import World

_IDS: Final = re.compile(r'[ ,]id="([^"]*)"').findall


def serve(world: "World", worker: Worker, exchange: Exchange) -> Flow:
    """Enter, the handler, the last byte, leave."""
    gate = worker.seat.gate(exchange.target, world.plan)
    headers = Headers.of([("host", "api.example.com"), *exchange.headers])
    request = HttpRequest(
        exchange.http_method,
        exchange.target,
        "",
        headers,
        exchange.target,
        "198.51.100.1",
        "192.0.2.1",
        exchange.body,
    )
    passage = yield from gate.enter(request)
    response = passage.response
    if response is not None:
        _refused(world, worker, exchange, response)
        return
    world.model.admitted(exchange, passage.key, passage.fence)
    if world.tracing:
        world.note(f"{worker.name}: admitted to {exchange.target} under fence {passage.fence}")
    key, fence, broken = passage.key, passage.fence, False
    status = 200
    try:
        if world.rnd() < world.odds.handler_fails:
            luck = world.rnd()
            status = 500 if luck < 0.6 else 404
            if luck < 0.3:
                passage.raised()
        elif world.rnd() < 0.05:
            status = 303
        start = passage.start(status, Headers.of(()))
        receipt = any(name == "payment-receipt" for name, _ in start.add)
        if receipt != (200 <= status < 300):
            raise world.model.broken(f"{key}: status {status} and {'a' if receipt else 'no'} receipt")
        for _ in range(world.rng.choice((1, 1, 1, 4))):
            yield Sleep(world.rng.choice((0.0, 0.05, 1.0, 20.0)))
            if passage.renewal_due():
                yield from gate.renew(passage)
    except Cancelled:
        broken = True
    assert exchange.server is not None
    exchange.server.name = "leave"  # from here on the server shields it
    lost = world.rnd() < world.odds.client_lost
    if broken or exchange.gone or (lost and world.rnd() < 0.5):
        _gone_by_server(world, exchange)
        yield from gate.leave(passage, False)
        return
    delivered = status < 400
    if delivered:
        world.model.handed_over(key, fence)
        if world.tracing:
            world.note(f"{worker.name}: the last byte of {exchange.target}, status {status}")
    if lost:
        _gone_by_server(world, exchange)  # after the last byte, so the server does not know
    elif not (delivered and world.odds.dies and world.rnd() < 0.05):
        world.reply(exchange, Answer(status, [], admitted=True))
    elif world.deaths < MAX_DEATHS:
        world.count("deaths after the last byte")
        world.die(worker)
        yield Sleep(0.0)
    yield from gate.leave(passage, True)


def _refused(world: "World", worker: Worker, exchange: Exchange, response: Any) -> None:
    status, problem = response.status, ""
    fields = [value for name, value in response.headers if name == "www-authenticate"]
    ids = _IDS(fields[0]) if fields else []
    if response.body:
        said = loads(response.body)
        problem = str(said.get("type", said.get("error"))).replace(":", "/").rpartition("/")[2]
    if world.tracing:
        world.note(f"{worker.name}: {exchange.target} -> {status} {problem}")
    if status >= 500 and status != 503 and problem != "delivery-exhausted":
        raise world.model.broken(f"{exchange.target}: answered {status} {problem}")
    if (status == 402) != bool(ids):
        raise world.model.broken(f"{exchange.target}: {status} {problem} with {len(ids)} challenges")
    if status == 402:
        exchange.same = exchange.purchase is not None and exchange.purchase.challenge.id == ids[0]
        for ident in ids:
            world.issued.setdefault(ident, (exchange.target, exchange.body.sha256))
        # A provider that has to be asked for a challenge takes its time, and the ledger may fail meanwhile.
        known = worker.handle.direct or worker.handle.available or not world.provider.fixed_terms
        world.model.challenged(exchange, known)
    retry = next((int(value) for name, value in response.headers if name == "retry-after"), 1)
    if world.rnd() < world.odds.client_lost:
        _gone_by_server(world, exchange)
    else:
        world.reply(exchange, Answer(status, fields, problem, retry))


def _gone_by_server(world: "World", exchange: Exchange) -> None:
    world.count("clients lost")
    world.reply(exchange, None)
