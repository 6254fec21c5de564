"""``flovia pay``: fetch a URL and pay what it asks, within a budget; show a person where to pay, and wait."""

import math
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import attrs
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from flovia.cli.console import complain
from flovia.cli.hitpay_form import WHAT_TO_DO, from_body, from_header, price_of
from flovia.cli.pay_output import Outcome, Printer
from flovia.cli.pay_reading import CODINGS, MIB, WHOLE, CutOff, begin, pieces
from flovia.cli.pay_wallets import DryRun, Progress, choose_wallet, wait_again
from flovia.client import (
    Budget,
    BudgetExceeded,
    CannotResume,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentError,
    PendingFiles,
    Policy,
    PolicyViolation,
    ReceiptRejected,
    Wallet,
)
from flovia.client.answers import NO_PROBLEM, read_problem, retry_after
from flovia.client.flow import OVER
from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.money import Price

if TYPE_CHECKING:
    import httpx

    from flovia.client.httpx import PayingTransport

OK: Final = 0
NO_ANSWER: Final = 1
MISUSED: Final = 2
UNKNOWN: Final = 3
NOT_ALLOWED: Final = 4
NOT_PAID: Final = 5
PAID_BUT: Final = 6
ERROR_STATUS: Final = 7
INTERRUPTED: Final = 130

READ_S: Final = 60.0
"""Longest single wait for a server: one that says nothing at all is given up sooner than one that talks."""
MAX_DATA: Final = 64 << 20
ASKED_LATER: Final = {
    "refund-due": "to see whether it has",
    "delivery-exhausted": "once it is allowed another attempt",
}
"""What a credential of which the server said that this is all is still good for, if anything."""
GONE_BACK: Final = (
    "the server says that this payment was given back, in full or in part (payment-refunded): it buys nothing any more."
    " To buy it again, make a new call, which is paid anew"
)
MOST: Final = 1024
MOST_OF_JSON: Final = 16
"""MiB of an answer; one object is made in memory, several times its size."""

Header = Annotated[tuple[str, ...], Parameter(name=["--header", "-H"], negative="", consume_multiple=False)]


class Misused(Exception):  # not an error of flovia's: it becomes exit status 2
    """The options make no sense; the text says what to write."""


@attrs.frozen(kw_only=True)
class Request:
    """What is to be sent."""

    http_method: str
    url: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    content: bytes | None = attrs.field(repr=False)


def pay(
    url: str | None = None,
    /,
    *,
    budget: str | None = None,
    method: Annotated[str | None, Parameter(name=["--method", "-X"])] = None,
    data: Annotated[str | None, Parameter(name=["--data", "-d"], allow_leading_hyphen=True)] = None,
    header: Header = (),
    wallet: Literal["hitpay", "mock"] = "hitpay",
    broker: str | None = None,
    auto_pay: Annotated[bool, Parameter(negative="")] = False,
    timeout: float = 600.0,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    resume: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,  # base64url may begin so
    state: Path | None = None,
    max_body: PositiveInt | None = None,
    raw: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Fetch a URL and pay what it asks, within a budget. The answer's body goes to standard output, the rest does not.

    Exit status: 0 an answer below 400 (with --dry-run: it could be paid); 1 no answer, or settings that cannot work;
    2 misused; 3 not over, resume it; 4 budget or policy do not allow it, nothing was paid;
    5 it was not paid; 6 it was paid, and the server's answer to that is wrong; 7 the server's own error;
    130 Ctrl-C.

    Args:
        url: what to fetch.
        budget: the most that may be paid, with its currency: "5.00 SGD". Required.
        method: the HTTP method; GET, or POST with --data.
        data: the body; @FILE reads a file, @- standard input.
        header: a header field, "Name: value"; may be repeated.
        wallet: hitpay shows where a person pays; mock pays the mock provider, which takes no money.
        broker: HitPay's MPP broker; without it HITPAY_MPP_ENDPOINT, and without that HitPay's sandbox.
        auto_pay: let a sandbox on this machine (flovia sandbox) pay by itself, without a person.
        timeout: how many seconds to wait for the person. As long, each, may it take until the price is known, head
            and body and redirects together, and until a paid answer is whole (that: at least 30 s).
        dry_run: say what would be paid, and pay nothing.
        as_json: one JSON object on standard output.
        resume: present the credential kept under this reference again, once it is paid. Pays nothing. With --data if
            the body was too long to be kept, and --header for fields that are secrets, which are not kept.
        state: the folder for kept credentials; without it the user's own.
        max_body: how many MiB of an answer are read, inflated: 1024, and 16 with --json. What has more is cut off.
        raw: let a terminal have the body's bytes as they are. Without it what could steer a terminal is escaped there.
    """
    printer = Printer(as_json=as_json, state=state, raw=raw, wallet=None if wallet == "hitpay" else wallet)
    progress = Progress(printer)
    endpoint = broker or os.environ.get("HITPAY_MPP_ENDPOINT") or None
    try:
        run = _Run(
            printer=printer,
            wallet=choose_wallet(wallet, endpoint, auto_pay, timeout, progress),
            pending=PendingFiles(state),
            timeout_s=timeout,
            limit=(max_body or (MOST_OF_JSON if as_json else MOST)) * MIB,
        )
        if resume is not None:
            if url is not None or dry_run:
                raise Misused(
                    "--resume takes a reference, and what is not kept with it: --data if the body was long, --header"
                )
            return run.resume(resume, header, data)
        if url is None:
            raise Misused('what is to be fetched? flovia pay URL --budget "5.00 SGD"')
        if budget is None:
            raise Misused('how much may it cost? --budget "5.00 SGD" is the most that is paid')
        try:
            Price.parse(budget)
        except WiringError as error:
            raise Misused(f"--budget: {error}") from None
        request = _request(url, method, data, header)
        return run.dry(request, budget) if dry_run else run.pay(request, budget)
    except Misused as error:
        complain(str(error))
        return MISUSED
    except KeyboardInterrupt:
        printer.failed(INTERRUPTED, "stopped while waiting", reference=progress.reference)
        return INTERRUPTED


@attrs.frozen(kw_only=True)
class _Run:
    """One run of the command."""

    printer: Printer
    wallet: Wallet
    pending: PendingFiles
    timeout_s: float
    limit: int
    challenges: list[str] = attrs.field(factory=list[str])
    """What the last 402 had in WWW-Authenticate: for one that no Payment challenge could be read of."""

    def pay(self, request: Request, budget: str) -> int:
        transport = self._transport(self.wallet, Budget(budget))
        return self._within(transport, lambda client: _send(client, request))

    def resume(self, reference: str, header: tuple[str, ...], data: str | None) -> int:
        headers, content = dict(_fields(header)), None if data is None else _content(data)
        # It pays nothing, so the smallest budget there is will do.
        # The server's "later" is waited for no longer than the person was.
        policy = Policy(max_wait_s=min(Policy().max_wait_s, self.timeout_s))
        transport = self._transport(self.wallet, Budget("1 JPY"), policy)

        @contextmanager
        def again(client: "httpx.Client") -> "Generator[httpx.Response]":
            wait_again(self.pending.load(reference), self.wallet)
            with closing(transport.resume(reference, headers=headers, content=content, read=False)) as response:
                yield response

        return self._within(transport, again)

    def dry(self, request: Request, budget: str) -> int:
        probe = DryRun(self.wallet)
        transport = self._transport(probe, Budget(budget))
        return self._within(transport, lambda client: _send(client, request), probe)

    def _transport(self, wallet: Wallet, budget: Budget, policy: Policy | None = None) -> "PayingTransport":
        from flovia.cli.pay_transport import Watched
        from flovia.client.httpx import PayingTransport

        policy = policy or Policy()
        # What is resumed has its own time; every other request says how much it has (bounded).
        transport = Watched(self.challenges, total_s=max(self.timeout_s, policy.paid_timeout_s))
        return PayingTransport(wallet, budget=budget, policy=policy, pending=self.pending, transport=transport)

    def _within(
        self,
        transport: "PayingTransport",
        call: "Callable[[httpx.Client], AbstractContextManager[httpx.Response]]",
        probe: DryRun | None = None,
    ) -> int:
        """Make a call and say what became of it."""
        import httpx

        from flovia.deadline_transport import within

        until = time.monotonic() + self.timeout_s

        def bounded(request: httpx.Request) -> None:
            # Redirects come by here too: together they have as long as one answer.
            request.extensions.update(within(until - time.monotonic(), wait_s=READ_S))

        try:
            with (
                httpx.Client(
                    transport=transport,
                    event_hooks={"request": [bounded]},
                    follow_redirects=True,
                    headers={"Accept-Encoding": CODINGS},
                ) as client,
                call(client) as response,
            ):
                return self._answered(response, probe)
        except OutcomeUnknown as error:
            if error.problem in OVER:
                # The server has said what becomes of the money: the same credential fetches nothing more as yet.
                return self._failed(PAID_BUT, error, ASKED_LATER.get(error.problem or "", ""))
            return self._failed(UNKNOWN, error)
        except (PolicyViolation, BudgetExceeded) as error:
            if (asked := next(from_header(self.challenges), None)) is not None and _unusable(error):
                self.printer.failed(NOT_PAID, _hitpay_form(asked), reference=None)
                return NOT_PAID
            return self._failed(NOT_ALLOWED, error)
        except PaymentDeclined as error:
            if probe is None or probe.found is None:
                return self._failed(NOT_PAID, error)
            self.printer.would_pay(probe.found)
            return OK if probe.found.payable else NOT_PAID
        except ReceiptRejected as error:
            answer = error.answer
            text = self.printer.in_commands(str(error), error.reference)
            self.printer.answered(Outcome(status=answer.status, body=answer.body, payment=answer.payment, error=text))
            return PAID_BUT
        except CannotResume as error:
            return self._failed(NO_ANSWER, error)
        except PaymentError as error:
            return self._failed(PAID_BUT, error)
        except httpx.TimeoutException as error:
            text = f"no whole answer in time ({type(error).__name__}; --timeout is {self.timeout_s:g} s)"
            self.printer.failed(NO_ANSWER, f"{text}; nothing was paid", reference=None)
            return NO_ANSWER
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Its text may hold the URL, and that a secret. Where money may have moved, another error is raised.
            self.printer.failed(NO_ANSWER, f"no answer ({type(error).__name__}); nothing was paid", reference=None)
            return NO_ANSWER

    def _answered(self, response: "httpx.Response", probe: DryRun | None) -> int:
        """Read an answer and print it."""
        from flovia.client.httpx import payment_info

        status, info = response.status_code, payment_info(response)
        try:
            rest = pieces(response, self.limit)
            body = begin(rest, self.limit if self.printer.as_json and probe is None else WHOLE)
            if status == 402 and (asked := from_body(body.decode(errors="replace"))) is not None:
                self.printer.failed(NOT_PAID, _hitpay_form(asked), reference=None)
                return NOT_PAID
            if probe is not None:
                self.printer.free(status)
            else:
                back = GONE_BACK if info is not None and _is_refunded(status, body) else None
                self.printer.answered(Outcome(status=status, body=body, payment=info, error=back), rest)
        except CutOff as error:
            if info is None:
                self.printer.failed(NO_ANSWER, f"{error}; nothing was paid", reference=None)
                return NO_ANSWER
            if info.reference in self.pending.references():
                text = f"it was paid, and cut off: {error}. Do not pay again: the credential is kept"
                self.printer.failed(UNKNOWN, text, reference=info.reference)
                return UNKNOWN
            # It was there to its last byte, and only nobody wanted to see them all.
            self.printer.note(str(error))
        if status == 429 and info is None:
            self.printer.note(_too_often(retry_after(response.headers.get("retry-after"), time.time())))
        return OK if status < 400 else ERROR_STATUS

    def _failed(self, status: int, error: PaymentError, why: str = "resume it with") -> int:
        hint = ""
        if isinstance(error, PolicyViolation) and error.rule == "wallet":
            hint = ". Perhaps another --wallet can"
        elif _unusable(error):
            hint = ". To see all of it: curl -si URL | flovia inspect"
        text = self.printer.in_commands(str(error), error.reference) + hint
        self.printer.failed(status, text, reference=error.reference, why=why)
        return status


def _is_refunded(status: int, body: bytes) -> bool:
    problem = read_problem(body) if status == 403 else NO_PROBLEM
    return problem.known and problem.code == "payment-refunded"


def _unusable(error: PaymentError) -> bool:
    return isinstance(error, PolicyViolation) and error.rule == "challenge"


def _too_often(wait_s: float | None) -> str:
    wait = "some time, the server does not say how long" if wait_s is None else f"{math.ceil(wait_s)} s"
    return f"too many requests: wait {wait}, then ask again. How a flovia route is limited: docs/limits.md"


def _hitpay_form(asked: dict[str, JsonValue]) -> str:
    return f"the server asks for {price_of(asked)}, and nothing was paid: {WHAT_TO_DO}"


def _fields(lines: tuple[str, ...]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for field in lines:
        name, colon, value = field.partition(":")
        if not colon or not name.strip():
            # Not the text itself: it may be a secret that was mistyped.
            raise Misused('--header takes "Name: value"')
        headers.append((name.strip(), value.strip()))
    return headers


def _request(url: str, method: str | None, data: str | None, fields: tuple[str, ...]) -> Request:
    headers = _fields(fields)
    content = None if data is None else _content(data)
    if content is not None and not any(name.lower() == "content-type" for name, _ in headers):
        is_json = content.lstrip()[:1] in (b"{", b"[")
        headers.append(("Content-Type", "application/json" if is_json else "application/x-www-form-urlencoded"))
    verb = (method or ("GET" if content is None else "POST")).upper()
    if not verb.isascii() or not verb.isalpha():
        raise Misused("--method takes an HTTP method, like POST")
    if not url.startswith(("http://", "https://")):
        raise Misused("write the whole URL, with https://")
    return Request(http_method=verb, url=url, headers=tuple(headers), content=content)


def _content(data: str) -> bytes:
    if data == "@-":
        return sys.stdin.buffer.read(MAX_DATA)
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise Misused(f"cannot read {data[1:]}: {error.strerror}") from None


def _send(client: "httpx.Client", request: Request) -> "AbstractContextManager[httpx.Response]":
    return client.stream(request.http_method, request.url, headers=list(request.headers), content=request.content)
