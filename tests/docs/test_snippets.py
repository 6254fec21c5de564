"""Every code block of the documentation works as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from tests.docs import nursery
from tests.docs.snippets import OTHERS, PROGRAMS, Snippet, all_programs, blocks, pages, programs
from tests.patience import PROGRAM_S
from tests.tree import ROOT

SECRET = "test-secret-of-the-documentation-0123456789"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A reader's machine: no setting of ours, a folder of their own, ``flovia`` and ``python`` on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("flovia", "-m flovia.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOVIA_")}
    modules = [str(Path(tests.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **kept,
        "FLOVIA_SECRET": SECRET,
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, modules)),
        "PYTHONIOENCODING": "utf-8",
    }


def command(snippet: Snippet, file: Path) -> list[str]:
    """The command that runs a snippet the way its comment says."""
    harness = [sys.executable, "-m", "tests.docs.harness"]
    match snippet.how.split():
        case [] | ["raises", _]:
            return ["sh", "-eu", str(file)] if snippet.language == "sh" else [sys.executable, str(file)]
        case ["serve", "wsgi" | "asgi" as kind]:
            return [*harness, "serve", kind, "GET", "/paid", str(file)]
        case ["serve", "wsgi" | "asgi" as kind, http_method, path]:
            return [*harness, "serve", kind, http_method, path, str(file)]
        case ["visit", *example]:
            return [*harness, "visit", snippet.language, str(file), *example]
        case _:
            pytest.fail(f"{snippet}: <!-- snippet: {snippet.how} --> is not a way to run one", pytrace=False)


@pytest.mark.parametrize("snippet", all_programs(), ids=str)
def test_snippet(snippet: Snippet, environment: dict[str, str], tmp_path: Path) -> None:
    """A block runs to its end, or ends with the error it announces, and prints what the page says."""
    if reason := snippet.how.removeprefix("not run: ") if snippet.how.startswith("not run: ") else "":
        pytest.skip(reason)
    if snippet.language == "sh" and "curl" in snippet.text and shutil.which("curl") is None:
        pytest.skip("curl is not on PATH")
    folder = tmp_path / "reader"
    folder.mkdir()
    file = folder / ("snippet.py" if snippet.language == "python" else "snippet.sh")
    # The same line numbers as on the page, so that a traceback points there.
    file.write_text("\n" * snippet.line + snippet.text, encoding="utf-8")
    status, output, errors = run(command(snippet, file), folder, environment, PROGRAM_S * snippet.blocks)
    if snippet.how.startswith("raises "):
        assert status == 1, errors
        assert snippet.how.removeprefix("raises ") in errors.splitlines()[-1]
    else:
        assert status == 0, f"{snippet}\n{output}{errors}"
    if snippet.prints is not None:
        wanted = ".*?".join(re.escape(part) for part in snippet.prints.strip().split("…"))
        assert re.fullmatch(wanted, output.strip(), re.DOTALL), f"{snippet} prints\n{output}"


def run(command: list[str], folder: Path, environment: dict[str, str], timeout_s: float) -> tuple[int, str, str]:
    """The exit status, output and errors of a command, run in ``folder``."""
    if not os.environ.get("FLOVIA_FRESH_SNIPPETS") and nursery.can_run(command):
        return nursery.run(command, folder, environment, folder.parent, timeout_s)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block without a language, or with one nobody knows, would never be run."""
    found = list(blocks(page, (ROOT / page).read_text(encoding="utf-8")))
    assert [] == [str(block) for block in found if block.language not in PROGRAMS | OTHERS]


def test_blocks_are_found_with_their_comments() -> None:
    """A comment belongs to the block below it, blocks may be indented, and continued ones are one program."""
    text = (
        "<!-- snippet: serve wsgi -->\n```python\na\n```\n\n1. x\n\n   ```sh\n   b\n   ```\n"
        "<!-- snippet: continues -->\n```sh\nc\n```\n<!-- snippet: prints -->\n```text\nd…\n```\n"
    )
    first, second = programs(Path("p.md"), text)
    assert ("serve wsgi", "a\n", 2) == (first.how, first.text, first.line)
    assert ("", "b\nc\n", "d…\n") == (second.how, second.text, second.prints)


def test_a_snippet_that_is_not_run_says_why() -> None:
    """There is no way to leave a block out without a reason."""
    skipped = [program for program in all_programs() if program.how.startswith("not run")]
    assert [] == [str(program) for program in skipped if len(program.how.removeprefix("not run: ")) < 20]
