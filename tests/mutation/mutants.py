"""What is planted: the operators of mutmut, three of our own, and what is left out by rule.

Our own: the condition of an ``if`` or ``while`` is turned round; a call, ``yield`` or ``raise`` that stands alone
is dropped; ``return x`` returns None.

Left out, because no test could or should tell the difference:

* docstrings, annotations, type aliases, ``cast``, Protocols, imports, ``TYPE_CHECKING``;
* ``__slots__``, ``__all__``, decorators, and of ``attrs.field`` the arguments ``kw_only``, ``eq``, ``order``, ``hash``;
* text for people: a string with a space in it, and what logging is told (SQL is such a text too, but an XX in it
  proves nothing);
* arguments of ``len``, ``type`` and ``isinstance``, as in mutmut: they would only raise;
* of a string its variants in upper and lower case, which mutmut has: XX around it asks the same question.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

from tests.mutation.mutant import Mutant

SILENT: Final = {"kw_only", "eq", "order", "hash"}
ALIAS: Final = re.compile(r"[A-Z]\w*[a-z]\w*")
ASKING: Final = {"len", "type", "isinstance"}
LOGGING: Final = {"debug", "info", "warning", "error", "exception", "critical"}
TURNED_BY_MUTMUT: Final = (cst.Equal, cst.NotEqual, cst.Is, cst.IsNot, cst.In, cst.NotIn)


@attrs.frozen
class _Change:
    where: CodeRange
    text: str
    statement: CodeRange
    function: tuple[str, int] | None
    lines: tuple[int, ...]


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module) -> None:
        self._module = module
        self._around: list[cst.CSTNode] = []
        self.changes: list[_Change] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _left_out(node, self._around):
            return False
        self._around.append(node)
        for where, text in self._mistakes(node):
            self._add(where, text)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._around and self._around[-1] is original_node:
            self._around.pop()

    def _range(self, node: cst.CSTNode) -> CodeRange:
        return self.get_metadata(PositionProvider, node)  # type: ignore[return-value]

    def _code(self, node: cst.CSTNode) -> str:
        return self._module.code_for_node(node)

    def _mistakes(self, node: cst.CSTNode) -> Iterator[tuple[CodeRange, str]]:
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and not isinstance(node, cst.Match):
                for changed in list(operator(node))[: 1 if operator is operator_string else None]:
                    if not (isinstance(node, cst.Call) and _says_nothing(node, changed)):
                        yield self._range(node), self._code(changed)
        match node:
            case cst.If() | cst.While() if not _turned_elsewhere(node.test):
                yield self._range(node.test), f"not ({self._code(node.test)})"
            case cst.Expr(value=cst.Call() | cst.Yield() | cst.Await()) if _left_out(node.value, self._around):
                pass
            case cst.Expr(value=cst.Call() | cst.Yield() | cst.Await()) | cst.Raise():
                yield self._range(node), "pass"
            case cst.Return(value=cst.BaseExpression()) if not isinstance(node.value, cst.Name):
                yield self._range(node), "return None"
            case cst.Return(value=cst.Name(value=name)) if name not in ("True", "False", "None"):
                yield self._range(node), "return None"
            case cst.Match():
                for case in node.cases[:-1]:
                    yield self._range(case.pattern), "_ if False"
            case _:
                pass

    def _add(self, where: CodeRange, text: str) -> None:
        statement = self._statement(where)
        outer = next((node for node in self._around if isinstance(node, cst.FunctionDef)), None)
        function, lines = None, ()
        if outer is not None:
            first = min([self._range(outer).start.line, *(self._range(one).start.line for one in outer.decorators)])
            if where.start.line >= self._range(outer.body).start.line:
                function = (outer.name.value, first)
                lines = tuple(range(statement.start.line, statement.end.line + 1))
            else:  # a default
                lines = tuple(range(self._range(outer.body).start.line, self._range(outer.body).end.line + 1))
        self.changes.append(_Change(where, text, statement, function, lines))

    def _statement(self, where: CodeRange) -> CodeRange:
        """The simple statement around, or the head of the compound one."""
        for node in reversed(self._around):
            match node:
                case cst.SimpleStatementLine():
                    return self._range(node)
                case cst.BaseCompoundStatement() | cst.MatchCase() | cst.ExceptHandler():
                    return CodeRange(self._range(node).start, where.end)
                case _:
                    pass
        return where


def _left_out(node: cst.CSTNode, around: Sequence[cst.CSTNode]) -> bool:
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom() | cst.TypeAlias():
            return True
        case cst.Expr(value=cst.BaseString()):
            return True
        case cst.Raise(exc=None):
            return False
        case cst.ClassDef():
            return any(_name(base.value) in ("Protocol", "TypedDict", "NamedTuple") for base in node.bases)
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case (
            cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))])
            | cst.AnnAssign(target=cst.Name(value=name))
        ):
            outside = not any(isinstance(one, cst.FunctionDef | cst.ClassDef) for one in around)
            return name in ("__slots__", "__all__", "__match_args__") or (outside and bool(ALIAS.fullmatch(name)))
        case cst.Arg(keyword=cst.Name(value=name)) if name in SILENT:
            return True
        case cst.Call(func=cst.Name(value="cast" | "TypeVar" | "overload")):
            return True
        case cst.Call(func=cst.Attribute(value=cst.Name(value="_log" | "log" | "logger" | "LOG"), attr=called)):
            return called.value in LOGGING
        case cst.BaseString():
            return is_text(node)
        case cst.Subscript(value=cst.Name(value="Literal")):
            return True
        case _:
            return False


def _name(node: cst.BaseExpression) -> str:
    match node:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name
        case cst.Subscript(value=value):
            return _name(value)
        case _:
            return ""


def is_text(node: cst.CSTNode) -> bool:
    """Whether a literal is text for people: it has a space in it."""
    match node:
        case cst.SimpleString():
            return " " in node.raw_value
        case cst.FormattedString():
            return any(isinstance(one, cst.FormattedStringText) and " " in one.value for one in node.parts)
        case cst.ConcatenatedString():
            return is_text(node.left) or is_text(node.right)
        case _:
            return False


def _says_nothing(node: cst.Call, changed: cst.CSTNode) -> bool:
    """Whether a mutant of a call lost an argument, or its value, that is text, or without which no call goes well."""
    if not isinstance(changed, cst.Call):
        return False
    if isinstance(node.func, cst.Name) and node.func.value in ASKING:
        return True
    kept = {id(argument) for argument in changed.args}
    lost = [argument for argument in node.args if id(argument) not in kept]
    return any(
        is_text(argument.value) or (argument.keyword is not None and argument.keyword.value in SILENT)
        for argument in lost
    )


def _turned_elsewhere(test: cst.BaseExpression) -> bool:
    match test:
        case cst.UnaryOperation(operator=cst.Not()):
            return True
        case cst.Comparison(comparisons=[cst.ComparisonTarget(operator=operator)]):
            return isinstance(operator, TURNED_BY_MUTMUT)
        case _:
            return False


def mutants(root: Path, module: str) -> list[Mutant]:
    """Every mutant of a module, each another text."""
    text = (root / module).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    finder = _Finder(wrapper.module)
    wrapper.visit(finder)
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen: Counter[str] = Counter()
    found: dict[str, Mutant] = {}
    for change in finder.changes:
        begin = starts[change.where.start.line - 1] + change.where.start.column
        end = starts[change.where.end.line - 1] + change.where.end.column
        source = text[:begin] + change.text + text[end:]
        if source == text or source in found:
            continue
        first = starts[change.statement.start.line - 1] + change.statement.start.column
        last = max(end, starts[change.statement.end.line - 1] + change.statement.end.column)
        was, now = _flat(text[first:last]), _flat(text[first:begin] + change.text + text[end:last])
        name = change.function[0] if change.function else ""
        key = "\0".join([module, name, was, now])
        seen[key] += 1
        found[source] = Mutant(
            id=hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:12],
            module=module,
            line=change.where.start.line,
            function=change.function,
            lines=change.lines,
            was=was,
            now=now,
            source=source,
        )
    return list(found.values())


def _flat(text: str) -> str:
    return " ".join(text.split())
