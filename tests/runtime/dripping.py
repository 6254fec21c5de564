"""Servers that take their time, on sockets of loopback: each remembers how much of its answer it could send."""

import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.patience import PATIENT_S

EVERY_S: Final = 0.02
"""Seconds between two bytes: much less than any time-out for one wait."""
ENDLESS: Final = int(PATIENT_S * 10 / EVERY_S)
"""Bytes that take ten times as long to drip as a test may wait for anything."""


class Peer:
    """One connection of a dripping server."""

    def __init__(self, sock: socket.socket, over: threading.Event) -> None:
        self.sock = sock
        self._over = over
        self.dripped = 0
        """Bytes that could be sent one by one."""
        self.gone = threading.Event()
        """Set once the other side has closed the connection."""
        self.closed = threading.Event()
        """Set once this side has, after ``talk`` came to its end."""

    def request(self) -> bytes:
        """The head of the next request and whatever comes with it; nothing once the connection is closed."""
        got = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in got and (part := self.sock.recv(65536)):
                got += part
        return got

    def say(self, text: bytes) -> None:
        """Send it all at once."""
        with suppress(OSError):
            self.sock.sendall(text)

    def drip(self, text: bytes | Iterator[bytes]) -> None:
        """Send it piece by piece, until the other side has had enough or the test is over."""
        pieces = iter(text) if isinstance(text, Iterator) else (text[i : i + 1] for i in range(len(text)))
        with suppress(OSError):
            for piece in pieces:
                self.sock.sendall(piece)
                self.dripped += 1
                if self._over.wait(EVERY_S):
                    return
        if not self._over.is_set():
            self.gone.set()

    def listen_only(self) -> None:
        """Say nothing until the other side hangs up."""
        with suppress(OSError):
            while self.sock.recv(65536):
                pass
        if not self._over.is_set():
            self.gone.set()

    def wait(self) -> None:
        """Do nothing, not even read, until the test is over."""
        self._over.wait()


class Server:
    """What a test knows of a running server: its port, and its connections in the order they came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: list[Peer] = []

    @property
    def peer(self) -> Peer:
        """The first connection."""
        return self.peers[0]


@contextmanager
def serving(
    talk: Callable[[Peer], None], *, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> Generator[Server]:
    """A server that has ``talk`` handle each connection, in a thread of its own, until the block ends."""
    over = threading.Event()
    listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    server = Server(listening.getsockname()[1])
    threads: list[threading.Thread] = []

    def handle(sock: socket.socket) -> None:
        with sock:
            if context is not None:
                try:
                    sock = context.wrap_socket(sock, server_side=True)
                except OSError:
                    return
            peer = Peer(sock, over)
            server.peers.append(peer)
            talk(peer)
            sock.close()
            peer.closed.set()

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listening.accept()
                sock.settimeout(PATIENT_S)
                threads.append(threading.Thread(target=handle, args=(sock,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(PATIENT_S)
        for peer in server.peers:
            with suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENT_S)


@contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Generator[int]:
    """A port that accepts no connection and refuses none: its queue is full."""
    with socket.socket() as listening:
        listening.bind((host, port))
        listening.listen(0)
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(address)
            yield address[1]
        finally:
            for sock in waiting:
                sock.close()
