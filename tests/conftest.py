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
    "tests/adapters/test_fixture.py::test_counts_over_all",
    "tests/adapters/test_gunicorn_timeout.py",
    "tests/adapters/test_races_http.py",
    "tests/adapters/test_servers.py::test_several_workers",
    "tests/campaigns/test_campaigns.py",
    "tests/campaigns/test_exporters.py",
    "tests/cli/test_demo_parts.py::test_a_lost_interrupt",
    "tests/cli/test_demo_parts.py::test_the_page_opens",
    "tests/cli/test_pay_time.py",
    "tests/cli/test_tail.py",
    "tests/client/hitpay/test_example.py",
    "tests/client/hitpay/test_saved.py",
    "tests/client/test_example.py",
    "tests/dashboard/test_api.py::test_the_document_lists",
    "tests/dashboard/test_forking.py",
    "tests/dashboard/test_live.py::test_fifty",
    "tests/dashboard/test_live.py::test_who_lost",
    "tests/dashboard/test_mounting.py",
    "tests/dashboard/test_pages.py::test_every_link",
    "tests/dashboard/test_pages.py::test_numbers_are",
    "tests/dashboard/test_pages.py::test_very_many",
    "tests/docs/test_snippets.py::test_snippet[docs/cli.md",
    "tests/docs/test_snippets.py::test_snippet[docs/events.md:69",
    "tests/docs/test_snippets.py::test_snippet[docs/exporting.md",
    "tests/docs/test_snippets.py::test_snippet[docs/guides/first-decision.md",
    "tests/docs/test_snippets.py::test_snippet[docs/guides/warehouse.md",
    "tests/docs/test_warehouse.py",
    "tests/e2e/hitpay/rows/",
    "tests/e2e/hitpay/test_hitpay.py::test_a_flood",
    "tests/e2e/hitpay/test_hitpay.py::test_fifty",
    "tests/e2e/hitpay/test_hitpay.py::test_keys_that_cannot",
    "tests/e2e/hitpay/test_reconcile.py",
    "tests/e2e/test_agent_pays_hitpay.py::test_a_broker_whose_status_is_stuck",
    "tests/e2e/test_demo.py",
    "tests/export/test_command.py::test_dead_letters",
    "tests/export/test_nats.py",
    "tests/insights/test_bench.py",
    "tests/insights/test_fold.py::test_many_at_once",
    "tests/insights/test_joined.py::test_following",
    "tests/insights/test_keeping_sessions.py::test_old_attempts",
    "tests/leaks/test_leaks.py::test_planted",
    "tests/ledger/test_postgres_full.py",
    "tests/ledger/test_races.py::test_one_winner[postgresql",
    "tests/runtime/test_database_file.py",
    "tests/runtime/test_deadline_transport.py",
    "tests/runtime/test_drivers.py::test_http_answers_are_bounded[trio",
    "tests/sandbox/test_command.py::test_options_reach",
    "tests/showcase/test_runs.py",
    "tests/showcase/test_seeding.py",
    "tests/showcase/test_standing.py",
    "tests/world/test_world.py::test_in_memory",
    "tests/world/test_world.py::test_on_postgresql",
)
"""Some sixteen of the minutes that one core would take for everything."""
ONE_LOOP = ("tests/dashboard/test_actions.py",)
"""What is about no event loop of its own: on trio it is CI's."""

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
    # As often as Python would by itself, it took a worker 20 seconds of the run.
    gc.set_threshold(10_000, 20, 20)
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
        if item.nodeid.startswith(WITH_TIME) or (item.nodeid.startswith(ONE_LOOP) and "[trio" in item.nodeid):
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
