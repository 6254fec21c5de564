"""Reports as one page: no script, nothing from elsewhere, readable on a phone, in the dark, and on paper.

Names of endpoints, workflows and payers come from strangers: each is escaped, and characters that nobody sees are
written out. The page is ASCII, so that no terminal, mail or disk can garble it.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

import flovia
from flovia.insights.buckets import ERROR
from flovia.insights.intervals import CONFIDENCE
from flovia.reports.exact import exact_grids
from flovia.reports.parts import Gap, Grid, Line, Listing, Part, Words
from flovia.words import moment, safe

if TYPE_CHECKING:
    from flovia.reports.answer import Answer

SHORT: Final = 28
"""Characters of a text that is not wrapped."""
LONG: Final = 240
"""Characters of a text that gets a box of its own to scroll in."""
FEW: Final = 2
"""Columns that fit on any screen; a row of more becomes a card on a phone."""
_STYLE: Final = """
:root{color-scheme:light dark;--paper:#eef1f5;--card:#fff;--ink:#16202e;--soft:#4a5566;--line:#d5dbe3;--bar:#0b5fd6}
*{box-sizing:border-box}
body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:var(--paper);color:var(--ink)}
main{max-width:100rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.3;margin:.5rem 0}
h2{font-size:1.25rem;line-height:1.3;margin:0}
section{background:var(--card);border-radius:.75rem;padding:1.25rem;margin:1rem 0;box-shadow:0 1px 3px #0003}
p{margin:.5rem 0;max-width:60rem;overflow-wrap:anywhere}
.soft,dt,summary{color:var(--soft)}
.soft,dl,summary{font-size:.875rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem .75rem;margin:.75rem 0}
dd{margin:0;overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;padding:0;margin:.75rem 0}
a{color:var(--bar)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible,.long:focus-visible{outline:3px solid #ffb000;
outline-offset:2px}
.scroll{overflow-x:auto;margin:1rem 0;background:linear-gradient(90deg,var(--card) 1.5rem,#0000),
linear-gradient(270deg,var(--card) 1.5rem,#0000) 100% 0,linear-gradient(90deg,var(--line),#0000),
linear-gradient(270deg,var(--line),#0000) 100% 0;background-size:3rem 100%,3rem 100%,.75rem 100%,.75rem 100%;
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:700;padding:0 0 .5rem;overflow-wrap:anywhere}
caption span{position:sticky;left:0;display:inline-block;max-width:calc(100vw - 5.5rem)}
th,td{padding:.375rem .75rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;
unicode-bidi:isolate}
th:first-child,td:first-child{padding-left:0}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:600}
.n{text-align:right;white-space:nowrap}
thead .n{white-space:normal;min-width:4.25rem}
.s{white-space:nowrap}
.t{min-width:14rem;max-width:24rem;overflow-wrap:anywhere}
.long{display:block;min-width:14rem;max-width:24rem;max-height:6rem;overflow-y:auto;overflow-wrap:anywhere;
white-space:normal}
svg{display:block;width:8rem;height:1.5rem;fill:var(--bar)}
td.below{padding-top:0}.below dl{margin:0;font-size:inherit;position:sticky;left:0;max-width:calc(100vw - 5.5rem)}
table:has(.below) .s{white-space:normal}table:has(.below) th.s{white-space:nowrap}tr:has(+tr .below)>*{border-bottom:0}
details{margin-top:1rem}
summary{cursor:pointer;padding:.5rem 0}
@media screen and (max-width:100rem){th,td{padding:.375rem}}
@media screen and (max-width:37.5rem){section{padding:1rem .75rem}.cards,.cards tbody,.cards tr,.cards th,.cards td{
display:block}.cards caption{display:block}.cards thead{display:none}.cards tr{padding:.5rem 0;
border-bottom:1px solid var(--line)}.cards tr:has(+tr .below){border-bottom:0;padding-bottom:0}.cards th,.cards td{
border:0;padding:.125rem 0;white-space:normal;overflow-wrap:anywhere;max-width:none;min-width:0}.cards td[data-name]{
display:flex;justify-content:space-between;gap:1rem;text-align:right}.cards td[data-name]:empty{display:none}
.cards td[data-name]::before{content:attr(data-name);color:var(--soft);text-align:left}.cards .long{min-width:0}}
@media screen and (prefers-color-scheme:dark){:root{--paper:#10161f;--card:#1b2431;--ink:#e6ebf2;--soft:#a8b4c5;
--line:#344052;--bar:#8ab8ff}}
@media print{@page{size:landscape;margin:1cm}:root{--paper:#fff;--ink:#000}body{font-size:.75rem}main{max-width:none;
padding:0}section{box-shadow:none;padding:0;border-radius:0}.scroll{overflow:visible}.long{max-height:none}
table,.soft,dl{font-size:.625rem}.s,.n{white-space:normal}.t,.long{min-width:0}svg{width:4rem;height:1rem}
th,td{padding:.125rem .25rem}tr,svg,tbody:has(.below){break-inside:avoid}
.below dl{display:block;max-width:none}.below dt,.below dd{display:inline}.below dt,.below dd{margin-right:.375rem}
nav,details{display:none}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="flovia {version}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{inside}
</main>
</body>
</html>
"""


def page(answers: "Sequence[Answer]") -> str:
    """The page of one report, or of several with a list of them at its beginning; ASCII."""
    first = answers[0]
    asked = first.asked
    title = f"flovia report {first.name}" if len(answers) == 1 else "flovia report"
    since = "the first attempt" if asked.since is None else moment(asked.since) or str(asked.since)
    until = "when this was made" if asked.until is None else moment(asked.until) or str(asked.until)
    rows = [("Attempts that began", f"from {since} until {until}")]
    rows += [("Only the endpoint", asked.endpoint)] if asked.endpoint is not None else []
    rows += [("Test money", "counted as well")] if asked.test else []
    rows += [("Made", f"{moment(first.now)}, by flovia {flovia.__version__}")]
    facts = "".join(f"<dt>{_words(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    inside = [f"<header>\n<h1>{_words(title)}</h1>\n<dl>{facts}</dl>"]
    if len(answers) > 1:
        links = "".join(f'<li><a href="#{escape(one.name)}">{_words(one.name)}</a></li>' for one in answers)
        inside.append(f'<nav aria-label="reports"><ul>{links}</ul></nav>')
    inside += ["</header>", *(_section(one) for one in answers), f"<footer>{_NOTE}</footer>"]
    whole = _PAGE.format(
        policy=escape(_POLICY),
        version=escape(flovia.__version__),
        title=_words(title),
        style=_STYLE,
        inside="\n".join(inside),
    )
    return whole.encode("ascii", "xmlcharrefreplace").decode("ascii")


_NOTE: Final = (
    f'<p class="soft">Times are in UTC. Intervals in brackets are {CONFIDENCE:.0%} intervals; percentiles (p50, p95)'
    f" are within {ERROR:.0%}. Money in tables is exact, money for each attempt is rounded; exact ratios are in base"
    " units (cents), with all other numbers, below each report.</p>"
)


def _section(answer: "Answer") -> str:
    name = escape(answer.name)
    left_out = f"Left out: {'; '.join(answer.left_out)}." if answer.left_out else "Nothing was left out."
    body = [_part(part) for part in answer.show()] if answer.some else [_paragraph("There is nothing to report.")]
    exact = "\n".join(_grid(grid) for grid in exact_grids(answer.payload))
    return "\n".join(
        [
            f'<section id="{name}" aria-labelledby="{name}-name">',
            f'<h2 id="{name}-name">{_words(answer.name.capitalize())}</h2>',
            _paragraph(answer.about, soft=True),
            *filter(None, body),
            _paragraph(left_out, soft=True),
            f"<details>\n<summary>All numbers, exact, as --json gives them</summary>\n{exact}\n</details>",
            "</section>",
        ]
    )


def _part(part: Part) -> str:
    match part:
        case Grid():
            return _grid(part)
        case Listing():
            return _grid(part.grid)
        case Words():
            lead = f"<strong>{_text(part.lead)}</strong> " if part.lead else ""
            return f"<p>{lead}{_text(part.text)}</p>"
        case Gap():
            return ""


def _paragraph(text: str, *, soft: bool = False) -> str:
    return f'<p class="soft">{_words(text)}</p>' if soft else f"<p>{_words(text)}</p>"


def _grid(grid: Grid) -> str:
    columns = range(len(grid.names))
    texts = [*range(grid.left), *(columns[-1:] if grid.last_text else ())]
    names = grid.page_names or grid.names
    looks = [place not in texts or place in grid.numbers for place in columns]
    last = [place for place in columns if place >= grid.left and place not in grid.deciding]
    order = [one for one in (*range(grid.left), *grid.deciding, *last) if one not in grid.below]
    heads = "".join(
        f'<th scope="col" class="{"n" if looks[place] else "s"}">{_text(names[place])}</th>' for place in order
    )
    body = "\n".join("".join(_row(row, names, order, looks, grid.below)) for row in grid.rows)
    body = body if grid.below else f"<tbody>\n{body}\n</tbody>"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_words(grid.caption)}">'
        f"<table{' class=cards' if len(order) > FEW else ''}>\n<caption><span>{_text(grid.caption)}</span></caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n{body}</table></div>"
    )


def _row(
    row: Sequence[str | Line], names: Sequence[str], order: Sequence[int], looks: Sequence[bool], below: Sequence[int]
) -> Iterator[str]:
    """A row; with what is below it a group of rows that stays together on paper."""
    cells = "".join(_cell(row[one], names[one], one == 0, looks[one]) for one in order)
    yield f"{'<tbody>' if below else ''}<tr>{cells}</tr>"
    if below:
        facts = " ".join(f"<dt>{_text(names[one])}</dt> <dd>{_cell_text(row[one])}</dd>" for one in below if row[one])
        yield f'<tr><td class="below" colspan="{len(order)}"><dl>{facts}</dl></td></tr></tbody>'


def _cell(cell: str | Line, name: str, is_first: bool, is_number: bool) -> str:
    length = 0 if isinstance(cell, Line) else len(cell)
    look = "t" if length > (LONG if is_number else SHORT) else "n" if is_number else "s"
    if is_first and not is_number:
        return f'<th scope="row" class="{look}">{_cell_text(cell)}</th>'
    return f'<td class="{look}" data-name="{_words(name.strip())}">{_cell_text(cell)}</td>'


def _cell_text(cell: str | Line) -> str:
    return _line(cell) if isinstance(cell, Line) else _text(cell)


def _text(text: str) -> str:
    words = _words(text.strip())
    return f'<span class="long" tabindex="0">{words}</span>' if len(text) > LONG else words


def _line(line: Line) -> str:
    """Bars as a drawing, and as words for those who cannot see it."""
    most = max(line.counts)
    bars = "".join(
        f"M{4 * place} 20v-{max(1, round(20 * one / (most or 1)))}h3v{max(1, round(20 * one / (most or 1)))}z"
        for place, one in enumerate(line.counts)
        if one
    )
    words = _words(line.words)
    return (
        f'<svg viewBox="0 0 {4 * len(line.counts)} 20" preserveAspectRatio="none" role="img" aria-label="{words}">'
        f'<title>{words}</title><path d="{bars}"/></svg>'
    )


def _words(text: str) -> str:
    return escape(safe(text))
