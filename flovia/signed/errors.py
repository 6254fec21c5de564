"""Why a signed receipt or grant was not believed."""

from typing import Literal

from flovia.core.errors import PeerError

Reason = Literal[
    "algorithm",
    "amount",
    "audience",
    "challenge",
    "claims",
    "critical",
    "currency",
    "format",
    "issuer",
    "key",
    "nonce",
    "request-hash",
    "signature",
    "size",
    "time",
    "type",
]


class BadToken(PeerError):
    """The token proves nothing: malformed, forged, out of date, or about something else. Never accept it.

    ``reason`` names the check that refused it. The message holds nothing of the token.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class UnknownKey(BadToken):
    """The issuer's key set, fetched after this token was presented, has no usable key of the token's ``kid``."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "key")


class KeysUnavailable(PeerError):
    """The issuer's keys cannot be had now, so nobody can say whether the token is good: answer 503, not 402.

    ``retry_after_s``: whole seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
