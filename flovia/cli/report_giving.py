"""Giving a report's answer: to people at a terminal, as a page, as JSON, as CSV."""

import sys
from collections.abc import Sequence

from rich.text import Text

from flovia.cli.console import complain, console, hint
from flovia.cli.events import ledger_of
from flovia.cli.ledger_opening import write_json
from flovia.cli.report_options import Options
from flovia.cli.report_printing import print_parts
from flovia.ledger.opening import shown
from flovia.reports.answer import Answer
from flovia.reports.as_csv import csv_of
from flovia.reports.parts import GAP, Words
from flovia.words import safe


def give(options: Options, answer: Answer) -> int:
    """Print an answer in the form that is wanted, with what was left out; returns the exit status."""
    if options.as_json:
        write_json(answer.payload)
    elif options.csv:
        sys.stdout.write(csv_of(answer.rows))
        if answer.some and answer.left_out:
            complain(_left_out(answer))
    elif options.html:
        _write_page([answer])
    elif answer.some:
        _print(answer)
    return _end(options, [answer])


def give_all(options: Options, answers: Sequence[Answer]) -> int:
    """The same for several reports, one after the other; exit status 1 if there is nothing in any."""
    if options.as_json:
        write_json({"report": "all", "reports": [dict(answer.payload) for answer in answers]})
    elif options.html:
        _write_page(answers)
    else:
        for number, answer in enumerate(answer for answer in answers if answer.some):
            print_parts(
                [*([GAP] if number else []), Words(lead=answer.name, text=f"  {answer.about}", style="dim"), GAP]
            )
            _print(answer)
    return _end(options, answers)


def _print(answer: Answer) -> None:
    print_parts(answer.show())
    if answer.left_out:
        console().print(Text(safe(_left_out(answer)), style="dim"))


def _left_out(answer: Answer) -> str:
    return "left out: " + "; ".join(answer.left_out)


def _write_page(answers: Sequence[Answer]) -> None:
    from flovia.reports.html import page

    sys.stdout.write(page(answers))
    if sys.stdout.isatty():
        hint("this is a page for a browser; put it into a file: … --html > report.html")


def _end(options: Options, answers: Sequence[Answer]) -> int:
    if any(answer.some for answer in answers):
        return 0
    complain(answers[0].nothing(shown(ledger_of(options.ledger))))
    sys.stderr.flush()
    return 1
