"""The public vectors that are whole flows, played against served fixtures with what the vectors expect.

What a client must do in a flow is shown by the client's own tests; see :mod:`tests.vectors.mapping`.
"""

from collections.abc import Callable, Generator, Mapping
from typing import cast

import attrs
import pytest

from flovia.core.effects import Flow
from flovia.core.encoding import JsonValue, decode_param
from flovia.core.problems import MPP, PROBLEMS
from flovia.core.provider import NotPaid, Presented, Verdict
from flovia.providers.mock import MockProvider
from flovia.testing.fixture import build, serve
from flovia.testing.servers import AsgiApplication, serve_asgi
from tests.adapters.behaviour.credentials import cheaper, echo
from tests.adapters.behaviour.runner import Run
from tests.adapters.behaviour.table import Case, Exchange, Pay, Step, advance, ask, configure, unpaid
from tests.vectors.test_vectors import load

Expect = Mapping[str, JsonValue]
Vector = Mapping[str, Expect]


def codes(expect: Expect) -> str | None:
    """The code of the problem type that a vector expects."""
    return cast("str", expect["problem"]).removeprefix(MPP) if "problem" in expect else None


def paid(expect: Expect, path: str = "/paid", *, then: str | None = None, pay: Pay | None = None) -> list[Step]:
    """A challenge from ``path``, paid at ``then``; what comes back is the vector's to say."""
    return [unpaid(path), last(expect, then or path, pay or Pay())]


def last(expect: Expect, path: str, pay: Pay, body: bytes | None = None) -> Exchange:
    """The exchange that the vector is about."""
    return ask(path, http_method="POST" if body is not None else "GET", body=body, pay=pay).gets(
        cast("int", expect["status"]), codes(expect), receipt=expect["status"] == 200
    )


def with_body(vector: Vector) -> list[Step]:
    """A POST whose body is bound to the challenge."""
    given, expect = vector["input"], vector["expect"]
    body = str(given["body"]).encode()
    retry = str(given.get("retry_body", given["body"])).encode()
    return [unpaid("/echo", http_method="POST", body=body), last(expect, "/echo", Pay(), retry)]


def cache_headers(vector: Vector) -> list[Step]:
    """Who may keep which answer."""
    expect = vector["expect"]
    first, then = (str(expect[f"cache_control_{status}"]) for status in (402, 200))
    return [
        ask().gets(402, "payment-required", headers={"cache-control": first}),
        ask(pay=Pay()).gets(200, receipt=True, headers={"cache-control": then}),
    ]


def order(vector: Vector) -> list[Step]:
    """A side effect behind an Idempotency-Key."""
    key = ("Idempotency-Key", str(vector["input"]["idempotency_key"]))
    return [
        unpaid("/order", http_method="POST"),
        ask("/order", http_method="POST", headers=[key], pay=Pay()).gets(200, receipt=True),
    ]


def preference(vector: Vector) -> list[Step]:
    """The client's preferences, for methods we do not have: then everything is offered."""
    wanted = [("Accept-Payment", str(vector["expect"]["server_saw"]))]
    return [
        ask("/two", headers=wanted).gets(402, "payment-required", methods=("mock", "alt")),
        ask("/two", headers=wanted, pay=Pay()).gets(200, receipt=True),
    ]


def replay(vector: Vector) -> list[Step]:
    """The same credential twice."""
    first, second = cast("list[int]", vector["expect"]["statuses"])
    return [
        unpaid(),
        ask(pay=Pay()).gets(first, receipt=True),
        ask(pay=Pay(of=0)).gets(second, "invalid-challenge"),
    ]


FLOWS: dict[str, Callable[[Vector], list[Step]]] = {
    "success_charge": lambda vector: paid(vector["expect"]),
    "verification_error": lambda vector: paid(vector["expect"], pay=Pay(proof="declined")),
    "invalid_payload": lambda vector: paid(vector["expect"], pay=Pay(proof="not hex")),
    "expired_challenge": lambda vector: [unpaid(), advance(300), last(vector["expect"], "/paid", Pay())],
    "missing_authorization": lambda vector: [
        ask().gets(cast("int", vector["expect"]["status"]), codes(vector["expect"]))
    ],
    "mismatched_request": lambda vector: paid(vector["expect"], pay=Pay(echo=cheaper)),
    "invalid_challenge_id": lambda vector: paid(vector["expect"], pay=Pay(echo=echo(id="x" * 43))),
    "missing_challenge_expires_rejected": lambda vector: paid(vector["expect"], pay=Pay(echo=echo(expires=None))),
    "free_endpoint": lambda vector: [ask("/free").gets(cast("int", vector["expect"]["status"]))],
    "post_body_preserved_on_retry": with_body,
    "body_digest_match": with_body,
    "body_digest_mismatch": with_body,
    "cache_headers_success": cache_headers,
    "accept_payment_preference": preference,
    "idempotent_post_side_effect": order,
    "route_bound_basic_charge": lambda vector: paid(vector["expect"]),
    "cross_route_credential_replay_rejected": lambda vector: paid(vector["expect"], then="/premium"),
    "query_bound_charge": lambda vector: paid(vector["expect"], f"/dynamic{vector['input']['query']}"),
    "query_replay_rejected": lambda vector: paid(
        vector["expect"],
        f"/dynamic{vector['input']['query']}",
        then=f"/dynamic{vector['input']['retry_query']}",
    ),
    "concurrent_replay_rejected": replay,
}


@pytest.fixture(scope="module", params=[("wsgi", "waitress"), ("fastapi", "uvicorn")], ids="@".join)
def served(request: pytest.FixtureRequest) -> Generator[tuple[str, str, str]]:
    """A WSGI and an ASGI adapter; the behaviour table runs the same kind of thing on all of them."""
    adapter, server = request.param
    with serve(adapter, server=server) as url:
        yield url, adapter, server


@pytest.mark.parametrize("name", FLOWS)
def test_flow(served: tuple[str, str, str], name: str) -> None:
    """The flow ends as the public vector expects: status, problem type, receipt (S01 S03 S04 S05 S06 S23)."""
    (vector,) = [case for case in load("flows") if case["name"] == name]
    counts = {"settlements": 1, "handler_calls": 1} if vector["expect"].get("receipt") else {}
    if "side_effect_count" in vector["expect"]:
        counts = {"handler_calls": vector["expect"]["side_effect_count"]}
    url, adapter, server = served
    case = Case(name=name, requirements=(), about="", steps=tuple(FLOWS[name](vector)), counts=counts)
    run = Run(url=url, adapter=adapter, server=server, case=case)
    run()
    detail = vector["expect"].get("detail")
    if detail is not None:
        assert detail == run.replies[-1].json["detail"]
    if vector["expect"].get("body_preserved"):
        assert vector["input"]["body"].encode() == run.replies[-1].body


@pytest.mark.parametrize("number", range(4))
def test_external_id(served: tuple[str, str, str], number: int) -> None:
    """The receipt names the external id that the challenge bound, and none that only the payload names (S25)."""
    vector = load("external-id-binding")[number]
    bound, claimed = vector["input"]["request_externalId"], vector["input"]["payload_externalId"]
    expect = vector["expect"]
    more: dict[str, JsonValue] = {} if claimed is None else {"externalId": claimed}
    problem = None if expect["ok"] else expect["errorType"].replace("_", "-")
    step = ask(pay=Pay(more=more)).gets(200 if expect["ok"] else 402, problem, receipt=expect["ok"])
    steps = (configure(external_id=bound), unpaid(), step)
    url, adapter, server = served
    run = Run(
        url=url,
        adapter=adapter,
        server=server,
        case=Case(name=vector["name"], requirements=(), about="", steps=steps),
    )
    run()
    if expect["ok"]:
        receipt = decode_param(run.replies[-1].one("payment-receipt") or "")
        assert expect["receipt_externalId"] == receipt.get("externalId")


@attrs.frozen(kw_only=True)
class Impatient(MockProvider):
    """Was paid too little, and expects the rest within a minute."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Say so."""
        yield from ()
        return NotPaid(problem="payment-insufficient", retry_after_s=60)


def test_retry_after_of_a_refusal() -> None:
    """A provider's refusal with a time to wait has its problem, Retry-After, no-store and no receipt (S31)."""
    (vector,) = [case for case in load("flows") if case["name"] == "problem_details_retry_after_no_receipt"]
    expect = vector["expect"]
    app = build("asgi", provider=Impatient())
    try:
        with serve_asgi(cast("AsgiApplication", app)) as url:
            headers = {"cache-control": expect["cache_control"], "retry-after": expect["retry_after"]}
            step = ask(pay=Pay()).gets(expect["status"], codes(expect), headers=headers, receipt=expect["receipt"])
            case = Case(name=vector["name"], requirements=(), about="", steps=(unpaid(), step))
            Run(url=url, adapter="asgi", server="uvicorn", case=case)()
    finally:
        app.close()


def test_problem_types_of_the_vectors_are_ours() -> None:
    """Every problem type that a flow names is one of our table."""
    named = {codes(case["expect"]) for case in load("flows")} - {None}
    assert set() == named - set(PROBLEMS)
