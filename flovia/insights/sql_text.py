"""Texts in the order of their code points, as Python has it, whatever a database's language is."""

from typing import Any

from sqlalchemy import ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class by_code(FunctionElement[str]):  # noqa: N801 - written like func.lower(…)
    """The same text, compared by its code points."""

    inherit_cache = True
    name = "by_code"
    type = Text()

    def __init__(self, text: ColumnElement[str] | ColumnElement[str | None]) -> None:
        super().__init__(text)


@compiles(by_code)
def _plain(element: by_code, compiler: SQLCompiler, **how: Any) -> str:
    return compiler.process(element.clauses, **how)


@compiles(by_code, "postgresql")
def _collated(element: by_code, compiler: SQLCompiler, **how: Any) -> str:
    return f'({compiler.process(element.clauses, **how)} COLLATE "C")'
