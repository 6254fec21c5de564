"""gunicorn ends a worker whose request takes longer than ``--timeout``: the payment is not lost, and not paid twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

import flovia
import flovia_wsgi
from flovia.core import events as ev
from flovia.core.challenge import parse_challenge
from flovia.ledger.opening import open_ledger
from tests.core.world import SECRET, pay
from tests.patience import PROGRAM_S, eventually
from tests.ports import chosen_port

Environ = dict[str, object]
HANGS_S = 600.0


def _hangs_once(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    marker = Path(os.environ["HANGS_TEST_MARKER"])
    if not marker.exists():
        marker.touch()
        if "deaf" in marker.name:  # as code of C is, that does not come back to Python
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
        time.sleep(HANGS_S)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"goods"]


def app(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    """A paid handler whose first call does not end, and whose failures are to be given back."""
    return _paid()(environ, start_response)


_made: list[Callable[..., Iterable[bytes]]] = []


def _paid() -> Callable[..., Iterable[bytes]]:
    if not _made:
        policy = flovia.Delivery(on_failure="refund")
        _made.append(
            flovia_wsgi.paid(_hangs_once, provider="mock", price="1.00 USD", deliver_within=4, delivery=policy)
        )
    return _made[0]


@pytest.mark.parametrize(
    ("name", "answers"),
    [("listens", {500}), ("deaf", {0, 409})],
    ids=["it listens to SIGABRT", "it has to be killed"],
)
def test_a_worker_that_is_ended(tmp_path: Path, name: str, answers: set[int]) -> None:
    """Cut off, so redeemable under every policy: at once if Python code was interrupted, else after the lease."""
    ledger, port = f"sqlite:///{tmp_path}/shop.db", chosen_port()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "FLOVIA_LEDGER": ledger,
        "FLOVIA_SECRET": SECRET,
        "HANGS_TEST_MARKER": str(tmp_path / name),
        "HOME": str(tmp_path),
    }
    options = ["--workers", "1", "--timeout", "2", "--bind", f"127.0.0.1:{port}", f"{__name__}:app"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options], cwd=tmp_path, env=environ, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}/"

        def asked(headers: dict[str, str]) -> httpx.Response | None:
            try:
                return httpx.get(url, headers=headers, timeout=PROGRAM_S)
            except httpx.HTTPError:
                return None

        first = eventually(lambda: asked({}), bool)
        assert first is not None
        credential = {"Authorization": pay(parse_challenge(first.headers["www-authenticate"]))}
        seen: list[int] = []

        def delivered() -> bool:
            answer = asked(credential)
            seen.append(0 if answer is None else answer.status_code)
            return seen[-1] == 200

        assert eventually(delivered, bool), (seen, (tmp_path / "log").read_text())
        assert answers >= set(seen[:-1])
        assert seen[0] in answers
    finally:
        process.terminate()
        process.wait(PROGRAM_S)
    with closing(open_ledger(ledger)) as found:
        types = [event.type for _, event in found.read_events(limit=1000)]
        assert (1, 1) == (types.count(ev.PAYMENT_SETTLED), types.count(ev.PAYMENT_REDELIVERED))
        assert [] == list(found.find_due(9))
