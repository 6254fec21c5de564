"""Problem details and Accept-Payment."""

import json

import pytest

from flovia.core.negotiation import rank
from flovia.core.problems import FLOVIA, MPP, PROBLEMS, ProblemType, problem_body

STATUSES = {
    "payment-required": 402,
    "payment-insufficient": 402,
    "payment-expired": 402,
    "verification-failed": 402,
    "malformed-credential": 402,
    "invalid-challenge": 402,
    "invalid-payload": 402,
    "payment-action-required": 402,
    "method-unsupported": 400,
    "bad-request": 400,
    "internal-payment-error": 500,
}
OURS = {
    "in-flight": 409,
    "method-not-allowed": 405,
    "length-required": 411,
    "body-too-large": 413,
    "rate-limited": 429,
    "ledger-unavailable": 503,
    "outcome-unknown": 503,
    "provider-unavailable": 503,
    "delivery-failed": 500,
    "precondition-failed": 412,
    "delivery-exhausted": 500,
    "payment-refunded": 403,
    "refund-due": 500,
    "delivery-final": 500,
    "idempotency-key-invalid": 400,
    "idempotency-key-reused": 422,
    "access-denied": 403,
}


def test_the_table_is_the_drafts_and_ours() -> None:
    """Every type of the drafts is there with its status, and ours have a URN of their own."""
    assert STATUSES | OURS == {code: problem.status for code, problem in PROBLEMS.items()}
    for code, problem in PROBLEMS.items():
        assert (MPP if code in STATUSES else FLOVIA) + code == problem.type
        assert problem.detail.endswith(".")


def test_only_a_402_asks_for_payment() -> None:
    """S02: no text of another status asks anybody to pay, and those after which money may be gone say not to."""
    for code in OURS:
        assert "Pay " not in PROBLEMS[code].detail
    for code in ("in-flight", "outcome-unknown", "provider-unavailable", "delivery-failed", "internal-payment-error"):
        assert "ot pay again" in PROBLEMS[code].detail


def test_a_body_is_problem_json() -> None:
    """The body has RFC 9457's members, and ``challengeId`` where a challenge goes with it, escaped."""
    problem = PROBLEMS["payment-required"]
    expected = {"type": problem.type, "title": problem.title, "status": 402, "detail": problem.detail}
    assert expected == json.loads(problem_body("payment-required"))
    assert expected | {"challengeId": 'a"é'} == json.loads(problem_body("payment-required", 'a"é'))


def test_providers_bring_their_own_types() -> None:
    """A provider's own type is used like one of the table; an unknown code is an error, not a blank page."""
    own = ProblemType(code="test", type="urn:test:problem", status=503, title="Test “title”", detail="Wait.")
    assert {"type": own.type, "title": own.title, "status": 503, "detail": "Wait."} == json.loads(problem_body(own))
    with pytest.raises(KeyError):
        problem_body("no-such-code")


OFFERS = ["mock/charge", "alt/charge", "mock/session"]


@pytest.mark.parametrize(
    ("field", "order"),
    [
        (None, [0, 1, 2]),
        ("", [0, 1, 2]),
        ("nonsense", [0, 1, 2]),
        ("mock", [0, 1, 2]),
        ("é/charge, mock/charge;q=1.5", [0, 1, 2]),
        ("*/*", [0, 1, 2]),
        ("*/*;q=0", []),
        ("other/charge", []),
        ("alt/charge", [1]),
        ("alt/charge, mock/charge", [0, 1]),
        ("mock/charge;q=0.9, alt/charge", [1, 0]),
        ("mock/charge;q=0.9, alt/charge;q=0.901", [1, 0]),
        ("mock/charge;q=0, */*", [1, 2]),
        ("mock/*;q=0.5, mock/session;q=0.7", [2, 0]),
        ("*/charge;q=0.5, mock/*;q=0.2", [0, 1, 2]),
        ("*/*;q=0.1, */charge;q=0", [2]),
        (" alt / charge ; Q = 1.000 ,,bad;;, mock/session;q=0.", [1]),
        ("mock/charge;q=0.1234, alt/charge;q=1", [1]),
        ("mock/charge;q=-1, alt/charge", [1]),
        ("mock/charge;q=0.2, mock/charge;q=0.8, alt/charge;q=0.5", [0, 1]),
        ("MOCK/charge, alt/charge", [1]),
        ("alt/charge," + " " * 9000, [0, 1, 2]),
        ("x/y," * 128 + "alt/charge", []),
    ],
)
def test_accept_payment(field: str | None, order: list[int]) -> None:
    """S32, S33: q = 0 is no, higher q first, the most specific range decides, the server's order on ties."""
    assert order == rank(field, OFFERS)
