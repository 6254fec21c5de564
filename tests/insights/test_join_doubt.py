"""A payment whose outcome nobody knew: what is said of it, and until when."""

import attrs

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.insights import join as module
from flovia.insights.join import join
from tests.insights.test_join import delivered, event, moved, only, refused, retry, unpaid


def doubted(request_id: str, at: float) -> list[Event]:
    """A request whose credential nobody could say anything about: 503."""
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        event(ev.PAYMENT_CONTEXT_ATTACHED, request_id, 2, at=at, challenge="challenge-1"),
        event(ev.PAYMENT_UNKNOWN, request_id, 3, at=at, challenge="challenge-1"),
        event(ev.REQUEST_FAILED, request_id, 4, at=at, challenge="challenge-1", status=503),
    ]


def test_an_outcome_that_is_known_after_all() -> None:
    """Unknown stays what is said until the provider says that nobody has paid, or that somebody has."""
    story = [*unpaid(), *doubted("req-2", 10.0)]
    assert module.UNKNOWN == only(story).insight
    found = only([*story, *refused("req-3", 20.0)][::-1])
    assert (module.NOT_ACCEPTED, "req-3", 402) == (found.insight, found.request_id, found.response_status)
    assert module.UNKNOWN == only([*unpaid(), *refused("req-2", 10.0), *doubted("req-3", 20.0)]).insight
    assert module.UNKNOWN == only([*story, *refused("req-3", 20.0), *doubted("req-4", 30.0)]).insight
    assert module.CONVERTED == only([*story, *retry("req-3", 20.0), *delivered("req-3", 21.0)]).insight


def test_an_outcome_that_was_asked_for() -> None:
    """What reconciling found out counts as what the provider says to a request."""
    story = [*unpaid(), *doubted("req-2", 10.0)]
    known = attrs.evolve(moved(ev.PAYMENT_NOT_MADE, "reconcile-1", 400.0, "challenge-1"), payment_id=None)
    assert module.NOT_ACCEPTED == only([known, *story]).insight
    assert module.UNKNOWN == only([known, *story, *doubted("req-3", 500.0)]).insight
    assert [] == join([known])
    assert module.NOT_PAID == only([*unpaid(), known]).insight
