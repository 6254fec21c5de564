"""A small run of the simulator; ``python -m tests.simulator --seeds 200000 --jobs 2`` is the whole one."""

import logging
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.simulator.bugs import PACKAGE, Bug, PatchError, apply, bugs, hunt
from tests.simulator.model import Violation
from tests.simulator.plan import draw, reductions, without
from tests.simulator.running import attempt, quiet, run_some, shrink, story
from tests.simulator.world import World

SEEDS = 300 if os.environ.get("CI") else 60
PLANTED = ["fence-unchecked-memory", "delivered-redeems-again", "free-on-unknown"][: 3 if os.environ.get("CI") else 1]
ON_FILE = {bug.name: bug for bug in bugs()}


@pytest.fixture(autouse=True)
def logs() -> Generator[None]:
    """The simulator silences flovia's log; for these tests only."""
    log = logging.getLogger("flovia")
    level = log.level
    yield
    log.setLevel(level)


@pytest.mark.parametrize("first", range(0, SEEDS, 60))
def test_no_seed_breaks_a_promise(first: int) -> None:
    """Whatever dies, fails or stalls, in any order: one settlement, nothing free, nothing lost, nobody asked twice."""
    done, seen, failure = run_some(first, 60)
    assert failure is None, shrink(failure.seed)
    assert 60 == done
    # A storm in which nothing happens would show nothing.
    for what in ("deliveries", "deaths", "store failed", "acknowledgement lost", "broker's answer lost"):
        assert seen[what] > 0


def test_a_seed_tells_the_same_story_again() -> None:
    """The trace follows from the seed alone, so that what failed once can be looked at again and again."""
    for seed in (1, 7, 47):
        first, second = story(seed), story(seed)
        assert first.trace == second.trace
        assert first.trace


def test_less_of_a_story_is_a_story() -> None:
    """Every word that a plan can be told without gives a plan that can be told."""
    quiet()
    for seed in range(5):
        plan = draw(seed)
        for word in reductions(plan):
            less = without(plan, [word])
            assert plan != less
            assert "" == attempt(less)[1]
    with pytest.raises(ValueError, match="agentN"):
        without(plan, ["sunshine"])


def test_a_failing_seed_says_how_to_tell_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A violation is reported with its plan, its trace and the command; what it does not need is left out."""

    def check(_: World) -> None:
        raise Violation("test: a promise was broken")

    monkeypatch.setattr("tests.simulator.story._check", check)
    done, _, failure = run_some(3, 10)
    assert 1 == done
    assert failure is not None
    text = str(shrink(failure.seed))
    assert "seed 3: Violation: test: a promise was broken" in text
    assert "again: python -m tests.simulator --seed 3 --without " in text


@pytest.mark.parametrize("bug", ON_FILE.values(), ids=list(ON_FILE))
def test_every_planted_bug_applies(bug: Bug, tmp_path: Path) -> None:
    """Each patch fits the package as it is and leaves Python; who changes such a place adapts the patch."""
    names = [line.removeprefix("+++ b/flovia/") for line in bug.text.splitlines() if line.startswith("+++ ")]
    for name in names:
        copy = tmp_path / "flovia" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((PACKAGE / name).read_text(encoding="utf-8"), encoding="utf-8")
    apply(bug.text, tmp_path)
    for name in names:
        compile((tmp_path / "flovia" / name).read_text(encoding="utf-8"), name, "exec")
        assert (tmp_path / "flovia" / name).read_text(encoding="utf-8") != (PACKAGE / name).read_text(encoding="utf-8")
    assert bug.says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x\n--- a/flovia/a.py\n+++ b/flovia/a.py\n@@ -1 +1 @@\n-gone\n+new\n", "0 places"),
        ("x\n--- a/flovia/a.py\n+++ b/flovia/a.py\n@@ -1 +1 @@\n-twice\n+new\n", "2 places"),
        ("x\n--- a/flovia/b.py\n+++ b/flovia/b.py\n@@ -1 +1 @@\n-twice\n+new\n", "not there"),
        ("x\n--- a/flovia/a.py\n+++ b/flovia/c.py\n@@ -1 +1 @@\n-twice\n+new\n", "no file"),
        ("x\n--- a/flovia/a.py\n+++ b/flovia/a.py\n", "without a hunk"),
        ("x\n--- a/flovia/a.py\n+++ b/flovia/a.py\n@@ -1 +1 @@\n*twice\n", "not a line"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """Nothing is applied nearly: a patch fits word for word and in one place, or it is an error."""
    (tmp_path / "flovia").mkdir()
    (tmp_path / "flovia" / "a.py").write_text("twice\ntwice\n", encoding="utf-8")
    with pytest.raises(PatchError, match=says):
        apply(text, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    """The simulator sees what it is there to see, in a copy that has the bug; the package itself stays as it was."""
    before = {path: path.read_bytes() for path in PACKAGE.rglob("*.py")}
    found = hunt(ON_FILE[name], limit=200)
    assert found.seed is not None
    assert "Violation" in found.what
    assert before == {path: path.read_bytes() for path in PACKAGE.rglob("*.py")}


def test_a_copy_that_does_not_run_is_no_bug_found() -> None:
    """A patch that merely breaks the package is refused, not counted."""
    text = (PACKAGE / "settings.py").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if text.count(line + "\n") == 1 and line.startswith("import"))
    broken = f"x\n--- a/flovia/settings.py\n+++ b/flovia/settings.py\n@@ -1 +1 @@\n-{line}\n+raise SystemExit(3)\n"
    with pytest.raises(PatchError, match="did not run"):
        hunt(Bug(name="broken", says="x", text=broken), limit=1)
