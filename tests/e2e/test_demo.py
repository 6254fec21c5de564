"""``flovia demo``, started as a user starts it."""

import contextlib
import http.client
import json
import os
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import attrs
import httpx
import pytest

from flovia.ledger.opening import open_ledger
from tests.patience import PATIENT_S, PROGRAM_S, eventually
from tests.ports import chosen_port

WITHIN_S = PROGRAM_S
UP = "Ctrl-C ends the demo"


@attrs.frozen(kw_only=True)
class Demo:
    """A running demo: its process, what it printed until it was up, and where it listens."""

    process: subprocess.Popen[str]
    printed: str
    port: int

    def get(self, path: str, credential: str | None = None) -> tuple[int, dict[str, str], str]:
        """Status, headers (names in lower case) and body of a GET, as curl would send it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENT_S)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={} if credential is None else {"Authorization": credential})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()


def flovia_command(*arguments: str) -> list[str]:
    """The command line of ``flovia``."""
    return [sys.executable, "-m", "flovia.cli", *arguments]


@contextlib.contextmanager
def demo(folder: Path, *arguments: str) -> Generator[Demo]:
    """Start a demo in ``folder`` and wait until it is up; end it, and only it, afterwards."""
    port = chosen_port()
    temporary = folder / "tmp"
    temporary.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLOVIA_")}
    process = subprocess.Popen(
        flovia_command("demo", "--no-browser", "--port", str(port), *arguments),
        cwd=folder,
        env={**clean, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Demo(process=process, printed=_printed(process), port=port)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _printed(process: subprocess.Popen[str]) -> str:
    """What the demo prints until it says how to end it, and the lines to try after that."""
    assert process.stdout is not None
    text, give_up = "", time.monotonic() + WITHIN_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while UP not in text or not re.search(r"\nexport FLOVIA_LEDGER=.*\n", text):
            left = give_up - time.monotonic()
            assert left > 0, text
            if selector.select(left):
                piece = os.read(process.stdout.fileno(), 65536).decode()
                assert piece, f"the demo ended: {text}"
                text += piece
    return text


@pytest.fixture
def running(tmp_path: Path) -> Generator[Demo]:
    """A demo whose ledger is demo.db in the test's folder."""
    with demo(tmp_path, "--ledger", f"sqlite:///{tmp_path / 'demo.db'}") as found:
        yield found


def test_the_demo_pays_itself_and_shows_every_step(running: Demo, tmp_path: Path) -> None:
    """It prints the challenge, the credential without its proof, the receipt's reference and the joined event."""
    text = running.printed
    for expected in ("402", "1.00 USD", "credential", "characters, not shown", "receipt", "mock_"):
        assert expected in text
    for member in ("requestId", "provider", "rail", "endpoint", "paymentId", "responseStatus", "latencyMs", "insight"):
        assert member in text
    # The mock wallet's proof: what it begins with alone could be found in any challenge's id.
    assert not re.search("(?<![A-Za-z0-9_-])ok-[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])", text)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'demo.db'}")
    types = [event.type for _, event in ledger.read_events()]
    ledger.close()
    assert 1 == types.count("payment.settled")
    assert 1 == types.count("payment.delivered")


def delivered(path: Path) -> int:
    """How many joined events ``flovia events`` tells that ended in a 200."""
    command = flovia_command("events", "--json", "--ledger", f"sqlite:///{path}")
    joined = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum('"responseStatus": 200' in line.replace('":2', '": 2') for line in joined.stdout.splitlines())


def test_the_route_can_be_paid_by_hand(running: Demo, tmp_path: Path) -> None:
    """The lines to try do what they say: a 402, a paid 200 with a receipt, and no second use (S01, S04, S23)."""
    status, headers, _ = running.get("/paid")
    assert 402 == status
    assert headers["www-authenticate"].startswith("Payment ")
    made = subprocess.run(
        flovia_command("inspect", "--mock-payment", headers["www-authenticate"]),
        capture_output=True,
        text=True,
        check=True,
    )
    credential = made.stdout.strip()
    status, headers, body = running.get("/paid", credential)
    assert (200, {"foo": "bar"}) == (status, json.loads(body))
    assert "payment-receipt" in headers
    # The delivery is recorded after its last byte was sent: until then the credential is in flight.
    status, _, body = eventually(lambda: running.get("/paid", credential), lambda answer: answer[0] != 409)
    assert 402 == status
    assert "invalid-challenge" in body
    # What nobody paid for, and the end of a request, is written a moment later.
    assert 2 == eventually(lambda: delivered(tmp_path / "demo.db"), lambda found: found >= 2)


def test_the_other_route_is_paid_by_hitpay(running: Demo) -> None:
    """A local HitPay came along: the showcase's route asks for a payment on its checkout page, and says so."""
    status, headers, body = running.get("/showcase/hitpay-mpp/paid")
    assert 402 == status
    assert headers["www-authenticate"].startswith('Payment method="hitpay"')
    assert "/checkout" in json.loads(body)["challenge"]["methodDetails"]["checkout_url"]
    assert f"http://127.0.0.1:{running.port}/showcase/hitpay-mpp" in running.printed


def test_the_front_page_says_what_to_try(running: Demo) -> None:
    """/ leads to the showcase; its front page has the same lines as the terminal, and lets nothing else in."""
    assert (307, "/showcase/hitpay-mpp") == (running.get("/")[0], running.get("/")[1]["location"])
    status, headers, body = running.get("/showcase")
    assert 200 == status
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in headers["content-security-policy"]
    assert f"curl -i http://127.0.0.1:{running.port}/paid" in body
    assert 404 == running.get("/elsewhere")[0]


def test_the_settings_that_it_prints_make_commands_work(running: Demo, tmp_path: Path) -> None:
    """In another terminal, in another folder, a payment of the page is given back with them."""
    exports = "\n".join(line for line in running.printed.splitlines() if line.startswith("export "))
    url = f"http://127.0.0.1:{running.port}/showcase/hitpay-mpp/runs"
    with httpx.Client(trust_env=False, timeout=PATIENT_S) as http:
        run = http.post(url, data={"trouble": "amount"}).headers["location"].removesuffix("#live")
        page = f"http://127.0.0.1:{running.port}{run}"
        told = eventually(lambda: http.get(page).text, lambda text: 'data-state-name="refused"' in text)
        charge = re.search(r"mpp_ch_[0-9a-f]+", told)
        assert charge is not None
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        command = shlex.join(flovia_command("refund", charge[0]))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLOVIA_", "HITPAY_"))}
        # The modules of a checkout are found from any folder.
        clean["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in sys.path if one)
        done = subprocess.run(
            ["sh", "-c", f"{exports}\n{command}"],
            cwd=elsewhere,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROGRAM_S,
        )
        assert (0, "") == (done.returncode, done.stderr)
        assert "0.99 SGD" in done.stdout
        eventually(lambda: http.get(page).text, lambda text: 'data-state-name="returned"' in text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_demo_ends_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end it with status 0, no traceback, and nothing left in the temporary folder."""
    with demo(tmp_path) as found:
        found.process.send_signal(number)
        rest = found.process.communicate(timeout=WITHIN_S)[0]
    assert 0 == found.process.returncode
    assert "Traceback" not in rest
    assert [] == list((tmp_path / "tmp").iterdir())


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """A port that somebody else has ends the demo at once, with what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            flovia_command("demo", "--no-browser", "--port", str(taken.getsockname()[1])),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    assert 1 == done.returncode
    assert "choose another with --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ledger_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    """A ledger in a folder that does not exist ends the demo at once, with what to do about it."""
    done = subprocess.run(
        flovia_command("demo", "--no-browser", "--ledger", f"sqlite:///{tmp_path}/no/such/folder/demo.db"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert 1 == done.returncode
    assert done.stderr.startswith("flovia: ")
    assert "Traceback" not in done.stderr


def test_a_ledger_of_ones_own_is_seeded_only_when_asked(running: Demo, tmp_path: Path) -> None:
    """Without ``--seed-attempts`` a named ledger holds what was really called, and no made-up provider."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'demo.db'}")
    assert "demo" not in {event.provider for _, event in ledger.read_events()}
    ledger.close()


def test_the_dashboard_has_a_past(tmp_path: Path) -> None:
    """Of ``--seed-attempts`` the first are there with its first page, others follow; their provider tells them."""

    def challenges() -> tuple[set[str], set[str]]:
        events = [event for _, event in ledger.read_events(limit=100_000)]
        shown = {event.challenge_id for event in events if event.type == "paid_api.challenge_issued"}
        made_up = {event.challenge_id for event in events if event.provider == "demo"} & shown
        return made_up, shown - made_up

    with demo(tmp_path, "--ledger", f"sqlite:///{tmp_path / 'demo.db'}", "--seed-attempts", "600") as found:
        assert 200 == found.get("/dashboard/")[0]
        ledger = open_ledger(f"sqlite:///{tmp_path / 'demo.db'}")
        made_up, real = challenges()
        assert len(made_up) >= 200
        assert 1 == len(real)
        made_up, real = eventually(challenges, lambda both: len(both[0]) >= 500, every_s=0.2)
        assert 500 <= len(made_up) <= 700
        assert 1 == len(real)
        ledger.close()


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["--seed-attempts", "100001"], "from 0 to 100000", 2),
        (["--seed-attempts", "5", "--ledger", "memory://"], "cannot be seeded", 1),
    ],
)
def test_what_cannot_be_seeded_is_said(tmp_path: Path, arguments: list[str], said: str, status: int) -> None:
    """A number out of range, or a ledger that cannot be seeded, ends the demo at once, with what to do about it."""
    command = flovia_command("demo", "--no-browser", "--port", str(chosen_port()), *arguments)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert status == done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ledger_with_events_is_not_seeded(running: Demo, tmp_path: Path) -> None:
    """Made-up attempts are never put among others."""
    arguments = ("--seed-attempts", "5", "--ledger", f"sqlite:///{tmp_path / 'demo.db'}")
    command = flovia_command("demo", "--no-browser", "--port", str(chosen_port()), *arguments)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert 1 == done.returncode
    assert "has events already" in done.stderr
