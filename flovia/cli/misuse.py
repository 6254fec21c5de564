"""Options whose values cannot be meant: the command's own exit status says so."""

from typing import Final

from flovia.core.errors import CallerError

MISUSED: Final = 2
"""Exit status of a command that was not understood, as for an option that there is not."""


class Misused(CallerError):
    """An option's value is none that it takes, or two options contradict each other. Nothing was done."""
