"""The pages: each asks its question, and shows what is known by then."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from flovia.dashboard.access import WSGI
from flovia.dashboard.answers import Found, Question
from flovia.dashboard.filters import PRESETS, Filters, number_of, read_filters, text_of
from flovia.dashboard.http import before_of, chosen_of, in_thread, options_of
from flovia.dashboard.joined_rows import row_of
from flovia.dashboard.linking import LIVE, PAGES, Linker
from flovia.dashboard.openapi import taken
from flovia.dashboard.payer_views import integrity_page, retention_page, workflows_page
from flovia.dashboard.questions import MOST_COUNTED, REPORTS, Listed, Options
from flovia.dashboard.tables import LONGEST
from flovia.dashboard.views import Context, endpoints_page, latency_page, overview_page, pricing_page, revenue_page
from flovia.insights.intervals import Share
from flovia.reports.tables import milliseconds
from flovia.words import moment, tallied

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from flovia.dashboard.desk import Desks
    from flovia.insights.sql_choosing import Chosen
    from flovia.reports.answer import Answer
    from flovia.web.site import Pages

T = TypeVar("T")
PAINT_S: Final = 0.04
"""How long a page waits for its answer; then it shows an older one, or says that it is being made."""
FRESH_S: Final = 0.5
"""How long the queue waits for an answer about the ledger as it is now, before an older one is shown."""
EVENTS: Final = 50
SUGGESTED: Final = 200
"""Endpoints that the filter suggests; of more than so many none, one types a name or follows a link."""
SIMILAR: Final = 5
"""Endpoints that are named where one is asked about that there is not."""
NUMBERS: Final = 1_000_000
_KEPT: Final = ("by", "least", "limit", "pending", "sort")
"""How a page is shown, besides what it is about; kept while one turns the pages of its table or narrows it."""
View = Callable[["Answer", Linker, "Request"], Context]


class Site:
    """The pages of a dashboard.

    Args:
        desks: the answers.
        pages: templates and static files.
        works: whether findings have pages on which they can be worked.
    """

    def __init__(self, desks: "Desks", pages: "Pages", *, works: bool = False) -> None:
        self._desks = desks
        self._pages = pages
        self._works = works

    async def overview(self, request: "Request") -> "Response":
        """``GET /``"""
        return await self._page(
            request,
            "/",
            "overview.html",
            lambda filters: self._desks.books.overview(filters),
            overview_page,
            "overview",
        )

    async def endpoints(self, request: "Request") -> "Response":
        """``GET /endpoints``"""

        def view(answer: "Answer", link: Linker) -> Context:
            page = number_of(request.query_params, "page", 1, NUMBERS)
            return endpoints_page(answer, link, page, text_of(request.query_params, "sort") or "attempts")

        return await self._report(request, "/endpoints", "funnel", view)

    async def revenue(self, request: "Request") -> "Response":
        """``GET /revenue``"""
        return await self._report(
            request, "/revenue", "revenue", lambda one, link: revenue_page(one, link, _at(request))
        )

    async def pricing(self, request: "Request") -> "Response":
        """``GET /pricing``"""
        return await self._report(
            request, "/pricing", "pricing", lambda one, link: pricing_page(one, link, _at(request))
        )

    async def latency(self, request: "Request") -> "Response":
        """``GET /latency``"""
        return await self._report(
            request, "/latency", "latency", lambda one, link: latency_page(one, link, _at(request))
        )

    async def retention(self, request: "Request") -> "Response":
        """``GET /retention``"""
        return await self._report(
            request, "/retention", "retention", lambda one, link: retention_page(one, link, _at(request))
        )

    async def workflows(self, request: "Request") -> "Response":
        """``GET /workflows``"""
        return await self._report(request, "/workflows", "workflows", workflows_page)

    async def integrity(self, request: "Request") -> "Response":
        """``GET /integrity``"""
        # Whoever comes from having worked on a finding is to see that it is gone.
        return await self._report(request, "/integrity", "integrity", integrity_page, fresh_s=FRESH_S)

    async def events(self, request: "Request") -> "Response":
        """``GET /events``"""
        chosen, before = chosen_of(request.query_params), before_of(request.query_params)

        def ask(filters: Filters) -> "Question[Listed]":
            return self._desks.books.listed(filters, chosen, EVENTS + 1, before)

        def view(found: "Listed", link: Linker) -> Context:
            kept = found.rows
            rows = [row_of(one, link.attempt) for one in kept[:EVENTS]]
            narrowed = {name: value for name, value in _members(chosen) if value and name != "workflow"}
            last = kept[EVENTS - 1].attempt if len(kept) > EVENTS else None
            older = "" if last is None else link.events(**narrowed, before=f"{last.at!r},{last.key}")
            query = link.filters.query(**narrowed)
            live = before is None and not link.filters.until and not chosen.path
            return {
                "rows": rows,
                "sample": _sample(len(rows), found.count, first=before is None),
                "chosen": narrowed,
                "older": older,
                "newest": link.events(**narrowed) if before is not None else "",
                "live": live,
                "by_path": bool(chosen.path),
                "stream": "" if _is_wsgi(request) else link.root + "/events/stream" + query,
                "poll": link.root + "/events/new" + query,
                "json_href": link.root + "/api/events" + query,
            }

        return await self._page(request, "/events", "events.html", ask, view, "", ahead=True)

    async def attempt(self, request: "Request") -> "Response":
        """``GET /attempts/{id}``"""
        ident = str(request.path_params["ident"])
        if len(ident) > 4096 or "\0" in ident:
            return self.message(request, 404, "There is no such attempt", "Its address is no name of one.")
        desk = self._desks.here()
        found = await desk.answer(self._desks.books.story(ident), 10, now=True)
        if found is None:
            return await self._waiting(request, "/events", Filters(), "Attempt")
        story = found.value
        if not story.attempts:
            return self.message(
                request, 404, "There is no such attempt", "No attempt, challenge, payment or request has this name."
            )
        first, *others = story.attempts
        filters = read_filters(request.query_params, await in_thread(self._desks.books.now))
        link = Linker(root=str(request.scope.get("root_path", "")), filters=filters)

        def make() -> "Response":
            return self._render(
                request,
                "attempt.html",
                "/events",
                link,
                found,
                {
                    "one": first.attempt,
                    "row": row_of(first, link.attempt),
                    "joined": json.dumps(first.to_json(), indent=2, ensure_ascii=True),
                    "events": story.events,
                    "others": [row_of(one, link.attempt) for one in others],
                    "ident": first.attempt.key,
                    "json_href": f"{link.root}/api/attempts/{link.attempt(ident).rpartition('/')[2]}",
                },
            )

        return await in_thread(make)

    def message(self, request: "Request", status: int, title: str, detail: str) -> "Response":
        """A page that says one thing."""
        root = str(request.scope.get("root_path", ""))
        link = Linker(root=root, filters=Filters())
        nav = () if status == 403 else PAGES
        path = str(request.scope["path"]).removeprefix(root)
        mistaken = status == 400 and request.method == "GET" and bool(request.url.query) and path in dict(PAGES)
        return self._pages.render(
            request,
            "message.html",
            status,
            title=title,
            detail=detail,
            again=root + path if mistaken else "",
            nav=nav,
            active="",
            link=link,
            filters=Filters(),
        )

    # --- how a page is made ----------------------------------------------------------------------------------

    async def _report(
        self,
        request: "Request",
        path: str,
        name: str,
        view: "Callable[[Answer, Linker], Context]",
        *,
        fresh_s: float | None = None,
    ) -> "Response":
        options: Options = options_of(name, request.query_params)
        return await self._page(
            request,
            path,
            f"{path[1:]}.html",
            lambda filters: self._desks.books.report(name, filters, options),
            view,
            name,
            ahead=fresh_s is not None,
            wait_s=PAINT_S if fresh_s is None else fresh_s,
        )

    async def _page(
        self,
        request: "Request",
        path: str,
        template: str,
        ask: "Callable[[Filters], Question[T]]",
        view: Callable[[T, Linker], Context],
        api: str,
        *,
        ahead: bool = False,
        wait_s: float = PAINT_S,
    ) -> "Response":
        desk, books = self._desks.here(), self._desks.books
        filters = read_filters(request.query_params, await in_thread(books.now))
        workflow = "" if path == LIVE else filters.workflow
        if workflow:  # what a number leads to is what it counts
            filters = attrs.evolve(filters, workflow="")
        question = ask(filters)
        found = await desk.answer(question, wait_s, now=ahead and desk.keeper.known is not None)
        if found is None and ahead:
            found = desk.answers.kept(question)
        title = dict(PAGES)[path]
        if found is None:
            return await self._waiting(request, path, filters, title)
        ready = found
        link = Linker(root=str(request.scope.get("root_path", "")), filters=filters)
        suggested = desk.answers.kept(books.endpoints(SUGGESTED))
        if suggested is None or not desk.answers.is_fresh(suggested):
            desk.begin(books.endpoints(SUGGESTED))
        similar = None
        if filters.endpoint:
            similar = await desk.answer(books.similar(filters.endpoint, SIMILAR), PAINT_S)

        def make() -> "Response":
            more = view(ready.value, link)
            names = [] if suggested is None or len(suggested.value) > SUGGESTED else suggested.value
            names = [name for name in names if name.isprintable() and len(name) <= LONGEST]
            options = {one: value for one, value in _kept(request, path).items() if one != "sort"}
            exports = {
                "csv_href": link.to(f"/api/{api}.csv", **options) if api not in ("", "overview") else "",
                "json_href": link.to(f"/api/{api}", **options) if api else "",
            }
            return self._render(
                request,
                template,
                path,
                link,
                ready,
                {
                    "names": names,
                    "unused": workflow,
                    "similar": None if similar is None else similar.value,
                    **exports,
                    **more,
                },
            )

        return await in_thread(make)

    async def _waiting(self, request: "Request", path: str, filters: Filters, title: str) -> "Response":
        link = Linker(root=str(request.scope.get("root_path", "")), filters=filters)
        known = self._desks.here().keeper.known

        def make() -> "Response":
            answer = self._pages.render(
                request,
                "waiting.html",
                title=title,
                nav=PAGES,
                active=path,
                link=link,
                filters=filters,
                presets=PRESETS,
                read=None if known is None else known.position,
            )
            answer.headers["flovia-waiting"] = "1"
            return answer

        return await in_thread(make)

    def _render(
        self, request: "Request", template: str, path: str, link: Linker, found: "Found[T]", more: Context
    ) -> "Response":
        keeper = self._desks.here().keeper
        known = keeper.known
        members: Context = {
            "nav": PAGES,
            "active": path,
            "link": link,
            "works": self._works,
            "filters": link.filters,
            "presets": PRESETS,
            "names": [],
            "unused": "",
            "similar": None,
            "csv_href": "",
            "json_href": "",
            "as_of": moment(found.made),
            "position": found.position,
            "behind": known is not None and known.behind,
            "newer": not self._desks.here().answers.is_fresh(found),
            "again": f"{link.root}{path}" + (f"?{request.url.query}" if request.url.query else ""),
            "who": request.scope.get("flovia.who", ""),
            "kept": _kept(request, path),
        }
        return self._pages.render(request, template, 200, **(_WORDS | members | more))


def _kept(request: "Request", path: str) -> dict[str, str]:
    """What the address says of :data:`_KEPT`, as far as the page at ``path`` heeds it."""
    name = "funnel" if path == "/endpoints" else path[1:]
    takes = [*(taken(f"/api/{name}") if name in REPORTS else ()), *(("sort",) if name == "funnel" else ())]
    params = request.query_params
    return {one: params[one] for one in _KEPT if one in takes and params.get(one, "").strip()}


def _sample(shown: int, count: int, *, first: bool) -> str:
    """Which of how many joined events a page lists."""
    if first and shown == count:
        return f"{tallied(count, 'event')}, the newest first."
    of = f"{'at least ' if count >= MOST_COUNTED else ''}{tallied(count, 'event')}"
    return f"The newest {shown} of {of}." if first else f"{shown} of {of}, the newest first."


def _percent(one: Share) -> str:
    return "–" if one.value is None else f"{one.value * 100:.1f} %"


def _band(one: Share) -> str:
    return "" if one.low is None or one.high is None else f"({one.low * 100:.1f}–{one.high * 100:.1f})"


_WORDS: Final[Context] = {"percent_of": _percent, "band": _band, "milliseconds": milliseconds}


def _at(request: "Request") -> int:
    return number_of(request.query_params, "page", 1, NUMBERS)


def _is_wsgi(request: "Request") -> bool:
    return WSGI in request.scope


def _members(chosen: "Chosen") -> list[tuple[str, str]]:
    return list(attrs.asdict(chosen).items())
