"""The command line. Its packages come with the extra ``cli``; ``flovia demo`` needs the extra ``demo``."""

import sys

NEEDS = {"cyclopts": "cli", "rich": "cli", "uvicorn": "demo"}
"""The packages that commands need beyond the base install, and the extra that brings each."""


def main() -> None:
    """Run the ``flovia`` command and exit: 0 if it did its work, 1 if it could not, 2 if it was misused, 130 at Ctrl-C
    where that is not how it ends anyway.
    """
    try:
        from flovia.cli.app import run

        status = run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in NEEDS:
            raise
        sys.exit(f"flovia: this needs {package}; install it with: pip install 'flovia[{NEEDS[package]}]'")
    sys.exit(status)
