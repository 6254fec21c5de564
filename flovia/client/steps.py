"""What the payment flow asks of the world, step by step, and what it gives back: plain records."""

from collections.abc import Generator
from typing import Any, TypeVar

import attrs

from flovia.client.pending import Pending
from flovia.client.wallet import PaidAnswer, PaymentContext
from flovia.core.challenge import Challenge
from flovia.core.effects import Now, Sleep, Token
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.money import Price
from flovia.core.receipt import Receipt

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Head:
    """The head of a response; its body waits until it is read, dropped, or handed to the program."""

    status: int
    headers: Headers


@attrs.frozen(kw_only=True)
class Send:
    """Send a copy of the program's request with the fields in ``add`` set. The result is a :class:`Head`.

    ``paid``: one of them is a credential; then every failure of the transport is an
    :class:`~flovia.core.errors.HttpError`, a :class:`ConnectionLost` where that is what happened. Otherwise it is
    the HTTP client's own exception and none of the flow's business.
    """

    add: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    paid: bool = False


class ConnectionLost(HttpError):
    """A paid request got no answer because its connection broke or could not be made; on a new one it may."""


@attrs.frozen(kw_only=True)
class ReadBody:
    """Read the waiting body, bounded in size and time, and end the response. The result is bytes.

    At most ``limit`` bytes and ``seconds``; None stands for what is enough of an error (:mod:`flovia.client.drive`).
    gzip and deflate are undone. Of a body in another coding nothing is left, or with ``keep`` its bytes as they came.
    """

    limit: int | None = None
    seconds: float | None = None
    keep: bool = False


@attrs.frozen(kw_only=True)
class Reserve:
    """Set money aside (:meth:`flovia.client.budget.Budget.reserve`)."""

    reference: str
    host: str
    price: Price


@attrs.frozen
class Commit:
    """Note in the budget that the payment was made."""

    reference: str


@attrs.frozen
class Refund:
    """Give the money back to the budget: certainly nothing was paid."""

    reference: str


@attrs.frozen
class Keep:
    """Write the credential's file, durably."""

    pending: Pending


@attrs.frozen
class Forget:
    """Remove the credential's file."""

    reference: str


@attrs.frozen
class Pay:
    """Ask the wallet. The result is its verdict; an exception means that nobody knows."""

    challenge: Challenge
    context: PaymentContext


@attrs.frozen
class CheckReceipt:
    """Ask the receipt verifier. The result is its verdict; an exception means that it cannot say."""

    answer: PaidAnswer


Bookkeeping = Reserve | Commit | Refund | Keep | Forget
Step = Send | ReadBody | Pay | CheckReceipt | Now | Token | Sleep | Bookkeeping
Steps = Generator[Step, Any, T]

# --- results -------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PaymentInfo:
    """What was paid for a response; it is in ``response.extensions["flovia"]``.

    ``receipt`` is the server's, or None; then ``receipt_problem`` says why (a receipt is never a condition:
    the payment was made either way). ``receipt_verified``: True if a receipt verifier found signature and contents
    right, False if wrong, None if nobody looked or could say; then ``receipt_problem`` says why.
    ``tries``: how often the credential was presented in this call. ``reference``: until the answer has been read to
    its end, ``resume(reference)`` asks for it again. It is this client's name for the call; the payment's id at the
    payment method is ``receipt.reference``.
    """

    reference: str
    challenge_id: str
    origin: str
    realm: str
    method: str
    price: Price
    recipient: str | None
    tries: int
    resumed: bool
    receipt: Receipt | None = attrs.field(default=None, repr=False)
    receipt_problem: str | None = None
    receipt_verified: bool | None = None


@attrs.frozen(kw_only=True)
class KeptAnswer:
    """A paid answer that the program did not get as a response, because its receipt is wrong.

    ``headers`` as they came; ``body`` without its gzip or deflate, or as it came if it is in another coding.
    ``truncated``: there may be more of it than was kept.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    truncated: bool
    payment: PaymentInfo


@attrs.frozen(kw_only=True)
class Answer:
    """What the program gets: the waiting response, or ``body`` in its place if the flow has read it.

    ``payment`` is None if nothing was paid. ``complete``: reading the response to its end completes the
    delivery, so the credential's file can go.
    """

    payment: PaymentInfo | None = None
    body: bytes | None = attrs.field(default=None, repr=False)
    complete: bool = False
