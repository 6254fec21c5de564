"""What an agent sends and what it gets back."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

import attrs

from flovia.core.challenge import Challenge, read_challenges
from flovia.core.http import NO_BODY, Body

if TYPE_CHECKING:
    from tests.simulator.scheduler import Task

Flow = Generator[Any, Any, Any]
REALM: Final = "api.example.com"


@attrs.define(eq=False)
class Ask:
    """An agent sends a request and waits for its answer, at most ``patience`` ms. The result: an Answer, or None."""

    exchange: "Exchange"
    patience: int = 120_000


@attrs.define(eq=False)
class Answer:
    """What a client got. ``admitted``: it is the handler's. ``fields``: of ``WWW-Authenticate``."""

    status: int
    fields: list[str]
    problem: str = ""
    retry_after: int = 1
    admitted: bool = False

    @property
    def challenge(self) -> Challenge:
        """The challenge in it."""
        [found] = read_challenges(self.fields)
        assert isinstance(found, Challenge)
        return found

    def asks_for(self, challenge: Challenge) -> bool:
        """Whether it is this challenge that it asks for."""
        return f'id="{challenge.id}"' in self.fields[0]


class Exchange:
    """One request of an agent's. ``plain``: an honest presentation of ``purchase`` on its own route."""

    __slots__ = (
        "began",
        "body",
        "forged",
        "gone",
        "headers",
        "http_method",
        "payload",
        "plain",
        "purchase",
        "same",
        "server",
        "target",
        "task",
    )

    def __init__(
        self,
        target: str,
        headers: list[tuple[str, str]],
        *,
        http_method: str = "GET",
        body: Body = NO_BODY,
        purchase: Any = None,
        plain: bool = False,
        payload: str = "",
        forged: bool = False,
    ) -> None:
        self.target, self.headers, self.http_method, self.body = target, headers, http_method, body
        self.purchase, self.plain, self.payload = purchase, plain, payload
        self.forged = forged
        self.gone = self.same = False
        self.began = 0
        self.task: Task | None = None
        self.server: Task | None = None
