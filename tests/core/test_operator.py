"""Who gives money back is named in the event of what became of it."""

import attrs
import pytest

import flovia
from flovia.core import events as ev
from flovia.core.errors import CallerError
from flovia.core.operator import MAX_NAME, MAX_NOTE, Operator
from flovia.core.refunding import moved_event
from flovia.ledger.memory import MemoryLedger
from flovia.providers.base import Flow, NotRefunded, Refunded, RefundOrder, RefundUnknown, RefundVerdict
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, buy, deliver


@attrs.frozen(kw_only=True, eq=False)
class Till(MockProvider):
    """A provider that says of a refund what it is told to."""

    says: RefundVerdict

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """As told."""
        return self.says
        yield


BACK = Refunded(refund_id="back-1", amount=100, currency="usd")
NO = NotRefunded(reason="the account is empty")


@pytest.mark.parametrize(("says", "by", "told"), [
    (BACK, None, [(ev.PAYMENT_REFUNDED, None, None, None)]),
    (BACK, Operator(name="alice"), [(ev.PAYMENT_REFUND_ASKED, "alice", None, None),
                                     (ev.PAYMENT_REFUNDED, "alice", None, None)]),
    (BACK, Operator(name="alice", note="why"), [(ev.PAYMENT_REFUND_ASKED, "alice", "why", None),
                                                 (ev.PAYMENT_REFUNDED, "alice", "why", None)]),
    (NO, None, []),
    (NO, Operator(name="bob", note="why"), [(ev.PAYMENT_REFUND_ASKED, "bob", "why", None),
                                             (ev.PAYMENT_REFUND_FAILED, "bob", "why", "refused")]),
    (RefundUnknown(), None, []),
    (RefundUnknown(), Operator(name="bob"), [(ev.PAYMENT_REFUND_ASKED, "bob", None, None),
                                              (ev.PAYMENT_REFUND_FAILED, "bob", None, "unknown")]),
])  # fmt: skip
def test_who_and_with_what_result(
    says: RefundVerdict, by: Operator | None, told: list[tuple[str, str | None, str | None, str | None]]
) -> None:
    """With a name, each result is an event; without one, money that went back alone."""
    ledger = MemoryLedger()
    flo = flovia.Flovia(provider=Till(says=says), ledger=ledger, secret=SECRET)
    gate = flo.paid_api(price="1.00 USD")
    _, passage = buy(gate)
    deliver(gate, passage)
    assert passage.grant is not None
    flo.refund(passage.grant.payment_id, by=by)
    types = (ev.PAYMENT_REFUND_ASKED, ev.PAYMENT_REFUNDED, ev.PAYMENT_REFUND_FAILED)
    about = [event for _, event in ledger.read_events() if event.type in types]
    assert told == [(one.type, one.operator, one.note, one.reason) for one in about]
    assert {(100, "usd")} >= {(one.amount, one.currency) for one in about}
    assert {passage.grant.challenge_id} >= {one.challenge_id for one in about}
    assert {("", "", passage.grant.payment_id)} >= {(one.endpoint, one.http_method, one.payment_id) for one in about}


def test_the_webhook_was_quicker() -> None:
    """Who asked is on record, though the provider's own notice brings the refund before its answer comes."""
    ledger = MemoryLedger()
    noted: list[str] = []

    @attrs.frozen(kw_only=True, eq=False)
    class Slow(Till):
        def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
            event = moved_event(ev.PAYMENT_REFUNDED, 1.0, ("webhook_1", 1), "mock", "mpp", (100, "usd"), ("", ""))
            proof = f"{order.method}|{order.payment_id}"
            found = ledger.find_paid(proof)
            assert found is not None
            noted.append(ledger.note_refund(found.key, proof, 100, "usd", (event.to_row(),)))
            return (yield from super().refund(order))

    flo = flovia.Flovia(provider=Slow(says=BACK), ledger=ledger, secret=SECRET)
    gate = flo.paid_api(price="1.00 USD")
    _, passage = buy(gate)
    deliver(gate, passage)
    assert passage.grant is not None
    result = flo.refund(passage.grant.payment_id, by=Operator(name="alice", note="why"))
    assert (["noted"], "refunded") == (noted, result.status)
    told = [(event.type, event.operator, event.note) for _, event in ledger.read_events()][-2:]
    assert [(ev.PAYMENT_REFUND_ASKED, "alice", "why"), (ev.PAYMENT_REFUNDED, None, None)] == told


@pytest.mark.parametrize(("name", "note", "words"), [
    (" ", "", "the name is empty"),
    ("x" * (MAX_NAME + 1), "", "at most 128"),
    ("a\nb", "", "printable"),
    ("alice", "x" * (MAX_NOTE + 1), "at most 2000"),
    ("alice", "a\x1b[31m", "invisible"),
])  # fmt: skip
def test_who_and_why_can_be_kept(name: str, note: str, words: str) -> None:
    """A name and a note are text that can be shown anywhere."""
    with pytest.raises(CallerError, match=words):
        Operator.checked(name, note)


def test_what_was_typed() -> None:
    """Space around it is no part of it, and lines end as everywhere."""
    assert Operator(name="Ährenfeld", note="one\ntwo") == Operator.checked(" Ährenfeld ", " one\r\ntwo\n")
