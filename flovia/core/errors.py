"""Three families of errors, by whose fault they are.

* :class:`PeerError`: the other side of the wire sent or did something wrong. Never a bug of the program.
* :class:`CallerError`: the program calls flovia in a way that cannot work. A bug to fix in the calling code.
* :class:`WiringError`: configuration or deployment is wrong. Raised at start wherever that is possible.

Every message says what to do next. No message contains a secret, a credential or a receipt token.
"""

from typing import Literal

ParseKind = Literal["parse_error", "encoding_error", "format_error"]


class FloviaError(Exception):
    """Base of everything flovia raises on purpose."""


class PeerError(FloviaError):
    """The peer (an agent, a server, a payment provider) broke the protocol or failed."""


class CallerError(FloviaError):
    """The calling code used flovia wrongly."""


class WiringError(FloviaError):
    """The configuration cannot work; the message names the setting and the remedy."""


class ParseError(PeerError, ValueError):
    """A wire value is malformed.

    ``kind`` tells the layer that refused it: ``encoding_error`` (base64url or UTF-8), ``parse_error``
    (grammar, JSON, missing or wrong members) or ``format_error`` (a value that must not be emitted).
    """

    def __init__(self, message: str, kind: ParseKind = "parse_error") -> None:
        super().__init__(message)
        self.kind: ParseKind = kind


class IllegalTransition(CallerError):
    """A step that the transition tables do not allow. Nothing was changed."""

    def __init__(self, table: str, state: str, verb: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"{table}: {verb!r} is not possible in state {state!r}; possible there: {', '.join(allowed) or 'nothing'}"
        )
        self.table = table
        self.state = state
        self.verb = verb


class LedgerError(FloviaError):
    """The ledger cannot answer now. The gate turns it into 503 with Retry-After and no challenge.

    A ledger raises it for every failure of its store. The outcome of the interrupted write is unknown.
    """


class HttpError(PeerError):
    """An HTTP call made for a flow got no usable answer: refused, timed out, reset, too large.

    ``sent`` is False only where it is certain that no byte of the request left this machine; otherwise
    the other side may have acted on it and the outcome is unknown.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
