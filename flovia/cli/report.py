"""``flovia report``: which routes convert, what they brought, what to ask for them, and what needs somebody."""

from typing import Final

import cyclopts
from cyclopts.types import PositiveFloat, PositiveInt

from flovia.cli.misuse import Misused
from flovia.cli.report_giving import give
from flovia.cli.report_options import Options, reading
from flovia.core.errors import CallerError

DEFAULT: Final = Options()
PENDING_S: Final = 300.0
"""As flovia.insights.integrity has it, which takes a while to load."""

app = cyclopts.App(name="report", help_format="plaintext")
app.command("flovia.cli.report_payers:retention", name="retention", help="Who comes back, when, and who may have gone.")
app.command(
    "flovia.cli.report_payers:workflows", name="workflows", help="What is used together, and where sessions end unpaid."
)
app.command("flovia.cli.report_all:everything", name="all", help="All of these one after the other, or on one page.")


@app.command
def funnel(*, options: Options = DEFAULT, by: str = "endpoint,rail,price") -> int:
    """How many of those who saw a price paid, and got what they paid for; how long paying took, and what failed.

    Conversion is of attempts, not of 402s, with its 95 % interval. Percentiles are within 1 %. Exit status 1 if
    there is nothing to report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.reports import routes

    dimensions = _by(by)
    with reading(options, by=members_by(dimensions), times=("pay",), lines=True) as found:
        return give(options, routes.funnel(found, dimensions))


@app.command
def latency(*, options: Options = DEFAULT, by: str = "endpoint") -> int:
    """How long the answer with the 402, the verdict and the handler took, and how often each failed.

    Percentiles are within 1 %; of an error rate there is the 95 % interval. Exit status 1 if there is nothing to
    report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.insights.funnel import PHASES
    from flovia.reports import routes

    dimensions = _by(by)
    with reading(options, by=members_by(dimensions), times=("latency", *PHASES)) as found:
        return give(options, routes.latency(found, dimensions))


@app.command
def revenue(*, options: Options = DEFAULT, by: str = "endpoint") -> int:
    """What came, what went back, and what is left, in each currency by itself and exact.

    Money counts on the day of the attempt that it belongs to. Exit status 1 if there is nothing to report.

    Args:
        by: what rows are told apart by, of endpoint, provider, rail, price and day, with commas between.
    """
    from flovia.insights.asking import members_by
    from flovia.reports import routes

    dimensions = _by(by)
    with reading(options, by=(*members_by(dimensions), "currency")) as found:
        return give(options, routes.revenue(found, dimensions))


@app.command
def pricing(*, options: Options = DEFAULT, least: PositiveInt = 100) -> int:
    """What each price that was shown brought, and whether to raise it, to lower it, to leave it, or to test another.

    Nothing is said of a price that too few have seen. Exit status 1 if there is nothing to report.

    Args:
        least: attempts that must have seen a price before it is compared.
    """
    from flovia.insights.pricing import PRICING_BY
    from flovia.reports import routes

    with reading(options, by=PRICING_BY, lines=True, daily=True) as found:
        return give(options, routes.pricing(found, least))


@app.command
def integrity(*, options: Options = DEFAULT, limit: PositiveInt = 50, pending: PositiveFloat = PENDING_S) -> int:
    """How payments and requests agree, and the queue of those that need somebody, each with the command to run.

    Exit status 1 if there is nothing to report; that nothing waits in the queue is a report.

    Args:
        limit: rows of the queue, at most; all are counted.
        pending: seconds for which an unpaid attempt counts as pending, and as expired then: the expires_in of the
            routes, if that is not 300.
    """
    from flovia.providers.registry import is_registered
    from flovia.reports import routes

    with reading(options) as found:
        return give(options, routes.integrity(found, limit, pending, is_registered))


def _by(text: str) -> list[str]:
    from flovia.insights.asking import members_by

    named = [one.strip() for one in text.split(",") if one.strip()]
    try:
        members_by(named)
    except CallerError as error:
        raise Misused(str(error)) from None
    return named
