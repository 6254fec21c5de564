"""``flovia report all``: every report of one ledger, one after the other or on one page."""

from typing import Final

from flovia.cli.misuse import Misused
from flovia.cli.report_giving import give_all
from flovia.cli.report_options import Options, asking
from flovia.reports.reading import read, rest

DEFAULT: Final = Options()
_BY: Final = ("endpoint", "rail", "price")
LEAST_SHOWN: Final = 100
LIMIT_DUE: Final = 50


def everything(*, options: Options = DEFAULT) -> int:
    """All reports of the same attempts, as each gives them without further options.

    With --html on one page. Exit status 1 if there is nothing to report.
    """
    from flovia.insights.asking import members_by
    from flovia.insights.integrity import PENDING_S
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.measures import TIMES
    from flovia.insights.pricing import PRICING_BY
    from flovia.providers.registry import is_registered
    from flovia.reports import payers, routes

    if options.csv:
        raise Misused("the reports are tables with columns of their own: --csv is for one of them")
    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, None, between=rest)
        found = read(ledger, asked, known, now, by=(*members_by(_BY), "currency"), times=TIMES, lines=True)
        by_day = read(ledger, asked, known, now, by=PRICING_BY, times=(), lines=True, daily=True)
        answers = [
            routes.funnel(found, _BY),
            routes.latency(found, ("endpoint",)),
            routes.revenue(found, ("endpoint",)),
            routes.pricing(by_day, LEAST_SHOWN),
            payers.retention_answer(ledger, asked, known, now, "week"),
            payers.workflows_answer(ledger, asked, known, now, by="path", limit=payers.LIMIT, least=payers.LEAST),
            routes.integrity(found, LIMIT_DUE, PENDING_S, is_registered),
        ]
    return give_all(options, answers)
