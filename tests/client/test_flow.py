"""The payment flow, fed by hand: the order of its steps, and what it does when one of them fails."""

import json
from pathlib import Path

import attrs
import pytest

from flovia.client import (
    Budget,
    CannotResume,
    Declined,
    MockWallet,
    OutcomeUnknown,
    Payment,
    PaymentDeclined,
    PaymentRefused,
    Policy,
    PolicyViolation,
    Uncertain,
)
from flovia.client.flow import RECONNECT_S, paying, resuming
from flovia.client.pending import Pending
from flovia.client.policy import Ask
from flovia.client.steps import (
    Answer,
    Commit,
    ConnectionLost,
    Forget,
    Head,
    Keep,
    Pay,
    ReadBody,
    Refund,
    Reserve,
    Send,
    Step,
    Steps,
)
from flovia.core.challenge import Challenge, format_challenge, format_expires
from flovia.core.effects import Now, Sleep, Token
from flovia.core.errors import HttpError, WiringError
from flovia.core.http import Headers
from tests.client.server import challenge

REFERENCE = "test-reference-12345678"


def ask(
    *,
    http_method: str = "GET",
    origin: str = "https://api.example.com",
    body: bytes | None = b"",
    target: str = "/paid",
) -> Ask:
    """A request of the program."""
    host = origin.partition("://")[2]
    return Ask(
        http_method=http_method,
        origin=origin,
        host=host,
        target=target,
        headers=Headers.of([("accept", "*/*")]),
        body=body,
        first_origin=origin,
    )


def head(status: int, *fields: tuple[str, str]) -> Head:
    """The head of an answer."""
    return Head(status=status, headers=Headers.of(fields))


def asks(*challenges: Challenge, more: tuple[tuple[str, str], ...] = ()) -> Head:
    """The head of a 402."""
    return head(402, *(("www-authenticate", format_challenge(each)) for each in challenges or (challenge(),)), *more)


class Feed:
    """Answers the flow's steps from a list of heads, and writes down every step's name."""

    def __init__(self, *heads: Head | Exception, verdict: object = None, now: float = 0.0) -> None:
        self.heads = list(heads)
        self.verdict = Payment(payload={"proof": "ok-test"}) if verdict is None else verdict
        self.now = now
        self.steps: list[Step] = []
        self.failing: dict[type, Exception] = {}

    def names(self) -> list[str]:
        """What was asked for, in order; looking at the clock left out."""
        return [type(step).__name__ for step in self.steps if not isinstance(step, Now | Token)]

    def kept(self) -> list[Pending]:
        """The records that were written."""
        return [step.pending for step in self.steps if isinstance(step, Keep)]

    def answer(self, step: Step) -> object:
        """The result of one step, or the exception it ends in."""
        self.steps.append(step)
        if type(step) in self.failing:
            return self.failing[type(step)]
        match step:
            case Send():
                return self.heads.pop(0)
            case ReadBody():
                return b"{}"
            case Pay():
                return self.verdict
            case Now():
                return self.now
            case Token():
                return REFERENCE
            case Sleep():
                self.now += step.seconds
            case _:
                pass
        return None

    def run(self, steps: Steps[Answer]) -> Answer:
        """Drive the flow to its end."""
        try:
            step = next(steps)
            while True:
                result = self.answer(step)
                step = steps.throw(result) if isinstance(result, Exception) else steps.send(result)
        except StopIteration as stop:
            answer = stop.value
            assert isinstance(answer, Answer)
            return answer


def pay(feed: Feed, request: Ask | None = None, *, policy: Policy | None = None, budget: str = "5.00 SGD") -> Answer:
    """One call with a mock wallet."""
    return feed.run(paying(request or ask(), wallet=MockWallet(), budget=Budget(budget), policy=policy or Policy()))


def test_the_order_is_what_makes_it_safe() -> None:
    """Money is set aside and a file made before the wallet pays; the credential is in the file before it is sent."""
    feed = Feed(asks(), head(200))
    answer = pay(feed)
    assert ["Send", "ReadBody", "Reserve", "Keep", "Pay", "Commit", "Keep", "Send"] == feed.names()
    before, after = feed.kept()
    assert (None, True) == (before.credential, (after.credential or "").startswith("Payment "))
    sent = feed.steps[-1]
    while not isinstance(sent, Send):
        sent = feed.steps.pop()
    key = ("Idempotency-Key", f'"{REFERENCE}"')
    assert (((after.field, after.credential), key), True) == (sent.add, sent.paid)
    assert answer.complete
    assert answer.payment is not None
    assert (REFERENCE, 1, False) == (answer.payment.reference, answer.payment.tries, answer.payment.resumed)


def test_the_wallet_is_told_what_it_needs() -> None:
    """The context holds the checked terms and an idempotency key; the challenge itself comes along."""
    offered = challenge(recipient="acme", realm="shop")
    feed = Feed(asks(offered), head(200))
    pay(feed, ask(http_method="POST", body=b"x"))
    (step,) = [step for step in feed.steps if isinstance(step, Pay)]
    context = step.context
    assert (REFERENCE, "POST", "https://api.example.com", "shop", "1.00 SGD", "acme", 4102444800.0) == (
        context.reference,
        context.http_method,
        context.origin,
        context.realm,
        str(context.price),
        context.recipient,
        context.expires_at,
    )
    assert offered.id == step.challenge.id


def test_money_that_cannot_be_set_aside_is_not_paid() -> None:
    """A budget whose file is locked or full refuses; the wallet is not asked."""
    feed = Feed(asks())
    feed.failing[Reserve] = WiringError("locked")
    with pytest.raises(WiringError):
        pay(feed)
    assert ["Send", "ReadBody", "Reserve"] == feed.names()


def test_a_file_that_cannot_be_made_stops_before_paying() -> None:
    """Without a place for the credential nothing is paid, and the budget gets its money back."""
    feed = Feed(asks())
    feed.failing[Keep] = WiringError("read-only")
    with pytest.raises(WiringError, match="read-only"):
        pay(feed)
    assert ["Send", "ReadBody", "Reserve", "Keep", "Refund"] == feed.names()


def test_once_paid_the_credential_is_sent_whatever_else_fails(caplog: pytest.LogCaptureFixture) -> None:
    """After paying, a full disk or a locked budget costs bookkeeping, never the goods; the log says so."""

    class FullNow(Feed):
        def answer(self, step: Step) -> object:
            if isinstance(step, Pay):
                self.failing = {Keep: WiringError("disk full"), Commit: WiringError("locked")}
            return super().answer(step)

    feed = FullNow(asks(), head(200))
    assert pay(feed).complete
    assert ["Commit: locked", "Keep: disk full"] == [record.getMessage() for record in caplog.records]


def test_a_wallet_that_declines() -> None:
    """Declined: refund, forget, and the reason in the error; also where the bookkeeping fails."""
    broken: dict[type, Exception] = {Refund: WiringError("locked"), Forget: WiringError("gone")}
    for failing in ({}, broken):
        feed = Feed(asks(), verdict=Declined(reason="no funds"))
        feed.failing = failing
        with pytest.raises(PaymentDeclined, match="no funds"):
            pay(feed)
        assert ["Send", "ReadBody", "Reserve", "Keep", "Pay", "Refund", "Forget"] == feed.names()


@pytest.mark.parametrize(
    "verdict",
    [Uncertain(), RuntimeError("bug"), HttpError("reset", sent=True), Payment(payload={"proof": float("nan")})],
    ids=["uncertain", "bug", "reset", "not json"],
)
def test_a_wallet_that_may_have_paid(verdict: object) -> None:
    """Unknown, an exception, or a proof that cannot be sent: nothing is refunded, nothing is sent."""
    feed = Feed(asks(), verdict=verdict)
    with pytest.raises(OutcomeUnknown) as caught:
        pay(feed)
    assert REFERENCE == caught.value.reference
    assert not {"Refund", "Forget"} & set(feed.names())
    assert 1 == feed.names().count("Send")


def test_cancellation_while_the_wallet_pays_refunds_nothing() -> None:
    """An interrupted wallet may have paid: the money stays reserved, the file stays."""
    feed = Feed(asks())
    steps = paying(ask(), wallet=MockWallet(), budget=Budget("5.00 SGD"), policy=Policy())
    step = next(steps)
    while not isinstance(step, Pay):
        step = steps.send(feed.answer(step))
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    assert ["Send", "ReadBody", "Reserve", "Keep"] == feed.names()


@pytest.mark.parametrize(("left", "refused"), [(10.0, True), (10.5, False), (0.0, True), (-1.0, True)])
def test_c04_the_margin_is_kept(left: float, refused: bool) -> None:
    """C04: a challenge must have more than the policy's margin left, by this machine's clock."""
    offered = challenge(expires=format_expires(1_000_000))
    feed = Feed(asks(offered), head(200), now=1_000_000 - left)
    if refused:
        with pytest.raises(PolicyViolation) as caught:
            pay(feed)
        assert "expires" == caught.value.rule
    else:
        assert pay(feed).complete


def test_c04_the_exact_instant_is_over() -> None:
    """C04: without a margin the instant of expiry itself is already too late."""
    offered = challenge(expires=format_expires(1_000_000))
    with pytest.raises(PolicyViolation):
        pay(Feed(asks(offered), now=1_000_000), policy=Policy(expiry_margin_s=0))
    assert pay(Feed(asks(offered), head(200), now=999_999.9), policy=Policy(expiry_margin_s=0)).complete


def test_waits_as_long_as_the_server_says_within_patience() -> None:
    """Retry-After is followed, as seconds or as a date, until the policy's time is over."""
    at_20 = "Thu, 01 Jan 1970 00:00:20 GMT"
    feed = Feed(
        asks(),
        head(503, ("retry-after", "7")),
        head(409, ("retry-after", at_20)),
        head(429, ("retry-after", at_20)),
        head(503, ("retry-after", "41")),
    )
    with pytest.raises(OutcomeUnknown) as caught:
        pay(feed)
    assert [7.0, 13.0, 0.0] == [step.seconds for step in feed.steps if isinstance(step, Sleep)]
    assert (503, 20.0) == (caught.value.status, feed.now)


@pytest.mark.parametrize("value", ["", "-1", "soon", "1.5", "\u0661", "Thu, 99 Jan 1970 00:00:20 GMT"])
def test_an_unreadable_retry_after_is_none(value: str) -> None:
    """A 503 whose Retry-After cannot be read is not waited for."""
    feed = Feed(asks(), head(503, ("retry-after", value)))
    with pytest.raises(OutcomeUnknown):
        pay(feed)
    assert "Sleep" not in feed.names()


LOST = ConnectionLost("ReadError", sent=True)


def waits(feed: Feed) -> list[float]:
    """How long the flow slept, each time."""
    return [step.seconds for step in feed.steps if isinstance(step, Sleep)]


def test_c14_a_lost_connection_is_tried_again_with_the_same_credential() -> None:
    """C14: what a broken connection costs is a moment, never another payment."""
    feed = Feed(asks(), LOST, LOST, head(200))
    answer = pay(feed)
    assert answer.payment is not None
    assert 3 == answer.payment.tries
    assert list(RECONNECT_S) == waits(feed)
    assert 1 == len({step.add for step in feed.steps if isinstance(step, Send) and step.paid})
    assert 1 == feed.names().count("Pay")


@pytest.mark.parametrize(
    ("policy", "tries"),
    [(Policy(), 1 + len(RECONNECT_S)), (Policy(max_tries=2), 2), (Policy(max_tries=1), 1), (Policy(max_wait_s=0.1), 2)],
)
def test_c14_lost_connections_come_to_an_end(policy: Policy, tries: int) -> None:
    """C14: a few tries, and no more than the policy allows; then the outcome is unknown and can be resumed."""
    feed = Feed(asks(), *[LOST] * 9)
    with pytest.raises(OutcomeUnknown, match="ReadError") as caught:
        pay(feed, policy=policy)
    assert REFERENCE == caught.value.reference
    assert tries == len([step for step in feed.steps if isinstance(step, Send) and step.paid])


def test_c14_a_time_out_is_not_tried_again() -> None:
    """C14: who waited long enough once is not made to wait again."""
    feed = Feed(asks(), HttpError("ReadTimeout", sent=True))
    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        pay(feed)
    assert [] == waits(feed)


def test_s41_an_idempotency_key_of_the_program_stays() -> None:
    """S41: a request that has a key of its own keeps it; with the policy's word none is sent."""
    own = attrs.evolve(ask(), headers=Headers.of([("idempotency-key", "mine")]))
    for request, policy in ((own, Policy()), (ask(), Policy(idempotency_key=False))):
        feed = Feed(asks(), head(200))
        pay(feed, request, policy=policy)
        (sent,) = [step for step in feed.steps if isinstance(step, Send) and step.paid]
        assert ["Authorization"] == [name for name, _ in sent.add]


@pytest.mark.parametrize(
    ("code", "words"),
    [("refund-due", "give the money back"), ("delivery-final", "the attempt"), ("delivery-exhausted", "no attempt")],
)
def test_a_server_that_will_not_deliver_any_more(code: str, words: str) -> None:
    """It says what becomes of the money, and so does the error."""

    class Explains(Feed):
        def answer(self, step: Step) -> object:
            answer = super().answer(step)
            return json.dumps({"type": f"urn:flovia:problem:{code}"}).encode() if isinstance(step, ReadBody) else answer

    with pytest.raises(OutcomeUnknown, match=words) as caught:
        pay(Explains(asks(), head(500)))
    assert (code, True, REFERENCE) == (caught.value.problem, caught.value.may_have_paid, caught.value.reference)


def test_a_refusal_after_a_lost_connection_says_so() -> None:
    """The lost answer may have been the delivery that used the credential up."""
    with pytest.raises(PaymentRefused, match="lost its connection"):
        pay(Feed(asks(), LOST, asks()))
    with pytest.raises(PaymentRefused, match=r"does not accept the payment \(it gave no reason\); flovia"):
        pay(Feed(asks(), asks()))


TAKEN = "urn:flovia:problem:delivery-failed"


@pytest.mark.parametrize(
    ("status", "uri", "problem", "words"),
    [
        (500, TAKEN, "delivery-failed", r"with 500 \(delivery-failed\): it took the payment, but its answer failed"),
        (500, "https://x.example/delivery-failed", "delivery-failed", "nobody knows whether the payment was taken"),
        (
            500,
            "https://paymentauth.org/problems/internal-payment-error",
            "internal-payment-error",
            r"with 500 \(internal-payment-error\): nobody knows whether",
        ),
        (503, "urn:flovia:problem:ledger-unavailable", "ledger-unavailable", r"\(ledger-unavailable\): nobody knows"),
        (503, "urn:flovia:problem:outcome-unknown", "outcome-unknown", r"\(outcome-unknown\): nobody knows"),
        (409, "urn:flovia:problem:in-flight", "in-flight", r"after one try \(in-flight\): nobody knows"),
        (502, "<script>", None, "paid request with 502: nobody knows"),
        (502, "x" * 65, None, "paid request with 502: nobody knows"),
        (502, None, None, "paid request with 502: nobody knows"),
    ],
)
def test_c14_an_unknown_outcome_names_the_problem(
    status: int, uri: str | None, problem: str | None, words: str
) -> None:
    """C14: a server that says it took the payment is believed that much; each time resume is what to do."""
    body = b"<html>" if uri is None else json.dumps({"type": uri}).encode()

    class Explains(Feed):
        def answer(self, step: Step) -> object:
            answer = super().answer(step)
            return body if isinstance(step, ReadBody) else answer

    feed = Explains(asks(), head(status, *([("retry-after", "1")] if status == 409 else [])))
    with pytest.raises(OutcomeUnknown, match=words) as caught:
        pay(feed, policy=Policy(max_tries=1))
    error = caught.value
    assert (problem, status, True, REFERENCE) == (error.problem, error.status, error.may_have_paid, error.reference)
    assert f"resume(reference) {'fetches' if uri == TAKEN else 'sends'}" in str(error)


def test_not_modified_is_an_answer() -> None:
    """304 is no redirect: the server says that the program has the answer already."""
    assert pay(Feed(asks(), head(304))).complete


def test_an_answer_to_the_program_is_not_complete() -> None:
    """404 after paying: the program sees it, and the credential is kept."""
    answer = pay(Feed(asks(), head(404)))
    assert answer.payment is not None
    assert not answer.complete


@pytest.mark.parametrize("http_method", ["HEAD", "OPTIONS", "TRACE"])
def test_what_delivers_nothing_is_not_paid(http_method: str) -> None:
    """Their 402 is for the program to look at."""
    feed = Feed(asks())
    assert pay(feed, ask(http_method=http_method)) == Answer()
    assert ["Send"] == feed.names()


@pytest.mark.parametrize(
    "origin",
    ["http://api.example.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://127.0.0.1.", "ws://x"],
)
def test_c09_only_https_and_loopback_are_paid(origin: str) -> None:
    """C09: anybody on the way could take a credential that travels in the clear."""
    with pytest.raises(PolicyViolation) as caught:
        pay(Feed(asks()), ask(origin=origin))
    assert "insecure" == caught.value.rule


@pytest.mark.parametrize("origin", ["http://127.0.0.1", "http://localhost", "http://127.8.9.1", "https://10.0.0.1"])
def test_c09_loopback_and_https_may_be_paid(origin: str) -> None:
    """C09: nobody is on the way to this machine itself."""
    assert pay(Feed(asks(), head(200)), ask(origin=origin)).complete


def kept(body: bytes = b"x", credential: str | None = "Payment test-token") -> Pending:
    """A record of a call that had this body."""
    feed = Feed(asks(), head(200))
    pay(feed, ask(http_method="POST", body=body))
    return attrs.evolve(feed.kept()[-1], credential=credential)


def test_resuming_sends_the_kept_credential_and_never_pays() -> None:
    """No budget, no wallet: only the same credential again."""
    feed = Feed(head(200))
    answer = feed.run(resuming(ask(body=b"x"), kept(), policy=Policy()))
    assert ["Send"] == feed.names()
    assert answer.payment is not None
    assert answer.payment.resumed


def test_a_record_without_a_credential_cannot_be_resumed() -> None:
    """The process died while the wallet was paying: only the wallet knows."""
    with pytest.raises(CannotResume, match="wallet") as caught:
        Feed().run(resuming(ask(body=b"x"), kept(credential=None), policy=Policy()))
    assert (True, REFERENCE) == (caught.value.may_have_paid, caught.value.reference)


@pytest.mark.parametrize("body", [b"y", b"", None])
def test_resuming_needs_the_same_body(body: bytes | None) -> None:
    """C05: another body than the one that was paid for is not sent."""
    feed = Feed()
    with pytest.raises(CannotResume, match="body"):
        feed.run(resuming(ask(body=body), kept(), policy=Policy()))
    assert [] == feed.steps


def test_resuming_obeys_the_policy() -> None:
    """C09: a record does not make an origin allowed again."""
    with pytest.raises(PolicyViolation):
        Feed().run(resuming(ask(body=b"x"), kept(), policy=Policy(origins=["https://other.example"])))


def test_errors_show_the_origin_but_not_the_query(tmp_path: Path) -> None:
    """S37: a query may hold a key of the program; no message shows it."""
    secret = ask(target="/paid?api_key=test-key")
    for feed in (Feed(asks(challenge(currency="usd"))), Feed(asks(), asks()), Feed(asks(), head(500))):
        with pytest.raises(Exception, match=r"api\.example\.com") as caught:
            pay(feed, secret)
        assert "test-key" not in f"{caught.value}{caught.value!r}"
    assert "test-key" not in repr(secret)
