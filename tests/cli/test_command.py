"""The ``flovia`` command itself: what it needs, and how it ends."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flovia.cli.app import run
from tests.tree import ROOT


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("cyclopts", "cli", ["--version"]), ("rich", "cli", ["--version"]), ("uvicorn", "demo", ["demo", "--no-browser"])],
)
def test_a_missing_package_is_named_with_its_extra(package: str, extra: str, arguments: list[str]) -> None:
    """Without the packages of an extra, the command ends with status 1 and the line to install them."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['flovia', *{arguments!r}]\n"
        "from flovia.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert f"pip install 'flovia[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_missing_module_is_a_bug_and_shown_as_one() -> None:
    """A module of our own that cannot be imported is not taken for an extra."""
    code = "import sys; sys.modules['flovia.cli.app'] = None; from flovia.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [["events", "schema"], ["--help"]])
def test_a_disk_that_is_full(arguments: list[str]) -> None:
    """What cannot be printed is one line on standard error and status 1, not a traceback."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flovia.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert 1 == done.returncode
    (line,) = done.stderr.splitlines()
    assert "the output could not be written" in line


def test_help_lists_the_commands_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """``flovia --help`` names every command with what it does."""
    run(["--help"])
    out = capsys.readouterr().out
    for name in ("demo", "events", "inspect", "sandbox"):
        assert name in out


@pytest.mark.parametrize("command", ["demo", "events", "inspect", "sandbox"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that help lists can be loaded and says what its options mean."""
    run([command, "--help"])
    assert f"Usage: flovia {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "events", "inspect", "sandbox"])
def test_every_option_is_on_the_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/cli.md has a section for each command, and in it every option that its help lists."""
    run([command, "--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help", "--version"}
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## flovia {command}\n")[2].partition("\n## ")[0]
    assert options
    assert set() == options - set(re.findall(r"--[a-z][a-z-]*", section))


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that does not exist is status 2 and a message, not a traceback."""
    with pytest.raises(SystemExit) as ended:
        run(["no-such-command"])
    assert 2 == ended.value.code
    captured = capsys.readouterr()
    assert "no-such-command" in captured.out + captured.err
