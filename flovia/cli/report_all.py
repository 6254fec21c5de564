"""``flovia report all``: every report of one ledger, one after the other or on one page."""

from typing import Final

from flovia.cli.misuse import Misused
from flovia.cli.report_answer import give_all
from flovia.cli.report_reading import Options, asking, read, rest

DEFAULT: Final = Options()
_BY: Final = ("endpoint", "rail", "price")
LEAST_SHOWN: Final = 100
LIMIT_DUE: Final = 50


def everything(*, options: Options = DEFAULT) -> int:
    """All reports of the same attempts, as each gives them without further options.

    With --html on one page. Exit status 1 if there is nothing to report.
    """
    from flovia.cli import report_payers, report_routes
    from flovia.insights.asking import members_by
    from flovia.insights.integrity import PENDING_S
    from flovia.insights.keeping_sessions import keep_sessions
    from flovia.insights.measures import TIMES

    if options.csv:
        raise Misused("the reports are tables with columns of their own: --csv is for one of them")
    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, None, between=rest)
        found = read(ledger, asked, known, now, by=(*members_by(_BY), "currency"), times=TIMES, lines=True)
        answers = [
            report_routes.funnel(found, _BY),
            report_routes.latency(found, ("endpoint",)),
            report_routes.revenue(found, ("endpoint",)),
            report_routes.pricing(found, LEAST_SHOWN),
            report_payers.retention_answer(ledger, asked, known, now, "week"),
            report_payers.workflows_answer(
                ledger, asked, known, now, by="path", limit=report_payers.LIMIT, least=report_payers.LEAST
            ),
            report_routes.integrity(found, LIMIT_DUE, PENDING_S),
        ]
    return give_all(options, answers)
