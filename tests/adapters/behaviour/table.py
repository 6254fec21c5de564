"""The language of the behaviour table: a case is requests with what must be answered, and what must be counted."""

import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, cast

import attrs

from flovia.core.encoding import JsonValue

Json: TypeAlias = "dict[str, JsonValue]"
Change = Callable[[Json], Json]
Check = Callable[["Seen"], None]

TEST_SECRET = "a-fixed-test-secret-of-the-fixture-app-0001"
SECOND_TEST_SECRET = "another-test-secret-of-the-behaviour-table-2"


@attrs.frozen(kw_only=True)
class Pay:
    """A credential for a challenge that an earlier answer of the case carried.

    ``of``: which of the case's answers (default: the last one with a challenge); ``offer``: which of its
    challenges. ``echo`` changes the echoed challenge, ``whole`` the credential's JSON, ``token`` its last form.
    """

    proof: str = "ok"
    more: Mapping[str, JsonValue] = attrs.field(factory=dict[str, JsonValue])
    payload: Mapping[str, JsonValue] | None = None
    of: int | None = None
    offer: int = 0
    source: str | None = None
    echo: Change | None = None
    whole: Change | None = None
    token: Callable[[str], str] | None = None

    def make(self, challenge: Mapping[str, str]) -> str:
        """The token68."""
        echo: Json = dict(challenge)
        credential: Json = {
            "challenge": self.echo(echo) if self.echo else echo,
            "payload": dict(self.payload if self.payload is not None else {"proof": self.proof, **self.more}),
        }
        if self.source is not None:
            credential["source"] = self.source
        if self.whole:
            credential = self.whole(credential)
        token = encode(json.dumps(credential).encode())
        return self.token(token) if self.token else token


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@attrs.frozen(kw_only=True)
class Answer:
    """What must come back.

    ``status``: one, or several where the choice is the server's. ``problem``: a code of
    :data:`flovia.core.problems.PROBLEMS`. ``methods``: of the challenges, in order (default for 402: one, mock).
    ``receipt``: None where either is right.
    ``challenge_of``: the answer whose challenge comes again; otherwise every challenge must be a new one.
    ``same_as``: the answer whose status, body and fields come again, but for what a server adds itself.
    ``headers``: exact values, None for a field that must be absent.
    """

    status: int | tuple[int, ...]
    problem: str | None = None
    methods: tuple[str, ...] | None = None
    challenge_of: int | None = None
    same_as: int | None = None
    receipt: bool | None = False
    retry_after: int | None = None
    headers: Mapping[str, str | None] = attrs.field(factory=dict[str, "str | None"])
    body: bytes | None = None
    json: JsonValue = None
    truncated: bool | None = False
    check: "Check | None" = None

    @property
    def statuses(self) -> tuple[int, ...]:
        """The statuses that are right."""
        return self.status if isinstance(self.status, tuple) else (self.status,)


@attrs.frozen(kw_only=True)
class Seen:
    """For a case's own ``check``: the challenges of this answer, decoded, and the answer's fields."""

    challenges: Sequence[Mapping[str, str]]
    requests: Sequence[Mapping[str, JsonValue]]
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen(kw_only=True)
class Own:
    """Where an adapter or server answers by itself, and why that is right."""

    answer: Answer
    reason: str


@attrs.frozen(kw_only=True)
class Exchange:
    """One request and its answer. ``own``: by adapter or server, where those answer something else."""

    ask: "Ask"
    answer: Answer
    own: Mapping[str, Own] = attrs.field(factory=dict[str, Own])


@attrs.frozen(kw_only=True)
class Ask:
    """One request. ``{token}`` in a header value stands for the credential of ``pay``.

    Without ``{token}`` the credential goes into ``Authorization: Payment``. ``bare``: no field but the given ones.
    """

    target: str = "/paid"
    http_method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    chunked: bool = False
    pay: Pay | None = None
    bare: bool = False

    def gets(
        self,
        status: int | tuple[int, ...],
        problem: str | None = None,
        *,
        own: Mapping[str, Own] | None = None,
        methods: tuple[str, ...] | None = None,
        challenge_of: int | None = None,
        same_as: int | None = None,
        receipt: bool | None = False,
        retry_after: int | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        json: JsonValue = None,
        truncated: bool | None = False,
        check: Check | None = None,
    ) -> Exchange:
        """This request, with its answer."""
        answer = Answer(
            status=status,
            problem=problem,
            methods=methods,
            challenge_of=challenge_of,
            same_as=same_as,
            receipt=receipt,
            retry_after=retry_after,
            headers=headers or {},
            body=body,
            json=json,
            truncated=truncated,
            check=check,
        )
        return Exchange(ask=self, answer=answer, own=own or {})


@attrs.frozen(kw_only=True)
class Set:
    """A call of a control endpoint; ``refused``: it must be answered 400."""

    name: Literal["clock", "faults", "config"]
    given: JsonValue = None
    end: bool = False
    refused: bool = False


Step = Exchange | Set


@attrs.frozen(kw_only=True)
class Case:
    """One row. ``counts``: counters after the last step. ``events``: types that must be among the events."""

    name: str
    requirements: tuple[str, ...]
    about: str
    steps: tuple[Step, ...]
    counts: Mapping[str, int] = attrs.field(factory=dict[str, int])
    events: tuple[str, ...] = ()
    without: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Adapters or servers on which this row makes no sense, with the reason."""
    module: str = ""
    """Where the row is written."""


CASES: list[Case] = []


def case(
    name: str,
    requirements: str,
    about: str,
    *steps: Step,
    counts: Mapping[str, int] | None = None,
    events: tuple[str, ...] = (),
    without: Mapping[str, str] | None = None,
) -> None:
    """Add a row to the table."""
    assert name not in {row.name for row in CASES}, f"two rows are called {name}"
    CASES.append(
        Case(
            name=name,
            requirements=tuple(requirements.split()),
            about=about,
            steps=steps,
            counts=counts or {},
            events=events,
            without=without or {},
            module=sys._getframe(1).f_globals["__name__"],
        )
    )


def ask(
    target: str = "/paid",
    *,
    http_method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    chunked: bool = False,
    pay: Pay | None = None,
    bare: bool = False,
) -> Ask:
    """A request; :meth:`Ask.gets` says what it gets."""
    return Ask(
        target=target,
        http_method=http_method,
        headers=headers,
        body=body,
        chunked=chunked,
        pay=pay,
        bare=bare,
    )


def unpaid(target: str = "/paid", *, http_method: str = "GET", body: bytes | None = None) -> Exchange:
    """A request without a credential, and its challenge."""
    return ask(target, http_method=http_method, body=body).gets(402, "payment-required")


def advance(seconds: float) -> Set:
    """Move the clock."""
    return Set(name="clock", given={"advance_s": seconds})


def fault(target: str, mode: str, seconds: float | None = None) -> Set:
    """Switch a fault on."""
    return Set(name="faults", given={"target": target, "mode": mode, "seconds": seconds})


def healed() -> Set:
    """End all faults."""
    return Set(name="faults", end=True)


def configure(**settings: JsonValue) -> Set:
    """Change settings."""
    return Set(name="config", given=settings)


def refused(**settings: JsonValue) -> Set:
    """Settings that must be refused."""
    return Set(name="config", given=settings, refused=True)


def own(status: int | tuple[int, ...], reason: str, problem: str | None = None, **more: object) -> Own:
    """What an adapter or a server answers by itself."""
    return Own(answer=cast("Callable[..., Answer]", Answer)(status=status, problem=problem, **more), reason=reason)


FASTAPI_405 = {"fastapi": own(405, "FastAPI serves the verbs a route names and no others")}
