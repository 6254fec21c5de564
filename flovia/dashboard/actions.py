"""The page of a finding, and what can be done there: let it be delivered again, give the money back, explain it.

Each is a form that works without a script. What became of it stands in the ledger, and the page tells it from there:
whoever reloads, sends a form twice or comes second sees what is true, and nothing is given back twice.
"""

import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import attrs
from starlette.responses import RedirectResponse
from starlette.routing import Route

from flovia.core.errors import CallerError, FloviaError, LedgerError, WiringError
from flovia.core.money import Price
from flovia.core.operator import MAX_NAME, MAX_NOTE, Operator
from flovia.core.refunding import RefundError
from flovia.dashboard.filters import Filters
from flovia.dashboard.forms import is_same_origin, read_form
from flovia.dashboard.http import Handler, in_thread
from flovia.dashboard.linking import PAGES, Linker
from flovia.dashboard.work import Refund, Work, is_delivered, work_on
from flovia.remedies import explain, redeliver, with_database
from flovia.reports.tables import milliseconds
from flovia.web.site import HEADERS
from flovia.words import moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from flovia.api import Flovia
    from flovia.dashboard.desk import Desks
    from flovia.dashboard.pages import Site
    from flovia.web.site import Pages

PATH: Final = "/integrity/{ident:path}"
WAIT_S: Final = 10.0
LONGEST: Final = 4096
_KEPT: Final = ("amount", "note", "by")
"""What somebody typed and need not type again."""
UNDELIVERED: Final = "undelivered"
"""What the last step of a refund says that its operator saw."""


@attrs.frozen(kw_only=True)
class Told:
    """What is said at the top of the page. ``kind``: ``good``, ``warn`` or ``bad``; ``status``: of the answer."""

    kind: str
    title: str
    detail: str = ""
    status: int = 409


class Actions:
    """The pages of findings.

    Args:
        flovia: whose ledger is worked on, and whose providers give money back.
        desks: for reading the ledger to its end.
        pages: templates.
        site: for a page that says one thing.
        names: whether ``authorize`` says who is there; otherwise the forms ask for a name.
        local: whether it is this machine's own; then the name that is offered is the system's user.
    """

    def __init__(
        self, flovia: "Flovia", desks: "Desks", pages: "Pages", site: "Site", *, names: bool, local: bool
    ) -> None:
        self._flovia = flovia
        self._desks = desks
        self._pages = pages
        self._site = site
        self._names = names
        self._local = local

    def routes(self, guarded: "Callable[[Handler], Handler]") -> list[Route]:
        """The routes, each behind what asks who is there."""
        # One route: of two the first would say what it takes, and not what the other takes.
        show, do = guarded(self.show), guarded(self.do)

        async def answer(request: "Request") -> "Response":
            return await (do if request.method == "POST" else show)(request)

        return [Route(PATH, answer, methods=["GET", "POST"])]

    async def show(self, request: "Request") -> "Response":
        """``GET /integrity/{id}``; ``?done=`` names what was just done. Nothing that somebody typed is in an address:
        those are kept in logs and histories.
        """
        work = await self._find(request)
        if work is None:
            return self._nothing(request)
        return await self._render(request, work, _told_of(request.query_params.get("done", ""), work), {}, None)

    async def do(self, request: "Request") -> "Response":
        """``POST /integrity/{id}``: one of the three; or ``ask``: how a refund would be, which changes nothing.

        Done is told after a redirect, so that a reload does nothing.
        """
        own = self._flovia.settings.origin
        if not is_same_origin(request, *(() if own is None else (f"{own.scheme}://{own.host}",))):
            return self._site.message(
                request,
                403,
                "This form came from elsewhere",
                "A page of another site sent it, or a program, and nothing was done. Open the dashboard in a browser,"
                " by the address that the app knows as its own, and send the form from there.",
            )
        form = await read_form(request)
        work = await self._find(request)
        if work is None:
            return self._nothing(request)
        if form.get("action") == "ask":
            return await self._ask(request, work, form)
        try:
            by = Operator.checked(self._who(request) or form.get("by", ""), form.get("note", ""))
            told = await self._done(form, work, by)
        except LedgerError:
            raise
        except RefundError as error:
            told = _of_error(error)
        except FloviaError as error:
            told = Told(kind="bad", title="Nothing was done", detail=f"{error}.", status=400)
        if told is None:
            here = _link(request).finding(work.attempt.key)
            return RedirectResponse(f"{here}?done={quote(form.get('action', ''), safe='')}", 303, headers=dict(HEADERS))
        after = await self._find(request)
        return await self._render(request, after or work, told, form, None)

    async def _ask(self, request: "Request", work: Work, form: "Mapping[str, str]") -> "Response":
        try:
            _check_provider(work)
            return await self._render(request, work, None, form, _amount(form.get("amount", ""), work.refund))
        except CallerError as error:
            told = Told(kind="bad", title="That cannot be given back", detail=f"{error}.", status=400)
            return await self._render(request, work, told, form, None)

    # --- the three ------------------------------------------------------------------------------------------

    async def _done(self, form: "Mapping[str, str]", work: Work, by: Operator) -> Told | None:
        """What is to be told at once; None if it is done, or begun, and stands in the ledger."""
        match form.get("action"):
            case "explain":
                return await in_thread(lambda: self._explain(work, by))
            case "redeliver":
                return await in_thread(lambda: self._redeliver(work, by))
            case "refund":
                return await in_thread(lambda: self._refund(form, work, by))
            case _:
                raise CallerError("the form does not say what to do")

    def _explain(self, work: Work, by: Operator) -> Told | None:
        found = explain(with_database(self._flovia.ledger), work.attempt.key, by)
        if found.outcome == "explained":
            return None
        one = found.attempts[0] if found.attempts else work.attempt
        if found.outcome == "explained_before":
            who = one.explained_by or "Somebody"
            return Told(kind="warn", title="It was explained before", detail=f"{who}: {one.explanation or ''}")
        return Told(
            kind="warn", title="There is nothing to explain", detail=f"It does not wait for anybody now: {one.insight}."
        )

    def _redeliver(self, work: Work, by: Operator) -> Told | None:
        if work.delivery == "open" and work.reopened is not None:
            who = work.reopened.who or "Somebody"
            detail = f"{who} did that, {work.reopened.when}: its agent can come back until {work.until}."
            return Told(kind="warn", title="It is redeemable again already", detail=detail)
        ident = work.attempt.challenge_id or work.ident
        found = redeliver(with_database(self._flovia.ledger), ident, by, fence=work.fence).reopening
        if found is None:
            detail = "Its payment is not in this ledger any more."
        elif found.outcome == "reopened":
            return None
        else:
            detail = {
                "delivering": f"It is being delivered until {moment(found.until)}; wait for that.",
                "refund_due": "Its money is to go back.",
                "refused": f"It is {found.state} now, and only what is paid and not delivered can be delivered again.",
                "changed": "Somebody did something about it a moment ago: this is how it is now.",
                "unknown": "It was forgotten a moment ago.",
            }[found.outcome]
        return Told(kind="warn", title="It cannot be delivered again", detail=detail)

    def _refund(self, form: "Mapping[str, str]", work: Work, by: Operator) -> Told | None:
        if work.attempt.payment_id is None:
            raise CallerError("nobody knows a payment that could be given back")
        if not form.get("amount", "").strip():
            raise CallerError("the form does not say how much is to go back")
        amount = _amount(form.get("amount", ""), work.refund)
        # Another provider may know a payment by the same id.
        _check_provider(work)
        # Its agent may have come since: whoever wanted to give back what nobody got is asked again.
        if form.get("seen") == UNDELIVERED and is_delivered(with_database(self._flovia.ledger), work.attempt):
            return Told(
                kind="warn",
                title="It was delivered meanwhile; nothing was given back",
                detail="Its agent came and got the answer after you looked. Give it back if you mean that.",
            )
        self._flovia.refund(work.attempt.payment_id, amount, provider=work.attempt.provider, by=by)
        return None

    # --- the page -------------------------------------------------------------------------------------------

    async def _find(self, request: "Request") -> Work | None:
        ident = str(request.path_params["ident"])
        if not ident.strip() or len(ident) > LONGEST or "\0" in ident:
            return None
        desks = self._desks
        found = await desks.here().answer(desks.books.story(ident), WAIT_S, now=True)
        if found is None:
            raise LedgerError("the ledger has many new events, and they are still being read")
        attempts = [one.attempt for one in found.value.attempts]
        if not attempts:
            return None
        attempts.sort(key=lambda one: (one.key != ident, not one.due))
        ledger = with_database(self._flovia.ledger)
        return await in_thread(lambda: work_on(ledger, attempts, self._flovia.has_provider))

    def _who(self, request: "Request") -> str:
        return str(request.scope.get("flovia.who", "")) if self._names else ""

    def _nothing(self, request: "Request") -> "Response":
        return self._site.message(
            request, 404, "There is no such finding", "No attempt, challenge, payment or request has this name."
        )

    async def _render(
        self, request: "Request", work: Work, told: Told | None, form: "Mapping[str, str]", ask: Price | None
    ) -> "Response":
        link = _link(request)
        who = self._who(request)
        offered = form.get("by", "") or (_user() if self._local else "")

        def make() -> "Response":
            status = 200 if told is None or request.method == "GET" else told.status
            return self._pages.render(
                request,
                "finding.html",
                status,
                nav=PAGES,
                active="/integrity",
                link=link,
                filters=link.filters,
                who=who,
                work=work,
                one=work.attempt,
                told=told,
                form={name: form.get(name, "") for name in _KEPT},
                ask=ask,
                by="" if who else offered,
                seen="" if work.delivered else UNDELIVERED,
                action=link.finding(work.attempt.key),
                of=link.finding,
                milliseconds=milliseconds,
                most_note=MAX_NOTE,
                most_name=MAX_NAME,
            )

        return await in_thread(make)


def _link(request: "Request") -> Linker:
    return Linker(root=str(request.scope.get("root_path", "")), filters=Filters())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _check_provider(work: Work) -> None:
    """Refuse what no provider of the app can do.

    Raises:
        CallerError: another one took the payment.
    """
    if work.foreign:
        raise CallerError(f"taken by {work.foreign}, which is no provider of this app: it cannot be given back here")


def _amount(text: str, refund: Refund) -> Price:
    """What is to go back: all that was paid, or the order that is open, or a part.

    Raises:
        CallerError: it is no amount, or more than was paid.
    """
    if not refund.possible or refund.paid is None or not refund.currency:
        raise CallerError("there is nothing that could go back" if refund.state != "done" else "it went back already")
    whole = refund.amount if refund.state == "begun" and refund.amount is not None else refund.paid
    if not text.strip():
        try:
            return Price(amount=whole, currency=refund.currency)
        except WiringError as error:  # a currency of the payment method's own, or more than any price
            raise CallerError(f"{error}; flovia refund on the command line gives back all of it") from None
    words = text.strip()
    try:
        found = Price.parse(words if " " in words else f"{words} {refund.currency.upper()}")
    except WiringError as error:
        raise CallerError(str(error)) from None
    if found.currency.lower() != refund.currency.lower():
        raise CallerError(f"it was paid in {refund.currency.upper()}")
    if not 0 < found.amount <= refund.paid:
        raise CallerError(f"between nothing and {refund.paid_words} can go back")
    return found


def _told_of(done: str, work: Work) -> Told | None:
    """What a page tells that was come to after a form: what the ledger says, whatever the address says."""
    match done:
        case "explain" if work.attempt.explained:
            return Told(kind="good", title="Explained", detail="It is out of the queue.")
        case "redeliver" if work.delivery and any(one.what == "made redeemable again" for one in work.deeds):
            detail = "Its own credential redeems it again, for a week at least, with its deliveries counted anew."
            return Told(kind="good", title="Redeemable again", detail=detail)
        case "refund":
            return _told_of_refund(work.refund)
        case _:
            return None


def _told_of_refund(refund: Refund) -> Told | None:
    match refund.state:
        case "done":
            detail = f"{refund.amount_words} of {refund.paid_words} went back." if refund.amount is not None else ""
            return Told(kind="good", title="Given back", detail=detail)
        case "refused":
            return Told(kind="bad", title="The provider refused; nothing has moved", detail=refund.reason)
        case "begun":
            detail = (
                f"A refund of {refund.amount_words} was asked for, and the provider gave no clear answer. It stands"
                " below as begun: ask for the same again there. The same refund is asked for, never another one."
            )
            return Told(kind="warn", title="Nobody knows whether it went back", detail=detail)
        case _:
            return None


def _of_error(error: RefundError) -> Told:
    title = {
        "refunded": "It was given back already; nothing was asked for now",
        "busy": "Somebody else is asking for this refund at this moment",
        "delivering": "It is being delivered at this moment",
        "other_amount": "A refund of another amount was begun",
    }.get(error.code, "It cannot be given back here")
    return Told(kind="warn", title=title, detail=f"{error}.")
