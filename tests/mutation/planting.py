"""Ways to put a mutant into this process."""

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import attrs

from tests.mutation.mutant import Mutant


@attrs.frozen
class Functions:
    """The functions of this process, by file, name and first line."""

    known: dict[tuple[str, str, int], list[FunctionType]]

    @classmethod
    def living(cls, root: Path, modules: Sequence[str]) -> "Functions":
        """All there are of the modules now."""
        gc.unfreeze()  # what is frozen is not listed, and pytest's set-up here freezes what was collected
        files = {str(root / module): module for module in modules}
        known: defaultdict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for found in gc.get_objects():
            if type(found) is FunctionType and (module := files.get(found.__code__.co_filename)):
                known[module, found.__code__.co_name, found.__code__.co_firstlineno].append(found)
        return cls(dict(known))

    def plant(self, mutant: Mutant) -> bool:
        """Give the function its wrong code, wherever it is referred to; False if that is not possible."""
        if mutant.function is None:
            return False
        functions = self.known.get((mutant.module, *mutant.function), [])
        if not functions:
            return False
        file = functions[0].__code__.co_filename
        for code in _codes(compile(mutant.source, file, "exec", dont_inherit=True)):
            if (code.co_name, code.co_firstlineno) == mutant.function:
                try:
                    for function in functions:
                        function.__code__ = code
                except ValueError:  # it closes over other variables
                    return False
                return True
        return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, file: str, source: str) -> None:
        super().__init__(name, file)
        self._text = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec", dont_inherit=True)


class Import(importlib.abc.MetaPathFinder):
    """Plants a mutant where its module is loaded. It must not have been loaded yet."""

    def __init__(self, root: Path, mutant: Mutant) -> None:
        self._name = mutant.module.removesuffix(".py").replace("/", ".")
        self._file = str(root / mutant.module)
        self._source = mutant.source
        if self._name in sys.modules:
            raise RuntimeError(f"{self._name} is loaded already")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The mutant's, or nobody's."""
        if fullname != self._name:
            return None
        loader = _Loader(fullname, self._file, self._source)
        return importlib.util.spec_from_file_location(fullname, self._file, loader=loader)
