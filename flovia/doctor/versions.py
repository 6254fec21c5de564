"""Versions of what flovia runs on."""

import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from flovia.doctor.finding import Finding
from flovia.settings import DEFAULT_LEDGER

CHECK: Final = "versions"
_NEEDED: Final = ("flovia", "attrs", "anyio", "httpx")
_FOUND: Final = ("SQLAlchemy", "psycopg", "joserfc", "Flask", "fastapi", "starlette", "Django", "opentelemetry-api")


def version_findings(env: Mapping[str, str]) -> Iterator[Finding]:
    """Python, flovia and its company, and the database's library."""
    yield Finding(check=CHECK, level="ok", text=f"Python {platform.python_version()} ({platform.system()})")
    for name in _NEEDED:
        found = _version(name)
        if found is None:
            yield Finding(
                check=CHECK,
                level="error",
                text=f"{name} is not installed as a package",
                remedy="Install flovia with pip, in the environment that the app runs in.",
            )
        else:
            yield Finding(check=CHECK, level="ok", text=f"{name} {found}")
    installed = [f"{name} {found}" for name in _FOUND if (found := _version(name)) is not None]
    yield Finding(check=CHECK, level="ok", text=f"also: {', '.join(installed) or 'none of the optional packages'}")
    url = env.get("FLOVIA_LEDGER", "").strip() or DEFAULT_LEDGER
    if url.startswith("postgres") and _version("psycopg") is None:
        yield Finding(
            check=CHECK,
            level="error",
            text="the ledger is in PostgreSQL and psycopg is not installed",
            remedy="pip install 'flovia[postgres]'",
        )
    if url.startswith("sqlite:"):
        yield _sqlite()


def _sqlite() -> Finding:
    from flovia.ledger.sqlite import journal_mode

    text = f"SQLite {sqlite3.sqlite_version}"
    if journal_mode() == "WAL":
        return Finding(check=CHECK, level="ok", text=f"{text}, in WAL mode")
    return Finding(
        check=CHECK,
        level="note",
        text=f"{text} can damage a WAL that several processes share, so the slower rollback journal is used",
        remedy="A Python with SQLite 3.51.3 or newer (or 3.50.7, 3.44.6) makes each commit about three times as fast.",
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
