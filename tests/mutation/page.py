"""The page of the survivors, ``docs/mutants.md``: each with the reason why no test has to notice it, if any."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tests.mutation.children import Verdict
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutant import Mutant

HEAD: Final = """# Mutants that no test noticed

Of the mistakes that `nox -s mutation` planted ([how, and with what result](reliability.md#mutation)), these were
not noticed. Written by `python -m tests.mutation --page docs/mutants.md` from the results and from
`tests/mutation/equivalent.py`, where the reasons stand; what has changed since it was tried is not in it.
*Missing* is a mistake that a test should notice and none does.

The newest sample, 29 November 2026, seed 3: of 300 mistakes in the ledger 258 were noticed, and 282 after tests had
been written because of it; of 300 in the gate 287, then 292.
"""


def page(parts: Mapping[str, Sequence[Mutant]], verdicts: Mapping[str, Verdict]) -> str:
    """The whole page."""
    return HEAD + "".join(text for name, mutants in parts.items() for text in _part(name, mutants, verdicts))


def _part(name: str, mutants: Sequence[Mutant], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    tried = [mutant for mutant in mutants if mutant.id in verdicts and verdicts[mutant.id].outcome != "invalid"]
    alive = [mutant for mutant in tried if verdicts[mutant.id].outcome in ("survived", "uncovered")]
    explained = [mutant for mutant in alive if mutant.id in EQUIVALENT]
    yield f"\n## {name}\n\n{len(tried):,} of {len(mutants):,} tried, {len(tried) - len(alive):,} noticed."
    yield f" Of the other {len(alive)}, {len(explained)} change nothing that a test could see.\n" if alive else "\n"
    if alive:
        yield "\n| where | was | planted | why |\n| --- | --- | --- | --- |\n"
    for mutant in sorted(alive, key=lambda one: (one.module, one.line, one.now)):
        was, now = mutant.around
        reason = EQUIVALENT.get(mutant.id, "*missing*")
        yield f"| `{mutant.module}:{mutant.line}` | {_cell(was)} | {_cell(now)} | {reason} |\n"


def _cell(code: str) -> str:
    """Code in a cell of a table, whatever is in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * (longest + 1)
    space = " " if "`" in code else ""
    return f"{fence}{space}{code.replace('|', chr(92) + '|')}{space}{fence}"
