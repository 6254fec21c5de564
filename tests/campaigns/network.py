"""Two hosts on one machine: network namespaces of our own, each with a line to the public and one to the store.

All of it lives in a namespace that the campaign starts itself in, so nothing of the machine's own network is touched.
It needs Linux, iproute2, util-linux and the right to make namespaces: see :func:`why_not`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

NOWHERE: Final = "02:00:00:00:00:01"
"""A hardware address that nobody has: what is sent there vanishes, and nobody is told."""


def why_not() -> str | None:
    """Why there can be no namespaces here; None: there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    for program in ("ip", "unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH (Debian: iproute2, util-linux)"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"network namespaces are not permitted here: {tried.stderr.strip()}"


def inside(command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` in a new namespace whose loopback is up."""
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@attrs.frozen
class Line:
    """One cable between here and a host. ``here`` and ``there``: the addresses of its ends."""

    name: str
    here: str
    there: str


@attrs.frozen
class Host:
    """A host: ``public`` is where its buyers reach it, ``store`` how it reaches the store.

    ``pid``: a process that keeps the namespace.
    """

    name: str
    pid: int
    public: Line
    store: Line

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to run there."""
        return ("nsenter", "--target", str(self.pid), "--net", "--")

    @contextmanager
    def cut_off(self) -> Generator[None]:
        """Neither end of the line to the store hears the other, and neither is told: packets vanish."""
        line = self.store
        ends = [((), line.there, f"{line.name}-up"), (self.prefix, line.here, line.name)]
        for prefix, other, device in ends:
            neighbour = ("ip", "neigh", "replace", other, "lladdr", NOWHERE, "dev", device, "nud", "permanent")
            _run(*prefix, *neighbour)
        try:
            yield
        finally:
            for prefix, other, device in ends:
                _run(*prefix, "ip", "neigh", "del", other, "dev", device)


def _cable(host: str, pid: int, name: str, net: str) -> Line:
    line = Line(f"{name}-{host}", f"{net}.1", f"{net}.2")
    there = ("nsenter", "--target", str(pid), "--net", "--")
    up = f"{line.name}-up"
    _run("ip", "link", "add", up, "type", "veth", "peer", "name", line.name, "netns", str(pid))
    _run("ip", "addr", "add", f"{line.here}/24", "dev", up)
    _run("ip", "link", "set", up, "up")
    _run(*there, "ip", "addr", "add", f"{line.there}/24", "dev", line.name)
    _run(*there, "ip", "link", "set", line.name, "up")
    return line


@contextmanager
def hosts(*names: str) -> Generator[list[Host]]:
    """Hosts in namespaces of their own, on lines from this namespace, which must be one of ours."""
    keepers: list[subprocess.Popen[bytes]] = []
    found: list[Host] = []
    try:
        for number, name in enumerate(names, 1):
            keeper = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            keepers.append(keeper)
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"up\n", "a namespace did not come up"
            public = _cable(name, keeper.pid, "pub", f"10.203.{number}")
            store = _cable(name, keeper.pid, "db", f"10.203.{100 + number}")
            found.append(Host(name, keeper.pid, public, store))
        yield found
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.communicate()
