"""What ``flovia pay`` does with bodies that are large, compressed, cut off or meant to steer a terminal."""

import gzip
import json
import os
import pty
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path

import attrs
import httpx
import pytest

from flovia.cli import pay, pay_reading
from flovia.cli.pay_output import _Screen
from flovia.cli.pay_reading import MIB, PIECE, WHOLE, CutOff, pieces
from flovia.core.challenge import Challenge
from tests.cli.test_pay import SGD, Cli, cli
from tests.client.server import Say, challenge, paid, sells, serving, unpaid

__all__ = ["cli"]  # a fixture

MOCK = (*SGD, "--wallet", "mock")
LARGE = b"0123456789abcde\n" * (WHOLE // 8)
"""2 MiB, so that it is printed as it comes."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test can reach: --max-body counts sixteenths of a MiB."""
    monkeypatch.setattr(pay, "MIB", MIB // 16)


def endless(sink: BufferedIOBase) -> None:
    """Write until the other side has gone."""
    while True:
        sink.write(LARGE)


@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "x-other"])
@pytest.mark.parametrize("body", [b"goods", LARGE], ids=["small", "large"])
def test_a_body_is_what_the_server_meant(cli: Cli, coding: str, body: bytes) -> None:
    """Small or large, compressed or not; what is in a coding that was not asked for comes as it is."""
    encode: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    said = Say(headers=(("Content-Encoding", coding),), body=encode.get(coding, bytes)(body))
    with serving(sells(said)) as server:
        done = cli(server.url, *MOCK, "--max-body", "64")
        assert (0, body.decode()) == (done.status, done.out)
        assert "1.00 SGD paid" in done.err
        assert "gzip, deflate" == server.seen[0].header("accept-encoding")
    assert [] == cli.pending.references()


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["streamed", "json"])
def test_a_paid_answer_beyond_the_limit(cli: Cli, options: tuple[str, ...]) -> None:
    """Exit 3: it is cut off, the credential is kept, and with a higher limit all of it comes."""
    with serving(sells(paid(LARGE))) as server:
        done = cli(server.url, *MOCK, "--max-body", "24", *options)
        assert 3 == done.status
        assert "--max-body" in done.err
        (reference,) = cli.pending.references()
        assert f"--resume {reference}" in done.err
        if options:
            assert reference == json.loads(done.out)["reference"]
        else:
            assert LARGE[: 24 * MIB // 16] == done.out.encode()
        again = cli("--resume", reference, "--wallet", "mock", "--max-body", "32", *options)
        assert 0 == again.status
        assert LARGE.decode() == (json.loads(again.out)["body"] if options else again.out)
    assert [] == cli.pending.references()


@pytest.mark.parametrize("status", [200, 500])
def test_a_free_answer_beyond_the_limit(cli: Cli, status: int) -> None:
    """Exit 1, and nothing was paid; a server that never ends is left."""
    with serving(lambda seen: Say(status=status, write=endless)) as server:
        done = cli(server.url, *MOCK, "--max-body", "24")
    assert (1, 24 * MIB // 16) == (done.status, len(done.out))
    assert "nothing was paid" in done.err


def test_a_paid_answer_that_never_ends(cli: Cli) -> None:
    """As one beyond the limit."""
    with serving(sells(attrs.evolve(paid(), write=endless))) as server:
        done = cli(server.url, *MOCK, "--max-body", "24")
    assert (3, 1) == (done.status, len(cli.pending.references()))


def test_a_body_that_is_not_in_its_coding(cli: Cli) -> None:
    """Paid: kept, exit 3. Free: exit 1."""
    broken = Say(headers=(("Content-Encoding", "gzip"),), body=b"no gzip at all")
    with serving(sells(broken)) as server:
        done = cli(server.url, *MOCK)
        assert (3, "", 1) == (done.status, done.out, len(cli.pending.references()))
    with serving(lambda seen: broken) as server:
        done = cli(server.url, *MOCK)
        assert (1, True) == (done.status, "says that it is compressed" in done.err)


def test_a_redirect_with_a_body(cli: Cli) -> None:
    """What stands in a redirect is not read, however long it is; a short one costs no connection."""

    def script(seen: object) -> Say:
        goes = (("Location", "/there"),)
        return Say(status=302, headers=goes, write=endless) if next(turns) else Say(body=b"free")

    turns = iter([True, False])
    with serving(script) as server:
        assert (0, "free") == ((done := cli(server.url, *MOCK)).status, done.out)


def test_a_compressed_flood_is_inflated_in_pieces() -> None:
    """However much is in it, no piece is large."""
    flood = gzip.compress(bytes(64 * MIB))
    found = [len(piece) for piece in pay_reading._inflated([flood])]
    assert (64 * MIB, True) == (sum(found), max(found) <= PIECE)
    with pytest.raises(CutOff):
        list(pieces(httpx.Response(200, content=b"12345"), 4))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"\x1b]0;test\x07\x1b[31mred\x9b31m\n", b"\\x1b]0;test\\x07\\x1b[31mred\\x9b31m\n"),
        (b"a\tb\r\nc\rd\n", b"a\tb\nc\nd\n"),
        ("caf\u00e9\u3000\u00a0\u202e".encode(), "caf\u00e9\u3000\u00a0\\u202e".encode()),
        (b"half \xc3", b"half \\xc3"),
    ],
)
def test_a_terminal_is_not_steered(sent: bytes, shown: bytes) -> None:
    """Escapes, bells and what turns text around are shown, not obeyed, wherever a piece ends; texts stay texts."""
    for size in (1, 2, len(sent)):
        screen = _Screen()
        parts = [screen.shown(sent[i : i + size]) for i in range(0, len(sent), size)]
        assert shown == b"".join([*parts, screen.shown(b"", last=True)])


@pytest.mark.parametrize("raw", [False, True])
def test_on_a_terminal_and_in_a_file(raw: bool, tmp_path: Path) -> None:
    """A terminal gets it escaped, or raw if somebody says so; a file gets the bytes."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "flovia.cli", "pay", "--state", str(tmp_path), *MOCK, *(["--raw"] if raw else [])]
    body = b"\x1b]0;test\x07hello"
    with serving(sells(paid(body))) as server:
        main, side = pty.openpty()
        try:
            done = subprocess.run([*command, server.url], env=environ, stdout=side, stderr=subprocess.PIPE, check=False)
            seen = os.read(main, 1000)
        finally:
            os.close(main)
            os.close(side)
        assert 0 == done.returncode, done.stderr
        assert (body if raw else b"\\x1b]0;test\\x07hello") + b"\r\n" == seen
        apart = subprocess.run([*command, server.url], env=environ, capture_output=True, check=False)
    assert body == apart.stdout


@pytest.mark.parametrize(("body", "status"), [(b"goods", 0), (LARGE * 2, 3)], ids=["all there", "cut off"])
def test_nobody_reads_the_output(body: bytes, status: int, tmp_path: Path) -> None:
    """As with ``| head``: no traceback; what was not read to its end can be resumed."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "flovia.cli", "pay", "--state", str(tmp_path), *MOCK]
    read, write = os.pipe()
    os.close(read)
    with serving(sells(paid(body))) as server:
        done = subprocess.run([*command, server.url], env=environ, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    told = done.stderr.decode()
    assert (status, False) == (done.returncode, "Traceback" in told), told
    assert "nobody reads standard output any more" in told
    assert ("--resume" in told) is (status == 3)


def of_realm(realm: str) -> Callable[[], Challenge]:
    """A challenge of this realm."""
    return lambda: attrs.evolve(challenge(), realm=realm)


@pytest.mark.parametrize(("realm", "told"), [("api.bank.example", True), ("localhost", False), ("127.0.0.1", False)])
def test_a_realm_that_is_not_the_servers_name(realm: str, told: bool, cli: Cli) -> None:
    """It is said with what was paid, and by a dry run; this machine may have any of its names."""
    with serving(sells(offer=lambda: unpaid(of_realm(realm)()))) as server:
        for options in ((), ("--dry-run",)):
            done = cli(server.url, *MOCK, *options)
            assert (0, told) == (done.status, f"for the realm '{realm}', which is not the server's name" in done.err)
        assert realm == json.loads(cli(server.url, *MOCK, "--json").out)["paid"]["realm"]
