"""Reconciling, as a flow: every charge that was shown to a payer is looked at until its money is accounted for.

Whatever is written goes through verbs that are right whoever else is at work: a proof is used once, a claim has one
holder. So any number of hosts may reconcile at the same time, and beside the requests that present credentials.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, cast

import attrs

from flovia.core import events as ev
from flovia.core.awaited import CHECKS_S, PAGE, Awaited, drop, keep_awaited, keep_waiting, list_awaited, list_waiting
from flovia.core.challenge import format_expires, parse_expires
from flovia.core.effects import (
    TIMED_OUT,
    Claim,
    ClaimResult,
    Deadline,
    Find,
    Flow,
    PaymentView,
    Release,
    SettleResult,
    now,
    remember,
    sleep,
    token,
)
from flovia.core.exchange import CLAIMED, DELIVERING, PARKED
from flovia.core.issued import find_issued, list_issued
from flovia.core.keeping import FindUnresolved, SettleFound
from flovia.core.owed import FindPaid, Late, NoteRefund, PaidView, challenge_of, late_key
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved, ReconcilingProvider
from flovia.core.refunding import moved_event
from flovia.core.settlement import write_record

_log = logging.getLogger("flovia")

SETTLED_CHECKS_S: Final = (86400.0, 7 * 86400.0, 28 * 86400.0)
"""Seconds after its expiry at which a paid charge is looked at: its money may have gone back elsewhere."""
AGAIN_S: Final = 900.0
"""When a charge is looked at again about which nobody could say anything."""
KEEP_S: Final = 7 * 86400.0
"""How long a payment that was found can be redeemed by its credential, seconds."""
MARGIN_S: Final = 5.0
DOWN_AFTER: Final = 3
"""So many unknown answers in a row end a run: the backend is not well, and the next run will find it better."""
_HELD: Final = "reconciling"
_LEASE_S: Final = 30.0
_ANY_NUMBER: Final = 1_000_000

Status = Literal[
    "resolved", "not_paid", "late", "unmatched", "second", "refunded", "refunded_in_part", "waiting", "busy", "unknown"
]


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was found out.

    * ``resolved``: its outcome was unknown, and it was paid: settled, its own credential redeems it.
    * ``not_paid``: its outcome was unknown, and nobody has paid; an event says so, and it is out of the queue.
    * ``late``: paid, and it can buy nothing any more: on record, its refund due.
    * ``unmatched``: another amount than was asked for was paid: likewise.
    * ``second``: it was paid once more, or its challenge was paid with something else: likewise.
    * ``refunded``: it was given back elsewhere; on record now.
    * ``refunded_in_part``: a part went back elsewhere, and the backend does not say how much; look there.
    * ``waiting``: paid, and its agent can still come for it.
    * ``busy``: a request is about to redeem it at this moment.
    * ``unknown``: nobody can say; ``reason`` says why. Without a charge: it goes for all of this provider's.

    ``amount`` in base units of ``currency``. On a dry run: what would be written.
    """

    status: Status
    challenge_id: str
    method: str = ""
    charge: str = ""
    payment_id: str = ""
    amount: int | None = None
    currency: str | None = None
    reason: str = ""


@attrs.frozen(kw_only=True)
class Reconciliation:
    """What a run found. ``asked``: charges the backend was asked about; ``in_order``: those with nothing to tell.

    ``complete``: everything that was due has been looked at. Otherwise there was more than the limit, or the backend
    does not answer: run it again.
    """

    findings: tuple[Finding, ...]
    asked: int
    in_order: int
    complete: bool


@attrs.define
class Run:
    """What one run has found and written. ``own``: random, for the ids of its events. ``at``: Unix seconds."""

    rail: str
    dry: bool
    own: str
    at: float
    findings: list[Finding] = attrs.field(factory=list[Finding])
    asked: int = 0
    in_order: int = 0
    silent: int = 0
    written: int = 0
    closed: set[str] = attrs.field(factory=set[str])
    """Methods about which nobody can be asked anything."""

    def event(self, type_: str, name: str, charge: Charge, moved: Moved, reason: str | None = None) -> ev.EventRow:
        """The event of something that this run found."""
        self.written += 1
        id_ = (f"reconcile_{self.own}", self.written)
        money = (moved.amount if moved.given_back is None else moved.given_back, moved.currency.lower())
        event = moved_event(type_, self.at, id_, name, self.rail, money, (charge.challenge.id, moved.reference))
        return attrs.evolve(event, reason=reason).to_row()

    def tell(self, status: Status, charge: Charge, moved: Moved | None = None, reason: str = "") -> None:
        """Note a finding."""
        amount = None if moved is None else moved.amount if moved.given_back is None else moved.given_back
        self.findings.append(
            Finding(
                status=status,
                challenge_id=charge.challenge.id,
                method=charge.method,
                charge=charge.handle,
                payment_id="" if moved is None else moved.reference,
                amount=amount,
                currency=None if moved is None else moved.currency.lower(),
                reason=reason,
            )
        )


def reconcile(
    providers: Iterable[object],
    *,
    rail: str,
    since: float = 0.0,
    limit: int = 500,
    everything: bool = False,
    dry_run: bool = False,
) -> Flow[Reconciliation]:
    """Look at every charge that is due, and at every payment whose outcome is unknown.

    Args:
        providers: those that can be asked, and others.
        rail: for the events.
        since: Unix seconds; charges whose challenge expired before are left alone.
        limit: charges the backends are asked about, at most.
        everything: every charge that is still known, whether it is due or not.
        dry_run: write nothing.

    Raises:
        LedgerError: the ledger does not answer; what was found so far is recorded.
    """
    by_method = {one.method: one for one in providers if isinstance(one, ReconcilingProvider)}
    run = Run(rail, dry_run, (yield from token()), (yield from now()))
    unresolved = yield from _unresolved(limit)
    if everything:
        candidates = yield from _all_issued(by_method, limit + 1)
    else:
        candidates = yield from _due(run.at, by_method, set(unresolved), limit + 1)
    complete = True
    for awaited in candidates:
        if run.asked >= limit or run.silent >= DOWN_AFTER:
            complete = False
            break
        if awaited.method not in run.closed:
            yield from _look(run, by_method[awaited.method], awaited, since)
    complete = complete and not run.closed
    told = {finding.challenge_id for finding in run.findings}
    untold = {} if run.closed else unresolved  # that nobody can be asked has been said, for all of them
    for challenge_id, key in untold.items():
        found = cast("PaymentView | None", (yield Find(key)))
        if challenge_id not in told and found is not None and found.state in (PARKED, CLAIMED):
            reason = "no backend can be asked about it" if complete else "the run ended before its turn"
            run.findings.append(Finding(status="unknown", challenge_id=challenge_id, reason=reason))
    return Reconciliation(findings=tuple(run.findings), asked=run.asked, in_order=run.in_order, complete=complete)


# --- what to look at --------------------------------------------------------------------------------------


def _unresolved(limit: int) -> Flow[dict[str, str]]:
    """Keys of payments with an unknown outcome, by challenge id; not more than a run can look at."""
    found: dict[str, str] = {}
    after = ""
    while len(found) < limit:
        page = cast("Sequence[PaymentView]", (yield FindUnresolved(after, PAGE)))
        found.update((challenge_of(view.key), view.key) for view in page)
        if len(page) < PAGE:
            break
        after = page[-1].key
    return found


def _due(
    at: float, by_method: Mapping[str, ReconcilingProvider], wanted: set[str], at_most: int
) -> Flow[list[Awaited]]:
    """What is paid and waits; what is due, the most overdue first; and where ``wanted`` payments came from."""
    found: dict[str, Awaited] = {}
    after = ""
    while len(found) < at_most:
        waiting = yield from list_waiting(after)
        found.update((one.name, one) for one in waiting if one.method in by_method)
        if len(waiting) < PAGE:
            break
        after = waiting[-1].name
    wanted.difference_update(one.challenge_id for one in found.values())
    after = ""
    while len(found) < at_most:
        page = yield from list_awaited(after)
        for one in page:
            if one.method in by_method and (one.due <= at or one.challenge_id in wanted):
                found.setdefault(one.name, one)
                wanted.discard(one.challenge_id)
        if len(page) < PAGE or (page[-1].due > at and not wanted):
            break
        after = page[-1].key
    return list(found.values())[:at_most]


def _all_issued(by_method: Mapping[str, ReconcilingProvider], at_most: int) -> Flow[list[Awaited]]:
    """Every challenge that is still kept under a provider's name for it."""
    found: list[Awaited] = []
    after = ""
    while len(found) < at_most:
        page = yield from list_issued(after, PAGE)
        found += (
            Awaited(method=method, handle=handle, challenge_id="", indexed=False)
            for method, handle in page
            if method in by_method
        )
        if len(page) < PAGE:
            break
        after = "|".join(page[-1])
    return found[:at_most]


# --- one charge -------------------------------------------------------------------------------------------


def _look(run: Run, provider: ReconcilingProvider, awaited: Awaited, since: float) -> Flow[None]:
    challenge = yield from find_issued(awaited.method, awaited.handle)
    expires = None if challenge is None or challenge.expires is None else parse_expires(challenge.expires)
    if challenge is None or expires is None:
        # Never shown to anybody, or forgotten long ago.
        yield from _next_look(run, awaited, None)
        return
    if expires < since:
        return
    charge = Charge(method=awaited.method, handle=awaited.handle, challenge=challenge)
    if not run.dry:
        # One host asks at a time; what they write would be right even so.
        hold_s = provider.deadline_s + provider.reconcile_pause_s + MARGIN_S
        held = yield from remember(_HELD, awaited.name, run.own, ttl_s=hold_s, if_absent=True)
        if held != run.own:
            return
    if run.asked and provider.reconcile_pause_s > 0:
        yield from sleep(provider.reconcile_pause_s)
    run.asked += 1
    before = len(run.findings)
    state = yield from ask_charge(provider, charge, keep=not run.dry)
    again: float | None = None
    if isinstance(state, ChargeUnknown) and state.for_all:
        # Said once, and nothing is put off: what was due is due as soon as somebody can be asked.
        run.asked -= 1
        run.closed.add(charge.method)
        run.findings.append(Finding(status="unknown", challenge_id="", method=charge.method, reason=state.reason))
        again = awaited.due
    elif isinstance(state, ChargeUnknown):
        run.silent += 1
        run.tell("unknown", charge, reason=state.reason)
        again = run.at + AGAIN_S
    else:
        run.silent = 0
        if state is not None:
            again = yield from account_for(run, provider, charge, state, expires)
        run.in_order += len(run.findings) == before
    yield from _next_look(run, awaited, again)
    if not run.dry:
        yield from remember(_HELD, awaited.name, "", ttl_s=0.0)


def ask_charge(
    provider: ReconcilingProvider, charge: Charge, *, keep: bool
) -> Flow[ChargeState | ChargeUnknown | None]:
    """The provider's word about a charge; an exception, a passed deadline and what is no answer count as unknown."""
    flow = provider.reconcile(charge, keep=keep)
    try:
        try:
            effect = flow.send(None)
        except StopIteration as stop:
            state: object = stop.value
        else:
            state = yield Deadline(flow=flow, effect=effect, seconds=provider.deadline_s)
    except Exception:
        _log.exception("provider %s raised while reconciling; nothing is known of that charge", provider.name)
        return ChargeUnknown(reason="the provider failed; see the log")
    if state is TIMED_OUT:
        return ChargeUnknown(reason="the provider took too long")
    if state is None or isinstance(state, ChargeState | ChargeUnknown):
        return state
    _log.error("provider %s returned %s instead of what became of a charge", provider.name, type(state).__name__)
    return ChargeUnknown(reason="the provider failed; see the log")


def _next_look(run: Run, awaited: Awaited, due: float | None) -> Flow[None]:
    """Put a charge where it belongs on the index: 0 means that it waits, None that it is closed."""
    if run.dry or not awaited.indexed or due == awaited.due:
        return
    if due == 0:
        yield from keep_waiting(awaited)
    elif due is not None:
        yield from keep_awaited(attrs.evolve(awaited, due=due))
    yield from drop(awaited)


def account_for(
    run: Run, provider: ReconcilingProvider, charge: Charge, state: ChargeState, expires: float
) -> Flow[float | None]:
    """Put on record what is not yet. When to look again: 0 means every time, None never."""
    for moved in state.payments[1:]:
        yield from _unsold(run, provider, charge, moved, "second")
    if not state.payments:
        return (yield from _unpaid(run, provider, charge, state, expires))
    moved = state.payments[0]
    known = yield from _known(charge, moved)
    if moved.given_back is not None or moved.partly:
        yield from _given_back(run, provider, charge, moved, known)
    elif known is None:
        status = yield from _settle_or_owe(run, provider, charge, state, expires)
        if status == "waiting":
            return 0.0
        if status in ("busy", "unknown"):
            return run.at + AGAIN_S
    return next((expires + after for after in SETTLED_CHECKS_S if expires + after > run.at), None)


def sold_otherwise(view: PaymentView | None, payment_id: str) -> bool:
    """Whether a challenge was settled with another payment than this one, which then buys nothing any more."""
    return view is not None and view.payment_id is not None and view.payment_id != payment_id


def _settle_or_owe(
    run: Run, provider: ReconcilingProvider, charge: Charge, state: ChargeState, expires: float
) -> Flow[Status]:
    """Money that has bought nothing yet and went back to nobody."""
    moved = state.payments[0]
    key = f"{charge.challenge.realm}|{charge.challenge.id}"
    view = cast("PaymentView | None", (yield Find(key)))
    status: Status
    if moved.amount != state.asked or moved.currency.lower() != state.currency.lower():
        status = "unmatched"
    elif sold_otherwise(view, moved.reference):
        status = "second"
    elif view is not None and view.state in (CLAIMED, DELIVERING) and (view.lease_until or 0.0) > run.at:
        status = "busy"
    elif view is not None and view.state in (CLAIMED, PARKED):
        return (yield from _resolve(run, provider, charge, state, view))
    elif state.redeemable and run.at < expires + provider.redeem_late_s:
        status = "waiting"
    else:
        status = "late"
    if status in ("waiting", "busy"):
        run.tell(status, charge, moved)
        return status
    yield from _unsold(run, provider, charge, moved, status)
    return status


def _unsold(run: Run, provider: ReconcilingProvider, charge: Charge, moved: Moved, status: Status) -> Flow[None]:
    """Money that can buy nothing: on record with its refund due, once; or given back already."""
    known = yield from _known(charge, moved)
    if moved.given_back is not None or moved.partly:
        yield from _given_back(run, provider, charge, moved, known)
        return
    if known is not None or moved.amount <= 0:
        return
    proof = f"{charge.method}|{moved.reference}"
    key = late_key(charge.challenge.realm, charge.challenge.id, proof)
    if status == "unmatched":
        row = run.event(ev.PAYMENT_UNMATCHED, provider.name, charge, moved)
    else:
        reason = ev.DUPLICATE if status == "second" else ev.LATE
        row = run.event(ev.PAYMENT_LATE, provider.name, charge, moved, reason)
    late = Late(key, proof, moved.reference, moved.amount, moved.currency.lower(), run.at + KEEP_S, (row,))
    if run.dry or cast("bool", (yield late)):
        run.tell(status, charge, moved)


def _given_back(
    run: Run, provider: ReconcilingProvider, charge: Charge, moved: Moved, known: PaidView | None
) -> Flow[None]:
    if known is not None and known.refund == "refunded":
        return
    if moved.given_back is None:
        run.tell("refunded_in_part", charge, moved, "the backend does not say how much went back; look there")
        return
    proof = f"{charge.method}|{moved.reference}"
    row = run.event(ev.PAYMENT_REFUNDED, provider.name, charge, moved)
    note = NoteRefund("" if known is None else known.key, proof, moved.given_back, moved.currency.lower(), (row,))
    # "moved": it was settled at this very moment, and the next look finds it under its own key.
    if run.dry or (yield note) == "noted":
        run.tell("refunded", charge, moved)


def _known(charge: Charge, moved: Moved) -> Flow[PaidView | None]:
    return cast("PaidView | None", (yield FindPaid(f"{charge.method}|{moved.reference}")))


# --- payments with an unknown outcome ---------------------------------------------------------------------


def _resolve(
    run: Run, provider: ReconcilingProvider, charge: Charge, state: ChargeState, view: PaymentView
) -> Flow[Status]:
    """It was paid: settled, so that its own credential redeems it. Nothing is delivered here."""
    moved, paid = state.payments[0], state.paid
    if paid is None:
        run.tell("unknown", charge, moved, "it is paid, and its credential has to be presented to be redeemed")
        return "unknown"
    if run.dry:
        run.tell("resolved", charge, moved)
        return "resolved"
    fence = yield from _take(run, view)
    if fence is None:
        run.tell("busy", charge, moved)
        return "busy"
    row = run.event(ev.PAYMENT_SETTLED, provider.name, charge, moved)
    settle = SettleFound(
        view.key,
        fence,
        f"{charge.method}|{moved.reference}",
        moved.reference,
        moved.amount,
        moved.currency.lower(),
        write_record(paid, None, format_expires(int(run.at))),
        run.at + KEEP_S,
        (row,),
    )
    result = cast("SettleResult", (yield settle))
    if result == "settled":
        run.tell("resolved", charge, moved)
        return "resolved"
    if result == "proof_used":
        # Put on record as late between two questions: it goes back, and this payment was not made for anything.
        yield Release(view.key, fence, park=False, events=())
    run.tell("busy", charge, moved)
    return "busy"


def _unpaid(
    run: Run, provider: ReconcilingProvider, charge: Charge, state: ChargeState, expires: float
) -> Flow[float | None]:
    """Nobody has paid; whether somebody still might decides what becomes of a payment with an unknown outcome."""
    closes = expires + max(provider.redeem_late_s, CHECKS_S[-1]) + CHECKS_S[0]
    checks = [expires + after for after in CHECKS_S] + [closes]
    again = next((at for at in checks if at > run.at), None)
    view = cast("PaymentView | None", (yield Find(f"{charge.challenge.realm}|{charge.challenge.id}")))
    if view is None or view.state not in (CLAIMED, PARKED):
        return again
    if view.state == CLAIMED and (view.lease_until or 0.0) > run.at:
        return run.at + AGAIN_S
    final = run.at > closes or (state.over and run.at > expires + CHECKS_S[-1])
    if not final:
        run.tell("unknown", charge, reason="nothing was paid yet, and it still could be")
        return run.at + AGAIN_S
    if not run.dry:
        fence = yield from _take(run, view)
        if fence is None:
            return run.at + AGAIN_S
        nothing = Moved(reference="", amount=state.asked, currency=state.currency)
        row = run.event(ev.PAYMENT_NOT_MADE, provider.name, charge, nothing)
        yield Release(view.key, fence, park=False, events=(row,))
    run.tell("not_paid", charge)
    return again


def _take(run: Run, view: PaymentView) -> Flow[int | None]:
    """The claim of a payment with an unknown outcome; None if somebody else has it by now."""
    claim = Claim(view.key, view.fingerprint, True, _LEASE_S, _LEASE_S, run.at + KEEP_S, _ANY_NUMBER)
    claimed = cast("ClaimResult", (yield claim))
    return claimed.fence if claimed.outcome == "claimed" else None
