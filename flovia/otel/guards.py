"""The guards with spans: layers around those of the core, which know nothing of it.

The core's flows are driven as they are, and each step that has a span is the core's own with something before and
after it. A span that is current while a flow waits stays so for what the driver performs meanwhile: the calls to a
payment backend and, in the app's own instrumentation, the ledger's queries are its children.
"""

from collections.abc import Generator
from typing import TypeVar, cast

import attrs
from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter

from flovia.core.answers import StoredAnswer
from flovia.core.candidate import Candidate
from flovia.core.challenge import Challenge
from flovia.core.effects import Effect, Flow, Settle, SettleResult
from flovia.core.exchange import DELIVERED
from flovia.core.gate import Gate
from flovia.core.guard import Guard, LedgerVerbs, Services
from flovia.core.http import Headers, HttpRequest, HttpResponse
from flovia.core.observer import Observer
from flovia.core.passage import Passage, Settled, Trace
from flovia.core.provider import Look, NotPaid, Paid, PaidBack, Refusal, Verdict
from flovia.core.redeeming import VERDICTS, Outcome
from flovia.core.trace_context import traced_id
from flovia.otel import names
from flovia.otel.telemetry import Attributes, Open, Otel, end, error_type
from flovia.otel.visit import Visit, visit_of

T = TypeVar("T")
_VERDICTS = ((Paid, "paid"), (NotPaid, "not_paid"), (PaidBack, "paid_back"), (Refusal, "refused"))


@attrs.frozen(kw_only=True)
class TracedServices(Services):
    """What every traced guard of one app shares. Its ledger is never called on the spot: a step in it is an effect."""

    otel: Otel


class Effectful:
    """A ledger of which every verb is asked for as an effect."""

    direct = False

    def __init__(self, ledger: LedgerVerbs) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


def traced(services: Services, otel: Otel) -> TracedServices:
    """The same services for guards with spans."""
    return TracedServices(
        ledger=cast("LedgerVerbs", Effectful(services.ledger)),
        clock=services.clock,
        monotonic=services.monotonic,
        tokens=services.tokens,
        realm=services.realm,
        keyring=services.keyring,
        origin=services.origin,
        limiter=services.limiter,
        client_of=services.client_of,
        known_methods=services.known_methods,
        otel=otel,
    )


class _Fields(Getter[Headers]):
    """How a propagator reads header fields."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        return carrier.get_all(key.lower()) or None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier.items()]


_FIELDS = _Fields()


def _otel(guard: Guard) -> Otel:
    return cast("TracedServices", guard.services).otel


def _visit(guard: Guard, plain: Trace, request: HttpRequest, token: str) -> Visit:
    # A path is the client's, and has no end of values: only a name or a pattern may stand on a metric.
    visit = Visit(plain, _otel(guard), guard.name or request.route)
    around = visit.around.get_span_context()
    if around.is_valid and not request.request_id:
        visit.request_id = traced_id(f"{around.trace_id:032x}", f"{around.span_id:016x}", token)
    return visit


def _entered(otel: Otel, request: HttpRequest, flow: Flow[Passage]) -> Flow[Passage]:
    """Enter below the server's span; else below the one that ``traceparent`` names; else below one of our own."""
    if trace.get_current_span().get_span_context().is_valid:
        passage = yield from flow
        _tell(passage)
        return passage
    root = None
    ours = propagate.extract(request.headers, getter=_FIELDS)
    if not trace.get_current_span(ours).get_span_context().is_valid:
        root = otel.start(names.REQUEST, {})
        ours = trace.set_span_in_context(root)
    token = context.attach(ours)
    try:
        passage = yield from flow
    except BaseException as error:
        if not isinstance(error, GeneratorExit):  # closed from anywhere, perhaps where our context has never been
            context.detach(token)
        if root is not None:
            end(root, {names.ERROR: error_type(error)})
        raise
    context.detach(token)
    visit_of(passage.trace).root = root
    _tell(passage)
    return passage


def _tell(passage: Passage) -> None:
    """What is known when a request has entered: that of an admitted one goes on, and its framework's span may not."""
    visit = visit_of(passage.trace)
    visit.tell({**visit.told(), **visit.ended()}, ended=passage.response is not None)


class TracedGate(Gate):
    """A gate whose challenges, verifications, settlements and deliveries have spans."""

    def _trace(self, request: HttpRequest) -> Trace:
        return _visit(self, super()._trace(request), request, self._tokens())

    def enter(self, request: HttpRequest) -> Flow[Passage]:
        """See :meth:`flovia.core.gate.Gate.enter`."""
        return _entered(_otel(self), request, super().enter(request))

    def _challenge(
        self,
        request: HttpRequest,
        trace: Trace,
        problem: str = "payment-required",
        retry_after_s: int | None = None,
        same: Challenge | None = None,
        look: Look | None = None,
    ) -> Flow[HttpResponse]:
        visit = visit_of(trace)
        opened = visit.otel.open(names.CHALLENGE, {})
        try:
            response = yield from super()._challenge(request, trace, problem, retry_after_s, same, look)
        except BaseException as error:
            opened.close({names.ERROR: error_type(error)}, error)
            raise
        opened.close({**visit.told(), **visit.ended()})
        return response

    # --- verify -----------------------------------------------------------------------------------------------

    def _begin(self, flow: Flow[Verdict], trace: Trace) -> Verdict | Refusal | Effect:
        visit = visit_of(trace)
        visit.verifying = visit.otel.open(names.VERIFY, visit.told())
        try:
            verdict = super()._begin(flow, trace)
        except BaseException as error:
            self._verified(visit, None, error)
            raise
        if isinstance(verdict, VERDICTS):
            self._verified(visit, verdict)
        return verdict

    def _go_on(self, flow: Flow[Verdict], effect: Effect, seconds: float, trace: Trace) -> Flow[Verdict | Refusal]:
        try:
            verdict = yield from super()._go_on(flow, effect, seconds, trace)
        except BaseException as error:
            self._verified(visit_of(trace), None, error)
            raise
        self._verified(visit_of(trace), verdict)
        return verdict

    def _verified(self, visit: Visit, verdict: object, error: BaseException | None = None) -> None:
        opened = cast("Open", visit.verifying)
        word = next((word for kind, word in _VERDICTS if isinstance(verdict, kind)), "unknown")
        told: Attributes = {names.VERDICT: word}
        if isinstance(verdict, Paid):
            told[names.PAYMENT_ID] = verdict.reference
        if word == "unknown":
            told[names.ERROR] = "outcome-unknown" if error is None else error_type(error)
        took = opened.close(told, error)
        visit.otel.verify_duration.record(took, visit.counted({names.VERDICT: word}))

    # --- settle -----------------------------------------------------------------------------------------------

    def _redeem(self, request: HttpRequest, trace: Trace, candidate: Candidate, now: float) -> Flow[Outcome]:
        return _settling(super()._redeem(request, trace, candidate, now), visit_of(trace))

    # --- deliver ----------------------------------------------------------------------------------------------

    def _admit(
        self,
        request: HttpRequest,
        trace: Trace,
        candidate: Candidate,
        now: float,
        fence: int,
        settled: Settled,
        *,
        redelivery: bool,
    ) -> Passage:
        passage = super()._admit(request, trace, candidate, now, fence, settled, redelivery=redelivery)
        visit = visit_of(trace)
        visit.running = visit.otel.start(names.DELIVER, visit.told())
        return passage

    def _replay(self, request: HttpRequest, trace: Trace, answer: StoredAnswer) -> Passage:
        visit = visit_of(trace)
        span = visit.otel.start(names.DELIVER, visit.told())
        passage = super()._replay(request, trace, answer)
        end(span, {**visit.told(), **visit.ended(), names.DELIVERY: names.REPLAYED})
        return passage

    def leave(self, passage: Passage, completed: bool) -> Flow[None]:
        """See :meth:`flovia.core.gate.Gate.leave`."""
        redelivery = passage.redelivery
        try:
            yield from super().leave(passage, completed)
        finally:
            done = names.REDELIVERED if redelivery else names.DELIVERED
            visit = visit_of(passage.trace)
            _left(visit, done if passage.state == DELIVERED else names.FAILED, visit.ended())


class TracedObserver(Observer):
    """An observer with a span for each request it lets through, and counts of what it sees."""

    def _trace(self, request: HttpRequest) -> Trace:
        return _visit(self, super()._trace(request), request, self._tokens())

    def enter(self, request: HttpRequest) -> Flow[Passage]:
        """See :meth:`flovia.core.observer.Observer.enter`."""
        return _entered(_otel(self), request, self._observed(super().enter(request)))

    def _observed(self, flow: Flow[Passage]) -> Flow[Passage]:
        passage = yield from flow
        visit = visit_of(passage.trace)
        visit.running = visit.otel.start(names.OBSERVE, visit.told())
        return passage

    def leave(self, passage: Passage, completed: bool) -> Flow[None]:
        """See :meth:`flovia.core.observer.Observer.leave`."""
        visit = visit_of(passage.trace)
        yield from super().leave(passage, completed)
        word = None
        if visit.granted:
            word = names.DELIVERED if passage.state == DELIVERED else names.FAILED
            visit.otel.deliveries.add(1, visit.counted({names.DELIVERY: word}))
        _left(visit, word, {**visit.told(), **visit.ended()})


def _settling(flow: Flow[Outcome], visit: Visit) -> Flow[Outcome]:
    """Drive a redemption on, with a span around its one step that settles."""
    try:
        effect = flow.send(None)
        while True:
            try:
                result: object = yield from _settle(effect, visit) if isinstance(effect, Settle) else _as_is(effect)
            except GeneratorExit:
                flow.close()
                raise
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return cast("Outcome", stop.value)


def _as_is(effect: Effect) -> Generator[Effect, object, object]:
    return (yield effect)


def _settle(effect: Settle, visit: Visit) -> Generator[Effect, object, object]:
    opened = visit.otel.open(names.SETTLE, visit.told())
    try:
        result = yield effect
    except BaseException as error:
        told: Attributes = {names.ERROR: error_type(error)}
        visit.otel.settle_duration.record(opened.close(told, error), visit.counted(told))
        raise
    told = {names.SETTLEMENT: cast("SettleResult", result)}
    visit.otel.settle_duration.record(opened.close(told), visit.counted(told))
    if result == "settled":
        visit.otel.settlements.add(1, visit.counted({names.REFUND_DUE: effect.refund_due}))
    return result


def _left(visit: Visit, delivery: str | None, told: Attributes) -> None:
    """End the span of an answer, once; ``delivery`` says what became of it, ``told`` what is new since it began."""
    running, visit.running = visit.running, None
    if running is None:
        return
    if delivery is not None:
        told[names.DELIVERY] = delivery
    if delivery == names.FAILED and names.ERROR not in told:
        failed = visit.status is not None and visit.status >= 400
        told[names.ERROR] = str(visit.status) if failed else names.CUT_OFF
    end(running, told)
    visit.tell(told, ended=True)
