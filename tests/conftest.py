"""What every test shares: where flovia comes from, Hypothesis profiles, the async backends."""

import gc
import os
import signal
import site
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer

import flovia
from flovia.ledger.opening import open_ledger
from tests import require
from tests.patience import be_patient
from tests.postgres.server import Server
from tests.scheduling import LongestFirst
from tests.tree import ROOT

# A slow machine is not a wrong answer: no deadline anywhere, and no complaint that making an example took long.
# CI looks further, the same way each time; on a second and third Python not far again.
patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("dev", patient, max_examples=30)
hypothesis.settings.register_profile("brief", patient, max_examples=15)
hypothesis.settings.register_profile("ci", patient, max_examples=100, derandomize=True, database=None, print_blob=True)
# A mutant is tried with many tests: the same few examples each time, and nobody reads the smallest one.
quick = hypothesis.settings(patient, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate], database=None)
hypothesis.settings.register_profile("mutation", quick, max_examples=15, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

WITH_TIME = (
    "tests/adapters/test_gunicorn_timeout.py",
    "tests/adapters/test_races_http.py",
    "tests/campaigns/test_campaigns.py",
    "tests/campaigns/test_exporters.py",
    "tests/cli/test_tail.py",
    "tests/client/hitpay/test_example.py",
    "tests/client/hitpay/test_saved.py",
    "tests/dashboard/test_forking.py",
    "tests/dashboard/test_live.py::test_fifty",
    "tests/dashboard/test_mounting.py",
    "tests/docs/test_snippets.py::test_snippet[docs/guides/first-decision.md",
    "tests/e2e/hitpay/rows/",
    "tests/e2e/hitpay/test_reconcile.py",
    "tests/export/test_nats.py",
    "tests/runtime/test_database_file.py",
    "tests/runtime/test_deadline_transport.py",
    "tests/showcase/test_runs.py",
    "tests/showcase/test_seeding.py",
    "tests/showcase/test_standing.py",
)
"""Some eight of the minutes that one core would take for everything."""

# Everything that any test produces is searched for secrets.
pytest_plugins = ["tests.leaks.plugin", "tests.hanging"]

be_patient()

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PACKAGE = Path(next(iter(flovia.__path__))).resolve()

# Tests start programs of flovia as processes of their own: those import the same flovia as this one.
if PACKAGE.parent == ROOT:
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    tree = [str(ROOT), str(ROOT / "adapters")]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*tree, *filter(None, inherited)]))


# Ten thousand tests are half a gigabyte of objects that stay: the collector need not look through them again and again.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on there is garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_report_header() -> str:
    """Name the flovia under test."""
    return f"flovia: {PACKAGE}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to CI what needs many processes or much waiting for one more look at what other tests show as well."""
    if os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="starts many programs, or waits; CI=1 runs it, as CI does")
    for item in items:
        if item.nodeid.startswith(WITH_TIME):
            item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LongestFirst | None:
    """Give each worker a file at a time, the longest first."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for a server, a process or a disk."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionstart() -> None:
    """Stop at once when a run that must test the installed wheel would import something else."""
    installed = any(PACKAGE.is_relative_to(Path(folder).resolve()) for folder in site.getsitepackages())
    if os.environ.get("FLOVIA_TEST_INSTALLED") == "1" and not installed:
        raise pytest.UsageError(
            f"FLOVIA_TEST_INSTALLED=1, but flovia is imported from {PACKAGE}: "
            "run from a folder without the packages and with '-o pythonpath=.'"
        )


@pytest.fixture(params=["asyncio", "trio"], scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on both event loops."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres() -> Generator[Server]:
    """A real PostgreSQL for the whole run."""
    server = Server(require.postgres())
    try:
        server.make()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def ledger_template(postgres: Server) -> str:
    """A database with a ledger's tables, to be copied."""
    name = postgres.database()
    open_ledger(postgres.url(name)).close()
    return name
