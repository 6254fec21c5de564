"""Who may import whom, in the finer grain import-linter has no words for."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.tree import ADAPTERS, ROOT

# A part, and all of flovia it may import: an allow-list, so that a new package starts as forbidden.
ALLOWED = {
    "core": {"core"},
    "signed": {"core", "signed"},
    "providers": {"core", "signed", "providers"},
    "ledger": {"core", "database_file", "ledger"},
    "insights": {"core", "insights"},
    "export": {"core", "ledger", "export"},
    "otel": {"core", "otel"},
    "client": {"core", "database_file", "runtime", "signed", "client"},
    # Not the provider, nor what checks signatures: a mistake made once must not hide at both ends.
    "sandbox": {"core", "sandbox"},
}
# What may use adapters, and only while running, never while being imported.
MAY_USE_ADAPTERS = {"testing", "showcase", "cli"}
# The public modules: what an example may import.
PUBLIC = {
    *("flovia", "flovia.client", "flovia.client.httpx", "flovia.client.httpx2"),
    *("flovia.client.hitpay", "flovia.providers", "flovia.providers.base", "flovia.providers.hitpay"),
    *("flovia.export", "flovia.otel", "flovia.sandbox"),
}


@attrs.frozen(kw_only=True)
class Import:
    """One name that one line imports; ``name`` is None for a plain ``import module``."""

    module: str
    name: str | None
    line: int
    lazy: bool

    def top(self) -> str:
        """The package or distribution imported from."""
        return self.module.partition(".")[0]

    def part(self) -> str:
        """The part of flovia imported: ``core`` for flovia.core.money, "" for the front door itself."""
        return self.module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, inside functions and type-checking blocks too."""
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False)


def _walk(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                for alias in child.names:
                    yield Import(module=alias.name, name=None, line=child.lineno, lazy=lazy)
            case ast.ImportFrom():
                for alias in child.names:
                    module, name = child.module or "", alias.name
                    if (ROOT / module.replace(".", "/") / name).with_suffix(".py").exists() or (
                        ROOT / module.replace(".", "/") / name / "__init__.py"
                    ).exists():
                        module = f"{module}.{name}"  # a module imported from its package
                    yield Import(module=module, name=name, line=child.lineno, lazy=lazy)
            case _:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from _walk(child, lazy=lazy or inside)


def sources(folder: str) -> list[Path]:
    """The Python files below a folder of the checkout."""
    return sorted((ROOT / folder).rglob("*.py"))


def where(path: Path, found: Import) -> str:
    """One line that points at an import."""
    return f"{path.relative_to(ROOT)}:{found.line}: {found.module} {found.name or ''}".strip()


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    """core stands alone; signed, providers, ledger and insights see core; providers and the client see signed too."""
    assert [] == [
        where(path, found)
        for path in sources(f"flovia/{part}")
        for found in imports(path)
        if found.top() == "flovia" and found.part() not in ALLOWED[part]
    ]


def test_flovia_imports_no_adapter_while_being_imported() -> None:
    """Only testing, showcase and cli know adapters, and load one when they run it."""
    assert [] == [
        where(path, found)
        for path in sources("flovia")
        for found in imports(path)
        if found.top() in ADAPTERS
        and not (found.lazy and path.relative_to(ROOT / "flovia").parts[0].removesuffix(".py") in MAY_USE_ADAPTERS)
    ]


def test_an_adapter_uses_the_front_door_only() -> None:
    """An adapter needs nothing but names that ``flovia`` exports, so anybody can write one."""
    public = set(importlib.import_module("flovia").__all__)
    assert [] == [
        where(path, found)
        for path in sources("adapters")
        for found in imports(path)
        if found.top() == "flovia"
        and (found.module != "flovia" or (found.name is not None and found.name not in public))
    ]


def test_adapters_stand_alone() -> None:
    """No adapter needs another, except that the FastAPI one may build on the ASGI one."""
    allowed = {("flovia_fastapi", "flovia_asgi")}
    assert [] == [
        where(path, found)
        for path in sources("adapters")
        for found in imports(path)
        if found.top() in ADAPTERS
        and found.top() != (own := path.relative_to(ROOT / "adapters").parts[0])
        and (own, found.top()) not in allowed
    ]


def test_examples_use_the_public_api() -> None:
    """An example shows what users may rely on: public modules and the names they export."""
    found = [(path, item) for path in sources("examples") for item in imports(path) if item.top() == "flovia"]
    assert found, "no example imports flovia: is the folder there?"
    assert [] == [
        where(path, item)
        for path, item in found
        if item.module not in PUBLIC
        or (item.name not in {None, *importlib.import_module(item.module).__all__} and item.module.count(".") == 0)
    ]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_small(adapter: str) -> None:
    """An adapter only translates: at most 200 lines, blank ones not counted."""
    lines = [
        line
        for path in sources(f"adapters/{adapter}")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    assert lines
    assert len(lines) <= 200
