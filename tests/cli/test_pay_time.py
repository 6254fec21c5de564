"""``flovia pay`` ends, however slowly a server answers. Nothing is measured: see ``tests/runtime/dripping.py``."""

import json
from functools import partial
from pathlib import Path

import pytest

from flovia.cli import pay
from flovia.cli.app import run
from flovia.client import PendingFiles, Policy
from flovia.core.challenge import format_challenge
from tests.client.server import challenge
from tests.patience import PATIENT_S
from tests.runtime.dripping import ENDLESS, Peer, serving

MOCK = ("--budget", "5.00 SGD", "--wallet", "mock")
SOON = (*MOCK, "--timeout", "0.5")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % ENDLESS


def drip_head(peer: Peer) -> None:
    """The head never ends."""
    peer.request()
    peer.say(HEAD)
    peer.drip(b"X-Test: " + b"a" * ENDLESS)


def drip_body(peer: Peer) -> None:
    """The body never ends."""
    peer.request()
    peer.say(HEAD + b"\r\n")
    peer.drip(b"a" * ENDLESS)


@pytest.mark.parametrize("talk", [drip_head, drip_body])
def test_a_free_answer_that_drips(talk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is given up, nothing was paid, and the text names the option."""
    with serving(talk) as server:
        assert 1 == run(["pay", f"http://127.0.0.1:{server.port}", *SOON, "--json", "--state", str(tmp_path)])
        assert server.peer.gone.wait(PATIENT_S)
        assert server.peer.dripped < ENDLESS
    found = json.loads(capsys.readouterr().out)
    assert found["error"].startswith("no whole answer in time (")
    assert found["error"].endswith("; --timeout is 0.5 s); nothing was paid")


def test_redirects_share_the_time(tmp_path: Path) -> None:
    """A server that sends the client on and on, each time just in time, is not followed to the end of its patience."""

    def talk(peer: Peer) -> None:
        while peer.request():
            head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\r\n\r\n"
            peer.drip(iter([head[:20], b"", b"", b"", head[20:]]))

    with serving(talk) as server:
        assert 1 == run(["pay", f"http://127.0.0.1:{server.port}", *SOON, "--state", str(tmp_path)])
        assert 1 == len(server.peers)


def test_a_paid_answer_that_drips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows: the credential is kept; resuming it ends as well. The 30 seconds it has are cut short here."""
    monkeypatch.setattr(pay, "Policy", partial(Policy, paid_timeout_s=0.5))

    def talk(peer: Peer) -> None:
        while request := peer.request():
            if b"authorization: payment " in request.lower():
                peer.say(HEAD)
                peer.drip(b"X-Test: " + b"a" * ENDLESS)
                return
            field = format_challenge(challenge()).encode()
            peer.say(b"HTTP/1.1 402 Payment Required\r\nContent-Length: 0\r\nWWW-Authenticate: " + field + b"\r\n\r\n")

    with serving(talk) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert 3 == run(["pay", url, *MOCK, "--timeout", "3", "--json", "--state", str(tmp_path)])
        reference = json.loads(capsys.readouterr().out)["reference"]
        assert [reference] == PendingFiles(tmp_path).references()
        again = ["pay", "--resume", reference, "--wallet", "mock", "--timeout", "0.5", "--state", str(tmp_path)]
        assert 3 == run(again)
        for peer in server.peers:
            assert peer.gone.wait(PATIENT_S)
            assert peer.dripped < ENDLESS
