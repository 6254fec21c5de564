"""What no file of the project may hold."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.tree import ROOT, files

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile("/" + "(?:work|root|home|Users)/[a-z0-9._-]+", re.IGNORECASE)
REGISTRY_HOSTS = re.compile(
    "|".join([r"py" + r"pi\.", "python" + "hosted", "npm" + r"js\.", "dev" + "pi", "arti" + "factory"])
)
LOCK_FILES = {"uv.lock", "poetry.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"}
KEYS = re.compile(
    r"AKIA[0-9A-Z]{16}|\bgh[pousr]_\w{30,}|\bxox[abp]-[\w-]{10,}|\b[sr]k_live_\w{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE " + "KEY-----"
)
SECRET_NAME = re.compile(r"(?:^|_)(?:secret|secrets|api_key|password|salt|private_key)$", re.IGNORECASE)
SECRET_SETTING = re.compile(r"\b[A-Z_]*(?:SECRET|API_KEY|SALT|PASSWORD)\s*[=:]\s*[\"']?(?P<value>[\w+/-]{16,})")
DIRECTIVE = re.compile(r"#\s*(?:noqa|type:\s*ignore|pyright:\s*ignore|pragma:\s*no (?:cover|branch))[^#]*")


@cache
def texts() -> tuple[tuple[Path, str], ...]:
    """Every text file of the project, with its path relative to the checkout."""
    return tuple(_texts())


def _texts() -> Iterator[tuple[Path, str]]:
    for name in files():
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image


@cache
def _module(name: Path, text: str) -> ast.Module:
    return ast.parse(text, str(name))


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file below ``folders``, parsed."""
    for name, text in texts():
        if name.suffix == ".py" and name.parts[0] in folders:
            yield name, _module(name, text)


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (MACHINE_PATHS, "a path of somebody's machine"),
        (REGISTRY_HOSTS, "a package registry's host"),
        (KEYS, "a key"),
    ],
    ids=["machine-path", "registry-host", "key"],
)
def test_no_file_holds(pattern: re.Pattern[str], what: str) -> None:
    """No file names a path of somebody's machine, a package registry's host, or a well-known kind of key."""
    found = [
        f"{name}:{number}: {what}: {match[0]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert [] == found


def test_no_lock_file_is_tracked() -> None:
    """A lock file writes download addresses into the repository, so none is kept."""
    assert [] == [name for name in files() if name.name in LOCK_FILES or name.name.startswith("pylock")]


def test_secret_looking_strings_say_that_they_are_tests() -> None:
    """A literal given to something called secret, API key, password or salt has "test" in it."""
    found: list[str] = []
    for name, tree in modules("flovia", "adapters", "examples", "tests"):
        for node in ast.walk(tree):
            for target, value in _named_values(node):
                if (
                    SECRET_NAME.search(target)
                    and len(value) >= 16
                    and not re.search(r"[\s<{]", value)
                    and "test" not in value.lower()
                ):
                    found.append(f"{name}:{getattr(node, 'lineno', 0)}: {target}")
    for name, text in texts():
        found += [
            f"{name}: {match[0]}" for match in SECRET_SETTING.finditer(text) if "test" not in match["value"].lower()
        ]
    assert [] == found


def _named_values(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The (name, string literal) pairs an assignment, keyword argument or dict display binds."""
    pairs: list[tuple[ast.expr | str | None, ast.expr | None]] = []
    match node:
        case ast.Assign():
            pairs = [(target, node.value) for target in node.targets]
        case ast.AnnAssign():
            pairs = [(node.target, node.value)]
        case ast.keyword():
            pairs = [(node.arg, node.value)]
        case ast.Dict():
            pairs = list(zip(node.keys, node.values, strict=True))
        case _:
            pass
    for target, value in pairs:
        if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
            text = value.value if isinstance(value.value, str) else value.value.decode("latin-1")
            match target:
                case str():
                    yield target, text
                case ast.Name(id=identifier) | ast.Attribute(attr=identifier):
                    yield identifier, text
                case ast.Constant(value=str(key)):
                    yield key, text
                case _:
                    pass


def test_the_library_prints_nothing() -> None:
    """Only programs write to standard output: the command line, and what flovia.testing can be run as."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("flovia", "adapters")
        if name.parts[:2] not in {("flovia", "cli"), ("flovia", "testing")}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert [] == found


def test_nothing_is_left_unfinished() -> None:
    """No function raises the exception that means "not written yet"."""
    unfinished = "NotImplemented" + "Error"
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules("flovia", "adapters", "examples", "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == unfinished
    ]
    assert [] == found


def test_every_silenced_check_has_a_reason() -> None:
    """A suppressed lint, type error or coverage line says why, on its line or on the comment line above."""
    found: list[str] = []
    for name, text in texts():
        if name.suffix != ".py":
            continue
        lines = text.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT or not (match := DIRECTIVE.search(token.string)):
                continue
            rest = token.string.replace(match[0], "").strip("# ")
            beside = re.sub(r"^#\s*[\w: ]*?(?:\[[\w, -]*\]|:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?", "", match[0])
            above = lines[token.start[0] - 2].strip() if token.start[0] > 1 else ""
            if max(len(rest), len(beside.strip(" -:—"))) < 8 and not above.startswith("#"):
                found.append(f"{name}:{token.start[0]}: {token.string}")
    assert [] == found


def test_files_stay_short() -> None:
    """A module of the library holds one noun: at most 500 lines."""
    found = [
        f"{name}: {len(text.splitlines())}"
        for name, text in texts()
        if name.suffix == ".py" and name.parts[0] in {"flovia", "adapters"} and len(text.splitlines()) > 500
    ]
    assert [] == found
