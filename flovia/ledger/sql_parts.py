"""Parts of keys, in SQL, so that they can be in an index: ids stand behind bars in what identifies a row.

``realm|challenge`` is the key of a payment, ``realm|challenge|method|reference`` that of late money;
``method|reference`` is a proof; ``second|method|handle`` and ``method|handle`` are charges that are awaited.

An index of an expression is used by a query with the very same expression, so there are no parameters in these.
"""

from typing import Final

from sqlalchemy import ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_SQLITE: Final = {
    "challenge_part": (
        "substr(substr({0}, instr({0}, '|') + 1), 1, instr(substr({0}, instr({0}, '|') + 1) || '|', '|') - 1)"
    ),
    "reference_part": "substr({0}, instr({0}, '|') + 1)",
    "last_part": "replace({0}, rtrim({0}, replace({0}, '|', '')), '')",
}
_OTHERS: Final = {
    "challenge_part": "split_part({0}, '|', 2)",
    "reference_part": "substr({0}, strpos({0}, '|') + 1)",
    "last_part": _SQLITE["last_part"],
}


class Part(FunctionElement[str]):
    """A part of a text with bars."""

    type = Text()
    inherit_cache = True


class ChallengePart(Part):
    """What is between the first bar and the next, or the end."""

    name = "challenge_part"
    inherit_cache = True


class ReferencePart(Part):
    """What is behind the first bar."""

    name = "reference_part"
    inherit_cache = True


class LastPart(Part):
    """What is behind the last bar."""

    name = "last_part"
    inherit_cache = True


def _write(forms: dict[str, str], element: Part, compiler: SQLCompiler, **options: object) -> str:
    return "(" + forms[element.name].format(compiler.process(element.clauses, **options)) + ")"


@compiles(Part)
def _for_others(element: Part, compiler: SQLCompiler, **options: object) -> str:
    return _write(_OTHERS, element, compiler, **options)


@compiles(Part, "sqlite")
def _for_sqlite(element: Part, compiler: SQLCompiler, **options: object) -> str:
    return _write(_SQLITE, element, compiler, **options)


def challenge_part(key: ColumnElement[str]) -> ColumnElement[str]:
    """The challenge in the key of a payment, and of late money."""
    return ChallengePart(key)


def reference_part(proof: ColumnElement[str]) -> ColumnElement[str]:
    """The provider's reference in a proof."""
    return ReferencePart(proof)


def last_part(key: ColumnElement[str]) -> ColumnElement[str]:
    """The provider's handle of a charge in a key of those that are awaited."""
    return LastPart(key)
