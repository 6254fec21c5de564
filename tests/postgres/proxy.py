"""A TCP proxy in front of a server, which can fall silent or cut a connection at the worst moment."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.postgres.server import Server


class Proxy:
    """Passes bytes on until it is told otherwise.

    ``silent``: bytes are taken and go nowhere. ``cut``: looks at what a client sends; if it says so, that is passed
    on and the connection ends before any answer.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()
        self.cut: Callable[[bytes], bool] = lambda data: False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server.port))
                self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.silent.is_set():
                    continue
                if asking and self.cut(data):
                    source.shutdown(socket.SHUT_RDWR)
                    sink.sendall(data)
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End everything."""
        for one in [self._listener, *self._sockets]:
            one.close()
