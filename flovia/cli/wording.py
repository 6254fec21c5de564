"""What the library says, for somebody at a terminal: its errors name Python calls, here they name commands."""

import re
import shlex
from pathlib import Path
from typing import Final

_RESUME: Final = re.compile(r"resume\(reference(, content=…)?\)")
_PHRASES: Final = (
    ("pass error.reference, or one of PendingFiles.references()", "it is in the line that says what to resume"),
    ("the answer is in error.answer", "the answer is printed"),
    (
        'Take it up with the server\'s operator; with Policy(receipts="note") such an answer comes as any other',
        "Take it up with the server's operator",
    ),
    ("Raise limit, wait for the window to pass, or do without", "Raise --budget, or do without"),
    ("; use one budget per currency", ""),
    (". Add it to Policy(origins=…) if it should be paid", ""),
    (". Call it directly, or name it in Policy(origins=…)", ". Give the address it led to"),
    ("name another with PendingFiles(folder)", "name another with --state"),
)


def resuming(reference: str | None, state: Path | None, wallet: str | None = None) -> str:
    """The command that presents a kept credential again.

    ``state``: the folder it is in, if that was named; ``wallet``: the one that paid, if it is not the default.
    """
    paid_by = "" if wallet is None else f" --wallet {wallet}"
    named = "" if state is None else f" --state {shlex.quote(str(state))}"
    return f"flovia pay --resume {reference or 'REFERENCE'}{paid_by}{named}"


def in_commands(text: str, reference: str | None, state: Path | None = None, wallet: str | None = None) -> str:
    """The text of an error of :mod:`flovia.client`.

    ``reference``: the credential's, if one is kept; ``state`` and ``wallet``: as :func:`resuming`.
    """
    for python, words in _PHRASES:
        text = text.replace(python, words)

    def command(found: re.Match[str]) -> str:
        return f"{resuming(reference, state, wallet)}{' --data @FILE' if found[1] else ''}"

    return _RESUME.sub(command, text)
