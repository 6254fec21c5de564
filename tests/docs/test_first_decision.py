"""The numbers in the prose of the guide to a decision follow from what its commands print."""

import re

from tests.tree import ROOT

PAGE = (ROOT / "docs" / "guides" / "first-decision.md").read_text(encoding="utf-8")
PROSE = " ".join(re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL).split())


def row(beginning: str, last: bool = False) -> list[str]:
    """The cells of the first line of output (or the last one) that begins so."""
    found = [line for line in PAGE.splitlines() if line.startswith(beginning)]
    return re.split(r" {2,}", found[-1 if last else 0])


def per_attempt(price: str) -> float:
    """Dollars that an attempt at a price brought."""
    (found,) = {match[1] for match in re.finditer(rf"^{price}.*?([\d.]+) USD \(", PAGE, re.MULTILINE)}
    return float(found)


def test_the_decision_in_numbers() -> None:
    """What it brings, at least, and when it is wrong: worked out from the tables above it."""
    (gain, least) = re.findall(r"brought ([\d.]+) USD more than one at 1.00 USD \(at least ([\d.]+) USD", PAGE)[0]
    attempts, paid = map(int, (row("1.00 USD", last=True)[1], row("1.00 USD", last=True)[3]))
    assert f"brought {gain} USD more, at least {least} USD. With {attempts} attempts a week" in PROSE
    more, sure = (f"{attempts * float(one):.2f}" for one in (gain, least))
    now = f"{attempts * per_attempt('1.00 USD'):.2f}"
    assert f"that is {more} USD a week more, at least {sure} USD, beside {now} USD now" in PROSE
    even = per_attempt("1.00 USD") / 2.5
    seen, share = re.findall(r"^2\.50 USD +(\d+) +([\d.]+) %", PAGE, re.MULTILINE)[0]
    assert f"fewer than {even * 100:.1f} % pay it (0.913 ÷ 2.50). Of the {seen} who saw it, {share} % did" in PROSE
    assert f"if fewer than {-int(-even * attempts // 1)} of {attempts} paid" in PROSE
    assert 100 <= int(seen) + 3 * attempts
    assert 100 > int(seen) + 2 * attempts
    assert paid <= attempts


def test_what_is_said_of_the_tables() -> None:
    """Counts that the prose repeats are in the tables."""
    quotes = row("/quotes ")
    gave_up = int(quotes[1]) - int(quotes[2])
    assert f"{gave_up} of {quotes[1]} gave up" in PROSE
    assert f"3 of the {quotes[3]} who paid" in PROSE
    waiting = 2 + int(re.findall(r"… and (\d+) more: --limit", PAGE)[0])
    assert f"{waiting} attempts wait for somebody" in PROSE
    alone = re.findall(r"^/quotes +(\d+) ", PAGE[PAGE.index("\npath ") :], re.MULTILINE)
    assert alone[0] == alone[1]
    assert f"{alone[0]} sessions use it, and these {alone[0]} use nothing else" in PROSE
