"""Copy the checkout to a folder, all of it or without the packages.

    python -m tests.tools.stage FOLDER              what a fresh clone holds
    python -m tests.tools.stage --no-packages FOLDER

Without the packages a test run can only import the flovia that is installed: that is how CI tests the wheel.
"""

import shutil
import sys
from pathlib import Path

from tests.tree import ROOT, files


def stage(target: Path, *, packages: bool = True) -> None:
    """Copy every file under version control into ``target``, which must not exist yet."""
    target.mkdir(parents=True)
    for name in files():
        if packages or name.parts[0] not in {"flovia", "adapters"}:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def main(arguments: list[str]) -> int:
    """Run as a program."""
    packages = "--no-packages" not in arguments
    rest = [argument for argument in arguments if argument != "--no-packages"]
    if len(rest) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    stage(Path(rest[0]), packages=packages)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
