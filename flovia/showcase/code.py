"""Code on the page: the files of ``examples/``, highlighted, and what a visitor can copy."""

import ast
import io
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import attrs
from markupsafe import Markup

import flovia
from flovia.core.errors import WiringError

BY_HAND: Final = "hitpay_bare.py"
ONE_LINE: Final = (
    ("Hono-like", "hitpay_hono.py"),
    ("Flask", "hitpay_flask.py"),
    ("FastAPI", "hitpay_fastapi.py"),
    ("WSGI", "hitpay_wsgi.py"),
)
THE_LINE: Final = ("paid_api(", ".paid(")
"""What the line that makes a route paid holds."""


@attrs.frozen(kw_only=True)
class Code:
    """An example, without what its first text says about running it.

    ``lines``: how many it has that are not empty; ``line``: the one that makes the route paid, as text and highlighted.
    """

    name: str
    title: str
    html: Markup
    lines: int
    line: str
    line_html: Markup


def example(name: str) -> str:
    """The text of a file of ``examples/``: from the installed package, else from the checkout it is run from.

    Raises:
        WiringError: it is in neither.
    """
    for folder in _folders():
        found = folder / name
        if found.is_file():
            return found.read_text(encoding="utf-8")
    raise WiringError(
        f"examples/{name} is neither in the package nor beside it: install flovia from a wheel or checkout"
    )


def _folders() -> Iterator[Traversable]:
    yield files("flovia.showcase") / "examples"
    yield Path(flovia.__file__).parents[1] / "examples"


@cache
def code(name: str, title: str) -> Code:
    """An example, highlighted."""
    text = without_docstring(example(name))
    every = text.splitlines()
    numbers = [number for number, line in enumerate(every, 1) if _is_the_line(line)]
    line = every[numbers[-1] - 1].strip()
    return Code(
        name=name,
        title=title,
        html=highlighted(text, numbers[-1:]),
        lines=sum(bool(one.strip()) for one in every),
        line=line,
        line_html=highlighted(line),
    )


def without_docstring(text: str) -> str:
    """A module from its first statement on that is no text about it."""
    first, second = ast.parse(text).body[:2]
    says = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = second.lineno if says else first.lineno
    return "".join(text.splitlines(keepends=True)[start - 1 :])


def _is_the_line(line: str) -> bool:
    return any(mark in line for mark in THE_LINE) and "provider=" in line and "``" not in line


@cache
def tabs() -> Sequence[Code]:
    """The same route with the one line, for each framework."""
    return tuple(code(name, title) for title, name in ONE_LINE)


def by_hand() -> Code:
    """The route without flovia's gate."""
    return code(BY_HAND, "HitPay MPP route")


def highlighted(text: str, marked: Sequence[int] = (), language: str = "python") -> Markup:
    """Code as HTML, by classes that the style sheet knows; ``marked``: numbers of lines that stand out."""
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.javascript import JavascriptLexer
    from pygments.lexers.python import PythonLexer
    from pygments.lexers.shell import BashLexer

    lexers = {"python": PythonLexer, "sh": BashLexer, "json": JavascriptLexer}
    # hl_lines need a wrapper around each line; nothing else of the formatter's own markup is wanted.
    formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True, hl_lines=list(marked))
    return Markup(highlight(text, lexers[language](), formatter))  # noqa: S704  # Pygments escapes what it is given


@cache
def qr_svg(text: str) -> Markup:
    """A QR code as an SVG element without style and script."""
    import segno

    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=False,
        omitsize=True,
        border=3,
        svgclass="qr",
        lineclass=None,
        title="QR code of the checkout page",
        dark="#000",
        light="#fff",
        nl=False,
    )
    return Markup(out.getvalue().decode())  # noqa: S704  # segno draws squares, and its title is ours


def as_curl(url: str) -> str:
    """The call without a payment, for a shell."""
    return f"curl -i {url}"


def as_flovia(url: str, broker: str) -> str:
    """The whole call with the payment, for a shell."""
    return f'flovia pay {url} --budget "1.00 SGD" --broker {broker}'


def as_python(url: str, broker: str) -> str:
    """The whole call with the payment, as a program."""
    return f"""import httpx

from flovia.client import Budget
from flovia.client.hitpay import HitPayWallet
from flovia.client.httpx import PayingTransport, payment_info

wallet = HitPayWallet.at("{broker}")  # shows the checkout page and a QR code, and waits
with httpx.Client(transport=PayingTransport(wallet, budget=Budget("1.00 SGD"))) as agent:
    answer = agent.get("{url}", timeout=30)
    print(answer.json(), payment_info(answer).receipt_verified)
"""
