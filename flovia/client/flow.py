"""The payment flow: one HTTP call with at most one payment in it, written once for every HTTP client.

A generator that yields *steps* and is resumed with their results. It does no I/O: :mod:`flovia.client.drive`
performs the steps for httpx and httpx2, sync and async, and a test can do it by hand. The order is what makes
it safe:

1. send the request; anything but a 402 with a Payment challenge is the program's own business
2. check channel, challenges and policy; choose the first challenge that passes
3. set the money aside in the budget; make the file that will hold the credential
4. ask the wallet to pay
5. put the credential into the file; only then send it (if the wallet was not sure that it is paid, and the server
   says that it is not, go back to 4)
6. present that same credential again as long as the server says "later"; never make another payment
"""

import logging
from hashlib import sha256
from typing import Final, NoReturn, cast

import attrs

from flovia.client.answers import NO_PROBLEM, Problem, checked, paid_info, read_problem, retry_after
from flovia.client.budget import Budget
from flovia.client.errors import (
    CannotResume,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentError,
    PaymentRefused,
    PolicyViolation,
    RedirectAfterPayment,
)
from flovia.client.pending import MAX_BODY, Pending, kept_headers
from flovia.client.policy import Ask, Policy, Terms, check_challenge, check_channel
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
from flovia.client.wallet import (
    Declined,
    ForeseeingWallet,
    Payment,
    PaymentContext,
    Uncertain,
    Unconfirmed,
    Wallet,
    WalletVerdict,
)
from flovia.core.challenge import Challenge, read_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Now, Sleep, Token
from flovia.core.errors import CallerError, FloviaError, HttpError, ParseError
from flovia.core.fields import payment_credentials, printable

log: Final = logging.getLogger("flovia.client")

CREDENTIAL_FIELDS: Final = ("Authorization", "Payment-Authorization")
"""The only fields a credential may travel in (C10)."""

UNPAYABLE: Final = frozenset({"HEAD", "OPTIONS", "TRACE"})
"""Their 402 is handed on: it says what a GET would cost, and paying for it would deliver nothing."""

OVER: Final = {
    "refund-due": "it is to give the money back. Do not pay again before it has",
    "delivery-exhausted": "no attempt is left: its operator has to allow another one, or to give the money back",
    "delivery-final": "there the payment is for the attempt: the same credential gets no other",
}
"""What a server of ours says that took a payment and will not deliver for it any more."""

RECONNECT_S: Final = (0.05, 0.5)
"""Seconds to wait after a lost connection before the same credential goes out on another one; then it is enough.

A server may close a connection right after an answer, an error above all, without saying so; the HTTP client
learns of it only by using that connection once more. The short wait lets it see the others that were closed.
"""


@attrs.frozen(kw_only=True)
class _Choice:
    challenge: Challenge
    terms: Terms
    reference: str


def paying(ask: Ask, *, wallet: Wallet, budget: Budget, policy: Policy, checks: bool = False) -> Steps[Answer]:
    """Make one HTTP call and pay for it if the server asks, once, within policy and budget.

    ``checks``: somebody looks at receipts.

    Raises:
        CallerError: the program put a credential of its own into the request; nothing was sent.
        PolicyViolation, BudgetExceeded, PaymentDeclined, WiringError: nothing was paid.
        PaymentRefused, RedirectAfterPayment, OutcomeUnknown: something may have been paid.
        ReceiptRejected: it was paid and delivered, with a wrong receipt.
    """
    _check_own_credential(ask)
    accept: tuple[tuple[str, str], ...] = ()
    if wallet.methods and policy.allows(ask.origin) and ask.headers.get("accept-payment") is None:
        accept = (("Accept-Payment", ", ".join(wallet.methods)),)
    head: Head = yield Send(add=accept)
    if head.status != 402 or ask.http_method in UNPAYABLE:
        return Answer()
    found = read_challenges(head.headers.get_all("www-authenticate"))
    body: bytes = yield ReadBody()
    if not found:
        return Answer(body=body)
    if ask.paid_reference is not None:
        raise PaymentRefused(
            f"{ask.origin} asks for another payment, but this request was already paid for, and one call pays at"
            " most once. Build a new request if you mean to pay again",
            problem=None,
            status=402,
            reference=ask.paid_reference,
        )
    check_channel(ask, policy)
    choice = yield from _choose(ask, found, wallet, budget, policy)
    pending, context = yield from _prepare(ask, choice, wallet)
    while True:
        pending, sure = yield from _pay(ask, choice, wallet, pending, context)
        answer = yield from _try(ask, pending, policy, checks=checks, sure=sure)
        if answer is not None:
            return answer
        context = attrs.evolve(context, attempt=context.attempt + 1)


def resuming(ask: Ask, pending: Pending, *, policy: Policy, checks: bool = False) -> Steps[Answer]:
    """Present a kept credential again, for the same request. Never pays.

    Raises:
        CannotResume: the request is not the one that was paid for; nothing was sent.
        PolicyViolation: the channel is not allowed (any more); nothing was sent.
        PaymentRefused, RedirectAfterPayment, OutcomeUnknown, ReceiptRejected: as :func:`paying`.
    """
    if pending.credential is None:
        raise CannotResume(
            "the wallet never answered this payment, so there is no credential to send: ask the wallet what"
            f" became of reference {pending.reference}",
            may_have_paid=True,
            reference=pending.reference,
        )
    if ask.body is None or sha256(ask.body).hexdigest() != pending.body_sha256:
        raise CannotResume(
            "the body is not the one that was paid for, or was too long to be kept: give the same bytes"
            " again, resume(reference, content=…)",
            may_have_paid=True,
            reference=pending.reference,
        )
    check_channel(ask, policy)
    answer = yield from _present(ask, pending, policy, resumed=True, checks=checks)
    return cast(Answer, answer)


def _check_own_credential(ask: Ask) -> None:
    """A credential in the program's own request would follow redirects, and could not be told from ours."""
    try:
        found = bool(payment_credentials(ask.headers.get_all("authorization")))
    except ParseError:
        found = True
    if found or ask.headers.get("payment-authorization") is not None:
        raise CallerError(
            "this request already carries a Payment credential: leave that to the paying transport, or send"
            " the request through a plain one. To present a kept credential again, call resume(reference)"
        )


def _choose(
    ask: Ask, found: list[Challenge | ParseError], wallet: Wallet, budget: Budget, policy: Policy
) -> Steps[_Choice]:
    """The first challenge that wallet, policy and budget allow, with its money set aside (C08)."""
    now: float = yield Now()
    reference: str = yield Token()
    refusals: list[PaymentError] = []
    for challenge in found:
        try:
            if isinstance(challenge, ParseError):
                raise PolicyViolation(
                    f"{ask.origin} sent an unusable challenge, which was not paid: {challenge}",
                    rule="challenge",
                )
            if not wallet.can_pay(challenge):
                raise PolicyViolation(
                    f"{ask.origin} asks for a payment by {challenge.method[:40]}/{challenge.intent[:40]}, which the"
                    f" wallet cannot make ({', '.join(wallet.methods)}): nothing was paid",
                    rule="wallet",
                )
            terms = check_challenge(ask, challenge, policy, now)
            budget.check(ask.host, terms.price)
            yield Reserve(reference=reference, host=ask.host, price=terms.price)
        except PaymentError as refusal:
            refusals.append(refusal)
        else:
            return _Choice(challenge=challenge, terms=terms, reference=reference)
    # The one that came furthest explains most: a small budget more than a bad neighbour.
    best = max(refusals, key=_progress)
    for other in refusals:
        if other is not best:
            best.add_note(str(other))
    raise best


def _progress(refusal: PaymentError) -> int:
    """How far a challenge came; of equals the first counts."""
    if isinstance(refusal, PolicyViolation):
        return 0 if refusal.rule in ("challenge", "wallet", "intent") else 1
    return 2


def _prepare(ask: Ask, choice: _Choice, wallet: Wallet) -> Steps[tuple[Pending, PaymentContext]]:
    """Make the file for the credential, and what the wallet is told."""
    challenge, terms, reference = choice.challenge, choice.terms, choice.reference
    body = ask.body or b""
    created_at: float = yield Now()
    pending = Pending(
        reference=reference,
        created_at=created_at,
        http_method=ask.http_method,
        origin=ask.origin,
        host=ask.host,
        target=ask.target,
        headers=kept_headers(ask),
        body=body if len(body) <= MAX_BODY else None,
        body_sha256=sha256(body).hexdigest(),
        challenge_id=challenge.id,
        realm=challenge.realm,
        method=challenge.method,
        price=terms.price,
        recipient=terms.recipient,
        field=CREDENTIAL_FIELDS[challenge.header is not None],
    )
    try:
        yield Keep(pending)
    except FloviaError:
        yield from _quietly(Refund(reference))
        raise
    context = PaymentContext(
        reference=reference,
        http_method=ask.http_method,
        origin=ask.origin,
        realm=challenge.realm,
        price=terms.price,
        recipient=terms.recipient,
        expires_at=terms.expires_at,
        asked_at=created_at,
    )
    if isinstance(wallet, ForeseeingWallet):
        pending = yield from _foreseen(pending, wallet, challenge, context)
    return pending, context


def _pay(
    ask: Ask, choice: _Choice, wallet: Wallet, pending: Pending, context: PaymentContext
) -> Steps[tuple[Pending, bool]]:
    """Let the wallet pay the chosen challenge; the kept credential, and whether the wallet is sure that it is paid."""
    challenge, terms, reference = choice.challenge, choice.terms, choice.reference
    kept = pending.credential is not None
    try:
        verdict: WalletVerdict = yield Pay(challenge, context)
    except Exception as error:
        raise _wallet_unknown(context, f"failed ({type(error).__name__})", kept=kept) from error
    if isinstance(verdict, Declined):
        yield from _quietly(Refund(reference))
        yield from _quietly(Forget(reference))
        raise PaymentDeclined(
            f"the wallet did not pay {terms.price} to {ask.origin}"
            f" (realm {printable(challenge.realm[:80])!r}): {verdict.reason}. As far as it knows nothing was paid"
        )
    sure = not isinstance(verdict, Unconfirmed)
    payment = verdict.payment if isinstance(verdict, Unconfirmed) else verdict
    if not isinstance(payment, Payment):
        raise _wallet_unknown(context, _uncertain(payment), kept=kept)
    if sure:
        yield from _quietly(Commit(reference))
    try:
        # No variable holds the credential: tracebacks with local variables end up in logs.
        pending = attrs.evolve(
            pending,
            credential=format_credential(
                Credential(challenge=challenge, payload=payment.payload, source=payment.source)
            ),
        )
    except ParseError as error:
        raise _wallet_unknown(context, "made a proof that cannot be sent", kept=kept) from error
    # Money has moved. If the disk fails only now, sending the credential is still better than losing it.
    yield from _quietly(Keep(pending))
    return pending, sure


def _try(ask: Ask, pending: Pending, policy: Policy, *, checks: bool, sure: bool) -> Steps[Answer | None]:
    """Present the credential; None if the wallet was not sure and the server says that nobody has paid yet."""
    if sure:
        return (yield from _present(ask, pending, policy, resumed=False, checks=checks))
    try:
        answer = yield from _present(ask, pending, policy, resumed=False, checks=checks, once=True)
    except PaymentError:
        # It may have been paid, so the money stays spent.
        yield from _quietly(Commit(pending.reference))
        raise
    if answer is not None and answer.complete:
        yield from _quietly(Commit(pending.reference))
    return answer


def _uncertain(verdict: object) -> str:
    why = verdict.reason if isinstance(verdict, Uncertain) else None  # untyped wallets return all sorts of things
    return "does not know whether it paid" + (f": {why}" if why else "")


def _foreseen(
    pending: Pending, wallet: ForeseeingWallet, challenge: Challenge, context: PaymentContext
) -> Steps[Pending]:
    """Keep the credential before anybody pays, if the wallet knows it already."""
    try:
        payment = wallet.foresee(challenge, context)
        if payment is None:
            return pending
        pending = attrs.evolve(
            pending,
            credential=format_credential(
                Credential(challenge=challenge, payload=payment.payload, source=payment.source)
            ),
        )
    except Exception as error:
        # A mistake of the wallet's, but nothing is paid yet: its own answer will tell.
        log.warning("the wallet could not foresee its proof: %s", type(error).__name__)
        return pending
    yield from _quietly(Keep(pending))
    return pending


def _wallet_unknown(context: PaymentContext, what: str, *, kept: bool) -> OutcomeUnknown:
    reference = context.reference
    sent = "nothing was sent" if context.attempt == 1 else "the server says that it is not paid either"
    then = (
        f"Do not pay again: the credential is kept as {reference}, resume(reference) presents it once it is paid"
        if kept
        else f"Ask the wallet about reference {reference} before paying again"
    )
    return OutcomeUnknown(
        f"the wallet {what}; the amount stays reserved in the budget, and {sent}. {then}",
        reference=reference,
    )


def _quietly(step: Step) -> Steps[None]:
    """A bookkeeping step that must not lose what is already decided; a failure is logged.

    Safe because each failure errs on the side of caution: money stays reserved, a file stays behind.
    """
    try:
        yield step
    except FloviaError as error:
        log.warning("%s: %s", type(step).__name__, error)


def _present(
    ask: Ask, pending: Pending, policy: Policy, *, resumed: bool, checks: bool, once: bool = False
) -> Steps[Answer | None]:
    """Present the credential until the server says something final, within the policy's patience (C14).

    With ``once`` the server's word that it is not paid yet is final too, and the result None.
    """
    reference = pending.reference
    key: tuple[tuple[str, str], ...] = ()
    if policy.idempotency_key and ask.headers.get("idempotency-key") is None:
        # The same for all tries of this payment, and for resuming it: an answer that got lost can be had again.
        key = (("Idempotency-Key", f'"{reference}"'),)
    # In no variable of its own: a crash reporter shows those.
    send = Send(add=((pending.field, pending.credential or ""), *key), paid=True)
    started: float = yield Now()
    tries = lost = 0
    while True:
        tries += 1
        try:
            head: Head = yield send
        except ConnectionLost as error:
            # Whether the server got the request or not: the same credential never pays twice.
            lost += 1
            now: float = yield Now()
            if lost > len(RECONNECT_S) or _impatient(policy, tries, now + RECONNECT_S[lost - 1] - started):
                raise _unknown(ask, pending, f"gave no answer to the paid request ({error})") from error
            yield Sleep(RECONNECT_S[lost - 1])
            continue
        except HttpError as error:
            raise _unknown(ask, pending, f"gave no answer to the paid request ({error})") from error
        status = head.status
        if 200 <= status < 300 or status == 304:
            info = paid_info(head, pending, tries, resumed)
            if checks:
                info = yield from checked(ask, head, info, pending, policy)
            return Answer(payment=info, complete=True)
        if 300 <= status < 400:
            yield ReadBody()
            raise RedirectAfterPayment(
                f"{ask.origin} answered the paid request with a redirect ({status}), which no credential"
                f" follows. Tell its operator; the credential is kept as {reference}, resume(reference)"
                " sends it again",
                status=status,
                reference=reference,
            )
        now = yield Now()
        wait = retry_after(head.headers.get("retry-after"), now)
        problem = NO_PROBLEM
        if status == 402:
            problem = read_problem((yield ReadBody()))
            challenges = read_challenges(head.headers.get_all("www-authenticate"))
            same = any(isinstance(c, Challenge) and c.id == pending.challenge_id for c in challenges)
            if wait is None or not same:
                _refused(ask, pending, problem, lost=bool(lost))
            if once:
                return None
        elif status >= 500 or (status in (409, 429) and wait is not None):
            problem = read_problem((yield ReadBody()))
        else:
            # The program's own kind of answer (404, 403 …). It got no delivery, so the credential stays.
            return Answer(payment=paid_info(head, pending, tries, resumed))
        if wait is None:
            raise _unknown(ask, pending, f"answered the paid request with {status}", status, problem)
        if _impatient(policy, tries, now + wait - started):
            raise _unknown(ask, pending, f"still answers {status}, 'later', after {_tries(tries)}", status, problem)
        yield Sleep(wait)


def _tries(number: int) -> str:
    return "one try" if number == 1 else f"{number} tries"


def _impatient(policy: Policy, tries: int, waited_s: float) -> bool:
    """Whether another try, this long after the first, would be more than the policy allows."""
    return tries >= policy.max_tries or waited_s > policy.max_wait_s


def _unknown(
    ask: Ask, pending: Pending, what: str, status: int | None = None, problem: Problem = NO_PROBLEM
) -> OutcomeUnknown:
    reference = pending.reference
    named = f" ({problem.code})" if problem.code else ""
    if problem.known and problem.code == "delivery-failed":
        text = (
            f"{ask.origin} {what}{named}: it took the payment, but its answer failed. Do not pay again: the"
            f" credential is kept as {reference}, resume(reference) fetches the answer with it. If that keeps"
            f" failing, take it up with {_operator(pending)}"
        )
    elif problem.known and problem.code in OVER:
        text = (
            f"{ask.origin} {what}{named}: it took the payment, its answer failed, and {OVER[problem.code]}. The"
            f" credential is kept as {reference}; take it up with {_operator(pending)} if that is wrong"
        )
    else:
        text = (
            f"{ask.origin} {what}{named}: nobody knows whether the payment was taken. Do not pay again: the"
            f" credential is kept as {reference}, resume(reference) sends the same one, and {_operator(pending)}"
            " can look it up"
        )
    return OutcomeUnknown(text, reference=reference, status=status, problem=problem.code)


def _operator(pending: Pending) -> str:
    return f"the server's operator, who knows it as challenge {pending.challenge_id}"


def _refused(ask: Ask, pending: Pending, problem: Problem, *, lost: bool) -> NoReturn:
    # A credential is used up by the one answer that was delivered: perhaps by the one that never got here.
    earlier = ". An earlier try in this call lost its connection: its answer may have been on the way" if lost else ""
    raise PaymentRefused(
        f"{ask.origin} does not accept the payment ({problem.code or 'it gave no reason'}){earlier}; flovia does not"
        f" pay a second time in one call. The credential is kept as {pending.reference}: take it up with"
        f" {_operator(pending)}, or resume(reference) if the payment arrived later",
        problem=problem.code,
        status=402,
        reference=pending.reference,
    )
