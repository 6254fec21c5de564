"""What the results say: shares with their intervals, and the survivors."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from tests.mutation.children import Verdict
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutant import Mutant

OUTCOMES: Final = ("killed", "timeout", "survived", "uncovered")


def wilson(killed: int, tried: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share in a sample: Wilson, 1927, doi:10.1080/01621459.1927.10502953."""
    share = killed / tried
    middle = share + z * z / (2 * tried)
    half = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    scale = 1 + z * z / tried
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@attrs.frozen
class Results:
    """The file of what has been tried: a line for each, the last one counts."""

    path: Path

    def read(self) -> dict[str, Verdict]:
        """By the mutant's id."""
        if not self.path.exists():
            return {}
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return {
            line["id"]: Verdict(**{name: line[name] for name in ("outcome", "by", "tests", "seconds")})
            for line in lines
        }

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Write it down at once."""
        line = {"id": mutant.id, **attrs.asdict(verdict), "mutant": mutant.shown[:300]}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def report(parts: Mapping[str, Sequence[Mutant]], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """Lines: a table, and the survivors with the reason why, if one is known."""
    yield "| part | mutants | tried | killed | timeout | survived | not run | killed share | 95 % |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    survivors: list[Mutant] = []
    for name, mutants in parts.items():
        tried = [mutant for mutant in mutants if mutant.id in verdicts and verdicts[mutant.id].outcome != "invalid"]
        count = Counter(verdicts[mutant.id].outcome for mutant in tried)
        survivors += [mutant for mutant in tried if verdicts[mutant.id].outcome in ("survived", "uncovered")]
        if not tried:
            yield f"| {name} | {len(mutants)} | 0 | | | | | | |"
            continue
        killed = count["killed"] + count["timeout"]
        low, high = wilson(killed, len(tried))
        interval = "all" if len(tried) == len(mutants) else f"{low:.1%} to {high:.1%}"
        counts = [len(mutants), len(tried), *(count[outcome] for outcome in OUTCOMES)]
        yield f"| {name} | {' | '.join(map(str, counts))} | {killed / len(tried):.1%} | {interval} |"
    for mutant in survivors:
        yield f"{verdicts[mutant.id].outcome}: {mutant.shown} {EQUIVALENT.get(mutant.id, '')}".rstrip()
