"""What ``flovia pay`` prints: the body on standard output, everything for people on standard error, nothing secret."""

import base64
import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from flovia.cli.console import complain
from flovia.cli.pay_reading import CutOff
from flovia.cli.wording import in_commands, resuming
from flovia.client import CannotResume, PaymentInfo, PendingFiles
from flovia.core.encoding import JsonValue
from flovia.core.fields import printable
from flovia.core.origin import is_loopback
from flovia.words import safe

_STEADY: Final = 30.0
"""Seconds between two lines about waiting where no terminal can show a running one."""


@attrs.frozen(kw_only=True)
class Outcome:
    """An answer, and what was paid for it. ``body``: its beginning, or all of it. ``error``: why it is not right."""

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

    def __init__(
        self, *, as_json: bool, state: Path | None = None, raw: bool = False, wallet: str | None = None
    ) -> None:
        self.as_json = as_json
        self.raw = raw
        """Whether a terminal gets a body's bytes as they are."""
        self.state = state
        """The folder for kept credentials, if one was named."""
        self.wallet = wallet
        """The wallet that pays, if it is not the default."""
        self._line = False
        self._mid_body = False
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

    def answered(self, outcome: Outcome, rest: Iterable[bytes] = ()) -> None:
        """The server's answer. ``rest``: what follows of its body; with JSON it is all in ``outcome``.

        Raises:
            CutOff: nobody reads standard output any more.
        """
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
        try:
            self._body(chain((outcome.body,), rest))
        except BrokenPipeError:
            # What is still in the buffer would be complained about once more at the end of the process.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise CutOff("nobody reads standard output any more") from None
        self.note(f"{outcome.status}, {_told(info)}")
        if outcome.error is not None:
            complain(outcome.error)

    def _body(self, body: Iterable[bytes]) -> None:
        """A body as it is; on a terminal without what could steer that."""
        screen = _Screen() if sys.stdout.isatty() and not self.raw else None
        out = sys.stdout.buffer
        try:
            for piece in body:
                shown = piece if screen is None else screen.shown(piece)
                out.write(shown)
                self._mid_body = not shown.endswith(b"\n") if shown else self._mid_body
            if screen is not None and (shown := screen.shown(b"", last=True)):
                out.write(shown)
                self._mid_body = True
        finally:
            out.flush()

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
        if other := _other_realm(found.realm, found.origin):
            self.note(f"it is for {other}")
        self.note("nothing was paid")

    def free(self, status: int) -> None:
        """A dry run found nothing to pay."""
        if self.as_json:
            self._json({"would_pay": None, "status": status, "paid": None})
        else:
            sys.stdout.write(f"{status}: it asks for no payment\n")

    def failed(self, status: int, text: str, *, reference: str | None, why: str = "resume it with") -> None:
        """Why there is no answer. ``reference``: of the credential that is kept, or None.

        ``why``: what the command is good for that presents it again; "" if nothing is left that it could do.
        """
        self._end_line()
        again = None if reference is None else resuming(reference, self.state, self.wallet)
        if self.as_json:
            self._json(
                {
                    "exit": status,
                    "error": text,
                    "challenge_id": self._challenge_of(reference),
                    "reference": reference,
                    "resume": again,
                    "paid": None,
                }
            )
        complain(text)
        if why and again is not None and again not in text:
            self.note(f"{why}: {again}")

    def in_commands(self, text: str, reference: str | None) -> str:
        """What the library says, in commands that can be typed as they stand."""
        return in_commands(text, reference, self.state, self.wallet)

    def _challenge_of(self, reference: str | None) -> str | None:
        try:
            return None if reference is None else PendingFiles(self.state).load(reference).challenge_id
        except CannotResume:
            return None

    def _json(self, members: dict[str, JsonValue]) -> None:
        sys.stdout.write(json.dumps(members) + "\n")
        sys.stdout.flush()

    def _end_line(self) -> None:
        if self._line:
            sys.stderr.write("\n")
            self._line = False
        if self._mid_body:
            self._mid_body = False
            if sys.stdout.isatty():
                sys.stdout.write("\n")
                sys.stdout.flush()
            elif _is_one_file():
                # On standard error, so that standard output is the body and nothing else.
                sys.stderr.write("\n")


class _Screen:
    """Text for a terminal: what cannot be printed is escaped, lines and tabs stay."""

    def __init__(self) -> None:
        utf8 = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)

    def shown(self, piece: bytes, *, last: bool = False) -> bytes:
        """What stands for the next piece of a body, in the terminal's own encoding."""
        text = self._decoder.decode(piece, last)
        if not text.isprintable():
            text = "".join(c if c.isprintable() or c in "\n\t" or _is_space(c) else safe(c) for c in text)
        return text.encode(sys.stdout.encoding or "utf-8", "backslashreplace")


def _is_space(character: str) -> bool:
    return unicodedata.category(character) == "Zs"  # such as the space of Japanese texts


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
    other = _other_realm(info.realm, info.origin)
    return f"{info.price} paid to {info.origin} by {info.method}, {checked}{why}" + (other and f"; for {other}")


def _other_realm(realm: str, origin: str) -> str:
    """What a person should know of a realm that is not the server's own name; "" where it is."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if realm.lower() in (host, parts.netloc, origin) or (is_loopback(host) and is_loopback(realm)):
        return ""
    return f"the realm {printable(realm)!r}, which is not the server's name"


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
