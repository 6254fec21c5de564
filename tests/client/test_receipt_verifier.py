"""The hook for signed receipts: who looks at them, and what becomes of an answer whose receipt is wrong."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from flovia.client import (
    MockWallet,
    OutcomeUnknown,
    PaidAnswer,
    Payment,
    PaymentContext,
    PaymentDeclined,
    Policy,
    ReceiptRejected,
    ReceiptUnverified,
    ReceiptVerdict,
    ReceiptVerified,
    ReceiptVerifier,
    ReceiptWrong,
    Uncertain,
    WalletVerdict,
)
from flovia.client.httpx import PayingTransport
from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, sleep
from flovia.core.errors import WiringError
from tests.client.agent import WAYS, Agent
from tests.client.server import Say, paid, receipt, sells, serving, unpaid

VERIFIED, UNVERIFIED, WRONG = ReceiptVerified(), ReceiptUnverified(reason="no keys"), ReceiptWrong(reason="forged")


class Judging(MockWallet):
    """A wallet that says of every receipt what a test wants, and remembers what it saw."""

    def __init__(self, verdict: ReceiptVerdict | Exception) -> None:
        super().__init__()
        self.verdict = verdict
        self.seen: list[PaidAnswer] = []

    def verify_receipt(self, answer: PaidAnswer) -> Flow[ReceiptVerdict]:
        self.seen.append(answer)
        yield from sleep(0)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.mark.parametrize("way", WAYS)
def test_a_right_receipt_is_noted(way: str, tmp_path: Path) -> None:
    """The verifier sees challenge, proof, price and headers of the paid answer; the program gets its answer."""
    wallet = Judging(VERIFIED)
    with serving(sells()) as server:
        reply = Agent(way, tmp_path, wallet=wallet).get(server.url)
        (credential,) = server.credentials
    assert reply.payment is not None
    assert (b"goods", True, None) == (reply.body, reply.payment.receipt_verified, reply.payment.receipt_problem)
    (seen,) = wallet.seen
    assert (credential.challenge.id, credential.payload) == (seen.challenge.id, seen.payload)
    assert ("1.00 SGD", server.url) == (str(seen.price), seen.origin)
    assert seen.receipt is not None
    assert seen.headers.get("payment-receipt") is not None
    assert str(credential.payload["proof"]) not in repr(seen)


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_receipt_raises_with_the_answer_and_pays_nothing_more(way: str, tmp_path: Path) -> None:
    """The money is gone and the goods are here: the error brings them along, and the credential stays kept."""
    body = gzip.compress(b"goods" * 1000)
    answer = Say(status=201, headers=(receipt(), ("Content-Encoding", "gzip"), ("X-Test", "kept")), body=body)
    wallet = Judging(WRONG)
    with serving(sells(answer)) as server:
        agent = Agent(way, tmp_path, wallet=wallet)
        with pytest.raises(ReceiptRejected) as caught:
            agent.get(server.url)
        assert (2, 1) == (len(server.seen), len(server.credentials))
        error = caught.value
        kept = error.answer
        assert (201, b"goods" * 1000, False) == (kept.status, kept.body, kept.truncated)
        assert "kept" == dict(kept.headers)["x-test"]
        assert (False, "forged") == (kept.payment.receipt_verified, kept.payment.receipt_problem)
        assert kept.payment.receipt is not None
        assert (True, [error.reference]) == (error.may_have_paid, agent.pending.references())
        assert "forged" in str(error)
        assert "goods" not in repr(kept)
        assert 1 == wallet.payments
        wallet.verdict = VERIFIED
        assert b"goods" * 1000 == agent.resume(error.reference or "").body
    assert 1 == wallet.payments
    assert [] == agent.pending.references()


def test_an_answer_in_a_coding_we_do_not_undo_is_kept_as_it_came(tmp_path: Path) -> None:
    """Better raw bytes than none: the header that names their coding is kept too."""
    answer = Say(headers=(receipt(), ("Content-Encoding", "br")), body=b"\x0b\x02\x80goods\x03")
    with serving(sells(answer)) as server, pytest.raises(ReceiptRejected) as caught:
        Agent("httpx", tmp_path, wallet=Judging(WRONG)).get(server.url)
    assert b"\x0b\x02\x80goods\x03" == caught.value.answer.body
    assert "br" == dict(caught.value.answer.headers)["content-encoding"]


@pytest.mark.parametrize(
    ("receipts", "verdict", "raises"),
    [
        ("note", WRONG, False),
        ("note", UNVERIFIED, False),
        ("check", WRONG, True),
        ("check", UNVERIFIED, False),
        ("check", RuntimeError("test"), False),
        ("require", WRONG, True),
        ("require", UNVERIFIED, True),
        ("require", RuntimeError("test"), True),
        ("require", VERIFIED, False),
    ],
)
def test_the_policy_says_what_becomes_of_a_receipt(
    receipts: str, verdict: ReceiptVerdict | Exception, raises: bool, tmp_path: Path
) -> None:
    """note never raises, check on what is wrong, require also on what nobody can say."""
    policy = Policy(receipts=receipts)  # type: ignore[arg-type]  # one of the three
    with serving(sells()) as server:
        agent = Agent("httpx", tmp_path, wallet=Judging(verdict), policy=policy)
        if raises:
            with pytest.raises(ReceiptRejected):
                agent.get(server.url)
            return
        reply = agent.get(server.url)
    assert reply.payment is not None
    expected = {ReceiptVerified: True, ReceiptWrong: False}.get(type(verdict))
    assert expected == reply.payment.receipt_verified
    assert (expected is True) == (reply.payment.receipt_problem is None)


def test_an_unknown_word_in_the_policy_is_refused() -> None:
    """A typing mistake must not switch checking off."""
    with pytest.raises(WiringError, match="note, check, require"):
        Policy(receipts="ignore")  # type: ignore[arg-type]  # wrong on purpose


def test_a_wallet_that_knows_nothing_of_receipts_changes_nothing(tmp_path: Path) -> None:
    """Nobody looks: receipt_verified says so, and a missing receipt is still no error."""
    assert not isinstance(MockWallet(), ReceiptVerifier)
    with serving(sells(Say(body=b"goods"))) as server:
        reply = Agent("httpx", tmp_path, policy=Policy(receipts="require")).get(server.url)
    assert reply.payment is not None
    assert (None, "the server sent no receipt") == (reply.payment.receipt_verified, reply.payment.receipt_problem)


def test_a_verifier_of_its_own(tmp_path: Path) -> None:
    """Who looks need not be the wallet."""
    import httpx

    judge = Judging(WRONG)
    agent = Agent("httpx", tmp_path)
    transport = PayingTransport(agent.wallet, budget=agent.budget, pending=agent.pending, verifier=judge)
    with serving(sells()) as server, httpx.Client(transport=transport) as client, pytest.raises(ReceiptRejected):
        client.get(server.url)
    assert (1, 0) == (len(judge.seen), judge.payments)


def test_errors_after_paying_are_not_looked_at(tmp_path: Path) -> None:
    """A 404 carries no receipt; it is the program's own business as before."""
    wallet = Judging(WRONG)
    with serving(sells(Say(status=404))) as server:
        assert 404 == Agent("httpx", tmp_path, wallet=wallet).get(server.url).status
    assert [] == wallet.seen


# --- proofs that are known before anybody paid -----------------------------------------------------------


class Foreseeing(MockWallet):
    """Knows its proof beforehand; ``pay`` ends as a test wants."""

    def __init__(self, end: Callable[[], WalletVerdict]) -> None:
        super().__init__()
        self.end = end

    def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
        return Payment(payload={"proof": "ok-foreseen"})

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        yield from sleep(0)
        return self.end()


def _fails() -> WalletVerdict:
    raise RuntimeError("test")


@pytest.mark.parametrize("end", [lambda: Uncertain(reason="nobody came"), _fails])
@pytest.mark.parametrize("way", WAYS)
def test_a_foreseen_credential_can_be_resumed_when_the_wallet_gave_up(
    way: str, end: Callable[[], WalletVerdict], tmp_path: Path
) -> None:
    """Whoever was to pay may do so later: the credential is kept, resume presents it, and nothing is paid twice."""
    with serving(sells()) as server:
        agent = Agent(way, tmp_path, wallet=Foreseeing(end))
        with pytest.raises(OutcomeUnknown, match="resume") as caught:
            agent.get(server.url)
        assert [] == server.credentials
        assert b"goods" == agent.resume(caught.value.reference or "").body
        assert [{"proof": "ok-foreseen"}] == [credential.payload for credential in server.credentials]
    assert [] == agent.pending.references()


def test_the_reason_is_told(tmp_path: Path) -> None:
    """What the wallet says about its doubt is in the error."""
    with serving(sells()) as server, pytest.raises(OutcomeUnknown, match="nobody came"):
        Agent("httpx", tmp_path, wallet=Foreseeing(lambda: Uncertain(reason="nobody came"))).get(server.url)


def test_a_crash_while_somebody_pays_loses_nothing(tmp_path: Path) -> None:
    """Ctrl-C during the wait: the credential is in its file already."""

    def interrupt() -> WalletVerdict:
        raise KeyboardInterrupt

    with serving(sells()) as server:
        agent = Agent("httpx", tmp_path, wallet=Foreseeing(interrupt))
        with pytest.raises(KeyboardInterrupt):
            agent.get(server.url)
        (reference,) = agent.pending.references()
        assert b"goods" == agent.resume(reference).body


def test_what_was_declined_is_forgotten(tmp_path: Path) -> None:
    """Certainly not paid: no file remains."""
    from flovia.client import Declined

    with serving(lambda seen: unpaid()) as server:
        agent = Agent("httpx", tmp_path, wallet=Foreseeing(lambda: Declined(reason="no")))
        with pytest.raises(PaymentDeclined):
            agent.get(server.url)
    assert [] == agent.pending.references()


def test_a_foreseen_proof_that_cannot_be_sent_is_not_kept(tmp_path: Path) -> None:
    """A wallet's mistake is reported as one, and no half credential stays behind."""

    class Odd(Foreseeing):
        def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
            return Payment(payload={"proof": float("nan")})

    with serving(sells(paid())) as server:
        agent = Agent("httpx", tmp_path, wallet=Odd(lambda: Payment(payload={"proof": "ok-later"})))
        assert b"goods" == agent.get(server.url).body
