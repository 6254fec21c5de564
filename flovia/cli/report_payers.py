"""``flovia report retention`` and ``workflows``: who comes back, and what is used together."""

from typing import Final, Literal

from cyclopts.types import PositiveFloat, PositiveInt

from flovia.cli.report_giving import give
from flovia.cli.report_options import Options, asking
from flovia.reports.payers import LEAST, LIMIT, By, retention_answer, workflows_answer
from flovia.reports.reading import rest

DEFAULT: Final = Options()


def retention(
    *, options: Options = DEFAULT, by: Literal["week", "endpoint"] = "week", gap: PositiveFloat | None = None
) -> int:
    """Who comes back, when, and who may have gone; and how much of the revenue hangs on few payers.

    A payer comes back with another paid session. Cohorts are payers by their first one; W1 is the week after it. Exit
    status 1 if there is nothing to report.

    Args:
        by: cohorts by the week of the first paid session, or by the endpoint that was paid first.
        gap: seconds without anything that end a session, 300 until another number was given; it is remembered.
    """
    from flovia.insights.keeping_sessions import keep_sessions

    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, gap, between=rest)
        answer = retention_answer(ledger, asked, known, now, by)
    return give(options, answer)


def workflows(
    *,
    options: Options = DEFAULT,
    by: By = "path",
    limit: PositiveInt = LIMIT,
    least: PositiveInt = LEAST,
    gap: PositiveFloat | None = None,
) -> int:
    """What is used together and in which order, which workflows come back, and where sessions end unpaid.

    A session is what a payer, or an agent under a workflow's name, did until a pause. Exit status 1 if there is
    nothing to report.

    Args:
        by: what the rows of --csv are; --json has all, and so have a terminal and a page.
        limit: rows of each kind on a terminal and a page, at most.
        least: sessions that must have used two endpoints before anything is said of the pair.
        gap: seconds without anything that end a session, 300 until another number was given; it is remembered.
    """
    from flovia.insights.keeping_sessions import keep_sessions

    with asking(options) as (ledger, asked, known, now):
        keep_sessions(ledger.database, gap, between=rest)
        answer = workflows_answer(ledger, asked, known, now, by=by, limit=limit, least=least)
    return give(options, answer)
