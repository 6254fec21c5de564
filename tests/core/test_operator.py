"""Who gives money back is named in the event of what became of it."""

import attrs
import pytest

import flovia
from flovia.core import events as ev
from flovia.core.errors import CallerError
from flovia.core.operator import MAX_NAME, MAX_NOTE, Operator
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
    (BACK, Operator(name="alice"), [(ev.PAYMENT_REFUNDED, "alice", None, None)]),
    (BACK, Operator(name="alice", note="why"), [(ev.PAYMENT_REFUNDED, "alice", "why", None)]),
    (NO, None, []),
    (NO, Operator(name="bob", note="why"), [(ev.PAYMENT_REFUND_FAILED, "bob", "why", "refused")]),
    (RefundUnknown(), None, []),
    (RefundUnknown(), Operator(name="bob"), [(ev.PAYMENT_REFUND_FAILED, "bob", None, "unknown")]),
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
    about = [
        event for _, event in ledger.read_events() if event.type in (ev.PAYMENT_REFUNDED, ev.PAYMENT_REFUND_FAILED)
    ]
    assert told == [(one.type, one.operator, one.note, one.reason) for one in about]
    assert {("", "", passage.grant.payment_id)} >= {(one.endpoint, one.http_method, one.payment_id) for one in about}


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
