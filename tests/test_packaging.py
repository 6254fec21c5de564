"""What users get when they install flovia."""

import email.message
import email.parser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tree import ADAPTERS, ROOT

EXTRAS = {
    *("httpx2", "server", "cli", "demo", "dev", "receipts", "hitpay", "wallet", "sandbox", "otel", "nats", "postgres"),
    "warehouse",
    "dashboard",
    *("wsgi", "asgi", "hono", "flask", "fastapi"),
}
SHOWN = "flovia/showcase/examples/"
"""Files of examples/ that the demo's page shows; they come from there."""
# Loading any of these with `import flovia` would make every program that merely mentions flovia pay for it.
HEAVY = [
    *(
        "asyncio",
        "anyio",
        "trio",
        "httpx",
        "httpx2",
        "sqlalchemy",
        "sqlite3",
        "flask",
        "fastapi",
        "starlette",
    ),
    *(
        "werkzeug",
        "pydantic",
        "uvicorn",
        "cyclopts",
        "rich",
        "opentelemetry",
        "http_sf",
        "hypothesis",
        "pytest",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel under test (FLOVIA_WHEEL), or one built from the checkout, without the network."""
    if built := os.environ.get("FLOVIA_WHEEL"):
        return zipfile.ZipFile(built)
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    """The wheel's METADATA."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.parser.Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """flovia and each adapter are top-level packages; no test, no document and no folder 'adapters' ships."""
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {"flovia", *ADAPTERS} == {Path(name).parts[0] for name in names}
    assert set() == {Path(name).suffix for name in names} & {".md", ".pyc", ".toml"}


def test_every_module_of_the_tree_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    """Nothing that is imported in development is missing once installed."""
    tree = [
        path.relative_to(folder).as_posix()
        for folder, package in [(ROOT, "flovia"), *((ROOT / "adapters", name) for name in ADAPTERS)]
        for path in (folder / package).rglob("*.py")
    ]
    shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    assert sorted(tree) == sorted(name for name in shipped if not name.startswith(SHOWN))


def test_the_schema_of_events_ships(wheel: zipfile.ZipFile) -> None:
    """Who receives exported events finds their JSON Schema in the package."""
    assert "flovia/export/event-1.schema.json" in wheel.namelist()
    assert "flovia/insights/joined-event-1.schema.json" in wheel.namelist()


@pytest.mark.parametrize("package", ["flovia", *ADAPTERS])
def test_every_package_is_typed(wheel: zipfile.ZipFile, package: str) -> None:
    """Each package carries the marker that lets type checkers read its annotations (PEP 561)."""
    assert f"{package}/py.typed" in wheel.namelist()


def test_the_licence_ships(wheel: zipfile.ZipFile, metadata: email.message.Message) -> None:
    """The wheel names its licence and carries the text."""
    assert "MIT" == metadata["License-Expression"]
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_extras_are_the_documented_ones(metadata: email.message.Message) -> None:
    """An extra that disappears breaks somebody's install line."""
    assert EXTRAS == set(metadata.get_all("Provides-Extra", []))


def test_the_base_install_is_small(metadata: email.message.Message) -> None:
    """Without an extra flovia needs five packages, and no web framework or database."""
    needs = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert ["anyio", "attrs", "http-sf", "httpcore", "httpx", "rfc8785"] == sorted(
        re.split(r"[^\w-]", need, maxsplit=1)[0] for need in needs
    )


def test_the_entry_points_resolve(wheel: zipfile.ZipFile) -> None:
    """The command and the providers that the wheel registers exist."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    text = wheel.read(name).decode()
    assert "[console_scripts]" in text
    assert "[flovia.providers]" in text
    for target in re.findall(r"= (\S+)$", text, re.MULTILINE):
        module, _, attribute = target.partition(":")
        code = f"import {module}; {module}.{attribute}"
        assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode, target


def loaded_by(statement: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    # Measuring coverage loads modules of its own into every process it follows: not into this one.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=bare)
    return set(done.stdout.split())


def test_importing_flovia_loads_nothing_heavy() -> None:
    """``import flovia`` loads no framework, no HTTP client, no database, no event loop."""
    assert set() == loaded_by("import flovia") & set(HEAVY)


@pytest.mark.parametrize("adapter", ["flovia_wsgi", "flovia_asgi", "flovia_hono"])
def test_importing_a_raw_adapter_loads_no_framework(adapter: str) -> None:
    """The adapters of bare protocols need no framework to be importable."""
    frameworks = {"flask", "werkzeug", "fastapi", "starlette", "pydantic", "sqlalchemy", "httpx", "httpx2"}
    assert set() == loaded_by(f"import {adapter}") & frameworks


@pytest.mark.parametrize(
    ("module", "package", "remedy"),
    [
        ("flovia_flask", "flask", "pip install 'flovia[flask]'"),
        ("flovia_fastapi", "fastapi", "pip install 'flovia[fastapi]'"),
        ("flovia.client.httpx", "httpx", "pip install httpx"),
        ("flovia.client.httpx2", "httpx2", "pip install httpx2"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(module: str, package: str, remedy: str) -> None:
    """Who forgot an extra reads which line installs it; the error is still an ImportError."""
    code = f"import sys; sys.modules[{package!r}] = None\nimport {module}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert 1 == done.returncode
    last = done.stderr.splitlines()[-1]
    assert f"ModuleNotFoundError: {module} needs " == last[: len(f"ModuleNotFoundError: {module} needs ")]
    assert last.endswith(remedy)


def test_the_showcase_brings_its_examples(wheel: zipfile.ZipFile) -> None:
    """The files that the demo's page shows are in the wheel, as they are in the checkout."""
    shown = [name for name in wheel.namelist() if name.startswith(SHOWN)]
    assert 5 == len(shown)
    for name in shown:
        assert (ROOT / "examples" / Path(name).name).read_bytes() == wheel.read(name)
