"""One mistake."""

import attrs


@attrs.frozen(kw_only=True)
class Mutant:
    """A module with one mistake in it.

    ``function`` is the name and first line of the outermost function around it, None where it takes effect while the
    module is loaded; ``lines`` are those that run it, ``()`` for any of the module.
    """

    id: str
    module: str
    line: int
    function: tuple[str, int] | None
    lines: tuple[int, ...]
    was: str
    now: str
    source: str = attrs.field(repr=False)

    @property
    def shown(self) -> str:
        """A line that says what was planted."""
        return f"{self.module}:{self.line} [{self.id}] {self.was}  ->  {self.now}"
