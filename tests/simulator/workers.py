"""The processes that serve: each is the app of a seat, a clock of its own, and a memory that a death empties."""

from typing import TYPE_CHECKING, Any, Final

import flovia
from flovia.core.gate import Gate
from flovia.core.provider import Provider
from flovia.providers.mock import MockProvider
from flovia.runtime import World as Effects
from tests.simulator import bank as banks
from tests.simulator.exchanges import REALM
from tests.simulator.plan import Plan
from tests.simulator.stores import Handle

if TYPE_CHECKING:
    from tests.simulator.scheduler import Task
    from tests.simulator.world import World

SECRET: Final = "test-secret-test-secret-test-secret"
MAX_DEATHS: Final = 5
ROUTES: Final = {"/paid": 100, "/other": 50, "/order": 100, "/rising": 100}


class Seat:
    """The app of one worker, made once for all stories: what it keeps between requests is caches."""

    def __init__(self, provider: Provider, number: int) -> None:
        self.provider = provider
        self.number = number
        self.worker: Worker | None = None
        self.gates: dict[tuple[str, int, int, float], Gate] = {}
        self.flovia = flovia.Flovia(
            provider=provider,
            ledger=self,  # type: ignore[arg-type]  # whatever is asked of it is asked of the worker's
            secret=SECRET,
            realm=REALM,
            public_origin="https://api.example.com",
            clock=self.clock,
            monotonic=self.monotonic,
            tokens=self.token,
        )

    # What the app sees of the world.

    def clock(self) -> float:
        """Unix seconds by the worker's clock."""
        worker = self.worker
        return 0.0 if worker is None else worker.clock()

    def monotonic(self) -> float:
        """Seconds."""
        worker = self.worker
        return 0.0 if worker is None else worker.world.now / 1000

    def token(self) -> str:
        """22 characters."""
        worker = self.worker
        return "0" * 22 if worker is None else worker.world.token()

    def gate(self, target: str, plan: Plan) -> Gate:
        """The gate of a route."""
        key = (target, plan.expires_in_s, plan.max_deliveries, plan.redeem_for_s)
        found = self.gates.get(key)
        if found is None:
            price = (lambda _: self._price()) if target == "/rising" else f"{ROUTES[target] / 100:.2f} SGD"
            api = self.flovia.paid_api(
                price=price,
                expires_in=plan.expires_in_s,
                max_deliveries=plan.max_deliveries,
                redeem_for=plan.redeem_for_s,
                name=target,
            )
            assert isinstance(api.guard, Gate)
            found = self.gates[key] = api.guard
        return found

    def _price(self) -> str:
        worker = self.worker
        return "1.00 SGD" if worker is None or not worker.world.risen else "1.50 SGD"

    shared = True

    def __getattr__(self, name: str) -> Any:
        """The ledger that the app has now."""
        if name.startswith("_") or self.__dict__.get("worker") is None:
            raise AttributeError(name)
        return getattr(self.worker.handle, name)  # type: ignore[union-attr]  # checked above


class Worker:
    """A process. ``generation`` counts its lives."""

    def __init__(self, world: "World", number: int, skew_ms: int, seat: Seat) -> None:
        self.world, self.number, self.skew_ms, self.seat = world, number, skew_ms, seat
        self.name = f"worker {number}"
        self.generation = 0
        self.down_until = 0
        self.frozen_until = 0
        self.tasks: dict[Task, None] = {}

    def start(self) -> None:
        """Begin with an empty memory."""
        self.handle = Handle(self.world.store, self)
        self.effects = Effects(ledger=self.handle, clock=self.clock, tokens=self.world.token)  # type: ignore[arg-type]  # it has every verb

    def clock(self) -> float:
        """Unix seconds by this machine's clock."""
        return (self.world.now + self.skew_ms) / 1000


_seats: dict[str, list[Seat]] = {}


def seats(kind: str, count: int) -> list[Seat]:
    """The apps of the workers, kept from story to story."""
    made = _seats.setdefault(kind, [])
    while len(made) < count:
        made.append(Seat(MockProvider() if kind == "mock" else banks.BankProvider(kind == "pull"), len(made)))
    return made[:count]
