"""Every check of the project as a session: ``nox -l`` lists them, ``nox -s unit-3.12`` runs one.

Sessions test what users get: the built wheel (the file named by ``FLOVIA_WHEEL``, or one built on the
spot) is installed into an environment of its own, and the tests run from a copy of the checkout without the
packages.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
PYTHONS = ["3.11", "3.12", "3.13"]
ADAPTERS = sorted(path.parent.name for path in ROOT.glob("adapters/*/__init__.py"))
# The parts that start no server: quick enough to repeat on every Python.
UNIT = [
    *(
        "api",
        "core",
        "properties",
        "providers",
        "signed",
        "ledger",
        "insights",
        "client",
        "runtime",
        "simulator",
        "vectors",
    ),
    *(f"hooks/test_{part}.py" for part in ("contract", "corners", "refunds", "webhooks")),
]
# What the unit part is measured on.
MEASURED = ["core", "insights", "ledger", "providers", "signed"]
NODE_PEERS = ["mppx@0.11.0", "viem@2.54.0"]
ACCESSIBILITY = "axe-core@4.14.1"
# What a mutant is comes from inside it, so it is one version.
MUTMUT = "mutmut==3.8.1"
# pyright's wheel brings the checker itself; this keeps it from asking for the newest version's number.
PYRIGHT = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["servers", "unit-3.11", "lint", "types", "layers"]


def install(session: nox.Session) -> None:
    """Install the wheel with everything the tests and tools need."""
    session.install(os.environ.get("FLOVIA_WHEEL", str(ROOT)) + "[dev]")


def stage(session: nox.Session, *options: str) -> None:
    """Go to a fresh copy of the checkout (see tests/tools/stage.py)."""
    folder = Path(session.create_tmp()).resolve() / "stage"
    shutil.rmtree(folder, ignore_errors=True)
    session.run(sys.executable, "-m", "tests.tools.stage", *options, str(folder), external=True)
    session.chdir(folder)


def stage_tests(session: nox.Session, *require: str) -> None:
    """Go to a copy of the checkout from which only the installed wheel can be imported."""
    install(session)
    stage(session, "--no-packages")
    session.env["FLOVIA_TREE"] = str(ROOT)
    session.env["FLOVIA_TEST_INSTALLED"] = "1"
    session.env["FLOVIA_REQUIRE"] = ",".join(require)


def pytest(session: nox.Session, *arguments: str, coverage: bool = False) -> None:
    """Run pytest in the staged folder, with the session's own arguments last."""
    program = ["coverage", "run", "-m", "pytest"] if coverage else ["python", "-m", "pytest"]
    command = [*program, "-o", "pythonpath=.", *arguments, *session.posargs]
    session.run(*command)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite against the wheel, with the coverage we promise. CI runs its halves: servers and unit."""
    # Where CI runs, nats-server is installed by .ci/run; elsewhere its tests are skipped, and say so.
    stage_tests(session, "vectors", "postgres", *(["nats"] if os.environ.get("CI") else []))
    pytest(session, "-m", "not node and not browser", coverage=True)
    if not session.posargs:  # a selection of tests says nothing about coverage
        gate(session, "flovia/*,*/site-packages/*")


@nox.session(python="3.11")
def servers(session: nox.Session) -> None:
    """All but the unit part, against the wheel: every adapter on every server, programs, campaigns."""
    stage_tests(session, "vectors", "postgres", *(["nats"] if os.environ.get("CI") else []))
    rest = [f"--ignore=tests/{part}" for part in UNIT]
    pytest(session, "-m", "not node and not browser", *rest)


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """The parts that start no server, against the wheel: on 3.11 deep and with coverage, else what that Python does."""
    stage_tests(session, "vectors", "postgres")
    parts = [f"tests/{part}" for part in UNIT]
    if session.python == "3.11":
        pytest(session, *parts, coverage=True)
        if not session.posargs:
            gate(session, ",".join(f"*/flovia/{part}/*" for part in MEASURED))
    else:
        session.env["CI"] = ""
        session.env["HYPOTHESIS_PROFILE"] = "brief"
        pytest(session, *parts, "tests/test_packaging.py")


def gate(session: nox.Session, include: str) -> None:
    """Fail unless the coverage of what is included is what we promise."""
    # The wheel is what is measured; the checkout, which some tests read and run as text, is not.
    choice = ["--include", include, "--omit", f"{ROOT}/flovia/*,{ROOT}/adapters/*"]
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *choice)
    session.run("coverage", "json", *choice, "--quiet", "-o", "coverage.json")
    session.run("python", "-m", "tests.tools.coverage_gate", "coverage.json")


def npm(session: nox.Session, *packages: str) -> None:
    """Install npm packages for the tests, which find them by FLOVIA_NODE_MODULES."""
    folder = Path(session.create_tmp()).resolve() / "npm"
    folder.mkdir(exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    session.run(*command, "--prefix", str(folder), *packages, external=True)
    session.env["FLOVIA_NODE_MODULES"] = str(folder / "node_modules")


@nox.session(python="3.11")
def interop(session: nox.Session) -> None:
    """Other people's clients and servers, on Python and on Node, unmodified."""
    stage_tests(session, "vectors", "node")
    npm(session, *NODE_PEERS)
    # What needs no Node is in the whole suite.
    pytest(session, "-m", "node", "tests/interop", "tests/e2e/hitpay/rows")


@nox.session(python="3.11")
def browser(session: nox.Session) -> None:
    """A person pays in headless Chromium; the browser is the machine's own (FLOVIA_CHROMIUM, or on PATH)."""
    stage_tests(session, "browser")
    session.install("playwright>=1.50")
    npm(session, ACCESSIBILITY)
    pytest(session, "-n0", "-m", "browser and not alone", "tests/e2e/browser")


@nox.session(python="3.11")
def paint(session: nox.Session) -> None:
    """When a page first shows something, in headless Chromium: with nothing beside it."""
    stage_tests(session, "browser")
    session.install("playwright>=1.50")
    pytest(session, "-n0", "-m", "browser and alone", "tests/e2e/browser")


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """200,000 hostile inputs for every parser; ``nox -s fuzz -- --count 2000000`` for more."""
    stage_tests(session)
    session.run("python", "-m", "tests.fuzz", *(session.posargs or ["--count", "200000"]))


@nox.session(python="3.11")
def mutation(session: nox.Session) -> None:
    """Mistakes planted in the core and the ledgers, one at a time: ``nox -s mutation -- --sample 300 --jobs 2``."""
    # It mutates the sources, not the wheel.
    install(session)
    session.install(MUTMUT)
    session.run("python", "-m", "pytest", "-n0", "-q", "tests/mutation")
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """Style, formatting, a changelog that can be built, and excused mutants that there are."""
    install(session)
    session.install(MUTMUT)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("towncrier", "build", "--draft", "--version", "next")
    session.run("python", "-m", "pytest", "-n0", "-q", "tests/mutation/test_mutation.py", "-k", "reasons")


@nox.session(python="3.11")
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the sources."""
    install(session)
    session.run("mypy")
    session.run("pyright", env=PYRIGHT)


@nox.session(python="3.11")
def layers(session: nox.Session) -> None:
    """Who may import whom."""
    install(session)
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": path})


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """The documentation: links, code, generated pages."""
    stage_tests(session)
    session.env["FLOVIA_FRESH_SNIPPETS"] = "1"
    pytest(session, "tests/docs", "tests/test_docs.py", "tests/test_hygiene.py")


def readers_machine(session: nox.Session) -> dict[str, None]:
    """Go to a fresh copy, and return what to unset there: nothing that CI set or prepared may help."""
    stage(session)
    return dict.fromkeys(
        name for name in os.environ if name == "CI" or name.startswith(("FLOVIA_", "VIRTUAL_ENV", "PYTHON"))
    )


@nox.session(python=False)
def readme(session: nox.Session) -> None:
    """The README's own test command, as a reader would run it in a fresh clone."""
    unset = readers_machine(session)
    program = [sys.executable, "-m", "tests.tools.readme", "tests"]
    command = str(session.run(*program, silent=True, external=True)).strip()
    session.run("sh", "-c", command, external=True, env=unset)


@nox.session(python=False)
def demo(session: nox.Session) -> None:
    """The README's own demo command, in a fresh clone: a paid route comes up and has been paid once."""
    unset = readers_machine(session)
    session.run(sys.executable, "-m", "tests.tools.demo", external=True, env=unset)
