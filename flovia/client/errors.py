"""What a paying call can raise, by whose fault it is and by whether money may have moved.

Catch :class:`PaymentError` for all of them. ``error.may_have_paid`` is False only where it is certain that
nothing was paid; where it is True, ``error.reference`` names the credential that was kept, and
``transport.resume(error.reference)`` sends that same credential again instead of paying twice.

Messages show the server's origin and realm, never the query, a credential, a receipt or a proof.
"""

from typing import TYPE_CHECKING, Literal

from flovia.core.errors import CallerError, FloviaError, PeerError

if TYPE_CHECKING:
    from flovia.client.steps import KeptAnswer

Rule = Literal[
    "amount",
    "authorization",
    "body",
    "challenge",
    "currency",
    "digest",
    "expires",
    "insecure",
    "intent",
    "origin",
    "recipient",
    "redirected",
    "wallet",
]
"""Which check refused a challenge; see :class:`PolicyViolation`."""


class PaymentError(FloviaError):
    """Base of everything a paying call raises about a payment.

    ``may_have_paid``: False if certainly nothing was paid. ``reference``: the name under which the
    credential of this call is kept, or None if there is none.
    """

    def __init__(self, message: str, *, may_have_paid: bool = False, reference: str | None = None) -> None:
        super().__init__(message)
        self.may_have_paid = may_have_paid
        self.reference = reference


class PolicyViolation(PaymentError, PeerError):
    """The server asks for a payment that this program may not or cannot make. Nothing was paid.

    ``rule`` names the check:

    * ``challenge``: malformed, with an unreadable expiry (C01, C04), a credential field of its own choice
      (C10), or too long to be echoed; ``intent``: not a charge; ``wallet``: no method the wallet pays with
    * ``expires``: over, or nearly (C04); ``digest``: not the digest of the body that was sent (C05)
    * ``amount``, ``currency``, ``recipient``, ``origin``: outside the policy (C07)
    * ``insecure``: plain http to another machine (C09); ``redirected``: the request was redirected to
      another origin that the policy does not list (C13)
    * ``body``: a stream, which cannot be sent a second time; ``authorization``: the application uses the
      field that the credential needs
    """

    def __init__(self, message: str, *, rule: Rule) -> None:
        super().__init__(message)
        self.rule: Rule = rule


class BudgetExceeded(PaymentError, CallerError):
    """The payment would go beyond a limit of the budget. Nothing was paid.

    ``limit`` names it: ``per_payment``, ``per_host``, ``lifetime``, or ``limit`` for the main one (within the
    window, if the budget has one). ``needed`` and ``left`` are base units of ``currency``.
    """

    def __init__(self, message: str, *, limit: str, needed: int, left: int, currency: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.needed = needed
        self.left = left
        self.currency = currency


class PaymentDeclined(PaymentError, PeerError):
    """The wallet did not pay. Nothing was sent to the server and the budget got its money back."""


class PaymentRefused(PaymentError, PeerError):
    """The server answered the paid request with another 402: it does not accept this payment.

    ``problem`` is the problem type it gave (``verification-failed``, ``payment-expired`` …) or None;
    ``status`` is 402. flovia pays at most once per call (C12), so it stops here.
    """

    def __init__(self, message: str, *, problem: str | None, status: int, reference: str | None) -> None:
        super().__init__(message, may_have_paid=True, reference=reference)
        self.problem = problem
        self.status = status


class RedirectAfterPayment(PaymentError, PeerError):
    """The server answered the paid request with a redirect; a credential never follows one (C09, C13)."""

    def __init__(self, message: str, *, status: int, reference: str) -> None:
        super().__init__(message, may_have_paid=True, reference=reference)
        self.status = status


class OutcomeUnknown(PaymentError, PeerError):
    """Nobody here can say what became of the payment or its answer: a time-out, a lost connection, a 5xx (C14).

    Never pay again for the same thing: resume with ``reference``. ``status`` is the last status seen, if
    any, and ``problem`` the code of the problem type that came with it, if any. With ``delivery-failed`` a flovia
    server says that it took the payment and owes the answer.
    """

    def __init__(self, message: str, *, reference: str, status: int | None = None, problem: str | None = None) -> None:
        super().__init__(message, may_have_paid=True, reference=reference)
        self.status = status
        self.problem = problem


class ReceiptRejected(PaymentError, PeerError):
    """The server delivered, but with a receipt that is forged, missing where one is required, or for something else.

    The payment was made and is not repeated. ``answer`` is what the server delivered; its credential is kept as
    ``reference`` too. With ``Policy(receipts="note")`` the answer comes as any other, and ``payment_info`` tells.
    """

    def __init__(self, message: str, *, reference: str, answer: "KeptAnswer") -> None:
        super().__init__(message, may_have_paid=True, reference=reference)
        self.answer = answer


class CannotResume(PaymentError, CallerError):
    """``resume`` was called with a reference or a body that does not fit what is kept. Nothing was sent."""
