"""What an Observer can learn from a gate that does not speak the protocol's own forms."""

from collections.abc import Mapping
from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class Seen:
    """What one message says about a payment; nobody has verified it. ``amount`` in base units of ``currency``."""

    challenge_id: str | None = None
    payment_id: str | None = None
    amount: int | None = None
    currency: str | None = None


NOTHING = Seen()


class Reading(Protocol):
    """How a provider's own SDK writes things. Each function returns :data:`NOTHING` for what it cannot read."""

    def challenge(self, params: Mapping[str, str]) -> Seen:
        """A Payment challenge that is not a conforming one: its parameters, as in ``WWW-Authenticate``."""
        ...

    def credential(self, token: str) -> Seen:
        """A credential that is not a conforming one: the token after ``Payment``."""
        ...

    def receipt(self, value: str) -> Seen:
        """A receipt that is not a conforming one."""
        ...
