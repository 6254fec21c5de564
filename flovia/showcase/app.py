"""The showcase's site: its pages, the paid route that they call, and the dashboard over the same ledger."""

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from flovia.dashboard import Dashboard
from flovia.showcase import simulated
from flovia.web.site import Pages

if TYPE_CHECKING:
    from flovia.api import Flovia


def site(flovia: "Flovia") -> Starlette:
    """The whole site over one ``Flovia``."""
    pages = Pages("flovia.showcase")

    def start(request: Request) -> Response:
        return RedirectResponse("/showcase/hitpay-mpp")

    def hitpay(request: Request) -> Response:
        story, step = simulated.simulation(), simulated.chosen_step(request)
        return pages.render(request, "hitpay_mpp.html", simulation=story, step=step)

    return Starlette(
        routes=[
            Route("/", start),
            Route("/showcase/hitpay-mpp", hitpay),
            *simulated.routes(),
            Route("/static/{version}/{name}", pages.file),
            Mount("/dashboard", Dashboard(flovia)),
        ]
    )
