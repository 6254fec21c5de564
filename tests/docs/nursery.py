"""Snippets, each in a process forked from one that has imported what most of them import.

Half of a snippet's time is imports. With ``FLOVIA_FRESH_SNIPPETS=1``, as in ``nox -s docs``, Python is started anew for
each, as a reader does: only that shows a page that uses a submodule which it has not imported.
"""

import atexit
import multiprocessing
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Final

PRELOADED: Final = ["fastapi", "flask", "sqlalchemy", "tests.docs.harness", "uvicorn"]

# Programs of the documentation are not written for a process that is spawned anew, hence a server that forks.
_context: Final = multiprocessing.get_context("forkserver") if hasattr(os, "fork") else None


def can_run(command: list[str]) -> bool:
    """True for ``[python, file]`` and ``[python, -m, tests.docs.harness, …]``, on systems that fork."""
    return _context is not None and command[0] == sys.executable and command[1:3] != ["-m", "flovia.cli"]


def run(command: list[str], cwd: Path, env: dict[str, str], output: Path, timeout_s: float) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of a command that :func:`can_run` likes.

    Raises:
        TimeoutError: it did not end in time, and was ended.
    """
    assert _context is not None
    _context.set_forkserver_preload(PRELOADED)
    out, err = output / "out", output / "err"
    child = _context.Process(target=_child, args=(command[1:], str(cwd), env, str(out), str(err)))
    child.start()
    child.join(timeout_s)
    if child.exitcode is None:
        child.kill()
        raise TimeoutError(f"{command} did not end in {timeout_s} s")
    return child.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


def _child(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a text stream, in a process of our own
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    status = 0
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, cwd)
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    # A process of multiprocessing ends without these.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
