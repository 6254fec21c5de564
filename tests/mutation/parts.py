"""What is mutated, and which tests are asked."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from tests.tree import ROOT


@attrs.frozen(kw_only=True)
class Part:
    """Modules by their path in the checkout."""

    modules: tuple[str, ...]


def _core(*names: str) -> Part:
    return Part(modules=tuple(f"flovia/core/{name}.py" for name in names))


def _ledger() -> Part:
    # PostgreSQL's modules want a server in each trial.
    names = sorted(path.name for path in (ROOT / "flovia/ledger").glob("*.py"))
    kept = [name for name in names if not name.startswith("postgres") and name not in ("__init__.py", "rules.py")]
    return Part(modules=tuple(f"flovia/ledger/{name}" for name in kept))


PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "money": _core("money"),
        "codec": _core("encoding", "challenge", "credential", "receipt", "fields", "fingerprint", "binding"),
        "state": Part(modules=("flovia/core/exchange.py", "flovia/ledger/rules.py")),
        "gate": _core(
            *(
                "gate",
                "candidate",
                "issuing",
                "redeeming",
                "response_head",
                "settlement",
                "passage",
                "delivery",
                "answers",
                "keeping",
            ),
            *("guard", "scope", "offers", "negotiation", "origin", "limiter", "unpresented", "adopting", "retention"),
        ),
        "ledger": _ledger(),
    }
)

TESTS: Final = (
    *("tests/core", "tests/properties", "tests/vectors", "tests/ledger", "tests/api", "tests/runtime"),
    *("tests/providers", "tests/insights", "tests/simulator", "tests/docs/test_drawn.py"),
    *(f"tests/hooks/test_{name}.py" for name in ("contract", "corners", "refunds", "webhooks")),
)
"""The tests without servers, as in the nox session ``unit``, but for those of the client and of signatures."""

APART: Final = (
    *("tests/ledger/test_postgres", "tests/ledger/test_races.py", "tests/ledger/test_forking.py"),
    *("tests/ledger/test_migrating.py::test_opened_by_many", "tests/vectors/test_vectors.py::test_the_program"),
    *("tests/providers/test_third_party.py", "tests/simulator/test_bugs.py"),
)
"""Those of them that start processes of their own, which import the package as it stands."""


def asked(nodeid: str, fixtures: tuple[str, ...]) -> bool:
    """Whether a test is of use here: it runs the modules in its own process, and needs no database server."""
    return not nodeid.startswith(APART) and "postgres" not in nodeid.lower() and "postgres" not in fixtures
