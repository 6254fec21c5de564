"""The code blocks of the documentation, and how each is to be run.

Every ``python`` and ``sh`` block is run on its own, in an empty folder, unless the comment on the line above
its fence says otherwise::

    <!-- snippet: serve wsgi -->           it defines ``app``: serve that, get a 402 from GET /paid, pay, get a 200
    <!-- snippet: serve asgi POST /rows -->    the same with another request
    <!-- snippet: visit -->                run it while the site of ``flovia demo`` is up; the two addresses the
                                           documentation uses, http://127.0.0.1:8402 and https://api.example.com,
                                           stand for it
    <!-- snippet: visit shop.py -->        the same with ``make_app()`` of examples/shop.py, a WSGI app
    <!-- snippet: continues -->            it goes on where the block above ends, as one program
    <!-- snippet: raises WiringError -->   it ends with this error
    <!-- snippet: prints -->               (text and json) what the block above prints; … stands for anything. Where
                                           several blocks continue each other, the next part of what all print
    <!-- snippet: not run: REASON -->      the only way out, and it has to say why
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from tests.tree import ROOT, files

PROGRAMS: Final = {"python", "sh"}
"""The languages that are run."""

OTHERS: Final = {"text", "json", "mermaid", "toml", "http", "ini", "sql"}
"""The languages that are only shown; SQL is run by ``test_warehouse.py``."""

_BLOCK: Final = re.compile(
    r"^(?:(?P<indent> *)<!-- snippet: (?P<how>[^\n]*?) -->\n+(?:<!-- drawn: [\w-]+ -->\n+)?)?"
    r"(?P<margin> *)(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^ *(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen(kw_only=True)
class Snippet:
    """One program: a block, with those that continue it, ``blocks`` in all. ``how`` is what its comment says, or ""."""

    page: Path
    line: int
    language: str
    how: str
    text: str
    prints: str | None = None
    blocks: int = 1

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the documentation, relative to the checkout."""
    return [name for name in files() if name.suffix == ".md" and name.parts[0] != "changes"]


def blocks(page: Path, text: str) -> Iterator[Snippet]:
    """Every fenced block of a page as it stands."""
    for match in _BLOCK.finditer(text):
        yield Snippet(
            page=page,
            line=text.count("\n", 0, match.start("fence")) + 1,
            language=match["language"].strip(),
            how=match["how"] or "",
            text=textwrap.dedent(match["text"]),
        )


def programs(page: Path, text: str) -> list[Snippet]:
    """What is to be run of a page: its programs in order, with what each has to print."""
    found: list[Snippet] = []
    for block in blocks(page, text):
        if block.how == "prints":
            found[-1] = attrs.evolve(found[-1], prints=(found[-1].prints or "") + block.text)
        elif block.how == "continues":
            text = found[-1].text + block.text
            found[-1] = attrs.evolve(found[-1], text=text, blocks=found[-1].blocks + 1)
        elif block.language in PROGRAMS:
            found.append(block)
    return found


def all_programs() -> list[Snippet]:
    """Every program of the documentation."""
    return [program for page in pages() for program in programs(page, (ROOT / page).read_text(encoding="utf-8"))]
