"""The runner of mutants sees what tests notice, and what they do not."""

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from tests.mutation import page
from tests.mutation.children import Verdict
from tests.mutation.choosing import Chooser
from tests.mutation.copying import try_copied
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutant import Mutant
from tests.mutation.parts import PARTS
from tests.mutation.report import Results, report, wilson
from tests.mutation.survey import Survey
from tests.tree import ROOT

SHOP = """
import attrs

FREE = 3


@attrs.frozen
class Order:
    number: int

    @property
    def dear(self):
        return self.number > FREE


def price(number):
    return number * 2


def note(number):
    return str(number)


def lonely():
    return 1
"""

TESTS = """
from till import shop


def test_price():
    assert 4 == shop.price(2)


def test_dear():
    assert not shop.Order(1).dear
    assert shop.Order(5).dear


def test_note_is_called():
    shop.note(1)
"""

PROGRAM = """
import json, sys
from pathlib import Path
from tests.mutation.mutant import Mutant
from tests.mutation.trying import Plan, try_all

root = Path(sys.argv[1])
plan = Plan(root=root, folder=root / "kept", modules=("till/shop.py",), tests=("test_shop.py",), jobs=1,
            keep=lambda *_: True)
mutants = [Mutant(**{**one, "function": one["function"] and tuple(one["function"]), "lines": tuple(one["lines"])})
           for one in json.loads(sys.argv[2])]
with (root / "verdicts.txt").open("w") as file:
    try_all(plan, mutants, lambda mutant, verdict: print(mutant.id, verdict.outcome, verdict.by, file=file, flush=True))
"""


def planted(name: str, was: str, now: str, function: tuple[str, int] | None) -> Mutant:
    """A mutant of the shop."""
    line = SHOP[: SHOP.index(was)].count("\n") + 1
    return Mutant(
        id=name,
        module="till/shop.py",
        line=line,
        function=function,
        lines=(line,) if function else (),
        was=was,
        now=now,
        source=SHOP.replace(was, now),
    )


def test_an_obvious_mutant_is_killed_and_one_that_nobody_looks_at_survives(tmp_path: Path) -> None:
    """Killed, with the test that saw it: in a function, in a property, in a constant. Survived: where a result is
    looked at by no test. Uncovered: where no test goes.
    """
    (tmp_path / "till").mkdir()
    (tmp_path / "till" / "__init__.py").touch()
    (tmp_path / "till" / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    mutants = [
        planted("function", "number * 2", "number / 3", ("price", 16)),
        planted("property", "self.number > FREE", "self.number < FREE", ("dear", 11)),
        planted("constant", "FREE = 3", "FREE = 9", None),
        planted("unseen", "str(number)", "None", ("note", 20)),
        planted("lonely", "return 1", "return 2", ("lonely", 24)),
    ]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps([attrs.asdict(mutant) for mutant in mutants])],
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    seen = dict(line.split(" ", 1) for line in (tmp_path / "verdicts.txt").read_text().splitlines())
    assert {
        "function": "killed test_shop.py::test_price",
        "property": "killed test_shop.py::test_dear",
        "constant": "killed test_shop.py::test_dear",
        "unseen": "survived ",
        "lonely": "uncovered ",
    } == seen


def test_an_interval_is_wilsons() -> None:
    """Of 270 of 300 the interval is the one of the literature, and it never leaves 0 to 1."""
    low, high = wilson(270, 300)
    assert (0.8608, 0.9291) == (round(low, 4), round(high, 4))
    assert 1.0 == wilson(10, 10)[1]
    assert 0.0 == wilson(0, 10)[0]


def test_the_report_counts_and_lists(tmp_path: Path) -> None:
    """The last result of a mutant counts; a survivor is listed with its line; what is no Python does not count."""
    names = ["seen", "late", "left", "broken"]
    mutants = [planted(name, "number * 2", f"number * {n + 3}", ("price", 16)) for n, name in enumerate(names)]
    results = Results(tmp_path / "results.jsonl")
    for mutant, outcome in zip(mutants, ["survived", "timeout", "survived", "invalid"], strict=True):
        results.add(mutant, Verdict(outcome=outcome))
    results.add(mutants[0], Verdict(outcome="killed", by="test_shop.py::test_price"))
    lines = list(report({"till": mutants}, results.read()))
    assert lines[2].startswith("| till | 4 | 3 | 1 | 1 | 1 | 0 | 66.7% |")
    assert ["survived: till/shop.py:17 [left] number * 2  ->  number * 5"] == lines[3:]


def test_of_a_long_statement_what_changes_is_shown() -> None:
    """With a little of it on either side; a short one is shown whole."""
    mutant = planted("long", "number * 2", "number * 3", ("price", 16))
    assert "till/shop.py:17 [long] number * 2  ->  number * 3" == mutant.shown
    long = attrs.evolve(mutant, was="a" * 100 + "== 5" + "b" * 100, now="a" * 100 + "!= 5" + "b" * 100)
    around = ("…" + "a" * 60, "b" * 57 + "…")
    assert f"till/shop.py:17 [long] {around[0]}== 5{around[1]}  ->  {around[0]}!= 5{around[1]}" == long.shown
    doubled = attrs.evolve(mutant, was="(aa)", now="(aaa)")
    assert doubled.shown.endswith("(aa)  ->  (aaa)")


def test_what_runs_while_a_module_is_loaded_is_asked_of_the_files_that_name_it(tmp_path: Path) -> None:
    """First the file that is called like the module, then others that name it, then what runs lines of it, or, if
    it has none that run later, lines of those that import it. For a line of a function only what runs that line.
    """
    for name, text in {
        "till/shop.py": SHOP,
        "till/prices.py": "LIST = {}",
        "till/front.py": "from till.prices import LIST",
        "tests/test_prices.py": "from till import prices",
        "tests/test_front.py": "import till.front",
        "tests/test_all.py": "from till.prices import (\n    LIST,\n)",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = Survey(
        files=dict.fromkeys(["tests/test_prices.py", "tests/test_front.py", "tests/test_all.py"], ""),
        seconds={
            "tests/test_prices.py::a": 2.0,
            "tests/test_prices.py::b": 1.0,
            "tests/test_front.py::c": 0.1,
            "tests/test_all.py::d": 0.1,
        },
        lines={"till/front.py": {"7": ["tests/test_front.py::c"]}},
    )
    chooser = Chooser(tmp_path, ("till/prices.py", "till/front.py"), found, 0.0)
    table = attrs.evolve(planted("table", "FREE = 3", "FREE = 4", None), module="till/prices.py")
    assert [] == chooser.tests(table)
    assert [
        ["tests/test_prices.py::b", "tests/test_prices.py::a"],
        ["tests/test_all.py::d"],
        ["tests/test_front.py::c"],
    ] == chooser.rounds(table)
    chooser.told(table, Verdict(outcome="killed", by="tests/test_prices.py::a"))
    assert ["tests/test_prices.py::a", "tests/test_prices.py::b"] == chooser.rounds(table)[0]
    line = attrs.evolve(planted("line", "number * 2", "number", ("price", 16)), module="till/front.py", lines=(7,))
    assert ["tests/test_front.py::c"] == chooser.tests(line)
    assert chooser.is_run(table)
    assert chooser.is_run(line)
    assert not chooser.is_run(attrs.evolve(line, lines=(8,)))


def test_a_mutant_stands_in_a_copy_for_as_long_as_it_is_tried(tmp_path: Path) -> None:
    """Tests that start other programs see it there, and the next mutant finds the copy as it was."""
    root = tmp_path / "checkout"
    (root / "till").mkdir(parents=True)
    (root / "till" / "__init__.py").touch()
    (root / "till" / "shop.py").write_text("def price(number):\n    return number * 2\n")
    (root / "test_shop.py").write_text(
        "import subprocess, sys\n\ndef test_price():\n"
        "    program = 'from till import shop; print(shop.price(2))'\n"
        "    assert b'4' == subprocess.check_output([sys.executable, '-c', program]).strip()\n"
    )
    (root / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    sources = {"times": "number / 2", "plus": "number + 2"}
    mutants = [
        attrs.evolve(planted(name, "number * 2", now, ("price", 1)), source=f"def price(number):\n    return {now}\n")
        for name, now in sources.items()
    ]
    seen: dict[str, str] = {}
    try_copied(root, tmp_path / "copy", mutants, [("test_shop.py",)], lambda m, v: seen.update({m.id: v.outcome}))
    assert {"times": "killed", "plus": "survived"} == seen
    assert (root / "till" / "shop.py").read_text() == (tmp_path / "copy" / "till" / "shop.py").read_text()


def test_the_page_says_why_each_survivor_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a row with what was planted and the reason, or that a test is missing; a bar breaks no table."""
    mutants = [
        planted(name, "number * 2", f"number | {n}", ("price", 16)) for n, name in enumerate(["one", "two", "three"])
    ]
    verdicts = {
        "one": Verdict(outcome="survived"),
        "two": Verdict(outcome="uncovered"),
        "three": Verdict(outcome="killed"),
    }
    monkeypatch.setattr(page, "EQUIVALENT", {"two": "Both are even."})
    text = page.page({"till": mutants, "shelf": []}, verdicts)
    assert "## till\n\n3 of 3 tried, 1 noticed. Of the other 2, 1 change nothing that a test could see.\n" in text
    assert [
        "| `till/shop.py:17` | `number * 2` | `number \\| 0` | *missing* |",
        "| `till/shop.py:17` | `number * 2` | `number \\| 1` | Both are even. |",
    ] == [line for line in text.splitlines() if line.startswith("| `")]
    assert "## shelf\n\n0 of 0 tried, 0 noticed.\n" in text


LIMITS = '''
"""Limits."""

Many = dict[str, int]
LIMIT: Final[int] = 3


def checked(number: int) -> int:
    """A number."""
    if number > LIMIT:
        raise TooMuch("more than there is", number)
    _log.info("seen", number)
    tell(number)
    return number
'''


def test_what_is_planted(tmp_path: Path) -> None:
    """Operators, constants, conditions, calls and results are changed; text for people, logs, annotations, aliases
    and docstrings are not. The line says where, and the first line of the function how to find it.
    """
    pytest.importorskip("mutmut", reason="mutmut is not installed: the nox session mutation installs it")
    # It needs mutmut.
    from tests.mutation.mutants import mutants

    (tmp_path / "limits.py").write_text(LIMITS)
    found = mutants(tmp_path, "limits.py")
    raising = 'raise TooMuch("more than there is", number)'
    assert {
        (5, None, "LIMIT: Final[int] = 3", "LIMIT: Final[int] = None"),
        (5, None, "LIMIT: Final[int] = 3", "LIMIT: Final[int] = 4"),
        (10, 8, "if number > LIMIT", "if number >= LIMIT"),
        (10, 8, "if number > LIMIT", "if not (number > LIMIT)"),
        (11, 8, raising, "pass"),
        (11, 8, raising, 'raise TooMuch("more than there is", None)'),
        (11, 8, raising, 'raise TooMuch("more than there is", )'),
        (13, 8, "tell(number)", "pass"),
        (13, 8, "tell(number)", "tell(None)"),
        (14, 8, "return number", "return None"),
    } == {(one.line, one.function and one.function[1], one.was, one.now) for one in found}
    assert len(found) == len({one.id for one in found})


def test_reasons_are_about_mutants_there_are() -> None:
    """Where the code has changed, a reason has gone with it, or is looked at again."""
    pytest.importorskip("mutmut", reason="mutmut is not installed: the nox session mutation installs it")
    # It needs mutmut.
    from tests.mutation.mutants import mutants

    known = {one.id for part in PARTS.values() for module in part.modules for one in mutants(ROOT, module)}
    assert set() == EQUIVALENT.keys() - known
