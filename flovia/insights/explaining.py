"""What an operator says about an attempt that needs somebody: the event of it."""

from flovia.core import events as ev
from flovia.core.errors import CallerError
from flovia.core.events import Event
from flovia.core.operator import Operator
from flovia.insights.attempt import Attempt


def explained_event(attempt: Attempt, at: float, request_id: str, by: Operator) -> Event:
    """The event that says that nothing is to be done about an attempt as it is now.

    It names the outcome that it is about: with another one it says nothing any more
    (:func:`flovia.insights.attempt.explanation_of`).

    Args:
        attempt: as it is known now.
        at: Unix seconds, by the ledger's clock.
        request_id: of no request: a name of its own.
        by: who says so, and why.

    Raises:
        CallerError: the attempt knows neither a challenge nor a payment that the event could name, or there is no note.
    """
    if attempt.challenge_id is None and attempt.payment_id is None:
        raise CallerError(f"{attempt.key} has neither a challenge nor a payment that an explanation could name")
    if not by.note:
        raise CallerError("say why nothing is to be done: the note is empty")
    return Event(
        type=ev.PAYMENT_EXPLAINED,
        at=at,
        request_id=request_id,
        seq=1,
        endpoint="",
        http_method="",
        provider=attempt.provider,
        rail=attempt.rail,
        challenge_id=attempt.challenge_id,
        payment_id=attempt.payment_id,
        reason=attempt.outcome,
        operator=by.name,
        note=by.note,
    )
