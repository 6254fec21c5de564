"""Which test shows which requirement, and where servers answer themselves: ``docs/requirements.md``.

    python -m tests.tools.requirements            write the page
    python -m tests.tools.requirements --check    only say whether it is out of date

A test names the requirements it shows in its docstring (``S04``, ``S42 to S44``) or in its name
(``test_c05_…``); a row of the behaviour table names them itself. What HitPay documents is a table of its own
(``tests/e2e/hitpay/rows/table.py``), whose rows tests name with ``@plays``.
"""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import groupby

from tests.adapters.behaviour.rows import ROWS
from tests.adapters.behaviour.table import Exchange
from tests.e2e.hitpay.rows.table import ELSEWHERE
from tests.e2e.hitpay.rows.table import ROWS as HITPAY
from tests.tree import ROOT

PAGE = ROOT / "docs" / "requirements.md"
DEFERRED: dict[str, str] = {}

REQUIREMENTS = {
    "S01": "An unpaid request gets a 402 with a fresh challenge of its own.",
    "S02": "There is never a 402 without a Payment challenge.",
    "S03": "A malformed credential gets 402 `malformed-credential` and a challenge.",
    "S04": "An unknown, altered or used challenge gets 402 `invalid-challenge`.",
    "S05": "An expired challenge gets 402 `payment-expired`.",
    "S06": "A proof that fails gets 402 `verification-failed` and a fresh challenge.",
    "S07": "Paid, but the policy says no: 403 without a challenge.",
    "S08": "The app's own 401, 403, 404 win over 402: authenticate first.",
    "S10": "The binding covers expiry, digest, opaque and header; empty is not absent.",
    "S12": "The realm comes from configuration, never from the request.",
    "S14": "`request` is canonical JSON.",
    "S15": "A request with a body is bound to the body's digest.",
    "S16": "The digest has the form of RFC 9530.",
    "S17": "The digest is computed again and compared.",
    "S20": "`opaque` is a flat map of text.",
    "S21": "A credential is taken from the selected field only.",
    "S22": "`header` has one value or is absent.",
    "S23": "A success carries a receipt.",
    "S24": "Nothing but a success does.",
    "S25": "The receipt is well-formed.",
    "S26": "A 402 is `no-store`.",
    "S27": "An answer with a receipt is `private`.",
    "S28": "So is the answer to a Payment-Authorization.",
    "S30": "A method nobody here takes gets 400 `method-unsupported`, one of another route 402.",
    "S31": "`Retry-After` where waiting helps.",
    "S32": "Accept-Payment filters and orders the offers.",
    "S33": "Without it, or with nonsense in it, everything is offered.",
    "S34": "Challenges stay small, credentials of 4 KB are read, the cap is 16 KiB.",
    "S36": "No challenge over plain HTTP; this machine itself is the exception.",
    "S37": "No credential in logs, reprs, errors or events.",
    "S38": "No secret and no receipt either.",
    "S39": "Challenges outlive a rotation of the secret.",
    "S40": "An unpaid request has no side effect.",
    "S41": "An Idempotency-Key with a valid credential gets the stored response.",
    "S42": "At most one settlement per credential.",
    "S43": "At most one delivery that completes.",
    "S44": "A proof works once, whatever the challenge.",
    "S47": "Challenges and verifications can be limited.",
    "S48": "More than one Payment credential gets 400.",
    "H01": "Amounts are digits: base units.",
    "H02": "A replay is refused.",
    "H03": "The amount that was paid is compared.",
    "H04": "So are currency and recipient.",
    "H05": "It is all or nothing.",
    "C01": "A challenge with an empty id is not paid.",
    "C02": "Unknown parameters are ignored.",
    "C03": "The echo is byte for byte what was received.",
    "C04": "An expired challenge, or one whose expiry cannot be read, is not paid.",
    "C05": "A body that was bound is sent again exactly.",
    "C06": "Large challenges and merged or split fields are read.",
    "C07": "Amount, currency, recipient and window are checked before paying.",
    "C08": "One credential for one chosen challenge.",
    "C09": "No credential over plain HTTP or to another origin.",
    "C10": "A credential goes into Authorization or Payment-Authorization only.",
    "C12": "No payment without a policy, at most one per call.",
    "C13": "A redirect is refused once paying has begun.",
    "C14": "After paying, a 5xx or a time-out is an unknown outcome: the same credential again, never a new payment.",
}

_ID = re.compile(r"\b([SHC]\d\d)\b(?:\s*(?:to|–|-)\s*([SHC]\d\d)\b)?")
_IN_NAME = re.compile(r"_([shc]\d\d)(?=_|$)")


def named(text: str) -> Iterator[str]:
    """The requirements that a text names, ranges written out. Not every number is one."""
    for first, last in _ID.findall(text):
        numbers = range(int(first[1:]), int(last[1:] or first[1:]) + 1)
        yield from (found for number in numbers if (found := f"{first[0]}{number:02}") in REQUIREMENTS)


def functions() -> Iterator[tuple[str, str]]:
    """Every (requirement, test function)."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                ids = {*named(ast.get_docstring(node) or ""), *(it.upper() for it in _IN_NAME.findall(node.name))}
                yield from ((one, f"{path.relative_to(ROOT).as_posix()}::{node.name}") for one in ids)


def played() -> Iterator[tuple[str, str]]:
    """Every (row of HitPay's documented behaviour, test function that says it plays it)."""
    for path in sorted((ROOT / "tests" / "e2e" / "hitpay" / "rows").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "plays":
                    name = f"{path.relative_to(ROOT).as_posix()}::{getattr(node, 'name', '')}"
                    yield from ((one.value, name) for one in mark.args if isinstance(one, ast.Constant))


def rows() -> Iterator[tuple[str, str]]:
    """Every (requirement, row of the behaviour table)."""
    for row in ROWS:
        yield from ((requirement, row.name) for requirement in row.requirements)


def own_answers() -> Iterator[str]:
    """A line for every answer that an adapter's framework or a server gives by itself."""
    for row in ROWS:
        for name, reason in row.without.items():
            yield f"| {name} | `{row.name}` | not run | {reason} |"
        for step in row.steps:
            for name, own in step.own.items() if isinstance(step, Exchange) else ():
                statuses = " or ".join(map(str, own.answer.statuses))
                yield f"| {name} | `{row.name}` | {statuses} | {own.reason} |"


def shortened(names: list[str]) -> str:
    """Names with a number at the end, told together: ``tampered-0…19``."""
    told: list[str] = []
    for stem, group in groupby(names, key=lambda name: re.sub(r"-\d+$", "", name)):
        members = list(group)
        told.append(members[0] if len(members) == 1 else f"{stem}-0…{len(members) - 1}")
    return ", ".join(f"`{name}`" for name in told)


def hitpay_line(row: str) -> str:
    """A row of HitPay's documented behaviour, with its tests."""
    between = ", ".join(f"`{name.rpartition('/')[2]}`" for one, name in played() if one == row)
    elsewhere = ", ".join(f"`{name.removeprefix('tests/')}`" for name in ELSEWHERE.get(row, ()))
    return f"| {row} | {HITPAY[row]} | {between} | {elsewhere} |"


def page() -> str:
    """The whole page."""
    in_table, in_tests = list(rows()), sorted(set(functions()))
    lines = [
        "# Requirements and the tests that show them",
        "",
        "S: the server, H: the charge intent, C: the client. Rows are those of the behaviour table",
        "(`tests/adapters/test_behaviour.py`), which runs on every adapter over real servers.",
        "Made by `python -m tests.tools.requirements`.",
        "",
        "| id | requirement | rows | tests |",
        "| --- | --- | --- | --- |",
    ]
    for requirement, text in REQUIREMENTS.items():
        rows_here = shortened([name for one, name in in_table if one == requirement])
        tests_here = ", ".join(f"`{name.removeprefix('tests/')}`" for one, name in in_tests if one == requirement)
        if requirement in DEFERRED:
            tests_here = tests_here or DEFERRED[requirement]
        lines.append(f"| {requirement} | {text} | {rows_here} | {tests_here} |")
    lines += [
        "",
        "## HitPay: what is documented, and the tests that play it",
        "",
        "Each row is played over real HTTP between processes, in `tests/e2e/hitpay/rows`: one app under gunicorn, one",
        "`flovia sandbox` whose knobs are set over HTTP, and agents (`flovia pay`, `examples/hitpay_agent.py`, or a",
        "client that keeps to nothing). Elsewhere is the same with the sandbox in the test's own process, or a part.",
        "",
        "| behaviour | must hold | between processes | elsewhere |",
        "| --- | --- | --- | --- |",
        *map(hitpay_line, HITPAY),
        "",
        "## Where a framework or a server answers itself",
        "",
        "Everything else in the table is the same everywhere.",
        "",
        "| who | row | answers | because |",
        "| --- | --- | --- | --- |",
        *sorted(set(own_answers())),
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if text != PAGE.read_text(encoding="utf-8"):
            print(f"{PAGE.name} is out of date: run python -m tests.tools.requirements")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
