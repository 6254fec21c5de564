"""Run the README's demo command here, and see that it does what the README says.

    python -m tests.tools.demo

The command makes its own environment in this folder. It must pay its route once and print a receipt, then
stay up and ask the next visitor to pay.
"""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.ports import chosen_port
from tests.tools.readme import command

INSTALL_AND_START_S = 900


def visit(port: int) -> tuple[int, str]:
    """The status and challenge that an unpaid request to /paid gets; status 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/paid")
        response = connection.getresponse()
        return response.status, response.getheader("WWW-Authenticate", "")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def main() -> int:
    """Run as a program."""
    port = chosen_port()
    with tempfile.TemporaryDirectory() as folder:
        line = command("demo", Path("README.md").read_text(encoding="utf-8"))
        line += f" --no-browser --port {port} --ledger sqlite:///{folder}/demo.db"
        print(line, flush=True)
        printed = Path(folder, "printed")
        with printed.open("wb") as output:
            # A session of its own: ending it ends the shell, the program and whatever that started.
            shell = subprocess.Popen(
                ["sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                status, challenge = _wait(shell, port, printed)
            finally:
                _end(shell)
        text = printed.read_text(encoding="utf-8", errors="replace")
    print(text)
    print(f"unpaid GET /paid: {status} {challenge.partition(' ')[0]}")
    good = status == 402 and challenge.startswith("Payment ") and "receipt" in text.lower()
    print("the demo works" if good else "the demo does not do what the README says")
    return 0 if good else 1


def _wait(shell: subprocess.Popen[bytes], port: int, printed: Path) -> tuple[int, str]:
    """The answer of the route, once the demo has paid it and printed its receipt."""
    give_up = time.monotonic() + INSTALL_AND_START_S
    answer = (0, "")
    while shell.poll() is None and time.monotonic() < give_up:
        answer = visit(port)
        if answer[0] and b"receipt" in printed.read_bytes().lower():
            break
        time.sleep(0.5)
    return answer


def _end(shell: subprocess.Popen[bytes]) -> None:
    """End the demo as a service manager would, and by force if it does not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if shell.poll() is not None:
            return
        os.killpg(shell.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            shell.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
