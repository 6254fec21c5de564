"""examples/agent.py does what it says."""

import os
import subprocess
import sys
from pathlib import Path

from tests.client.server import Say, Script, challenge, paid, sells, serving, unpaid
from tests.tree import ROOT


def run(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of the example."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "agent.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def shop(*answers: Say, amount: str = "100") -> Script:
    """A server that wants dollars."""
    return sells(*answers, offer=lambda: unpaid(challenge(amount=amount, currency="usd")))


def test_the_example_pays_resumes_and_stops_at_its_budget(tmp_path: Path) -> None:
    """A paid call; an unknown outcome and its resumption in another process; a refusal; and the budget's end."""
    with serving(shop()) as server:
        assert (0, f"200 for 1.00 USD to {server.url}\ngoods\n") == run(tmp_path, server.url)
    with serving(shop(Say(status=502), paid(b"late goods"))) as server:
        status, output = run(tmp_path, server.url)
        reference = output.split("--resume ")[1].strip()
        assert (3, True) == (status, "Do not pay again" in output)
        assert (0, f"200 for 1.00 USD to {server.url}\nlate goods\n") == run(tmp_path, "--resume", reference)
    with serving(lambda seen: unpaid(challenge(currency="usd"))) as server:
        status, output = run(tmp_path, server.url)
        assert (5, True) == (status, "does not accept" in output)
    with serving(shop(amount="101")) as server:
        status, output = run(tmp_path, server.url)
        assert (4, True) == (status, "per_payment" in output)
    assert 2 == run(tmp_path)[0]
