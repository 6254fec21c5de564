"""Buyers who never give up: they hold on to a credential until they know what became of it."""

import asyncio
import random
from collections import Counter
from hashlib import sha256
from typing import Final

import attrs

from flovia.core.challenge import parse_challenges
from tests.adapters.behaviour.runner import parameters
from tests.adapters.behaviour.table import Pay
from tests.campaigns.points import DIE
from tests.campaigns.serving import Server
from tests.campaigns.wire import Broken, Client, Reply

LEASES_S: Final = 120.0
"""More than any lease of the shop."""
TRIES: Final = 3
"""How often a busy credential is presented before its owner waits for time to pass."""
MAX_TRIES: Final = 400


def reference(proof: str) -> str:
    """The mock's name of a payment."""
    return "mock_" + sha256(proof.encode()).hexdigest()[:32]


@attrs.define
class Purchase:
    """One credential and what came of it."""

    proof: str
    target: str = "/paid"
    authorization: str = ""
    challenge: str = ""
    answers: Counter[str] = attrs.field(factory=Counter)
    delivered: int = 0
    """Whole 2xx answers."""
    broken: int = 0

    @property
    def payment(self) -> str:
        """The provider's reference."""
        return reference(self.proof)


class Crowd:
    """Buyers on one server. Time passes for all of them when nobody can go on otherwise.

    A lease ends by the clock, and the clock of a campaign is moved by hand: nobody waits in real time, and no lease
    ends under a request that is still running.
    """

    def __init__(self, server: Server, client: Client, seed: int) -> None:
        self.server = server
        self.client = client
        self.random = random.Random(seed)
        self.statuses: Counter[str] = Counter()
        self._busy = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._passing: asyncio.Task[None] | None = None

    # --- time ---------------------------------------------------------------------------------------------

    async def _let_time_pass(self) -> None:
        assert self._busy > 0, "only a story of all() can wait for the others; who arrives by himself is InRealTime"
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._busy -= 1
        self._look()
        await future
        self._busy += 1

    def _look(self) -> None:
        if self._busy == 0 and self._waiting and self._passing is None:
            self._passing = asyncio.create_task(self._pass())

    async def _pass(self) -> None:
        await asyncio.to_thread(self.server.told.rest)
        self.server.clock.advance(LEASES_S)
        self._passing = None
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)

    async def all(self, *stories: "asyncio._CoroutineLike[None]") -> None:
        """Run stories at once, to their ends."""

        async def run(story: "asyncio._CoroutineLike[None]") -> None:
            try:
                await story
            finally:
                self._busy -= 1
                self._look()

        self._busy += len(stories)
        async with asyncio.TaskGroup() as group:
            for story in stories:
                group.create_task(run(story))

    # --- steps --------------------------------------------------------------------------------------------

    async def pause(self, tries: int) -> None:
        """Between two tries."""
        await asyncio.sleep(0.02)

    async def ask(self, target: str, *fields: tuple[str, str], http_method: str = "GET", body: bytes = b"") -> Reply:
        """One request, again while the server is away; 503 is no answer either."""
        for tries in range(MAX_TRIES):
            try:
                reply = await self.client.ask(target, fields, http_method=http_method, body=body)
            except Broken:
                self.statuses["broken"] += 1
                fields = await self.still_to_die(fields)
            else:
                self.statuses[reply.problem] += 1
                if reply.status != 503:
                    return reply
            await self.pause(tries)
        raise AssertionError(f"{target} had no answer in {MAX_TRIES} tries")

    async def order(self, purchase: Purchase, proof: str | None = None) -> None:
        """Get a challenge and make the credential for it."""
        reply = await self.ask(purchase.target)
        assert reply.status == 402, f"an order was answered {reply.status}: {reply.body!r}"
        (challenge,) = parse_challenges(reply.headers["www-authenticate"].split("\n"))
        purchase.challenge = challenge.id
        given = parameters(challenge)
        purchase.authorization = "Payment " + Pay(proof=proof or purchase.proof).make(given)
        self._given = given

    async def present(self, purchase: Purchase, *fields: tuple[str, str]) -> Reply | None:
        """Present the credential once. None: the connection broke."""
        try:
            reply = await self.client.ask(purchase.target, [("authorization", purchase.authorization), *fields])
        except Broken as broken:
            self.statuses["broken"] += 1
            purchase.broken += 1
            purchase.answers[f"broken-{broken.status}"] += 1
            return None
        self.statuses[reply.problem] += 1
        purchase.answers[reply.problem] += 1
        if 200 <= reply.status < 300:
            assert "payment-receipt" in reply.headers, "a delivery came without its receipt"
            purchase.delivered += 1
        return reply

    async def still_to_die(self, fields: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """The fields without the order to die, if it was obeyed: somebody else's death may have come first."""
        if all(name != DIE for name, _ in fields):
            return fields
        await asyncio.to_thread(self.server.told.catch_up)
        obeyed = {text for _, text in self.server.told.by_kind["died"]}
        return tuple(field for field in fields if field[0] != DIE or field[1] not in obeyed)

    async def insist(self, purchase: Purchase, *fields: tuple[str, str]) -> Reply:
        """Present the credential until the answer is final; a process is to die of it once."""
        busy = 0
        for tries in range(MAX_TRIES):
            reply = await self.present(purchase, *fields)
            fields = await self.still_to_die(fields)
            if reply is not None and reply.status not in (409, 503):
                return reply
            if reply is not None and reply.status == 409:
                busy += 1
                if busy >= TRIES:
                    busy = 0
                    await self._let_time_pass()
                    continue
            await self.pause(tries)
        raise AssertionError(f"no final answer in {MAX_TRIES} tries: {purchase.answers}")

    async def buy(self, purchase: Purchase, *fields: tuple[str, str]) -> None:
        """Order, pay, insist until it is delivered, and try the credential once more."""
        await self.order(purchase)
        reply = await self.insist(purchase, *fields)
        while reply.status == 500 and purchase.delivered == 0:
            # The view failed: paid and not delivered, so it can be redeemed.
            reply = await self.insist(purchase)
        assert 200 == reply.status, f"paid, and the end of it was {reply.status}: {reply.body!r} {purchase.answers}"
        await self.again(purchase)

    async def again(self, purchase: Purchase) -> None:
        """The credential once more, until that is refused: by then every delivery of it is on record."""
        for _ in range(10):
            reply = await self.insist(purchase)
            if reply.status == 402:
                return
            assert 200 == reply.status, f"a used credential was answered {reply.status}: {reply.body!r}"
        raise AssertionError(f"a credential is delivered again and again: {purchase.answers}")


class InRealTime(Crowd):
    """Buyers whose clock is the real one: a lease that is in their way ends while they wait."""

    async def _let_time_pass(self) -> None:
        await asyncio.sleep(self.random.uniform(0.5, 1.5))
