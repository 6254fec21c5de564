"""Make the forty commonest mistakes, and write down what each of them gets: ``docs/bad-input.md``.

    python -m tests.tools.bad_input            write the page
    python -m tests.tools.bad_input --check    only say whether it is out of date

Nothing here is made up: every mistake is made, an agent's over HTTP against the fixture, an author's by calling
flovia wrongly.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Unpack, cast
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

import attrs
import fastapi
import fastapi.testclient
import flask

import flovia
import flovia_fastapi
import flovia_flask
import flovia_wsgi
from flovia.core.challenge import parse_challenges
from flovia.core.errors import FloviaError
from flovia.core.problems import MPP
from flovia.providers.mock import MockProvider
from flovia.testing.fixture import serve
from tests.adapters.behaviour.credentials import cheaper, echo, spelled_otherwise
from tests.adapters.behaviour.runner import Run, parameters
from tests.adapters.behaviour.table import (
    TEST_SECRET,
    Case,
    Exchange,
    Pay,
    Step,
    advance,
    ask,
    configure,
    fault,
    healed,
    unpaid,
)
from tests.tree import ROOT

PAGE = ROOT / "docs" / "bad-input.md"

BODY = b'{"items":[1,2]}'


@attrs.frozen(kw_only=True)
class Made:
    """A mistake that was made: what happened, in a word, and what was said."""

    about: str
    gets: str
    says: str


# --- agents --------------------------------------------------------------------------------------------------------


def paying(pay: Pay, status: int = 402, path: str = "/paid", then: str | None = None) -> tuple[Step, ...]:
    """Ask, then present a credential."""
    return unpaid(path), ask(then or path, pay=pay).gets(status, receipt=None)


AGENTS: list[tuple[str, Sequence[Step]]] = [
    ("asks without paying", (unpaid(),)),
    ("sends a credential that is not base64url", paying(Pay(token=lambda good: good[:-3] + "!!!"))),
    ("pads the base64url with `=`", paying(Pay(token=lambda good: good + "="))),
    ("echoes `request` decoded, as an object", paying(Pay(echo=echo(request={"amount": "100"})))),
    ("decodes `request` and encodes it anew", paying(Pay(echo=spelled_otherwise))),
    ("lowers the amount in the echo", paying(Pay(echo=cheaper))),
    ("uses a credential twice", (unpaid(), ask(pay=Pay()).gets(200, receipt=True), ask(pay=Pay(of=0)).gets(402))),
    (
        "uses one proof for a second challenge",
        (unpaid(), ask(pay=Pay()).gets(200, receipt=True), *paying(Pay(of=2))),
    ),
    ("pays for one route and asks for another", paying(Pay(), then="/premium")),
    (
        "changes the body between the challenge and the paid request",
        (
            unpaid("/echo", http_method="POST", body=BODY),
            ask("/echo", http_method="POST", body=BODY + b" ", pay=Pay()).gets(402),
        ),
    ),
    ("pays after the challenge expired", (unpaid(), advance(300), ask(pay=Pay()).gets(402))),
    ("pays less than was asked", paying(Pay(more={"paid_amount": "99"}))),
    ("sends a proof that the payment method does not accept", paying(Pay(proof="declined"))),
    ("sends a payload that the payment method does not define", paying(Pay(payload={"prove": "ok"}))),
    (
        "comes back before the payment has arrived",
        (unpaid(), ask(pay=Pay(proof="pending")).gets(402, challenge_of=0)),
    ),
    ("pays with a method that nobody offers", paying(Pay(echo=echo(method="nobody")), 400)),
    (
        "sends two Payment credentials",
        (unpaid(), ask(headers=[("Authorization", "Payment {token}, Payment {token}")], pay=Pay()).gets(400)),
    ),
    (
        "sends the same credential twice at the same time",
        (
            unpaid(),
            fault("ledger", "lost_ack"),
            ask(pay=Pay()).gets(503),
            healed(),
            ask(pay=Pay(of=0)).gets(409),
        ),
    ),
    ("comes back while the outcome of its payment is unknown", paying(Pay(proof="unknown"), 503)),
    ("sends a body larger than the route binds", (ask("/echo", http_method="POST", body=b"x" * 1_048_577).gets(413),)),
    ("asks faster than the limit", (configure(limit="challenges=1/h"), unpaid(), ask().gets(429))),
]
"""What agents do wrong; the last answer is the one that counts."""


def agents() -> list[Made]:
    """Make every mistake of an agent, over HTTP."""
    made: list[Made] = []
    with serve("wsgi") as url:
        for about, steps in AGENTS:
            case = Case(name=about, requirements=(), about=about, steps=tuple(steps))
            run = Run(url=url, adapter="wsgi", server="wsgiref", case=case)
            run()
            assert isinstance(steps[-1], Exchange)
            reply = run.replies[-1]
            wait = f", Retry-After {reply.one('retry-after')}" if reply.one("retry-after") else ""
            made.append(_refusal(about, reply.status, reply.body, wait))
    return made


def _refusal(about: str, status: int, body: bytes, more: str = "") -> Made:
    problem = json.loads(body)
    name = problem["type"].removeprefix(MPP)
    return Made(about=about, gets=f"{status} `{name}`{more}", says=f"{problem['title']}. {problem['detail']}")


# --- authors -------------------------------------------------------------------------------------------------------


def shop(
    *,
    provider: str | flovia.Provider = "mock",
    ledger: str = "memory://",
    secret: str | None = TEST_SECRET,
    public_origin: str | None = None,
) -> flovia.Flovia:
    """A Flovia that would work."""
    return flovia.Flovia(provider=provider, ledger=ledger, secret=secret, public_origin=public_origin)


@contextmanager
def environment(**variables: str) -> Generator[None]:
    """Environment variables for a moment."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def with_environment(call: Callable[[], object], **variables: str) -> Callable[[], object]:
    """The call, with environment variables."""

    def run() -> object:
        with environment(**variables):
            return call()

    return run


def gate(**settings: Unpack[flovia.RouteSettings]) -> flovia.PaidApi:
    """A gate of a Flovia that would work."""
    return shop().paid_api(**settings)


def flask_decorators_swapped() -> object:
    """``@paid`` above ``@app.get``: Flask registers the view without it, and the first request finds out."""
    app = flask.Flask(__name__)
    app.logger.disabled = True

    def view() -> str:
        return "free?"

    flovia_flask.paid(gate(price="1.00 USD"))(app.get("/report")(view))
    assert 500 == app.test_client().get("/report").status_code
    app.testing = True
    return app.test_client().get("/report")


def flask_without_call() -> object:
    """``@flovia_flask.paid`` without its gate."""

    def view() -> str:
        return "free?"

    decorate: Callable[[object], object] = flovia_flask.paid  # type: ignore[assignment] # the mistake: it is a call too few
    return decorate(view)


def fastapi_without_install() -> tuple[int, bytes]:
    """A paid endpoint in an app that was not prepared."""
    app = fastapi.FastAPI()

    @app.get("/report")
    @flovia_fastapi.paid(gate(price="1.00 USD"))
    def report() -> dict[str, str]:
        return {"free": "no"}

    answer = fastapi.testclient.TestClient(app, base_url="http://127.0.0.1").get("/report")
    return answer.status_code, answer.content


def fastapi_decorators_swapped() -> object:
    """``@paid`` above ``@app.get``: FastAPI registers the view without it, and the first request finds out."""
    app = fastapi.FastAPI()

    def view() -> dict[str, str]:
        return {"free": "no"}

    flovia_fastapi.paid(gate(price="1.00 USD"))(app.get("/report")(view))
    flovia_fastapi.install(app)
    quiet = fastapi.testclient.TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert 500 == quiet.get("/report").status_code
    return fastapi.testclient.TestClient(app, base_url="http://127.0.0.1").get("/report")


def call(app: WSGIApplication, **environ: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """One request to a WSGI app: status, header fields, body."""
    seen: list[tuple[int, list[tuple[str, str]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        seen.append((int(status[:3]), headers))
        return lambda data: None

    request: dict[str, object] = {"HTTP_HOST": "127.0.0.1", "wsgi.input": BytesIO(), **environ}
    setup_testing_defaults(request)
    body = b"".join(app(request, start_response))
    return *seen[-1], body


def says_402_itself() -> tuple[int, bytes]:
    """A handler that answers 402 after it was paid."""

    def view(environ: dict[str, object], start_response: Callable[..., object], /) -> list[bytes]:
        start_response("402 Payment Required", [])
        return [b""]

    app = flovia_wsgi.paid(gate(price="1.00 USD"), view)
    _, headers, _ = call(app)
    (challenge,) = parse_challenges([value for name, value in headers if name == "www-authenticate"])
    status, _, body = call(app, HTTP_AUTHORIZATION="Payment " + Pay().make(parameters(challenge)))
    return status, body


def served(guard: flovia.PaidApi, **environ: str) -> tuple[int, bytes]:
    """What a route with this guard answers to an unpaid request."""

    def view(environ: dict[str, object], start_response: Callable[..., object], /) -> list[bytes]:
        start_response("200 OK", [])
        return [b"free?"]

    status, _, body = call(flovia_wsgi.paid(guard, view), **environ)
    return status, body


def raising(request: flovia.HttpRequest) -> str:
    """A price function with a bug."""
    raise KeyError("tier")


AUTHORS: list[tuple[str, Callable[[], object]]] = [
    ('`price=os.environ.get("PRICE")`, and the variable is not set', lambda: gate(price=cast("str", None))),
    ('`price="1.00"`, without a currency', lambda: gate(price="1.00")),
    ('`price="1.005 USD"`, finer than the currency', lambda: gate(price="1.005 USD")),
    ("a provider's name with a typing error", lambda: gate(provider="mok", price="1.00 USD")),
    ("a secret that is too short", lambda: shop(secret="a short test secret")),
    (
        "a provider that takes money, and no secret",
        lambda: shop(provider=MockProvider(live=True), secret=None).paid_api(price="1.00 USD"),
    ),
    ("the mock provider beside one that takes money", lambda: _mixed()),
    ("a public origin over plain http", lambda: shop(public_origin="http://api.example.com")),
    ("a public origin with a path", lambda: shop(public_origin="https://api.example.com/v1")),
    ("several workers with a memory ledger", with_environment(lambda: gate(price="1.00 USD"), WEB_CONCURRENCY="4")),
    (
        "a ledger in a folder that does not exist",
        lambda: shop(ledger="sqlite:///no/such/folder/flovia.db").paid_api(price="1.00 USD"),
    ),
    (
        "no public origin, and a request from the internet",
        lambda: served(gate(price="1.00 USD"), HTTP_HOST="api.example.com"),
    ),
    ("a price function that raises", lambda: served(gate(price=raising))),
    ("`@paid` above `@app.get` in Flask: each request gets a 500, Flask logs the error", flask_decorators_swapped),
    (
        "`@paid` above `@app.get` in FastAPI: each request gets a 500, the server logs the error",
        fastapi_decorators_swapped,
    ),
    ("`@flovia_flask.paid` without a gate", flask_without_call),
    ("a paid FastAPI endpoint without `install(app)`", fastapi_without_install),
    ("no price, and a handler without a gate of its own", lambda: served(shop().observe())),
    ("a handler that answers 402 itself", says_402_itself),
]
"""What authors of APIs do wrong."""


def _mixed() -> object:
    app = shop()
    app.paid_api(price="1.00 USD")
    return app.paid_api(provider=MockProvider(name="bank", live=True), price="1.00 USD")


class _Errors(logging.Handler):
    """The errors that flovia logged: what the author gets to read when a request meets the mistake."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def authors() -> list[Made]:
    """Make every mistake of an author."""
    made: list[Made] = []
    log = logging.getLogger("flovia")
    for about, mistake in AUTHORS:
        errors = _Errors()
        log.addHandler(errors)
        log.propagate = False
        try:
            result = mistake()
        except FloviaError as error:
            text = str(error).replace(os.getcwd(), "…")
            made.append(Made(about=about, gets=f"`{type(error).__name__}`", says=text))
        else:
            assert isinstance(result, tuple), f"nothing stops this mistake: {about}"
            status, body = cast("tuple[int, bytes]", result)
            refusal = _refusal(about, status, body)
            logged = f"In the log: {errors.texts[0]}" if errors.texts else refusal.says
            made.append(attrs.evolve(refusal, says=logged))
        finally:
            log.propagate = True
            log.removeHandler(errors)
    return made


# --- the page ------------------------------------------------------------------------------------------------------


def page() -> str:
    """The whole page."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("FLOVIA_", "WEB_CONC"))}
    try:
        tables = [("An agent …", agents()), ("An author writes …", authors())]
    finally:
        os.environ.update(hidden)
    lines = [
        "# Bad input: what the commonest mistakes get",
        "",
        "Every line was made by making the mistake (`python -m tests.tools.bad_input`). Refusals are RFC 9457 problem",
        "details; every 402 carries a challenge to pay, every 409, 429 and 503 a `Retry-After`. Errors are raised",
        "where the route is set up, unless a status says that a request met them.",
    ]
    for heading, made in tables:
        lines += ["", f"## {heading}", "", "| mistake | gets | which says |", "| --- | --- | --- |"]
        lines += [f"| {row.about} | {row.gets} | {_cell(row.says)} |" for row in made]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if text != PAGE.read_text(encoding="utf-8"):
            print(f"{PAGE.name} is out of date: run python -m tests.tools.bad_input")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
