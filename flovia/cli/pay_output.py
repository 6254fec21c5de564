"""What ``flovia pay`` prints: the body on standard output, everything for people on standard error, nothing secret."""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Final

import attrs

from flovia.cli.console import complain, safe
from flovia.cli.wording import resuming
from flovia.client import PaymentInfo
from flovia.core.encoding import JsonValue
from flovia.core.fields import printable

_STEADY: Final = 30.0
"""Seconds between two lines about waiting where no terminal can show a running one."""


@attrs.frozen(kw_only=True)
class Outcome:
    """An answer, and what was paid for it. ``error``: why it is not right all the same."""

    status: int
    body: bytes = attrs.field(repr=False)
    payment: PaymentInfo | None
    error: str | None = None


@attrs.frozen(kw_only=True)
class WouldPay:
    """What a dry run found: the challenge that would be paid, within budget and policy. Nothing of it is secret."""

    method: str
    price: str
    origin: str
    realm: str
    recipient: str | None
    expires_in_s: int | None
    description: str | None
    payable: bool
    why_not: str | None = None


class Printer:
    """Standard output and standard error of one run."""

    def __init__(self, *, as_json: bool, state: Path | None = None) -> None:
        self.as_json = as_json
        self.state = state
        """The folder for kept credentials, if one was named."""
        self._line = False
        self._said_at: float | None = None

    def note(self, text: str) -> None:
        """One line for a person."""
        self._end_line()
        sys.stderr.write(safe(text) + "\n")
        sys.stderr.flush()

    def show(self, text: str) -> None:
        """Lines for a person that are known to be printable."""
        self._end_line()
        sys.stderr.write(text)
        sys.stderr.flush()

    def waiting(self, left_s: float) -> None:
        """How long there is still to wait."""
        text = f"waiting for the payment, this command for {round(left_s)} s more"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text} \x1b[K")
            self._line = True
        elif self._said_at is None or self._said_at - left_s >= _STEADY:
            self._said_at = left_s
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def answered(self, outcome: Outcome) -> None:
        """The server's answer."""
        self._end_line()
        info = outcome.payment
        if self.as_json:
            self._json(
                {
                    "status": outcome.status,
                    "paid": None if info is None else _paid(info),
                    **_body(outcome.body),
                    **({} if outcome.error is None else {"error": outcome.error}),
                }
            )
            return
        sys.stdout.buffer.write(outcome.body)
        sys.stdout.flush()
        if outcome.body and not outcome.body.endswith(b"\n"):
            if sys.stdout.isatty():
                sys.stdout.write("\n")
                sys.stdout.flush()
            elif _is_one_file():
                # On standard error, so that standard output is the body and nothing else.
                sys.stderr.write("\n")
        self.note(f"{outcome.status}, {_told(info)}")
        if outcome.error is not None:
            complain(outcome.error)

    def would_pay(self, found: WouldPay) -> None:
        """What a dry run found."""
        self._end_line()
        if self.as_json:
            self._json({"would_pay": attrs.asdict(found), "paid": None})
            return
        can = "would be paid" if found.payable else f"would not be paid: {found.why_not}"
        sys.stdout.write(safe(f"{found.price} to {found.origin} by {found.method}: {can}") + "\n")
        if found.description:
            self.note(f"it says: {found.description}")
        self.note("nothing was paid")

    def free(self, status: int) -> None:
        """A dry run found nothing to pay."""
        if self.as_json:
            self._json({"would_pay": None, "status": status, "paid": None})
        else:
            sys.stdout.write(f"{status}: it asks for no payment\n")

    def failed(self, status: int, text: str, *, reference: str | None) -> None:
        """Why there is no answer. ``reference``: what can be resumed, or None."""
        self._end_line()
        again = None if reference is None else resuming(reference, self.state)
        if self.as_json:
            self._json({"exit": status, "error": text, "reference": reference, "resume": again, "paid": None})
        complain(text)
        if again is not None and again not in text:
            self.note(f"resume it with: {again}")

    def _json(self, members: dict[str, JsonValue]) -> None:
        sys.stdout.write(json.dumps(members) + "\n")
        sys.stdout.flush()

    def _end_line(self) -> None:
        if self._line:
            sys.stderr.write("\n")
            self._line = False


def _is_one_file() -> bool:
    """Whether both streams end in the same place, as with ``2>&1``."""
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (OSError, ValueError):  # not files at all
        return False


def _told(info: PaymentInfo | None) -> str:
    if info is None:
        return "nothing was paid"
    checked = {True: "receipt verified", False: "RECEIPT WRONG", None: "receipt not verified"}[info.receipt_verified]
    if info.receipt_verified is None and info.receipt is not None and info.receipt_problem is None:
        checked = "with a receipt"  # of a method whose receipts nobody signs
    why = "" if info.receipt_problem is None else f" ({info.receipt_problem})"
    return f"{info.price} paid to {info.origin} by {info.method}, {checked}{why}"


def _paid(info: PaymentInfo) -> JsonValue:
    """The payment, without the receipt's token."""
    return {
        "amount": info.price.amount,
        "currency": info.price.currency,
        "price": str(info.price),
        "method": info.method,
        "origin": info.origin,
        "realm": printable(info.realm),
        "recipient": info.recipient,
        "challenge_id": info.challenge_id,
        "reference": info.reference,
        "payment_id": None if info.receipt is None else info.receipt.reference,
        "receipt": None
        if info.receipt is None
        else {"reference": info.receipt.reference, "timestamp": info.receipt.timestamp},
        "receipt_verified": info.receipt_verified,
        "receipt_problem": info.receipt_problem,
    }


def _body(body: bytes) -> dict[str, JsonValue]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}
