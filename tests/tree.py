"""Where the source tree is.

CI runs the tests from a copy of the checkout without the packages, so that only the installed wheel can be
imported. What reads the sources themselves finds them through ``FLOVIA_TREE``.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(os.environ.get("FLOVIA_TREE") or Path(__file__).resolve().parent.parent)
"""The checkout: the folder with pyproject.toml, flovia/ and adapters/."""

ADAPTERS = ("flovia_asgi", "flovia_fastapi", "flovia_flask", "flovia_hono", "flovia_wsgi")
"""The import packages that live in adapters/."""


def files() -> list[Path]:
    """Every file that is, or would be, under version control, relative to :data:`ROOT`."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        return sorted(_walk())
    names = {Path(name) for name in listing.stdout.decode().split("\0") if name}
    return sorted(name for name in names if (ROOT / name).is_file())


def _walk() -> Iterator[Path]:
    """The same from an unpacked archive, where there is no git: without what tools leave behind."""
    leftovers = {"__pycache__", "node_modules", "build", "dist"}
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [
            name
            for name in subfolders
            if name not in leftovers and not name.endswith(".egg-info") and (name == ".ci" or name[0] != ".")
        ]
        yield from (Path(folder, name).relative_to(ROOT) for name in names)
