"""Which checks there are."""

import os
import time
from collections.abc import Callable, Iterator, Mapping

from flovia.doctor.finding import Examination, Finding, guarded, without_secrets
from flovia.doctor.ledgers import ledger_findings
from flovia.doctor.providers import provider_findings
from flovia.doctor.setup import setting_findings
from flovia.doctor.versions import version_findings


def examine(
    environ: Mapping[str, str] | None = None,
    *,
    ledger: str | None = None,
    offline: bool = False,
    clock: Callable[[], float] = time.time,
) -> Examination:
    """Look at everything. Never raises for anything that is wrong with the setup.

    Args:
        environ: the settings; default: the environment.
        ledger: the ledger's URL; default: FLOVIA_LEDGER, and without that ``sqlite:///flovia.db``.
        offline: ask nobody over the network but the database.
        clock: Unix seconds of this machine; for tests.
    """
    env = dict(os.environ if environ is None else environ)
    if ledger is not None:
        env["FLOVIA_LEDGER"] = ledger

    def look() -> Iterator[Finding]:
        yield from guarded("settings", lambda: setting_findings(env))
        yield from guarded("versions", lambda: version_findings(env))
        yield from guarded("ledger", lambda: ledger_findings(env, clock))
        yield from guarded("provider", lambda: provider_findings(env, clock, offline=offline))

    return Examination(findings=without_secrets(look(), env))
