"""``flovia inspect``: what a challenge, a credential, a receipt or a whole response says."""

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from flovia import entropy
from flovia.cli.console import complain, console, members
from flovia.cli.hitpay_form import from_body, from_header
from flovia.core.challenge import Challenge, read_challenges
from flovia.core.credential import Credential, format_credential, parse_credential
from flovia.core.encoding import JsonValue, b64url_decode, loads_object
from flovia.core.errors import ParseError
from flovia.core.receipt import parse_receipt
from flovia.readable import readable_challenge, readable_credential, readable_receipt, readable_signed

MAX_INPUT: Final = 1 << 20
"""Most characters that are read from standard input."""

_FIELD: Final = re.compile(
    r"^(?:[<>] )?(www-authenticate|(?:payment-)?authorization|payment-receipt|mpp-receipt)[ \t]*:[ \t]*(.*?)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_STATUS: Final = re.compile(r"^(?:< )?HTTP/[0-9.]+ ([0-9]{3})\b", re.MULTILINE)
_TOKEN: Final = re.compile(r"Payment +[A-Za-z0-9_.-]+", re.IGNORECASE)
_SIGNED: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*").fullmatch

_EXPECTED: Final = (
    "expected a WWW-Authenticate, Authorization, Payment-Receipt or mpp-receipt value, a token, a problem document,"
    " or a whole response (curl -si URL)"
)


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was found: its ``kind`` and what it says, or the ``error`` that makes it unreadable."""

    kind: str
    shown: dict[str, JsonValue] = attrs.field(factory=dict[str, JsonValue])
    error: str | None = None


def inspect(
    value: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,  # base64url may begin so
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    mock_payment: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Decode a challenge, a credential, a receipt or a whole HTTP response.

    The proof inside a credential is never shown. Exit status 1 if there is something unreadable, or nothing.

    Args:
        value: a header value, a header line or a bare token; read from standard input if left out, so that
            `curl -si URL | flovia inspect` works.
        as_json: one JSON object a line.
        mock_payment: print instead the Authorization value that pays a challenge of the mock provider.
    """
    text = _given(value)
    if mock_payment:
        return _print_mock_payment(text)
    found = list(findings(text, time.time()))
    out = console()
    for finding in found:
        if as_json:
            error = {} if finding.error is None else {"error": finding.error}
            sys.stdout.write(json.dumps({"kind": finding.kind, **finding.shown, **error}) + "\n")
        elif finding.error is None:
            out.print(finding.kind, style="bold")
            out.print(members(finding.shown))
        if finding.error is not None:
            complain(f"unreadable {finding.kind}: {finding.error}")
    if not found:
        complain(f"nothing of the Payment scheme in there; {_EXPECTED}")
    return 0 if found and all(finding.error is None for finding in found) else 1


def _given(value: str | None) -> str:
    if value is not None:
        return value.strip()
    if sys.stdin.isatty():
        complain("paste a header value or a response, then end it with Ctrl-D")
    return sys.stdin.read(MAX_INPUT).replace("\r\n", "\n").strip()


def findings(text: str, now: float) -> Iterator[Finding]:
    """Everything of the Payment scheme in a text. ``now``: Unix seconds."""
    fields = [(name.lower(), value) for name, value in _FIELD.findall(text)]
    status = _STATUS.search(text)
    if status is not None:
        yield Finding(kind="response", shown={"status": int(status[1])})
    # HitPay's own form says the same in header and body: told once, by the body, which says no less.
    body = from_body(text.partition("\n\n")[2]) if status is not None else None
    same = None if body is None else {name: value for name, value in body.items() if name != "mode"}
    for name, value in fields:
        for found in _field(name, value, now):
            if found.kind != "hitpay challenge" or found.shown != same:
                yield found
    if status is not None:
        yield from _problem(text.partition("\n\n")[2])
    if fields or status is not None or not text:
        return
    if text.startswith("{"):
        yield from _problem(text)
    elif _SIGNED(text):
        yield _signed(text)
    elif _TOKEN.fullmatch(text):
        yield _credential(text)
    elif " " in text:
        yield from _challenges(text, now)
    else:
        yield _bare(text)


def _field(name: str, value: str, now: float) -> Iterator[Finding]:
    if name == "www-authenticate":
        yield from _challenges(value, now)
    elif name == "payment-receipt":
        yield _signed(value) if _SIGNED(value) else _receipt(value)
    elif name == "mpp-receipt":
        yield _signed(value)
    elif value[:8].lower() == "payment " or ", payment " in value.lower():
        yield _credential(value)


def _challenges(value: str, now: float) -> Iterator[Finding]:
    for shown in from_header([value]):
        yield Finding(kind="hitpay challenge", shown=shown)
    for found in read_challenges([value]):
        try:
            if isinstance(found, ParseError):
                raise found
            yield Finding(kind="challenge", shown=readable_challenge(found, now))
        except ParseError as error:
            if not any(from_header([value])):
                yield Finding(kind="challenge", error=str(error))


def _credential(value: str) -> Finding:
    if _SIGNED(token := value.rpartition(" ")[2]):
        return _signed(token)  # HitPay's saved wallets are paid with by the grant itself
    try:
        return Finding(kind="credential", shown=readable_credential(parse_credential(value)))
    except ParseError as error:
        return Finding(kind="credential", error=str(error))


def _receipt(value: str) -> Finding:
    try:
        return Finding(kind="receipt", shown=readable_receipt(parse_receipt(value)))
    except ParseError as error:
        return Finding(kind="receipt", error=str(error))


def _signed(token: str) -> Finding:
    """A JWS: HitPay's receipts, and grants for saved wallets. The signature is neither checked nor shown."""
    try:
        return Finding(kind="signed token", shown=readable_signed(token))
    except ParseError as error:
        return Finding(kind="signed token", error=str(error))


def _bare(token: str) -> Finding:
    """A base64url text on its own: its members tell what it is."""
    try:
        decoded = loads_object(b64url_decode(token))
    except ParseError as error:
        return Finding(kind="value", error=f"{_EXPECTED}; as a token: {error}")
    if "payload" in decoded:
        return _credential(f"Payment {token}")
    if "reference" in decoded:
        return _receipt(token)
    return Finding(kind="parameter", shown=dict(decoded))


def _problem(body: str) -> Iterator[Finding]:
    """The problem details of a response's body, if it has any, or HitPay's own form of a 402."""
    if (shown := from_body(body)) is not None:
        yield Finding(kind="hitpay 402", shown=shown)
        return
    try:
        found = loads_object(body.strip())
    except ParseError:
        return  # some other body: not ours to judge
    if "type" in found and "status" in found:
        yield Finding(kind="problem", shown=dict(found))


def _print_mock_payment(text: str) -> int:
    """Print a credential for the first challenge of the mock provider. Nobody else takes its made-up proof."""
    values = [value for name, value in _FIELD.findall(text) if name.lower() == "www-authenticate"] or [text]
    for found in read_challenges(values):
        if isinstance(found, Challenge) and found.method == "mock":
            proof = {"proof": f"ok-{entropy.token()}"}
            sys.stdout.write(format_credential(Credential(challenge=found, payload=proof)) + "\n")
            return 0
    complain("no challenge of the mock provider in there; pipe the 402 of a route that uses it: curl -si URL")
    return 1
