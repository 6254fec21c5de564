"""The numbers in the prose of the guide to a decision follow from what its commands print."""

import re
from math import comb

from tests.tree import ROOT

PAGE = (ROOT / "docs" / "guides" / "first-decision.md").read_text(encoding="utf-8")
PROSE = " ".join(re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL).split())


def row(beginning: str, last: bool = False) -> list[str]:
    """The cells of the first line of output (or the last one) that begins so."""
    found = [line for line in PAGE.splitlines() if line.startswith(beginning)]
    return re.split(r" {2,}", found[-1 if last else 0])


def advised(verb: str) -> tuple[str, str]:
    """What an attempt would bring more, and at least, as the report says it."""
    (found,) = set(re.findall(rf"^{verb}.* brought ([\d.]+) \w+ more than .*?at least ([\d.]+) ", PAGE, re.MULTILINE))
    return found[0], found[1]


def seen(price: str) -> tuple[int, int]:
    """How many saw a price, and how many of them paid."""
    attempts, percent = re.findall(
        rf"^{re.escape(price)}(?:  now)? +(\d+) +([\d.]+) % \([^)]*\) +[\d.]+ \w+ \(", PAGE, re.M
    )[0]
    return int(attempts), round(int(attempts) * float(percent) / 100)


def lost(attempts: int, share: float, least: int) -> int:
    """In how many of a hundred weeks fewer than ``least`` of so many pay, if such a share does."""
    ways = (comb(attempts, paid) * share**paid * (1 - share) ** (attempts - paid) for paid in range(least))
    return round(100 * sum(ways))


def test_what_is_counted() -> None:
    """The attempts of the world are those of the tables, and those that are left out."""
    (made,) = re.findall(r"^[\d,]+ requests: attempt ([\d,]+),", PAGE, re.MULTILINE)
    own, test = re.findall(r"^left out: (\d+) attempts with the mock.*?; (\d+) attempts of your own", PAGE, re.M)[0]
    table = PAGE[PAGE.index("\nendpoint ") : PAGE.index("\neach bar")]
    counted = sum(int(line.split()[1]) for line in table.splitlines()[2:])
    assert int(made.replace(",", "")) == counted + int(own) + int(test)
    assert f"comes to {made} attempts. {test} of these" in PROSE
    assert f"about the other {counted:,}." in PROSE


def test_the_first_decision_in_numbers() -> None:
    """What the lower price brings, at least, and that nobody paid the one of now."""
    _, least = advised("lower")
    (week,) = (int(cells[2]) for cells in [row("/images     160 JPY")])
    attempts, paid = seen("70 JPY")
    assert f"43.75 JPY ({paid} ÷ {attempts} × 70) for each attempt, at least {least} JPY. With {week} attempts" in PROSE
    assert 43.75 == paid / attempts * 70
    assert f"that is {week * 43.75:.0f} JPY a week, at least {week * 30.35:.0f} JPY (30.35 before rounding)" in PROSE
    now, nobody = seen("160 JPY")
    assert (
        f"160 JPY sold {nobody} of {now}, and of these {row('/images     160 JPY')[4]} of {week} in the last" in PROSE
    )
    assert (1 - paid / attempts) ** week < 1e-6


def test_the_second_decision_in_numbers() -> None:
    """What it brings, at least, and when it is wrong: worked out from the tables above it."""
    gain, least = advised("raise")
    cells = row("/quotes     1.00 USD")
    attempts, all_paid = int(cells[2]), int(cells[4])
    old, new = seen("1.00 USD"), seen("2.50 USD")
    assert f"brought {gain} USD more, at least {least} USD. With {attempts} attempts a week" in PROSE
    each, now = new[1] / new[0] * 2.5, old[1] / old[0]
    assert f"{each - now:.3f}" == gain
    formula = f"({attempts} × ({new[1]} ÷ {new[0]} × 2.50 − {old[1]} ÷ {old[0]}))"
    sure = f"{attempts * float(least):.2f}"
    assert f"that is {attempts * (each - now):.2f} USD a week more {formula}, at least {sure} USD" in PROSE
    assert f"beside {attempts * now:.2f} USD ({attempts} × {old[1]} ÷ {old[0]})" in PROSE
    assert f"it was {all_paid}.00 USD, because all {attempts} paid" in PROSE
    even = now / 2.5
    assert f"fewer than {even * 100:.1f} % pay it ({old[1]} ÷ {old[0]} ÷ 2.50). Of the {new[0]} who" in PROSE
    fewer = -int(-even * attempts // 1)
    assert f"if fewer than {fewer} of {attempts} paid" in PROSE
    assert f"only 20 % pay, that happens in {lost(attempts, 0.2, fewer)} of 100 such weeks" in PROSE
    assert f"in {lost(attempts, even, fewer)} of 100; at 63.6 % it is a false alarm in" in PROSE
    assert f"a false alarm in {lost(attempts, new[1] / new[0], fewer)} of 100" in PROSE
    assert 100 <= new[0] + 3 * attempts
    assert 100 > new[0] + 2 * attempts


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
    payments, payers = re.findall(r"^(\d+) payments by (\d+) payers$", PAGE, re.MULTILINE)[0]
    assert f"what {payers} payers did is taken for {payments} tosses" in PROSE
    assert str(seen("1.00 USD")[1]) == payments


def test_refunds_turn_nothing_around() -> None:
    """All that went back, is due to, or is undecided, taken off the attempts at the price that is advised."""
    cells = row("/quotes   USD")
    gross, back, due = (float(cells[place].split()[0]) for place in (3, 5, 7))
    undecided = float(re.findall(r'not in "to go back": 1 payment \(([\d.]+) USD\)', PAGE)[0])
    assert (
        f"{back:.2f} of {gross:.2f} USD went back, {due:.2f} USD are due to, and one payment of {undecided:.2f}"
        in PROSE
    )
    least = float(advised("raise")[1])
    each = (back + due + undecided) / seen("2.50 USD")[0]
    assert f"these {back + due + undecided:.2f} USD were of the 55 who saw 2.50 USD" in PROSE
    assert f"brought {each:.3f} USD less, and the advice says at least {least} USD more" in PROSE
    assert each < least
    names = re.findall(r"(\d+) of (\d+) payers came back to `/quotes` here and (\d+) of (\d+) above", PROSE)[0]
    assert f"{names[0]} of {names[1]}" == row("/quotes        138")[-1]
    assert f"{names[2]} of {names[3]}" == row("came back with")[1]
