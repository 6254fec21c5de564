"""What a run tells before its end, in case somebody has to end it: the tests that failed, and where each process is.

``kill -USR1`` makes every worker write the stacks of its threads. `.ci/run` does that to a job before it gives it up.
"""

import faulthandler
import os
import signal

import pytest


class AtOnce:
    """Names a failed test, and what failed, when it has failed, where pytest would do so at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See pytest."""
        terminal: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = str(getattr(crash, "message", "")).partition("\n")[0][:300]
            terminal.write_line(f"{report.when} failed: {report.nodeid}: {why}")


def pytest_configure(config: pytest.Config) -> None:
    """Be ready for the signal; the process that has a terminal names failures."""
    if hasattr(signal, "SIGUSR1"):
        # Captured output would take the stacks with it; this is the real one, here and when a test is running.
        faulthandler.register(signal.SIGUSR1, file=os.dup(2), all_threads=True)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config), "failures-at-once")
