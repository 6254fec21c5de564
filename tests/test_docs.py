"""The documentation keeps its word: links lead somewhere, code is code."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

from tests.tree import ROOT, files

PAGES = [name for name in files() if name.suffix == ".md"]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
PYTHON = re.compile(r"^(?P<indent> *)```(?:python|py)\n(?P<code>.*?)^ *```", re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown viewers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Every anchor of a page."""
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {slug(match) for match in re.findall(r"^#+ (.+)$", outside, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_resolve(page: Path) -> None:
    """A link to a file or heading of the project leads to one that exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    broken: list[str] = []
    for match in LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", match["target"]):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (
            anchor and path.suffix == ".md" and anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            broken.append(match["target"])
    assert [] == broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_in_the_documentation_is_python(page: Path) -> None:
    """A code block marked as Python compiles as it stands, top-level await allowed."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in PYTHON.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        code = "\n" * (line - 1) + textwrap.dedent(match["code"])
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
